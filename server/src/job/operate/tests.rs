use proptest::prelude::*;

use super::*;
use crate::job::{
    Cancel, Counters, Dedup, DedupKey, DedupScope, Failure, JobId, JobName, Lease, LeaseSecret,
    OnDuplicate, QueueName, Retention, WorkerId,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MILLISECOND: Duration = Duration::from_millis(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A job that reached this state a while ago.
fn job(state: State) -> Job {
    let name =
        JobName { queue: QueueName::parse("emails").unwrap(), id: JobId::parse("one").unwrap() };
    let dedup = Dedup {
        key: DedupKey::parse("key").unwrap(),
        scope: DedupScope::UntilFinished { cap: None },
        on_duplicate: OnDuplicate::Keep,
    };
    let spec = Spec {
        job_type: "mail".to_owned(),
        labels: [("tenant".to_owned(), "t1".to_owned())].into(),
        created: NOW.before(seconds(60)),
        dedup: Some(dedup),
        ..Spec::default()
    };
    let mut job = Job::enqueued(name, spec);
    job.state = state;
    job.at = match state {
        State::Ready => NOW.before(seconds(30)),
        State::Leased => NOW.after(seconds(20)),
        State::Blocked => job.spec.created,
        State::Scheduled | State::Retrying => NOW.after(seconds(10)),
        _ => NOW.after(seconds(1000)),
    };
    if state != State::Blocked && state != State::Scheduled {
        job.counters = Counters { deliveries: 5, attempts: 3, lease_losses: 2 };
        job.started = Some(NOW.before(seconds(50)));
    }
    if state.is_terminal() {
        job.ended = Some(NOW.before(seconds(10)));
    }
    job.lease = (state == State::Leased).then(|| Lease {
        secret: LeaseSecret(7),
        worker: WorkerId::parse("w1").unwrap(),
        started: NOW.before(seconds(10)),
        duration: seconds(30),
    });
    job
}

/// In which states a move is possible, and why not in the others.
fn verdicts(decide: impl Fn(&Job) -> Result<Transition, Refusal>) -> Vec<(State, Option<Refusal>)> {
    State::ALL.into_iter().map(|state| (state, decide(&job(state)).err())).collect()
}

fn refused(
    scheduled: Option<Refusal>,
    ready: Option<Refusal>,
    leased: Option<Refusal>,
    retrying: Option<Refusal>,
    blocked: Option<Refusal>,
    succeeded: Option<Refusal>,
    unsuccessful: Option<Refusal>,
) -> Vec<(State, Option<Refusal>)> {
    vec![
        (State::Scheduled, scheduled),
        (State::Ready, ready),
        (State::Leased, leased),
        (State::Retrying, retrying),
        (State::Blocked, blocked),
        (State::Succeeded, succeeded),
        (State::Dead, unsuccessful),
        (State::Cancelled, unsuccessful),
        (State::Expired, unsuccessful),
    ]
}

const LEASED: Option<Refusal> = Some(Refusal::Leased);
const TERMINAL: Option<Refusal> = Some(Refusal::Terminal);
const WRONG: Option<Refusal> = Some(Refusal::WrongState);

#[test]
fn each_move_is_possible_in_its_states_and_refused_in_the_others() {
    let pending_only = refused(None, None, LEASED, None, None, TERMINAL, TERMINAL);
    assert_eq!(verdicts(|job| cancel(job, "", NOW)), pending_only);
    assert_eq!(verdicts(|job| update(job, Update::default(), NOW)), pending_only);
    assert_eq!(
        verdicts(|job| redrive(job, "", NOW)),
        refused(WRONG, WRONG, LEASED, WRONG, WRONG, WRONG, None)
    );
    assert_eq!(
        verdicts(|job| promote(job, "", NOW)),
        refused(None, WRONG, LEASED, None, WRONG, TERMINAL, TERMINAL)
    );
    assert_eq!(
        verdicts(|job| revoke(job, "", NOW)),
        refused(WRONG, WRONG, None, WRONG, WRONG, TERMINAL, TERMINAL)
    );
    assert_eq!(
        verdicts(|job| delete(job, "", NOW)),
        refused(None, None, LEASED, None, None, None, None)
    );
}

#[test]
fn a_cancelled_job_ends_at_once_and_gives_its_key_free() {
    for state in [State::Scheduled, State::Ready, State::Retrying, State::Blocked] {
        let job = job(state);
        let decided = cancel(&job, "no longer wanted", NOW).unwrap();
        assert_eq!((decided.to, decided.ended), (State::Cancelled, Some(NOW)));
        assert_eq!(decided.at, NOW.after(Retention::default().dead.span));
        assert_eq!((decided.keep, decided.counters), (job.spec.retention.dead, job.counters));
        assert_eq!(decided.guard, Guard::Standing(job.version()));
        assert_eq!(decided.free_dedup, job.held_key());
        assert_eq!(decided.attempt, None);
        let event = decided.event;
        assert_eq!((event.kind, event.from), (EventKind::Cancelled, Some(state)));
        assert_eq!((event.to, event.reason.as_str()), (Some(State::Cancelled), "no longer wanted"));
        assert_eq!((&event.job_type, &event.labels), (&job.spec.job_type, &job.spec.labels));
    }
}

#[test]
fn a_pending_job_expires_from_its_expiry_on() {
    for state in State::ALL {
        let mut job = job(state);
        assert_eq!(lapse(&job, NOW), None, "{state:?} without an expiry");
        job.spec_mut().expires = Some(NOW);
        assert_eq!(lapse(&job, NOW.before(MILLISECOND)), None, "{state:?} before its expiry");
        let Some(decided) = lapse(&job, NOW) else {
            assert!(!state.is_pending(), "{state:?} does not expire");
            continue;
        };
        assert!(state.is_pending(), "{state:?} expires");
        assert_eq!((decided.to, decided.ended), (State::Expired, Some(NOW)));
        assert_eq!(decided.at, NOW.after(job.spec.retention.dead.span));
        assert_eq!(decided.free_dedup, job.held_key());
        assert_eq!(decided.event.kind, EventKind::Expired);
    }
}

#[test]
fn a_redriven_job_starts_over() {
    for state in [State::Dead, State::Cancelled, State::Expired] {
        let job = job(state);
        let decided = redrive(&job, "fixed", NOW).unwrap();
        assert_eq!((decided.to, decided.at), (State::Ready, NOW));
        assert_eq!(decided.counters, Counters { deliveries: 5, attempts: 0, lease_losses: 0 });
        assert_eq!((decided.started, decided.ended), (None, None));
        assert_eq!((decided.place, decided.line), (Place::Back, job.line()));
        assert_eq!((decided.free_dedup, decided.spec, decided.attempt), (None, None, None));
        assert_eq!((decided.event.kind, decided.event.from), (EventKind::Ready, Some(state)));
        assert_eq!(decided.event.reason, "RETRIED: fixed");
    }
}

#[test]
fn a_redriven_job_forgets_an_expiry_that_has_passed_and_no_other() {
    let mut job = job(State::Expired);
    job.spec_mut().expires = Some(NOW);
    let decided = redrive(&job, "", NOW).unwrap();
    assert_eq!(decided.expires, None);
    assert_eq!(decided.spec, Some(Arc::new(Spec { expires: None, ..(*job.spec).clone() })));
    job.spec_mut().expires = Some(NOW.after(MILLISECOND));
    let decided = redrive(&job, "", NOW).unwrap();
    assert_eq!((decided.expires, decided.spec), (job.spec.expires, None));
}

#[test]
fn a_promoted_job_is_ready_now_and_not_when_it_would_have_been() {
    for state in [State::Scheduled, State::Retrying] {
        let job = job(state);
        let decided = promote(&job, "", NOW).unwrap();
        assert_eq!((decided.to, decided.at), (State::Ready, NOW));
        assert_eq!((decided.counters, decided.started), (job.counters, job.started));
        assert_eq!((decided.event.kind, decided.event.from), (EventKind::Ready, Some(state)));
        assert_eq!(decided.event.reason, "PROMOTED");
    }
}

#[test]
fn an_update_replaces_what_it_names_and_nothing_else() {
    let job = job(State::Retrying);
    let retry = RetryPolicy { max_attempts: Some(9), ..RetryPolicy::default() };
    let payload = Some(Payload { content_type: "text/plain".to_owned(), ..Payload::default() });
    let everything = Update {
        payload: Some(payload.clone()),
        priority: Some(5),
        scheduled: Some(NOW.after(seconds(5))),
        labels: Some(BTreeMap::new()),
        retry: Some(retry.clone()),
    };
    let decided = update(&job, everything, NOW).unwrap();
    let wanted = Spec {
        payload,
        priority: 5,
        scheduled: Some(NOW.after(seconds(5))),
        labels: BTreeMap::new(),
        retry,
        ..(*job.spec).clone()
    };
    assert_eq!(decided.spec, Some(Arc::new(wanted)));
    assert_eq!(decided.line.priority, 5);
    let nothing = update(&job, Update::default(), NOW).unwrap();
    assert_eq!(nothing.spec, Some(job.spec.clone()));
    assert_eq!((nothing.to, nothing.at), (job.state, job.at));
}

#[test]
fn an_update_may_move_a_job_in_time() {
    let (past, future) = (NOW.before(seconds(1)), NOW.after(seconds(1)));
    for (state, scheduled, to, at) in [
        (State::Ready, None, State::Ready, job(State::Ready).at),
        // It stays where it is in its line.
        (State::Ready, Some(past), State::Ready, job(State::Ready).at),
        (State::Ready, Some(future), State::Scheduled, future),
        (State::Scheduled, None, State::Scheduled, job(State::Scheduled).at),
        (State::Scheduled, Some(past), State::Ready, NOW),
        (State::Scheduled, Some(NOW), State::Ready, NOW),
        (State::Scheduled, Some(future), State::Scheduled, future),
        (State::Retrying, None, State::Retrying, job(State::Retrying).at),
        (State::Retrying, Some(past), State::Ready, NOW),
        (State::Retrying, Some(future), State::Scheduled, future),
        (State::Blocked, None, State::Blocked, job(State::Blocked).at),
        (State::Blocked, Some(past), State::Blocked, past),
        (State::Blocked, Some(future), State::Blocked, future),
    ] {
        let decided = update(&job(state), Update { scheduled, ..Update::default() }, NOW).unwrap();
        assert_eq!((decided.to, decided.at), (to, at), "{state:?} to {scheduled:?}");
        let told = match to {
            State::Scheduled => EventKind::Scheduled,
            State::Retrying => EventKind::Retrying,
            State::Blocked => EventKind::Blocked,
            _ => EventKind::Ready,
        };
        assert_eq!((decided.event.kind, decided.event.reason.as_str()), (told, "UPDATED"));
    }
}

#[test]
fn a_new_priority_puts_a_ready_job_behind_the_others() {
    let moved = |priority| {
        let update = Update { priority: Some(priority), ..Update::default() };
        super::update(&job(State::Ready), update, NOW).unwrap()
    };
    assert_eq!((moved(5).place, moved(5).line.priority), (Place::Back, 5));
    assert_eq!(moved(5).at, NOW, "it takes a new place");
    assert_eq!(moved(0).at, job(State::Ready).at, "the old priority is no reason to move");
}

#[test]
fn a_replaced_job_keeps_its_id_its_create_time_and_its_counters() {
    let job = job(State::Scheduled);
    let later = (State::Scheduled, NOW.after(seconds(99)));
    let spec = Spec {
        job_type: "other".to_owned(),
        created: NOW,
        scheduled: Some(NOW.after(seconds(99))),
        expires: Some(NOW.after(seconds(200))),
        ..Spec::default()
    };
    let decided = replace(&job, spec.clone(), Some(later), NOW);
    assert_eq!((decided.name, decided.counters), (job.name.clone(), job.counters));
    assert_eq!((decided.to, decided.at), later);
    assert_eq!(decided.expires, spec.expires);
    assert_eq!(decided.line.job_type, "other");
    assert_eq!(decided.spec, Some(Arc::new(Spec { created: job.spec.created, ..spec })));
    assert_eq!(decided.event.kind, EventKind::Deduplicated);
    assert_eq!(decided.event.reason, "REPLACED");
}

#[test]
fn a_replacement_starts_when_it_was_asked_to_or_when_the_job_would_have() {
    let at_once = Some((State::Ready, NOW));
    let future = NOW.after(seconds(99));
    let later = Some((State::Scheduled, future));
    for (state, start, to, at) in [
        (State::Ready, at_once, State::Ready, job(State::Ready).at),
        (State::Ready, None, State::Ready, job(State::Ready).at),
        (State::Ready, later, State::Scheduled, future),
        (State::Scheduled, at_once, State::Ready, NOW),
        (State::Scheduled, None, State::Scheduled, job(State::Scheduled).at),
        (State::Scheduled, later, State::Scheduled, future),
        (State::Retrying, None, State::Retrying, job(State::Retrying).at),
        (State::Blocked, None, State::Blocked, job(State::Blocked).at),
    ] {
        let spec = Spec { scheduled: Some(NOW), ..(*job(state).spec).clone() };
        let decided = replace(&job(state), spec, start, NOW);
        assert_eq!((decided.to, decided.at), (to, at), "{state:?} at {start:?}");
        let scheduled = decided.spec.unwrap().scheduled;
        let wanted = if start.is_some() { Some(NOW) } else { job(state).spec.scheduled };
        assert_eq!(scheduled, wanted, "{state:?} at {start:?}");
    }
}

#[test]
fn a_replaced_job_that_had_lapsed_gets_a_place_of_its_own() {
    let mut lapsed = job(State::Ready);
    lapsed.spec_mut().expires = Some(NOW);
    let decided = replace(&lapsed, (*job(State::Ready).spec).clone(), None, NOW);
    assert_eq!((decided.to, decided.at, decided.expires), (State::Ready, NOW, None));
}

#[test]
fn a_replacement_of_another_line_moves_a_ready_job() {
    for spec in [
        Spec { priority: 5, ..(*job(State::Ready).spec).clone() },
        Spec { job_type: "other".to_owned(), ..(*job(State::Ready).spec).clone() },
    ] {
        for start in [Some((State::Ready, NOW)), None] {
            let decided = replace(&job(State::Ready), spec.clone(), start, NOW);
            assert_eq!((decided.to, decided.at), (State::Ready, NOW));
            assert_eq!(decided.line.priority, spec.priority);
            assert_eq!(decided.line.job_type, spec.job_type);
        }
    }
}

#[test]
fn a_revoked_lease_does_not_count_and_its_job_is_next() {
    let job = job(State::Leased);
    let decided = revoke(&job, "stuck", NOW).unwrap();
    assert_eq!((decided.to, decided.at, decided.place), (State::Ready, NOW, Place::Front));
    assert_eq!(decided.guard, Guard::Leased(LeaseSecret(7)));
    assert_eq!(decided.counters, Counters { deliveries: 5, attempts: 2, lease_losses: 2 });
    let attempt = decided.attempt.unwrap();
    assert_eq!((attempt.outcome, attempt.secret), (Outcome::Revoked, LeaseSecret(7)));
    assert_eq!((attempt.delivery, attempt.number), (5, 3));
    assert_eq!((attempt.started, attempt.ended), (NOW.before(seconds(10)), NOW));
    assert_eq!(attempt.worker, Some(WorkerId::parse("w1").unwrap()));
    let event = decided.event;
    assert_eq!((event.kind, event.reason.as_str()), (EventKind::Released, "REVOKED: stuck"));
    assert_eq!((event.attempt, event.ran), (3, Some(seconds(10))));
    assert_eq!(event.worker, Some(WorkerId::parse("w1").unwrap()));
}

#[test]
fn a_revoked_lease_of_a_job_that_was_to_be_cancelled_cancels_it() {
    let mut job = job(State::Leased);
    job.cancel = Some(Cancel { by: job.at, reason: "no longer wanted".to_owned() });
    let decided = revoke(&job, "stuck", NOW).unwrap();
    assert_eq!((decided.to, decided.ended), (State::Cancelled, Some(NOW)));
    assert_eq!(decided.guard, Guard::Leased(LeaseSecret(7)));
    assert_eq!(decided.event.reason, "no longer wanted");
}

#[test]
fn a_deleted_job_leaves_the_store_and_its_key_free() {
    for state in State::ALL.into_iter().filter(|state| *state != State::Leased) {
        let job = job(state);
        let decided = delete(&job, "by hand", NOW).unwrap();
        assert!(decided.forgets());
        assert_eq!((decided.to, &decided.free_dedup), (state, &job.held_key()));
        assert_eq!(decided.guard, Guard::Standing(job.version()));
        assert_eq!(decided.event.kind, EventKind::Purged);
        assert_eq!((decided.event.from, decided.event.reason.as_str()), (Some(state), "by hand"));
    }
}

#[test]
fn a_job_whose_end_leaves_nothing_is_not_forgotten_while_it_lives() {
    let nothing = Keep { span: Duration::ZERO, count: None };
    let fleeting = |state| {
        let mut job = job(state);
        job.spec_mut().retention = Retention { succeeded: nothing, dead: nothing };
        job.spec_mut().retry.max_attempts = None;
        job
    };
    for decided in [
        update(&fleeting(State::Ready), Update::default(), NOW).unwrap(),
        promote(&fleeting(State::Scheduled), "", NOW).unwrap(),
        revoke(&fleeting(State::Leased), "", NOW).unwrap(),
        redrive(&fleeting(State::Dead), "", NOW).unwrap(),
        replace(&fleeting(State::Ready), Spec::default(), None, NOW),
        crate::job::transition::give_back(&fleeting(State::Leased), NOW).unwrap(),
        crate::job::transition::expire(&fleeting(State::Leased), 9, NOW, 0.0).unwrap(),
    ] {
        assert!(!decided.forgets(), "{:?}", decided.event.kind);
    }
    assert!(cancel(&fleeting(State::Ready), "", NOW).unwrap().forgets());
}

/// The job as a store would have it after `decided`.
fn applied(job: &Job, decided: Transition) -> Job {
    let mut job = job.clone();
    if let Some(spec) = decided.spec {
        job.spec = spec;
        job.revision += 1;
    }
    job.state = decided.to;
    job.at = decided.at;
    job.counters = decided.counters;
    job.started = decided.started;
    job.ended = decided.ended;
    job.lease = None;
    job.cancel = None;
    job
}

fn leased(job: &Job, now: Timestamp) -> Job {
    let lease = Lease {
        secret: LeaseSecret(1),
        worker: WorkerId::parse("w").unwrap(),
        started: now,
        duration: seconds(30),
    };
    let started = job.started.or(Some(now));
    let counters = job.counters.leased();
    let (state, at) = (State::Leased, now.after(seconds(30)));
    Job { state, at, counters, started, lease: Some(lease), ..job.clone() }
}

/// Some move of the job, if it is possible.
fn moved(job: &Job, choice: u8, moment: u64, now: Timestamp) -> Option<Transition> {
    use crate::job::transition::{Disposition, ack, expire, give_back, nack};
    let soon = now.after(Duration::from_millis(moment));
    let token = job.token();
    let nacked = |said| {
        let failure = Some(Failure::found("X", String::new()));
        nack(job, token.as_ref()?, said, failure, None, now, 0.0)
    };
    let updated = |change| update(job, change, now).ok();
    match choice {
        0 => cancel(job, "", now).ok(),
        1 => promote(job, "", now).ok(),
        2 => redrive(job, "", now).ok(),
        3 => revoke(job, "", now).ok(),
        4 => updated(Update { priority: Some(i16::from(moment > 1)), ..Update::default() }),
        5 => updated(Update { scheduled: Some(soon), ..Update::default() }),
        6 => updated(Update::default()),
        7 => nacked(Disposition::Release),
        8 => nacked(Disposition::Retry(Some(Duration::from_millis(moment)))),
        9 => nacked(Disposition::Snooze(Duration::from_millis(moment))),
        10 => nacked(Disposition::Dead),
        11 => give_back(job, now),
        12 => expire(job, 3, now.max(job.at), 0.0),
        13 => Some(ack(token.as_ref()?, None, job.held_key(), now)),
        _ => lapse(job, now),
    }
}

proptest! {
    /// Any moves, one by one: each is allowed, tells where it began and ended, and leaves a job
    /// that makes sense; and the job is never ready twice since the same moment.
    #[test]
    fn any_life_goes_by_the_rules(
        steps in proptest::collection::vec((0u8..17, 0u64..3, 0u64..3), 1..40),
        expires in proptest::option::of(0u64..40),
    ) {
        let mut spec = (*job(State::Ready).spec).clone();
        spec.created = NOW;
        spec.expires = expires.map(|span| NOW.after(Duration::from_millis(span)));
        let mut job = Job::enqueued(job(State::Ready).name, spec);
        let mut now = NOW;
        let mut lives = vec![job.at];
        for (choice, moment, passed) in steps {
            now = now.after(Duration::from_millis(passed.max(1)));
            let before = job.clone();
            if choice >= 15 {
                match job.state {
                    State::Ready => job = leased(&job, now),
                    State::Scheduled | State::Retrying if job.at <= now => job.state = State::Ready,
                    _ => continue,
                }
            } else {
                let Some(decided) = moved(&job, choice, moment, now) else { continue };
                prop_assert!(job.state.may_become(decided.to), "{:?} to {:?}", job.state, decided.to);
                prop_assert_eq!(decided.event.from, Some(job.state));
                prop_assert_eq!(decided.event.to, Some(decided.to));
                prop_assert_eq!(decided.ended.is_some(), decided.to.is_terminal());
                prop_assert!(decided.counters.deliveries >= job.counters.deliveries);
                prop_assert_eq!(decided.attempt.is_some(), job.lease.is_some() && choice != 11);
                prop_assert_eq!(matches!(decided.guard, Guard::Standing(_)), job.lease.is_none());
                prop_assert_eq!(decided.free_dedup.is_some(), decided.to.is_terminal());
                prop_assert!(!decided.forgets());
                job = applied(&job, decided);
            }
            prop_assert_ne!(job.version(), before.version());
            let is_new_life = job.state == State::Ready
                && (before.state != State::Ready || before.line() != job.line());
            if is_new_life {
                prop_assert!(!lives.contains(&job.at), "{:?} again in {lives:?}", job.at);
                lives.push(job.at);
            }
        }
    }
}

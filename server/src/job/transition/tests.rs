use proptest::prelude::*;

use super::*;
use crate::job::{
    Cancel, DEFAULT_ATTEMPT_TIMEOUT, Dedup, DedupScope, JobId, Lease, LeaseToken, MAX_LEASE_LOSSES,
    OnDuplicate, Outcome, QueueName, RetryPolicy, WorkerId,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn leased(attempts: u32, spec: Spec) -> Job {
    let name =
        JobName { queue: QueueName::parse("emails").unwrap(), id: JobId::parse("one").unwrap() };
    let mut job = Job::enqueued(name, spec);
    let since = NOW.before(Duration::from_secs(5));
    job.state = State::Leased;
    job.at = NOW;
    job.counters = Counters { deliveries: attempts, attempts, lease_losses: 0 };
    job.started = Some(since);
    job.lease = Some(Lease {
        secret: LeaseSecret(7),
        worker: WorkerId::parse("w1").unwrap(),
        started: since,
        duration: Duration::from_secs(30),
    });
    job
}

/// A job whose lease ended when its attempt may take no longer.
fn timed_out(attempts: u32, spec: Spec) -> Job {
    leased(attempts, Spec { attempt_timeout: Some(Duration::from_secs(5)), ..spec })
}

/// A leased job whose cancellation was asked for.
fn doomed(attempts: u32) -> Job {
    let cancel = Cancel { by: NOW, reason: "no longer wanted".to_owned() };
    Job { cancel: Some(cancel), ..leased(attempts, Spec::default()) }
}

fn dedup() -> Dedup {
    Dedup {
        key: DedupKey::parse("k").unwrap(),
        scope: DedupScope::UntilFinished { cap: None },
        on_duplicate: OnDuplicate::Keep,
    }
}

fn token(job: &Job) -> LeaseToken {
    job.token().unwrap()
}

fn nacked(job: &Job, disposition: Disposition, code: &str) -> Transition {
    nack(
        job,
        &token(job),
        disposition,
        Some(Failure::found(code, "it broke".to_owned())),
        None,
        NOW,
        0.0,
    )
    .unwrap()
}

/// The job as a store would have it after `transition`.
fn applied(job: &Job, transition: &Transition) -> Job {
    let mut job = job.clone();
    job.state = transition.to;
    job.at = transition.at;
    job.counters = transition.counters;
    job.ended = transition.ended;
    job.lease = None;
    job.cancel = None;
    job.details_mut().attempts.extend(transition.attempt.clone());
    job
}

#[test]
fn an_ack_needs_nothing_but_the_token() {
    let job = leased(2, Spec::default());
    let decided = ack(&token(&job), None, None, NOW);
    assert_eq!(decided.to, State::Succeeded);
    assert_eq!(decided.guard, Guard::Leased(LeaseSecret(7)));
    assert_eq!(decided.counters, job.counters);
    assert_eq!(decided.started, job.started);
    assert_eq!(decided.ended, Some(NOW));
    assert_eq!(decided.at, NOW.after(Keep::SUCCEEDED.span));
    assert_eq!(decided.event.ran, Some(Duration::from_secs(5)));
}

#[test]
fn a_token_survives_its_way_through_a_client() {
    let spec = Spec { dedup: Some(dedup()), ..Spec::default() };
    let mut with_keep = leased(3, spec);
    with_keep.spec_mut().retention.succeeded = Keep { span: Duration::ZERO, count: None };
    let timed = Spec { attempt_timeout: Some(Duration::from_millis(1500)), ..Spec::default() };
    for job in [leased(1, Spec::default()), leased(1, timed), with_keep] {
        let token = token(&job);
        assert_eq!(LeaseToken::parse(&token.to_string()), Ok(token));
    }
}

#[test]
fn a_failed_attempt_waits_for_its_backoff() {
    let decided = nacked(&leased(2, Spec::default()), Disposition::Retry(None), "HTTP_500");
    assert_eq!((decided.to, decided.at), (State::Retrying, NOW.after(Duration::from_secs(4))));
    assert_eq!(decided.counters.attempts, 2);
    assert_eq!(decided.attempt.unwrap().outcome, Outcome::Failed);
}

#[test]
fn a_worker_may_set_the_delay_of_a_retry() {
    let delay = Disposition::Retry(Some(Duration::from_secs(90)));
    let decided = nacked(&leased(1, Spec::default()), delay, "HTTP_429");
    assert_eq!((decided.to, decided.at), (State::Retrying, NOW.after(Duration::from_secs(90))));
}

#[test]
fn a_retry_without_backoff_is_ready_at_once_behind_the_others() {
    let spec = Spec { priority: 5, ..Spec::default() };
    let decided = nacked(&leased(1, spec), Disposition::Retry(Some(Duration::ZERO)), "X");
    assert_eq!((decided.to, decided.place), (State::Ready, Place::Back));
}

#[test]
fn the_last_attempt_makes_a_dead_letter() {
    let decided = nacked(&leased(3, Spec::default()), Disposition::Retry(None), "X");
    assert_eq!(decided.to, State::Dead);
    assert_eq!(decided.at, NOW.after(Keep::DEAD.span));
    assert_eq!(decided.event.reason, "ATTEMPTS_SPENT");
}

#[test]
fn a_fatal_code_makes_a_dead_letter_at_the_first_attempt() {
    let retry = RetryPolicy { fatal_codes: vec!["HTTP_404".to_owned()], ..RetryPolicy::default() };
    let job = leased(1, Spec { retry, ..Spec::default() });
    assert_eq!(nacked(&job, Disposition::Retry(None), "HTTP_404").to, State::Dead);
    assert_eq!(nacked(&job, Disposition::Retry(None), "HTTP_500").to, State::Retrying);
}

#[test]
fn no_retry_begins_after_the_retry_duration() {
    let retry = RetryPolicy {
        max_attempts: None,
        max_retry_duration: Some(Duration::from_secs(6)),
        ..RetryPolicy::default()
    };
    let job = leased(1, Spec { retry, ..Spec::default() });
    // First leased 5 s ago: a retry in 2 s would begin after 7.
    assert_eq!(nacked(&job, Disposition::Retry(None), "X").to, State::Dead);
}

#[test]
fn a_snooze_and_a_release_give_the_attempt_back() {
    let job = leased(3, Spec::default());
    let snoozed = nacked(&job, Disposition::Snooze(Duration::from_mins(1)), "");
    assert_eq!((snoozed.to, snoozed.counters.attempts), (State::Scheduled, 2));
    assert_eq!(snoozed.event.kind, EventKind::Snoozed);
    let released = nacked(&job, Disposition::Release, "");
    assert_eq!((released.to, released.counters.attempts), (State::Ready, 2));
    assert_eq!(released.place, Place::Front);
    assert_eq!(released.counters.deliveries, 3);
}

#[test]
fn a_lost_lease_is_requeued_at_once_and_counts() {
    let decided = expire(&leased(1, Spec::default()), MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!((decided.to, decided.at), (State::Ready, NOW));
    assert_eq!((decided.counters.attempts, decided.counters.lease_losses), (1, 1));
    assert_eq!(decided.guard, Guard::Overdue { secret: LeaseSecret(7), now: NOW });
    assert_eq!(decided.event.kind, EventKind::LeaseExpired);
}

#[test]
fn the_third_lost_lease_is_a_crash_loop_even_with_attempts_left() {
    let retry = RetryPolicy { max_attempts: None, ..RetryPolicy::default() };
    let mut job = leased(9, Spec { retry, ..Spec::default() });
    job.counters.lease_losses = 2;
    let decided = expire(&job, MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!(decided.to, State::Dead);
    assert_eq!(decided.failure.unwrap().code, Failure::CRASH_LOOP);
    assert_eq!(decided.event.reason, Failure::CRASH_LOOP);
}

#[test]
fn a_lost_lease_on_the_last_attempt_makes_a_dead_letter() {
    let decided = expire(&leased(3, Spec::default()), MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!((decided.to, decided.event.reason.as_str()), (State::Dead, "ATTEMPTS_SPENT"));
    assert_eq!(decided.failure.unwrap().code, Failure::LEASE_EXPIRED);
}

#[test]
fn a_queue_decides_how_many_lost_leases_are_a_crash_loop() {
    let retry = RetryPolicy { max_attempts: None, ..RetryPolicy::default() };
    let mut job = leased(9, Spec { retry, ..Spec::default() });
    job.counters.lease_losses = 4;
    assert_eq!(expire(&job, 6, NOW, 0.0).unwrap().to, State::Ready);
    assert_eq!(expire(&job, 5, NOW, 0.0).unwrap().to, State::Dead);
}

#[test]
fn a_lease_that_lasted_as_long_as_an_attempt_may_has_timed_out() {
    let decided = expire(&timed_out(1, Spec::default()), MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!((decided.to, decided.at), (State::Retrying, NOW.after(Duration::from_secs(2))));
    assert_eq!((decided.counters.attempts, decided.counters.lease_losses), (1, 0));
    assert_eq!(decided.guard, Guard::Overdue { secret: LeaseSecret(7), now: NOW });
    assert_eq!(decided.event.kind, EventKind::TimedOut);
    assert_eq!(decided.attempt.unwrap().outcome, Outcome::TimedOut);
    assert_eq!(decided.failure.unwrap().code, Failure::ATTEMPT_TIMEOUT);
}

#[test]
fn an_attempt_timeout_may_be_the_last_attempt_or_a_fatal_one() {
    let last = expire(&timed_out(3, Spec::default()), MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!((last.to, last.event.reason.as_str()), (State::Dead, "ATTEMPTS_SPENT"));
    assert_eq!(last.event.kind, EventKind::TimedOut);
    let fatal_codes = vec![Failure::ATTEMPT_TIMEOUT.to_owned()];
    let retry = RetryPolicy { fatal_codes, ..RetryPolicy::default() };
    let job = timed_out(1, Spec { retry, ..Spec::default() });
    let fatal = expire(&job, MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!((fatal.to, fatal.event.reason.as_str()), (State::Dead, "FATAL_CODE"));
}

#[test]
fn a_lease_that_was_lost_is_no_timeout_however_late_that_is_noticed() {
    let job = leased(1, Spec::default());
    let late = NOW.after(DEFAULT_ATTEMPT_TIMEOUT);
    let decided = expire(&job, MAX_LEASE_LOSSES, late, 0.0).unwrap();
    assert_eq!(decided.event.kind, EventKind::LeaseExpired);
    assert_eq!((decided.to, decided.at), (State::Ready, late));
}

#[test]
fn an_ack_wins_over_a_cancellation_that_was_asked_for() {
    let decided = ack(&token(&doomed(1)), None, None, NOW);
    assert_eq!((decided.to, decided.event.kind), (State::Succeeded, EventKind::Succeeded));
}

#[test]
fn whatever_else_ends_the_lease_of_a_doomed_job_cancels_it() {
    // Neither attempts nor lost leases matter any more.
    let mut job = doomed(3);
    job.counters.lease_losses = 2;
    job.spec_mut().dedup = Some(dedup());
    let by = Some(Failure::found("NO_HANDLER", String::new()));
    let nacks = [
        Disposition::Retry(None),
        Disposition::Snooze(Duration::from_secs(9)),
        Disposition::Release,
        Disposition::Dead,
    ];
    let nacks =
        nacks.map(|said| nack(&job, &token(&job), said, by.clone(), None, NOW, 0.0).unwrap());
    let others = [expire(&job, 3, NOW, 0.0).unwrap(), give_back(&job, NOW).unwrap()];
    for decided in nacks.into_iter().chain(others) {
        assert_eq!((decided.to, decided.ended), (State::Cancelled, Some(NOW)));
        assert_eq!(decided.at, NOW.after(Keep::DEAD.span));
        assert_eq!(decided.counters, job.counters);
        assert_eq!(decided.free_dedup, job.held_key());
        assert_eq!(decided.event.kind, EventKind::Cancelled);
        assert_eq!(decided.event.reason, "no longer wanted");
        assert_eq!(decided.event.worker, Some(WorkerId::parse("w1").unwrap()));
        assert_eq!(decided.attempt.unwrap().outcome, Outcome::Cancelled);
    }
}

#[test]
fn a_doomed_lease_ends_only_when_it_is_overdue() {
    let decided = expire(&doomed(1), MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!(decided.guard, Guard::Overdue { secret: LeaseSecret(7), now: NOW });
}

#[test]
fn a_cancelled_job_is_kept_as_long_as_a_dead_letter() {
    let mut job = doomed(1);
    job.spec_mut().retention.dead = Keep { span: Duration::ZERO, count: None };
    assert!(expire(&job, MAX_LEASE_LOSSES, NOW, 0.0).unwrap().forgets());
    job.spec_mut().retention.dead = Keep { span: Duration::from_secs(7), count: Some(9) };
    let decided = expire(&job, MAX_LEASE_LOSSES, NOW, 0.0).unwrap();
    assert_eq!(
        (decided.keep, decided.at),
        (job.spec.retention.dead, NOW.after(Duration::from_secs(7)))
    );
}

#[test]
fn a_worker_without_a_handler_burns_no_attempt() {
    for said in [Disposition::Retry(None), Disposition::Release] {
        let mut job = leased(1, Spec::default());
        job.counters.deliveries = 3;
        let decided = nacked(&job, said, Failure::NO_HANDLER);
        // By the number of deliveries: the attempts stay where they are.
        assert_eq!((decided.to, decided.at), (State::Retrying, NOW.after(Duration::from_secs(8))));
        assert_eq!(decided.counters.attempts, 0);
        assert_eq!(decided.failure.as_ref().unwrap().code, Failure::NO_HANDLER);
        assert_eq!(decided.event.kind, EventKind::Released);
        assert_eq!(decided.attempt.unwrap().outcome, Outcome::Released);
    }
    let last = nacked(&leased(3, Spec::default()), Disposition::Retry(None), Failure::NO_HANDLER);
    assert_eq!(last.to, State::Retrying);
}

#[test]
fn a_worker_without_a_handler_is_not_handed_the_job_at_once() {
    let retry = RetryPolicy { initial_backoff: Duration::ZERO, ..RetryPolicy::default() };
    let job = leased(1, Spec { retry, ..Spec::default() });
    let decided = nacked(&job, Disposition::Retry(Some(Duration::ZERO)), Failure::NO_HANDLER);
    assert_eq!((decided.to, decided.at), (State::Retrying, NOW.after(Duration::from_secs(1))));
}

#[test]
fn a_policy_may_call_the_lack_of_a_handler_fatal() {
    let fatal_codes = vec![Failure::NO_HANDLER.to_owned()];
    let retry = RetryPolicy { fatal_codes, ..RetryPolicy::default() };
    let job = leased(1, Spec { retry, ..Spec::default() });
    assert_eq!(nacked(&job, Disposition::Retry(None), Failure::NO_HANDLER).to, State::Dead);
    assert_eq!(nacked(&job, Disposition::Release, Failure::NO_HANDLER).to, State::Retrying);
    assert_eq!(nacked(&job, Disposition::Dead, Failure::NO_HANDLER).to, State::Dead);
}

#[test]
fn an_undelivered_lease_leaves_no_attempt_behind() {
    let decided = give_back(&leased(1, Spec::default()), NOW).unwrap();
    assert_eq!((decided.to, decided.place), (State::Ready, Place::Front));
    assert_eq!((decided.counters.attempts, decided.counters.deliveries), (0, 1));
    assert_eq!(decided.attempt, None);
}

#[test]
fn repeating_a_settle_is_no_error_and_another_verb_is() {
    let job = leased(1, Spec::default());
    let token = token(&job);
    let acked = applied(&job, &ack(&token, None, None, NOW));
    let failed = applied(&job, &nacked(&job, Disposition::Retry(None), "X"));
    let again = |job: &Job, verb| settle_again(Some(job), &token, verb, None, NOW);
    assert_eq!(again(&acked, Verb::Ack), Verdict::AlreadySettled);
    assert_eq!(again(&failed, Verb::Nack), Verdict::AlreadySettled);
    assert_eq!(again(&acked, Verb::Nack), Verdict::OtherSettle(Outcome::Succeeded));
    assert_eq!(again(&failed, Verb::Ack), Verdict::OtherSettle(Outcome::Failed));
    assert_eq!(settle_again(None, &token, Verb::Ack, None, NOW), Verdict::LeaseLost);
}

#[test]
fn a_late_ack_counts_while_nobody_else_had_the_job() {
    let job = leased(1, Spec::default());
    let token = token(&job);
    let lost = applied(&job, &expire(&job, MAX_LEASE_LOSSES, NOW, 0.0).unwrap());
    let Verdict::Late(late) = settle_again(Some(&lost), &token, Verb::Ack, None, NOW) else {
        panic!("the ack was refused");
    };
    assert_eq!(late.to, State::Succeeded);
    assert_eq!(late.guard, Guard::Standing(lost.version()));
    assert_eq!(late.counters.lease_losses, 1);

    let mut leased_again = lost;
    leased_again.counters = leased_again.counters.leased();
    leased_again.state = State::Leased;
    let refused = settle_again(Some(&leased_again), &token, Verb::Ack, None, NOW);
    assert_eq!(refused, Verdict::LeaseLost);
}

#[test]
fn no_ack_comes_late_after_an_end_that_was_meant() {
    let cancelled = doomed(1);
    let timed_out = timed_out(1, Spec::default());
    let revoked = leased(1, Spec::default());
    let ends = [
        expire(&cancelled, MAX_LEASE_LOSSES, NOW, 0.0).unwrap(),
        expire(&timed_out, MAX_LEASE_LOSSES, NOW, 0.0).unwrap(),
        crate::job::operate::revoke(&revoked, "", NOW).unwrap(),
    ];
    for (job, end) in [cancelled, timed_out, revoked].iter().zip(ends) {
        let now_job = applied(job, &end);
        for verb in [Verb::Ack, Verb::Nack] {
            let verdict = settle_again(Some(&now_job), &token(job), verb, None, NOW);
            assert_eq!(verdict, Verdict::LeaseLost, "{verb:?} after {:?}", end.event.kind);
        }
    }
}

#[test]
fn no_late_ack_brings_back_what_was_called_off_meanwhile() {
    let job = leased(1, Spec::default());
    let lost = applied(&job, &expire(&job, MAX_LEASE_LOSSES, NOW, 0.0).unwrap());
    let cancelled = applied(&lost, &crate::job::operate::cancel(&lost, "", NOW).unwrap());
    let verdict = settle_again(Some(&cancelled), &token(&job), Verb::Ack, None, NOW);
    assert_eq!(verdict, Verdict::LeaseLost);
}

#[test]
fn a_job_that_comes_back_in_the_millisecond_of_its_lease_is_ready_anew() {
    let mut job = leased(1, Spec::default());
    job.lease.as_mut().unwrap().started = NOW;
    for decided in [
        nacked(&job, Disposition::Release, ""),
        nacked(&job, Disposition::Snooze(Duration::ZERO), ""),
        nacked(&job, Disposition::Retry(Some(Duration::ZERO)), ""),
        give_back(&job, NOW).unwrap(),
        expire(&job, MAX_LEASE_LOSSES, NOW, 0.0).unwrap(),
    ] {
        assert_eq!(decided.to, State::Ready);
        assert!(decided.at > NOW, "it may have been ready at {NOW:?} before the lease");
    }
}

#[test]
fn a_token_of_a_namesake_that_is_gone_is_refused() {
    let token = token(&leased(1, Spec::default()));
    let mut namesake = leased(1, Spec::default());
    namesake.lease = None;
    namesake.state = State::Ready;
    let verdict = settle_again(Some(&namesake), &token, Verb::Ack, None, NOW);
    assert_eq!(verdict, Verdict::LeaseLost);
}

fn dispositions() -> impl Strategy<Value = Disposition> {
    let spans = (0u64..100_000_000).prop_map(Duration::from_millis);
    prop_oneof![
        Just(Disposition::Retry(None)),
        spans.clone().prop_map(|span| Disposition::Retry(Some(span))),
        spans.prop_map(Disposition::Snooze),
        Just(Disposition::Release),
        Just(Disposition::Dead),
    ]
}

proptest! {
    #[test]
    fn every_way_out_of_a_lease_is_a_legal_move_and_counts_right(
        attempts in 1u32..20,
        left in proptest::option::of(0u32..5),
        losses in 0u32..5,
        disposition in dispositions(),
        no_handler in any::<bool>(),
        is_doomed in any::<bool>(),
        attempt_seconds in 1u64..10,
        random in 0.0f64..1.0,
    ) {
        // A job is not leased again once its attempts are spent.
        let max_attempts = left.map(|left| attempts + left);
        let retry = RetryPolicy { max_attempts, ..RetryPolicy::default() };
        let mut job = leased(attempts, Spec { retry, ..Spec::default() });
        job.counters.lease_losses = losses;
        job.spec_mut().attempt_timeout = Some(Duration::from_secs(attempt_seconds));
        job.cancel = doomed(1).cancel.filter(|_| is_doomed);
        let code = if no_handler { Failure::NO_HANDLER } else { "X" };
        let failure = Some(Failure::found(code, String::new()));
        let token = token(&job);
        let ways = [
            Some(ack(&token, None, None, NOW)),
            nack(&job, &token, disposition, failure, None, NOW, random),
            expire(&job, MAX_LEASE_LOSSES, NOW, 0.0),
            give_back(&job, NOW),
        ];
        for decided in ways.into_iter().flatten() {
            prop_assert!(job.state.may_become(decided.to), "{:?}", decided.to);
            prop_assert_eq!(decided.counters.deliveries, job.counters.deliveries);
            prop_assert!(decided.at >= NOW);
            prop_assert_eq!(decided.ended.is_some(), decided.to.is_terminal());
            prop_assert!(decided.counters.lease_losses >= losses);
            let back = job.counters.attempts - decided.counters.attempts;
            prop_assert!(back <= 1);
            prop_assert!(!decided.forgets());
            prop_assert!(!is_doomed || matches!(decided.to, State::Succeeded | State::Cancelled));
            prop_assert!(decided.to == State::Dead || !job.spec.retry.spent(decided.counters.attempts)
                || decided.to.is_terminal());
        }
    }

    #[test]
    fn no_text_is_taken_for_a_token_by_accident(text in ".{0,80}") {
        if let Ok(token) = LeaseToken::parse(&text) {
            // What parses names a job in the only form there is.
            prop_assert!(JobName::parse(&token.name.to_string()).is_ok());
        }
    }
}

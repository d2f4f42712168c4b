use proptest::prelude::*;

use super::*;
use crate::job::{
    Dedup, DedupScope, JobId, Lease, MAX_LEASE_LOSSES, OnDuplicate, QueueName, RetryPolicy, Spec,
    WorkerId,
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
    job.details.attempts.extend(transition.attempt.clone());
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
    let spec = Spec {
        dedup: Some(Dedup {
            key: DedupKey::parse("k").unwrap(),
            scope: DedupScope::UntilFinished { cap: None },
            on_duplicate: OnDuplicate::Keep,
        }),
        ..Spec::default()
    };
    let mut with_keep = leased(3, spec);
    with_keep.spec.retention.succeeded = Keep { span: Duration::ZERO, count: None };
    for job in [leased(1, Spec::default()), with_keep] {
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
        random in 0.0f64..1.0,
    ) {
        // A job is not leased again once its attempts are spent.
        let max_attempts = left.map(|left| attempts + left);
        let retry = RetryPolicy { max_attempts, ..RetryPolicy::default() };
        let mut job = leased(attempts, Spec { retry, ..Spec::default() });
        job.counters.lease_losses = losses;
        let token = token(&job);
        let ways = [
            Some(ack(&token, None, None, NOW)),
            nack(&job, &token, disposition, None, None, NOW, random),
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
            prop_assert!(decided.to == State::Dead || !job.spec.retry.spent(decided.counters.attempts)
                || decided.to == State::Succeeded);
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

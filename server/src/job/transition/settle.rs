//! What the worker of a leased job says of it.

use std::time::Duration;

use super::leave::{cancelled, dead, fail, wait};
use super::{Guard, Line, Place, Transition, event_of};
use crate::clock::Timestamp;
use crate::job::{Attempt, DedupKey, EventKind, Failure, Job, LeaseToken, Outcome, Payload, State};

/// How long a job at least stays away from a worker that has no handler for it: not burning an
/// attempt must not mean to be handed back to the same worker at once.
const LEAST_DETOUR: Duration = Duration::from_secs(1);

/// What a worker says of a job it will not finish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try again by the retry policy, or after this delay; the attempt counts.
    Retry(Option<Duration>),
    /// Try again later; the attempt does not count.
    Snooze(Duration),
    /// Give it back at once; the attempt does not count.
    Release,
    /// Never try again.
    Dead,
}

/// The result of a settle that found its lease gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The lease ran out but nobody else has the job: finish it after all.
    Late(Box<Transition>),
    /// The same settle was recorded before: this is a retry of it.
    AlreadySettled,
    /// Another settle was recorded before.
    OtherSettle(Outcome),
    /// Somebody else has or had the job since, or it is gone.
    LeaseLost,
}

/// The verb of a settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Done.
    Ack,
    /// Not done.
    Nack,
}

/// An ack: the job succeeded. Decided by the token alone, so it needs no read, except that
/// the caller names the dedup key of a job that has one.
pub fn ack(
    token: &LeaseToken,
    result: Option<Payload>,
    free_dedup: Option<DedupKey>,
    now: Timestamp,
) -> Transition {
    let ran = now.since(token.leased_at);
    let mut event =
        event_of(&token.name, EventKind::Succeeded, State::Leased, State::Succeeded, now);
    event.attempt = token.counters.attempts;
    event.ran = Some(ran);
    Transition {
        name: token.name.clone(),
        guard: Guard::Leased(token.secret),
        to: State::Succeeded,
        at: now.after(token.keep.span),
        counters: token.counters,
        started: Some(token.first_leased_at),
        ended: Some(now),
        place: Place::Back,
        line: Line::default(),
        spec: None,
        expires: None,
        attempt: Some(Attempt {
            delivery: token.counters.deliveries,
            number: token.counters.attempts,
            secret: token.secret,
            worker: Some(token.worker.clone()),
            started: token.leased_at,
            ended: now,
            outcome: Outcome::Succeeded,
            failure: None,
        }),
        failure: None,
        result,
        checkpoint: None,
        keep: token.keep,
        free_dedup,
        event,
    }
}

/// A nack: what the worker said becomes of a leased job. `random` is uniform in 0..1.
///
/// Returns `None` when `job` is not under the lease of `token`.
pub fn nack(
    job: &Job,
    token: &LeaseToken,
    disposition: Disposition,
    failure: Option<Failure>,
    checkpoint: Option<Payload>,
    now: Timestamp,
    random: f64,
) -> Option<Transition> {
    if job.lease.as_ref()?.secret != token.secret {
        return None;
    }
    let no_handler = failure.as_ref().is_some_and(|failure| failure.code == Failure::NO_HANDLER);
    let mut transition = match disposition {
        _ if job.cancel.is_some() => cancelled(job, failure, now),
        Disposition::Retry(_) if no_handler && job.spec.retry.is_fatal(Failure::NO_HANDLER) => {
            fail(job, Outcome::Failed, None, failure, now, random)
        }
        Disposition::Retry(_) | Disposition::Release if no_handler => {
            let backoff = job.spec.retry.backoff(job.counters.deliveries, random);
            let at = now.after(backoff.max(LEAST_DETOUR));
            wait(job, Outcome::Released, State::Retrying, at, failure, now)
        }
        Disposition::Retry(delay) => fail(job, Outcome::Failed, delay, failure, now, random),
        Disposition::Snooze(delay) => {
            wait(job, Outcome::Released, State::Scheduled, now.after(delay), failure, now)
        }
        Disposition::Release => wait(job, Outcome::Released, State::Ready, now, failure, now),
        Disposition::Dead => dead(job, Outcome::Failed, failure, "NACKED_DEAD", now),
    };
    if matches!(disposition, Disposition::Snooze(_)) && job.cancel.is_none() {
        transition.event.kind = EventKind::Snoozed;
    }
    transition.checkpoint = checkpoint;
    Some(transition)
}

/// What a settle means whose lease the store did not find; `job` is as it is now.
pub fn settle_again(
    job: Option<&Job>,
    token: &LeaseToken,
    verb: Verb,
    result: Option<Payload>,
    now: Timestamp,
) -> Verdict {
    let Some(job) = job else { return Verdict::LeaseLost };
    let Some(attempt) = job.details.attempts.iter().find(|one| one.secret == token.secret) else {
        return Verdict::LeaseLost;
    };
    match (attempt.outcome, verb) {
        (Outcome::Succeeded, Verb::Ack) | (Outcome::Failed | Outcome::Released, Verb::Nack) => {
            Verdict::AlreadySettled
        }
        (Outcome::LeaseExpired, Verb::Ack) if is_last(job, token) => {
            let mut late = ack(token, result, job.held_key(), now);
            late.guard = Guard::Standing(job.version());
            late.counters = job.counters;
            late.event.from = Some(job.state);
            "LATE".clone_into(&mut late.event.reason);
            if let Some(recorded) = &mut late.attempt {
                recorded.worker.clone_from(&attempt.worker);
            }
            Verdict::Late(Box::new(late))
        }
        (Outcome::LeaseExpired | Outcome::TimedOut | Outcome::Revoked | Outcome::Cancelled, _) => {
            Verdict::LeaseLost
        }
        (outcome, _) => Verdict::OtherSettle(outcome),
    }
}

fn is_last(job: &Job, token: &LeaseToken) -> bool {
    matches!(job.state, State::Ready | State::Retrying)
        && job.counters.deliveries == token.counters.deliveries
}

//! The ways out of a lease: waiting again, or the end.

use std::time::Duration;

use super::{Guard, Place, Transition, anew, event_of};
use crate::clock::Timestamp;
use crate::job::{Attempt, EventKind, Failure, Job, Keep, LeaseSecret, Outcome, State};

/// An attempt failed: it is tried again after a backoff, or the job is a dead letter.
pub(super) fn fail(
    job: &Job,
    outcome: Outcome,
    delay: Option<Duration>,
    failure: Option<Failure>,
    now: Timestamp,
    random: f64,
) -> Transition {
    let code = failure.as_ref().map_or("", |failure| failure.code.as_str());
    let retry = &job.spec.retry;
    let backoff = delay.unwrap_or_else(|| retry.backoff(job.counters.attempts, random));
    let at = now.after(backoff);
    let first = job.started.unwrap_or(now);
    if retry.is_fatal(code) {
        dead(job, outcome, failure, "FATAL_CODE", now)
    } else if retry.spent(job.counters.attempts) {
        dead(job, outcome, failure, "ATTEMPTS_SPENT", now)
    } else if retry.too_late(first, at) {
        dead(job, outcome, failure, "RETRY_DURATION_SPENT", now)
    } else {
        wait(job, outcome, State::Retrying, at, failure, now)
    }
}

/// A leased job is called off: its worker gave in, or its time to do so is over.
pub(in crate::job) fn cancelled(job: &Job, failure: Option<Failure>, now: Timestamp) -> Transition {
    let mut transition =
        leave(job, EventKind::Cancelled, Outcome::Cancelled, State::Cancelled, failure, now);
    transition.keep = job.spec.retention.dead;
    transition.at = now.after(transition.keep.span);
    transition.ended = Some(now);
    transition.free_dedup = job.held_key();
    if let Some(cancel) = &job.cancel {
        transition.event.reason.clone_from(&cancel.reason);
    }
    transition
}

/// The job waits again, in `to`, until `at`.
pub(super) fn wait(
    job: &Job,
    outcome: Outcome,
    to: State,
    at: Timestamp,
    failure: Option<Failure>,
    now: Timestamp,
) -> Transition {
    let (to, at) = if at <= now { (State::Ready, anew(job, now)) } else { (to, at) };
    let counts = outcome != Outcome::Released;
    let kind = if counts { EventKind::AttemptFailed } else { EventKind::Released };
    let mut transition = leave(job, kind, outcome, to, failure, now);
    transition.at = at;
    if !counts {
        transition.counters = job.counters.uncounted();
        if to == State::Ready {
            transition.place = Place::Front;
        }
    }
    transition
}

/// The job becomes a dead letter.
pub(super) fn dead(
    job: &Job,
    outcome: Outcome,
    failure: Option<Failure>,
    reason: &str,
    now: Timestamp,
) -> Transition {
    let mut transition = leave(job, EventKind::AttemptFailed, outcome, State::Dead, failure, now);
    transition.keep = job.spec.retention.dead;
    transition.at = now.after(transition.keep.span);
    transition.ended = Some(now);
    transition.free_dedup = job.held_key();
    reason.clone_into(&mut transition.event.reason);
    transition
}

/// A leased job leaves its lease: what all the ways out have in common.
fn leave(
    job: &Job,
    kind: EventKind,
    outcome: Outcome,
    to: State,
    failure: Option<Failure>,
    now: Timestamp,
) -> Transition {
    let lease = job.lease.as_ref();
    let secret = lease.map_or(LeaseSecret(0), |lease| lease.secret);
    let since = lease.map_or(now, |lease| lease.started);
    let worker = lease.map(|lease| lease.worker.clone());
    let mut event = event_of(&job.name, kind, job.state, to, now);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event.attempt = job.counters.attempts;
    event.worker.clone_from(&worker);
    event.ran = Some(now.since(since));
    event.failure.clone_from(&failure);
    Transition {
        name: job.name.clone(),
        guard: Guard::Leased(secret),
        to,
        at: now,
        counters: job.counters,
        started: job.started,
        ended: None,
        place: Place::Back,
        line: job.line(),
        spec: None,
        expires: job.spec.expires,
        attempt: Some(Attempt {
            delivery: job.counters.deliveries,
            number: job.counters.attempts,
            secret,
            worker,
            started: since,
            ended: now,
            outcome,
            failure: failure.clone(),
        }),
        failure,
        result: None,
        checkpoint: None,
        keep: Keep::DEAD,
        free_dedup: None,
        event,
    }
}

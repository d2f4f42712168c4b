//! What a settle or a passing deadline makes of a job.
//!
//! Each function decides one verdict and returns it as a [`Transition`]: values, nothing applied.
//! A store applies it if, and only if, its [`Guard`] still holds.

use std::time::Duration;

use super::{
    Attempt, Counters, DedupKey, Event, EventKind, Failure, Job, JobName, Keep, LeaseSecret,
    LeaseToken, Outcome, Payload, Spec, State, Version,
};
use crate::clock::Timestamp;

/// A decided move of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The job.
    pub name: JobName,
    /// What must still be true.
    pub guard: Guard,
    /// The state it goes to.
    pub to: State,
    /// The time of that state.
    pub at: Timestamp,
    /// The job's counters from now on.
    pub counters: Counters,
    /// When the job was first leased.
    pub started: Option<Timestamp>,
    /// When the job ended; set for terminal states.
    pub ended: Option<Timestamp>,
    /// Where it stands among the ready, when it goes to [`State::Ready`].
    pub place: Place,
    /// Among which of the ready.
    pub line: Line,
    /// Replaces what was asked for, and raises the job's revision.
    pub spec: Option<Box<Spec>>,
    /// When it expires, if it waits from now on and may.
    pub expires: Option<Timestamp>,
    /// The attempt that ends here, for the history.
    pub attempt: Option<Attempt>,
    /// Replaces the job's last failure.
    pub failure: Option<Failure>,
    /// The job's result.
    pub result: Option<Payload>,
    /// Replaces the job's checkpoint.
    pub checkpoint: Option<Payload>,
    /// How long the finished job is kept; used for terminal states. A job that is kept for no time
    /// leaves the store at once; so a move to the state it has, kept for no time, deletes it.
    pub keep: Keep,
    /// The dedup key that the job's end gives free.
    pub free_dedup: Option<DedupKey>,
    /// What is told about it.
    pub event: Event,
}

/// What must still be true when a store applies a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The job is leased, with this secret.
    Leased(LeaseSecret),
    /// As `Leased`, and the visibility timeout ended at or before `now`: an extension that came
    /// between wins over the sweep that read the job before it.
    Overdue {
        /// The secret of the lost lease.
        secret: LeaseSecret,
        /// The moment of the sweep.
        now: Timestamp,
    },
    /// Nobody holds the job and it is still as it was read.
    Standing(Version),
}

/// Where a job that becomes ready stands within its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Ahead of the others: it had its turn already and gives it back unused.
    Front,
    /// Behind the others.
    Back,
}

/// Which ready jobs a job stands among.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Greater runs sooner.
    pub priority: i16,
    /// Workers may ask for jobs of some types only.
    pub job_type: String,
}

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
            // The store knows the holder and writes it.
            worker: None,
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
        // Not burning an attempt must not mean to be handed back to the same worker at once.
        Disposition::Retry(_) | Disposition::Release if no_handler => {
            let backoff = job.spec.retry.backoff(job.counters.deliveries, random);
            wait(job, Outcome::Released, State::Retrying, now.after(backoff), failure, now)
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

/// The visibility timeout of a leased job ended. What that was: the end that its cancellation set,
/// the end of what one attempt may take, or a lost lease. `max_losses` is the queue's limit of
/// lost leases; `random` is uniform in 0..1. `None` when nobody holds the job.
pub fn expire(job: &Job, max_losses: u32, now: Timestamp, random: f64) -> Option<Transition> {
    let lease = job.lease.as_ref()?;
    let mut transition = if job.cancel.is_some() {
        cancelled(job, None, now)
    } else if now >= lease.started.after(job.attempt_timeout()) {
        time_out(job, now, random)
    } else {
        lose(job, max_losses, now)?
    };
    transition.guard = Guard::Overdue { secret: lease.secret, now };
    Some(transition)
}

/// The attempt took longer than it may: as a failure that the worker told.
fn time_out(job: &Job, now: Timestamp, random: f64) -> Transition {
    let message = format!("the attempt took longer than {:?}", job.attempt_timeout());
    let failure = Failure::found(Failure::ATTEMPT_TIMEOUT, message);
    let mut transition = fail(job, Outcome::TimedOut, None, Some(failure), now, random);
    transition.event.kind = EventKind::TimedOut;
    transition
}

/// The lease was lost: the job is ready again at once, behind the others of its priority, or a
/// dead letter. The attempt counts.
fn lose(job: &Job, max_losses: u32, now: Timestamp) -> Option<Transition> {
    let lease = job.lease.as_ref()?;
    let losses = job.counters.lease_losses.saturating_add(1);
    let crash_loop = losses >= max_losses;
    let worker = lease.worker.as_str();
    let failure = if crash_loop {
        let message = format!("{losses} leases ran out, the last one of worker {worker}");
        Failure::found(Failure::CRASH_LOOP, message)
    } else {
        let message = format!("the lease of worker {worker} ran out");
        Failure::found(Failure::LEASE_EXPIRED, message)
    };
    let mut transition = if crash_loop {
        dead(job, Outcome::LeaseExpired, Some(failure), Failure::CRASH_LOOP, now)
    } else if job.spec.retry.spent(job.counters.attempts) {
        dead(job, Outcome::LeaseExpired, Some(failure), "ATTEMPTS_SPENT", now)
    } else {
        wait(job, Outcome::LeaseExpired, State::Ready, now, Some(failure), now)
    };
    transition.counters.lease_losses = losses;
    transition.event.kind = EventKind::LeaseExpired;
    Some(transition)
}

/// An attempt failed: it is tried again after a backoff, or the job is a dead letter.
fn fail(
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
fn cancelled(job: &Job, failure: Option<Failure>, now: Timestamp) -> Transition {
    let mut transition =
        leave(job, EventKind::Cancelled, Outcome::Cancelled, State::Cancelled, failure, now);
    transition.at = now.after(transition.keep.span);
    transition.ended = Some(now);
    transition.free_dedup = job.held_key();
    if let Some(cancel) = &job.cancel {
        transition.event.reason.clone_from(&cancel.reason);
    }
    transition
}

/// A lease that never reached its worker: the job goes back to where it was, as if it had not been
/// leased; one that was to be cancelled is. `None` when nobody holds the job.
pub fn give_back(job: &Job, now: Timestamp) -> Option<Transition> {
    job.lease.as_ref()?;
    if job.cancel.is_some() {
        return Some(cancelled(job, None, now));
    }
    let mut transition = wait(job, Outcome::Released, State::Ready, now, None, now);
    transition.attempt = None;
    "UNDELIVERED".clone_into(&mut transition.event.reason);
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

/// The job waits again, in `to`, until `at`.
fn wait(
    job: &Job,
    outcome: Outcome,
    to: State,
    at: Timestamp,
    failure: Option<Failure>,
    now: Timestamp,
) -> Transition {
    let (to, at) = if at <= now { (State::Ready, now) } else { (to, at) };
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
fn dead(
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
        keep: job.spec.retention.dead,
        free_dedup: None,
        event,
    }
}

/// What is told of a move.
pub(super) fn event_of(
    name: &JobName,
    kind: EventKind,
    from: State,
    to: State,
    now: Timestamp,
) -> Event {
    let mut event = Event::new(kind, now, name.queue.clone(), name.id.clone(), to);
    event.from = Some(from);
    event
}

#[cfg(test)]
mod tests;

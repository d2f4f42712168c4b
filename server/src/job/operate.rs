//! What producers and operators make of a job that nobody holds, and of a leased one by force.
//!
//! As in [`super::transition`]: each function decides one move and returns it as a [`Transition`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::transition::{anew, cancelled, event_of};
use super::{
    Attempt, Event, EventKind, Guard, Job, Keep, Outcome, Payload, Place, RetryPolicy, Spec, State,
    Transition,
};
use crate::clock::Timestamp;

/// Why a move is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The job's life is over.
    #[error("the job is finished")]
    Terminal,
    /// A worker holds the job.
    #[error("the job is leased")]
    Leased,
    /// The job is in another state than the move is for.
    #[error("the job is in another state")]
    WrongState,
}

/// What an update replaces; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// What the handler gets.
    pub payload: Option<Option<Payload>>,
    /// Its new priority; it goes behind the others there.
    pub priority: Option<i16>,
    /// When it may run; a moment that has passed: at once.
    pub scheduled: Option<Timestamp>,
    /// Its labels, all of them.
    pub labels: Option<BTreeMap<String, String>>,
    /// How often and how patiently it is tried.
    pub retry: Option<RetryPolicy>,
}

/// Calls off a pending job.
pub fn cancel(job: &Job, reason: &str, now: Timestamp) -> Result<Transition, Refusal> {
    pending(job)?;
    Ok(end(job, EventKind::Cancelled, State::Cancelled, reason, now))
}

/// A pending job's expiry passed before it was started.
pub fn lapse(job: &Job, now: Timestamp) -> Option<Transition> {
    let lapsed = job.state.is_pending() && job.spec.expires.is_some_and(|moment| moment <= now);
    lapsed.then(|| end(job, EventKind::Expired, State::Expired, "", now))
}

/// Gives a dead, cancelled or expired job another life: attempts are counted from zero.
pub fn redrive(job: &Job, reason: &str, now: Timestamp) -> Result<Transition, Refusal> {
    match job.state {
        State::Dead | State::Cancelled | State::Expired => {}
        State::Leased => return Err(Refusal::Leased),
        _ => return Err(Refusal::WrongState),
    }
    let mut decided = standing(job, EventKind::Ready, State::Ready, now);
    decided.counters.attempts = 0;
    decided.counters.lease_losses = 0;
    // So that the time to retry in is counted from the next lease on.
    decided.started = None;
    decided.ended = None;
    decided.event.reason = told("RETRIED", reason);
    if job.spec.expires.is_some_and(|moment| moment <= now) {
        decided.spec = Some(Arc::new(Spec { expires: None, ..(*job.spec).clone() }));
        decided.expires = None;
    }
    Ok(decided)
}

/// Makes a scheduled or retrying job ready at once.
pub fn promote(job: &Job, reason: &str, now: Timestamp) -> Result<Transition, Refusal> {
    match job.state {
        State::Scheduled | State::Retrying => {}
        state if state.is_terminal() => return Err(Refusal::Terminal),
        State::Leased => return Err(Refusal::Leased),
        _ => return Err(Refusal::WrongState),
    }
    let mut decided = standing(job, EventKind::Ready, State::Ready, now);
    decided.event.reason = told("PROMOTED", reason);
    Ok(decided)
}

/// Changes what was asked for.
pub fn update(job: &Job, update: Update, now: Timestamp) -> Result<Transition, Refusal> {
    pending(job)?;
    let mut spec = (*job.spec).clone();
    let moves = update.priority.is_some_and(|priority| priority != spec.priority);
    if let Some(payload) = update.payload {
        spec.payload = payload;
    }
    spec.priority = update.priority.unwrap_or(spec.priority);
    spec.labels = update.labels.unwrap_or(spec.labels);
    spec.retry = update.retry.unwrap_or(spec.retry);
    let (to, at) = match (job.state, update.scheduled) {
        // It goes on to wait for the other job, and for its time after that.
        (State::Blocked, moment) => (State::Blocked, moment.unwrap_or(job.at)),
        (_, Some(moment)) if moment > now => (State::Scheduled, moment),
        (State::Ready, _) if moves => (State::Ready, anew(job, now)),
        (State::Scheduled | State::Retrying, Some(_)) => (State::Ready, anew(job, now)),
        (state, _) => (state, job.at),
    };
    spec.scheduled = update.scheduled.or(spec.scheduled);
    Ok(respec(job, spec, to, at, now))
}

/// Takes the place of what was asked for with what a later producer asks: the job keeps its id and
/// its create time. `start` is where the new job would begin; `None`: the job keeps its time.
pub fn replace(
    job: &Job,
    mut spec: Spec,
    start: Option<(State, Timestamp)>,
    now: Timestamp,
) -> Transition {
    let lapsed = job.spec.expires.is_some_and(|moment| moment <= now);
    // One that had lapsed may have lost its place.
    let moves = lapsed || spec.priority != job.spec.priority || spec.job_type != job.spec.job_type;
    let (to, at) = match (job.state, start) {
        (State::Ready, Some((State::Ready, _)) | None) if moves => (State::Ready, anew(job, now)),
        (State::Ready, Some((State::Ready, _))) | (_, None) => (job.state, job.at),
        (_, Some((State::Ready, _))) => (State::Ready, anew(job, now)),
        (_, Some(later)) => later,
    };
    spec.created = job.spec.created;
    if start.is_none() {
        spec.scheduled = job.spec.scheduled;
    }
    let mut decided = respec(job, spec, to, at, now);
    decided.event.kind = EventKind::Deduplicated;
    "REPLACED".clone_into(&mut decided.event.reason);
    decided
}

/// Takes a leased job from its worker; the attempt does not count. A job that was to be cancelled
/// is.
pub fn revoke(job: &Job, reason: &str, now: Timestamp) -> Result<Transition, Refusal> {
    let Some(lease) = &job.lease else {
        return Err(if job.state.is_terminal() { Refusal::Terminal } else { Refusal::WrongState });
    };
    if job.cancel.is_some() {
        return Ok(cancelled(job, None, now));
    }
    let mut decided = standing(job, EventKind::Released, State::Ready, now);
    decided.guard = Guard::Leased(lease.secret);
    decided.counters = job.counters.uncounted();
    decided.place = Place::Front;
    decided.event.worker = Some(lease.worker.clone());
    decided.event.attempt = job.counters.attempts;
    decided.event.ran = Some(now.since(lease.started));
    decided.event.reason = told("REVOKED", reason);
    decided.attempt = Some(Attempt {
        delivery: job.counters.deliveries,
        number: job.counters.attempts,
        secret: lease.secret,
        worker: Some(lease.worker.clone()),
        started: lease.started,
        ended: now,
        outcome: Outcome::Revoked,
        failure: None,
    });
    Ok(decided)
}

/// Forgets a job that nobody holds.
pub fn delete(job: &Job, reason: &str, now: Timestamp) -> Result<Transition, Refusal> {
    if job.state == State::Leased {
        return Err(Refusal::Leased);
    }
    let mut decided = standing(job, EventKind::Purged, job.state, now);
    decided.keep = Keep { span: Duration::ZERO, count: None };
    decided.free_dedup = job.held_key();
    reason.clone_into(&mut decided.event.reason);
    Ok(decided)
}

fn pending(job: &Job) -> Result<(), Refusal> {
    match job.state {
        state if state.is_pending() => Ok(()),
        State::Leased => Err(Refusal::Leased),
        _ => Err(Refusal::Terminal),
    }
}

fn told(code: &str, reason: &str) -> String {
    if reason.is_empty() { code.to_owned() } else { format!("{code}: {reason}") }
}

/// The job's life ends, unstarted.
fn end(job: &Job, kind: EventKind, to: State, reason: &str, now: Timestamp) -> Transition {
    let mut decided = standing(job, kind, to, now);
    decided.keep = job.spec.retention.dead;
    decided.at = now.after(decided.keep.span);
    decided.ended = Some(now);
    decided.free_dedup = job.held_key();
    reason.clone_into(&mut decided.event.reason);
    decided
}

/// What was asked for is `spec` from now on.
fn respec(job: &Job, spec: Spec, to: State, at: Timestamp, now: Timestamp) -> Transition {
    let kind = match to {
        State::Scheduled => EventKind::Scheduled,
        State::Retrying => EventKind::Retrying,
        State::Blocked => EventKind::Blocked,
        _ => EventKind::Ready,
    };
    let mut decided = standing(job, kind, to, now);
    decided.at = at;
    decided.expires = spec.expires;
    decided.line.priority = spec.priority;
    decided.line.job_type.clone_from(&spec.job_type);
    decided.event.job_type.clone_from(&spec.job_type);
    decided.event.labels.clone_from(&spec.labels);
    decided.spec = Some(Arc::new(spec));
    "UPDATED".clone_into(&mut decided.event.reason);
    decided
}

/// A move of the job as it stands, which so far changes nothing but its state.
fn standing(job: &Job, kind: EventKind, to: State, now: Timestamp) -> Transition {
    let mut event: Event = event_of(&job.name, kind, job.state, to, now);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event.attempt = job.counters.attempts;
    Transition {
        name: job.name.clone(),
        guard: Guard::Standing(job.version()),
        to,
        at: if to == State::Ready { anew(job, now) } else { job.at },
        counters: job.counters,
        started: job.started,
        ended: job.ended,
        place: Place::Back,
        line: job.line(),
        spec: None,
        expires: job.spec.expires,
        attempt: None,
        failure: None,
        result: None,
        checkpoint: None,
        keep: Keep::DEAD,
        free_dedup: None,
        event,
    }
}

#[cfg(test)]
mod tests;

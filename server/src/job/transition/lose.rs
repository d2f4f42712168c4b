//! What becomes of a leased job without a word of its worker.

use super::leave::{cancelled, dead, fail, wait};
use super::{Guard, Transition};
use crate::clock::Timestamp;
use crate::job::{EventKind, Failure, Job, Outcome, State};

/// The visibility timeout of a leased job ended. What that was: the end that its cancellation set,
/// the end of what one attempt may take, or a lost lease, however late that is noticed. `max_losses` is the queue's limit of
/// lost leases; `random` is uniform in 0..1. `None` when nobody holds the job.
pub fn expire(job: &Job, max_losses: u32, now: Timestamp, random: f64) -> Option<Transition> {
    let lease = job.lease.as_ref()?;
    let mut transition = if job.cancel.is_some() {
        cancelled(job, None, now)
    } else if job.at >= lease.started.after(job.attempt_timeout()) {
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

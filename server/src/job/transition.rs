//! What a settle or a passing deadline makes of a job.
//!
//! Each function decides one verdict and returns it as a [`Transition`]: values, nothing applied.
//! A store applies it if, and only if, its [`Guard`] still holds.

mod leave;
mod lose;
mod settle;

use std::sync::Arc;
use std::time::Duration;

pub(super) use leave::cancelled;
pub use lose::{expire, give_back};
pub use settle::{Disposition, Verb, Verdict, ack, nack, settle_again};

use super::{
    Attempt, Counters, DedupKey, Event, EventKind, Failure, Job, JobName, Keep, LeaseSecret,
    Payload, Spec, State, Version,
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
    /// Where it stands among the ready, when it goes to [`State::Ready`]. A job that is ready
    /// already stays where it is, unless its `at` changes.
    pub place: Place,
    /// Among which of the ready.
    pub line: Line,
    /// Replaces what was asked for, and raises the job's revision.
    pub spec: Option<Arc<Spec>>,
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
    /// How long the job is kept from now on; a job that lives on is kept for some time. See
    /// [`Transition::forgets`].
    pub keep: Keep,
    /// The dedup key that the job's end gives free.
    pub free_dedup: Option<DedupKey>,
    /// What is told about it.
    pub event: Event,
}

impl Transition {
    /// True when the job leaves the store at once: it is finished and kept for no time, or deleted.
    pub fn forgets(&self) -> bool {
        self.keep.nothing()
    }
}

/// What must still be true when a store applies a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The job is leased, with this secret. If its cancellation was asked for, no other end than
    /// [`State::Succeeded`] or [`State::Cancelled`] was decided by who knew that, so any other move
    /// is lost and has to be decided again.
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

/// The moment at which a job becomes ready that does so now: one at which it has not been ready
/// before, for its line must tell the entries of one job apart.
pub(super) fn anew(job: &Job, now: Timestamp) -> Timestamp {
    let before = match (&job.lease, job.state) {
        (Some(lease), _) => Some(lease.started),
        (None, State::Ready) => Some(job.at),
        (None, _) => job.ended,
    };
    before.map_or(now, |before| now.max(before.after(Duration::from_millis(1))))
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

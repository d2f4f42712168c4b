//! The event log of a queue.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::Event;

/// A place in the event log of one queue; a later event has a greater position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The log entry, in the store's own numbering.
    pub entry: (u64, u64),
    /// Counts the entries of the queue's log without gaps, so that a hole shows.
    pub number: u64,
}

/// One entry of a queue's event log: what one store call moved.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// What it tells, in order.
    pub events: Vec<Event>,
}

/// Where to begin reading a queue's event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// With the oldest entry there is.
    Oldest,
    /// With the first entry written at or after this moment.
    Time(Timestamp),
    /// Strictly after this position.
    After(Position),
}

/// How long events are kept.
pub const EVENT_MEMORY: Duration = Duration::from_hours(24);
/// How many events are kept per queue, about.
pub const EVENTS_KEPT: usize = 100_000;

/// Keeps [`Signal::Logged`](super::Signal::Logged) coming as long as it lives; see
/// [`Store::follow`](super::Store::follow).
#[derive(Clone, Debug, Default)]
pub struct Following {
    _one: Option<Arc<()>>,
}

impl Following {
    /// One that the store counts by clones of `all`.
    pub(super) fn one_of(all: &Arc<()>) -> Self {
        Self { _one: Some(Arc::clone(all)) }
    }
}

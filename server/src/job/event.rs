//! What is told about a job's moves.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Failure, JobId, Progress, QueueName, State, WorkerId};
use crate::clock::Timestamp;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A job was enqueued.
    Created,
    /// An enqueue met a job with the same dedup key.
    Deduplicated,
    /// A job waits for its time.
    Scheduled,
    /// A job may be leased.
    Ready,
    /// A job waits for another one.
    Blocked,
    /// A worker took a job.
    Leased,
    /// A worker told how far it is.
    Progress,
    /// An attempt failed.
    AttemptFailed,
    /// A failed job waits for its backoff.
    Retrying,
    /// A worker put a job off.
    Snoozed,
    /// A lease was given back, uncounted.
    Released,
    /// A lease ran out.
    LeaseExpired,
    /// An attempt took longer than it may.
    TimedOut,
    /// A leased job's cancellation was asked for.
    CancelRequested,
    /// A job is done.
    Succeeded,
    /// A job became a dead letter.
    Dead,
    /// A job was called off.
    Cancelled,
    /// A job's time ran out before it was started.
    Expired,
    /// A job was deleted.
    Purged,
    /// A queue gives out no jobs from now on.
    QueuePaused,
    /// A queue gives out jobs again.
    QueueResumed,
    /// A queue's settings were changed.
    QueueUpdated,
}

/// One move of one job, or of its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When.
    pub at: Timestamp,
    /// In which queue.
    pub queue: QueueName,
    /// To which job; `None` for what happened to the queue.
    pub job: Option<JobId>,
    /// The job's type; empty when its record is gone already.
    pub job_type: String,
    /// The job's labels.
    pub labels: BTreeMap<String, String>,
    /// Where the job was; `None` when it is new.
    pub from: Option<State>,
    /// Where the job is now.
    pub to: Option<State>,
    /// The attempt it was in.
    pub attempt: u32,
    /// Who held it.
    pub worker: Option<WorkerId>,
    /// How far the handler is.
    pub progress: Option<Progress>,
    /// Why an attempt failed.
    pub failure: Option<Failure>,
    /// How long the job had been ready when it was leased.
    pub waited: Option<Duration>,
    /// How long the attempt ran.
    pub ran: Option<Duration>,
    /// Why, where the kind does not say it.
    pub reason: String,
    /// Who did it, where an operator did.
    pub actor: String,
    /// The producer's trace context.
    pub trace_context: BTreeMap<String, String>,
}

impl Event {
    /// An event that says no more than that `job` moved to `to`.
    pub fn new(kind: EventKind, at: Timestamp, queue: QueueName, job: JobId, to: State) -> Self {
        Self { job: Some(job), to: Some(to), ..Self::of_queue(kind, at, queue) }
    }

    /// An event of the queue itself.
    pub fn of_queue(kind: EventKind, at: Timestamp, queue: QueueName) -> Self {
        Self {
            kind,
            at,
            queue,
            job: None,
            job_type: String::new(),
            labels: BTreeMap::new(),
            from: None,
            to: None,
            attempt: 0,
            worker: None,
            progress: None,
            failure: None,
            waited: None,
            ran: None,
            reason: String::new(),
            actor: String::new(),
            trace_context: BTreeMap::new(),
        }
    }

    /// The events that a watcher sees for one stored event: a move that reaches a state which has
    /// an event of its own tells that too.
    pub fn unfold(self) -> impl Iterator<Item = Self> {
        let follows = match (self.kind, self.to) {
            (EventKind::Created | EventKind::Snoozed, Some(State::Scheduled)) => {
                Some(EventKind::Scheduled)
            }
            (EventKind::Created, Some(State::Blocked)) => Some(EventKind::Blocked),
            (
                EventKind::AttemptFailed | EventKind::TimedOut | EventKind::Released,
                Some(State::Retrying),
            ) => Some(EventKind::Retrying),
            (
                EventKind::AttemptFailed | EventKind::LeaseExpired | EventKind::TimedOut,
                Some(State::Dead),
            ) => Some(EventKind::Dead),
            (
                EventKind::Created
                | EventKind::AttemptFailed
                | EventKind::LeaseExpired
                | EventKind::TimedOut
                | EventKind::Snoozed
                | EventKind::Released,
                Some(State::Ready),
            ) => Some(EventKind::Ready),
            _ => None,
        };
        let next = follows.map(|kind| Self { kind, ..self.clone() });
        std::iter::once(self).chain(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfolded(kind: EventKind, to: State) -> Vec<EventKind> {
        let (queue, id) = (QueueName::parse("q").unwrap(), JobId::parse("a").unwrap());
        let event = Event::new(kind, Timestamp::default(), queue, id, to);
        event.unfold().map(|event| event.kind).collect()
    }

    #[test]
    fn a_move_tells_the_state_it_reaches_too() {
        for kind in [EventKind::AttemptFailed, EventKind::TimedOut] {
            assert_eq!(unfolded(kind, State::Retrying), [kind, EventKind::Retrying]);
            assert_eq!(unfolded(kind, State::Ready), [kind, EventKind::Ready]);
            assert_eq!(unfolded(kind, State::Dead), [kind, EventKind::Dead]);
        }
        let kind = EventKind::Released;
        assert_eq!(unfolded(kind, State::Ready), [kind, EventKind::Ready]);
        assert_eq!(unfolded(kind, State::Retrying), [kind, EventKind::Retrying]);
        let kind = EventKind::Snoozed;
        assert_eq!(unfolded(kind, State::Scheduled), [kind, EventKind::Scheduled]);
        assert_eq!(unfolded(kind, State::Ready), [kind, EventKind::Ready]);
        let kind = EventKind::Created;
        assert_eq!(unfolded(kind, State::Blocked), [kind, EventKind::Blocked]);
        let kind = EventKind::LeaseExpired;
        assert_eq!(unfolded(kind, State::Dead), [kind, EventKind::Dead]);
    }

    #[test]
    fn an_end_of_its_own_kind_is_told_once() {
        for (kind, state) in [
            (EventKind::Succeeded, State::Succeeded),
            (EventKind::Cancelled, State::Cancelled),
            (EventKind::Expired, State::Expired),
            (EventKind::Purged, State::Dead),
            (EventKind::CancelRequested, State::Leased),
            (EventKind::Ready, State::Ready),
        ] {
            assert_eq!(unfolded(kind, state), [kind]);
        }
    }
}

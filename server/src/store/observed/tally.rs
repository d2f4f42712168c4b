//! What became of jobs, for the counters of their queue.

use std::time::Duration;

use crate::job::{EventKind, Job, State};
use crate::store::{Commit, Guarded, Inserted};
use crate::telemetry::metrics::Queue;

/// What is counted of a transition, should it be applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    kind: EventKind,
    to: State,
    ran: Option<Duration>,
    then: usize,
}

impl Move {
    /// What there is to count of `commit`.
    pub(super) fn of(commit: &Commit) -> Self {
        let Commit { transition, then } = commit;
        let event = &transition.event;
        Self { kind: event.kind, to: transition.to, ran: event.ran, then: then.len() }
    }
}

/// Counts the jobs that came to be, and those that did not because their key was held.
pub(super) fn count_inserted<'i>(queue: &Queue, inserted: impl Iterator<Item = &'i Inserted>) {
    let (mut enqueued, mut deduplicated) = (0, 0);
    for outcome in inserted {
        match outcome {
            Inserted::New | Inserted::Behind(_) => enqueued += 1,
            Inserted::Duplicate(_) | Inserted::Replaced(_) => deduplicated += 1,
            Inserted::Replayed(_)
            | Inserted::Rejected(..)
            | Inserted::Full(_)
            | Inserted::RequestReused
            | Inserted::Exists(_)
            | Inserted::Withheld => {}
        }
    }
    add(&queue.enqueued, enqueued);
    add(&queue.deduplicated, deduplicated);
}

/// Counts leases, and how long jobs waited for their first one.
pub(super) fn count_claimed<'j>(queue: &Queue, jobs: impl Iterator<Item = &'j Job>) {
    let mut leased = 0;
    for job in jobs {
        leased += 1;
        if let (1, Some(lease)) = (job.counters.deliveries, &job.lease) {
            let spec = &job.spec;
            let due = spec.scheduled.map_or(spec.created, |at| at.max(spec.created));
            queue.waited(lease.started.since(due));
        }
    }
    add(&queue.leased, leased);
}

/// Counts the moves that were made.
pub(super) fn count_moves(queue: &Queue, moves: &[Move], outcomes: &[Guarded]) {
    let mut tally = Tally::default();
    for (one, outcome) in moves.iter().zip(outcomes) {
        if *outcome == Guarded::Applied {
            tally.count(one, queue);
        }
    }
    add(&queue.enqueued, tally.enqueued);
    add(&queue.completed, tally.completed);
    add(&queue.failed, tally.failed);
    add(&queue.dead, tally.dead);
    add(&queue.lease_expired, tally.lease_expired);
    add(&queue.released, tally.released);
    add(&queue.cancelled, tally.cancelled);
    add(&queue.expired, tally.expired);
}

#[derive(Default)]
struct Tally {
    enqueued: u64,
    completed: u64,
    failed: u64,
    dead: u64,
    lease_expired: u64,
    released: u64,
    cancelled: u64,
    expired: u64,
}

impl Tally {
    fn count(&mut self, one: &Move, queue: &Queue) {
        self.enqueued += one.then as u64;
        let mut has_run = false;
        match one.kind {
            EventKind::Succeeded => {
                self.completed += 1;
                has_run = true;
            }
            EventKind::AttemptFailed | EventKind::TimedOut => {
                self.failed += 1;
                has_run = true;
            }
            EventKind::LeaseExpired => self.lease_expired += 1,
            EventKind::Released | EventKind::Snoozed => self.released += 1,
            EventKind::Cancelled => self.cancelled += 1,
            EventKind::Expired => self.expired += 1,
            _ => return,
        }
        self.dead += u64::from(one.to == State::Dead);
        if let (true, Some(ran)) = (has_run, one.ran) {
            queue.ran(ran);
        }
    }
}

fn add(counter: &opentelemetry::metrics::BoundCounter<u64>, count: u64) {
    if count > 0 {
        counter.add(count);
    }
}

//! The moves of jobs as log lines, at `debug`: nothing is noted while nobody reads them. What users
//! bring, payloads and labels, is never among them, and no token is.

use crate::job::{Event, EventKind, Job, JobId, JobName, QueueName, WorkerId};
use crate::store::{Guarded, Insert, Inserted};

/// What will be told of jobs once the store has answered.
pub(super) enum Diary {
    /// Nobody reads it.
    Closed,
    /// These jobs are inserted.
    Inserts(Vec<JobName>),
    /// These moves are made.
    Moves(Vec<Line>),
}

/// What is told of one move.
pub(super) struct Line {
    queue: QueueName,
    job: Option<JobId>,
    worker: Option<WorkerId>,
    attempt: u32,
    kind: EventKind,
}

fn is_read() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

impl Diary {
    pub(super) fn of<'i>(inserts: impl Iterator<Item = &'i Insert>) -> Self {
        if !is_read() {
            return Self::Closed;
        }
        Self::Inserts(inserts.map(|insert| insert.job.name.clone()).collect())
    }

    pub(super) fn of_moves<'e>(events: impl Iterator<Item = &'e Event>) -> Self {
        if !is_read() {
            return Self::Closed;
        }
        Self::Moves(
            events
                .map(|event| Line {
                    queue: event.queue.clone(),
                    job: event.job.clone(),
                    worker: event.worker.clone(),
                    attempt: event.attempt,
                    kind: event.kind,
                })
                .collect(),
        )
    }

    pub(super) fn tell_inserted<'i>(self, inserted: impl Iterator<Item = &'i Inserted>) {
        let Self::Inserts(names) = self else { return };
        for (name, outcome) in names.iter().zip(inserted) {
            if matches!(outcome, Inserted::New | Inserted::Behind(_)) {
                tracing::debug!(queue = %name.queue, job_id = name.id.as_str(), "job enqueued");
            }
        }
    }

    pub(super) fn tell_moved(self, outcomes: &[Guarded]) {
        let Self::Moves(lines) = self else { return };
        for (line, outcome) in lines.iter().zip(outcomes) {
            if *outcome == Guarded::Applied {
                line.tell();
            }
        }
    }
}

impl Line {
    fn tell(&self) {
        let Self { queue, job, worker, attempt, kind } = self;
        let job_id = job.as_ref().map(JobId::as_str);
        let worker_id = worker.as_ref().map(WorkerId::as_str);
        tracing::debug!(%queue, job_id, worker_id, attempt, event = ?kind, "job moved");
    }
}

/// These jobs were leased.
pub(super) fn tell_claimed<'j>(jobs: impl Iterator<Item = &'j Job>) {
    if !is_read() {
        return;
    }
    for job in jobs {
        let worker_id = job.lease.as_ref().map(|lease| lease.worker.as_str());
        tracing::debug!(
            queue = %job.name.queue,
            job_id = job.name.id.as_str(),
            worker_id,
            attempt = job.counters.attempts,
            "job leased"
        );
    }
}

//! Leases: claimed, extended, ended.

use std::time::Duration;

use super::insert::{Insert, Inserted};
use crate::clock::Timestamp;
use crate::job::{
    Cancel, Event, Job, JobId, LeaseSecret, Payload, Progress, RequestId, Transition, WorkerId,
};

/// One worker's wish for jobs.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who asks.
    pub worker: WorkerId,
    /// How many jobs at most; 0 only replays.
    pub limit: usize,
    /// Stop before the records exceed this many bytes, but take at least one.
    pub max_bytes: usize,
    /// The visibility timeout; `None`: each job's own.
    pub lease_duration: Option<Duration>,
    /// Jobs of these types only; empty: of any.
    pub types: Vec<String>,
    /// The secret of the leases made; no two claims have the same.
    pub secret: LeaseSecret,
    /// A claim with the same id, made before, is answered again with those of its leases that
    /// still live, and no job is taken.
    pub request: Option<RequestId>,
}

/// How long a claim's request id is remembered: the longest that a lease lives unextended.
pub const CLAIM_MEMORY: Duration = Duration::from_hours(12);

/// What claims took, and why not more.
#[derive(Clone, Debug, Default)]
pub struct Claimed {
    /// The jobs for each claim.
    pub jobs: Vec<Vec<Job>>,
    /// For each claim: no ready job is left that it could have got, and a signal tells of the next
    /// one. Always said where nothing else made the claim get fewer jobs than it asked for; where
    /// it got as many, a store may see the end or not.
    pub exhausted: Vec<bool>,
    /// What keeps the queue's ready jobs back, if something does.
    pub gate: Option<Gate>,
}

/// Why a queue gives out no more of its ready jobs for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is paused. A ready signal tells when it is resumed.
    Paused,
    /// As many jobs are leased as may be. A ready signal tells when one fewer is.
    Full,
    /// Its rate is used up until this moment.
    Limited {
        /// The next lease is possible then.
        until: Timestamp,
    },
}

/// One lease to extend, or to be told that its job shall be cancelled.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The job.
    pub id: JobId,
    /// The lease's secret.
    pub secret: LeaseSecret,
    /// The new end of the visibility timeout, which may be earlier than the present one; `None`: it
    /// stays. A cancellation asked for, now or before, may make it earlier.
    pub until: Option<Timestamp>,
    /// Replaces the job's progress.
    pub progress: Option<Progress>,
    /// Replaces the job's checkpoint.
    pub checkpoint: Option<Payload>,
    /// The job shall be cancelled; the earlier one of two stays.
    pub cancel: Option<Cancel>,
    /// What is told about it, if anything is.
    pub event: Option<Event>,
}

/// What became of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The lease is held.
    Held {
        /// The end of its visibility timeout now.
        until: Timestamp,
        /// What the worker should know: its job is to be cancelled.
        cancel: Option<Cancel>,
    },
    /// The lease is not held any more; nothing was changed.
    Lost,
}

/// A transition and the jobs that come to be with it.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The move.
    pub transition: Box<Transition>,
    /// Inserted with the move or not at all, whatever the queue has room for.
    pub then: Vec<Insert>,
}

impl From<Transition> for Commit {
    fn from(transition: Transition) -> Self {
        Self { transition: Box::new(transition), then: Vec::new() }
    }
}

/// Whether a guarded move was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// The guard held; the move is made with all its effects.
    Applied,
    /// The guard did not hold; nothing was changed.
    Lost,
    /// One of the jobs that should come with the move was refused; nothing was changed.
    Refused {
        /// Which one.
        index: usize,
        /// Why; see [`Inserted::refuses`].
        why: Inserted,
    },
}

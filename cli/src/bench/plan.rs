//! What a run is made of.

use clap::ValueEnum;
use serde::Serialize;

/// Jobs of a run, unless told otherwise.
const JOBS: u64 = 100_000;
/// Seconds of a paced run.
const PACED: u64 = 10;
/// Jobs that are taken from a queue that is larger.
const SAMPLE: u64 = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Workload {
    #[value(name = "W1")]
    W1,
    #[value(name = "W1b")]
    #[serde(rename = "W1b")]
    W1Batch,
    #[value(name = "W2")]
    W2,
    #[value(name = "W3")]
    W3,
    #[value(name = "W4")]
    W4,
    #[value(name = "W6")]
    W6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Producer and worker in this process.
    All,
    /// Only enqueues.
    Producer,
    /// Only works, until so many jobs are done. Says "ready" on stderr when jobs can come.
    Worker,
}

impl Workload {
    pub(super) fn jobs(self, rate: u32) -> u64 {
        match self {
            Self::W4 => PACED * u64::from(rate),
            Self::W6 => SAMPLE,
            _ => JOBS,
        }
    }

    /// Whether the queue is full before the clock starts.
    pub(super) fn is_drain(self) -> bool {
        matches!(self, Self::W2 | Self::W6)
    }
}

/// What else is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Scale {
    /// Jobs that wait beside those that are taken.
    pub(super) backlog: u64,
    /// Jobs whose time has not come.
    pub(super) delayed: u64,
    /// Priorities over which the jobs are spread.
    pub(super) priorities: u32,
}

impl Default for Scale {
    fn default() -> Self {
        Self { backlog: 0, delayed: 0, priorities: 1 }
    }
}

impl Scale {
    pub(super) const GROWING: [Self; 5] = [
        Self { backlog: 10_000, delayed: 0, priorities: 1 },
        Self { backlog: 100_000, delayed: 0, priorities: 1 },
        Self { backlog: 1_000_000, delayed: 0, priorities: 1 },
        Self { backlog: 100_000, delayed: 0, priorities: 10 },
        Self { backlog: 0, delayed: 100_000, priorities: 1 },
    ];
}

/// One run.
pub(super) struct Plan {
    pub(super) workload: Workload,
    pub(super) role: Role,
    pub(super) queue: String,
    pub(super) queues: u32,
    pub(super) jobs: u64,
    pub(super) in_flight: u32,
    pub(super) batch: u32,
    pub(super) payload: u32,
    pub(super) rate: u32,
    pub(super) unary: bool,
    pub(super) handlers: bool,
    pub(super) scale: Scale,
}

impl Plan {
    /// The queue of the job of this number.
    pub(super) fn name(&self, number: u64) -> String {
        match self.queues {
            1 => self.queue.clone(),
            queues => format!("{}-{}", self.queue, number % u64::from(queues)),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        (0..u64::from(self.queues)).map(|number| self.name(number))
    }

    /// What this process does while the clock runs.
    pub(super) fn sides(&self) -> Sides {
        match (self.role, self.workload) {
            (Role::Producer, _) | (Role::All, Workload::W1 | Workload::W1Batch) => Sides::Input,
            (Role::Worker, _) | (Role::All, Workload::W2 | Workload::W6) => Sides::Output,
            (Role::All, Workload::W3 | Workload::W4) => Sides::Both,
        }
    }
}

/// The sides of a workload that a process has.
pub(super) enum Sides {
    Input,
    Output,
    Both,
}

//! What a queue holds.

use crate::clock::Timestamp;

/// Jobs of a queue, by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Wait for their time.
    pub scheduled: u64,
    /// May be leased.
    pub ready: u64,
    /// Are leased.
    pub leased: u64,
    /// Wait for their backoff.
    pub retrying: u64,
    /// Wait for other jobs.
    pub blocked: u64,
    /// Succeeded and still kept.
    pub succeeded: u64,
    /// Dead letters still kept.
    pub dead: u64,
    /// Cancelled and still kept.
    pub cancelled: u64,
    /// Expired and still kept.
    pub expired: u64,
}

/// What a queue holds and what became of its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The jobs there are, by state.
    pub counts: Counts,
    /// What happened since the queue began.
    pub totals: Totals,
    /// What happened in the last minute, about.
    pub minute: Minute,
    /// Since when the ready job waits that has waited longest, about.
    pub oldest_ready: Option<Timestamp>,
    /// Bytes of the records of unfinished jobs.
    pub bytes: u64,
}

impl Survey {
    /// The jobs whose life is not over.
    pub fn unfinished(&self) -> u64 {
        let Counts { scheduled, ready, leased, retrying, blocked, .. } = self.counts;
        scheduled + ready + leased + retrying + blocked
    }
}

/// What happened in a queue since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Jobs enqueued.
    pub enqueued: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that became dead letters.
    pub dead: u64,
    /// Leases that were lost.
    pub lease_expired: u64,
}

/// What happened in a queue in the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Jobs enqueued.
    pub enqueued: u64,
    /// Jobs that succeeded or became dead letters.
    pub finished: u64,
}

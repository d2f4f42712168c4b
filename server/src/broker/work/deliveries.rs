//! What was sent to a worker and has not arrived there, as far as is known.
//!
//! A delivery counts as undelivered until the worker says that it has it: with the end of the
//! stream, or after a grace, its job goes back uncounted. What is on its way is bounded by the
//! credit that the worker gave, and by bytes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::{Job, JobName, LeaseToken};

/// How long a delivery may take to arrive.
const GRACE: Duration = Duration::from_secs(5);

/// So many of the largest messages of a worker may be on their way to it.
const MESSAGES: usize = 4;

/// The deliveries of one stream.
pub(super) struct Deliveries {
    /// The number of the last one.
    sent: u64,
    /// The worker takes them up to this one.
    allowed: u64,
    /// On their way, in order.
    open: VecDeque<Open>,
    /// Bytes of those.
    bytes: usize,
    /// Bytes of one message at most.
    message: usize,
    /// None of those on their way is given up before this moment.
    earliest: Option<Timestamp>,
    /// So many of those on their way were given up.
    lost: usize,
}

struct Open {
    number: u64,
    bytes: usize,
    grace: Timestamp,
    token: Arc<LeaseToken>,
    /// `None`: it was given up, or settled.
    job: Option<Arc<Job>>,
}

impl Deliveries {
    /// For a worker whose messages have up to `message` bytes.
    pub(super) fn new(message: usize) -> Self {
        Self {
            sent: 0,
            allowed: 0,
            open: VecDeque::new(),
            bytes: 0,
            message,
            earliest: None,
            lost: 0,
        }
    }

    /// The number of the last delivery.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// The worker takes deliveries up to this one; it never takes that back.
    pub(super) fn allow(&mut self, through: u64) {
        self.allowed = self.allowed.max(through);
    }

    /// How many more jobs may be sent. None while as much is on its way as another message could
    /// make too much, and none to a worker that seems not to read.
    pub(super) fn wanted(&self) -> usize {
        if self.lost > 0 || self.bytes > self.message.saturating_mul(MESSAGES - 1) {
            return 0;
        }
        usize::try_from(self.allowed.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }

    /// A job is sent; answers its number.
    pub(super) fn send(&mut self, job: Arc<Job>, token: Arc<LeaseToken>, now: Timestamp) -> u64 {
        self.sent += 1;
        // A lease that is shorter than the grace must not run out first: that would count.
        let grace = now.after(GRACE.min(token.lease_duration * 3 / 4));
        let bytes = size(&job);
        self.bytes += bytes;
        self.earliest = Some(self.earliest.map_or(grace, |earliest| earliest.min(grace)));
        self.open.push_back(Open { number: self.sent, bytes, grace, token, job: Some(job) });
        self.sent
    }

    /// All deliveries up to this one have arrived. Answers their leases, but for those that were
    /// given up.
    pub(super) fn receive(&mut self, through: u64) -> impl Iterator<Item = Arrived> {
        let arrived = self.open.partition_point(|open| open.number <= through);
        for open in self.open.range(..arrived) {
            self.bytes -= open.bytes;
            self.lost -= usize::from(open.job.is_none());
        }
        if arrived == self.open.len() {
            self.earliest = None;
        }
        self.open
            .drain(..arrived)
            .filter_map(|Open { token, job, .. }| job.map(|job| Arrived { token, until: job.at }))
    }

    /// The number under which this lease is on its way.
    pub(super) fn number_of(&self, token: &LeaseToken) -> Option<u64> {
        let is_meant =
            |open: &&Open| open.token.secret == token.secret && open.token.name == token.name;
        self.open.iter().find(is_meant).map(|open| open.number)
    }

    /// The lease of this job, if it is on its way.
    pub(super) fn of_job(&self, name: &JobName) -> Option<&Arc<LeaseToken>> {
        let is_meant = |open: &&Open| open.token.name == *name && open.job.is_some();
        self.open.iter().find(is_meant).map(|open| &open.token)
    }

    /// No delivery is given up before this moment.
    pub(super) fn next_grace(&self) -> Option<Timestamp> {
        self.earliest
    }

    /// Gives up what has not arrived in time.
    pub(super) fn give_up(&mut self, now: Timestamp) -> Vec<(Arc<Job>, Arc<LeaseToken>)> {
        let mut lost = Vec::new();
        for open in self.open.iter_mut().filter(|open| open.grace <= now) {
            if let Some(job) = open.job.take() {
                lost.push((job, Arc::clone(&open.token)));
            }
        }
        self.lost += lost.len();
        self.earliest =
            self.open.iter().filter(|open| open.job.is_some()).map(|open| open.grace).min();
        lost
    }

    /// The stream ends: answers the jobs that have not arrived, the last one first.
    pub(super) fn close(&mut self) -> Vec<Arc<Job>> {
        self.allowed = 0;
        self.bytes = 0;
        self.lost = 0;
        self.earliest = None;
        self.open.drain(..).rev().filter_map(|open| open.job).collect()
    }

    /// True when nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// A lease whose delivery arrived.
pub(super) struct Arrived {
    /// The lease.
    pub token: Arc<LeaseToken>,
    /// The end of its visibility timeout when it was made.
    pub until: Timestamp,
}

/// What a job takes of memory on its way, about.
fn size(job: &Job) -> usize {
    let payload = job.spec.payload.as_ref().map_or(0, |payload| payload.data.len());
    let checkpoint = job.details.checkpoint.as_ref().map_or(0, |payload| payload.data.len());
    // The parts of fixed width, and what is small.
    payload + checkpoint + 512
}

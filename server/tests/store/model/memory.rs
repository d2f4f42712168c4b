//! The model: a store in maps and lists, as plain as can be, so that reading it is believing it.

mod insert;
mod lease;
mod moves;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) use self::lease::Served;
pub(super) use self::moves::Forgotten;
use crate::clock::Timestamp;
use crate::job::{
    Attempt, DedupKey, DedupScope, Event, EventKind, HISTORY, Job, JobId, LeaseSecret,
    QueueSettings, RequestId, State,
};
use crate::store::{Counts, Totals};

/// What a store should have in one queue.
#[derive(Clone, Default)]
pub(super) struct Memory {
    jobs: BTreeMap<JobId, Job>,
    /// Ids of ready jobs, in order, by priority.
    ready: BTreeMap<Reverse<i16>, VecDeque<JobId>>,
    requests: BTreeMap<RequestId, (u64, JobId)>,
    /// The digest of each request for a batch, and which of its jobs were made.
    batches: BTreeMap<RequestId, (u64, BTreeSet<JobId>)>,
    /// Who holds a dedup key, and how.
    holders: BTreeMap<DedupKey, (JobId, DedupScope)>,
    /// Which job waits for the end of which.
    behind: BTreeMap<JobId, JobId>,
    claims: BTreeMap<RequestId, (LeaseSecret, Vec<JobId>)>,
    pub(super) settings: QueueSettings,
    pub(super) totals: Totals,
    /// All that was told, and by how many entries of the log.
    pub(super) events: Vec<Event>,
    pub(super) entries: u64,
}

impl Memory {
    /// All jobs, by id.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
    }

    /// The store says that this job is forgotten.
    pub(super) fn forget(&mut self, id: &JobId) {
        self.jobs.remove(id);
        // Another job of that id does not hold its key.
        self.holders.retain(|_, (holder, _)| holder != id);
    }

    /// Ready jobs that may still run, in the order in which they do.
    pub(super) fn line_up(&self, now: Timestamp) -> Vec<String> {
        let ids = self.ready.values().flatten();
        let living = ids.filter(|id| !is_lapsed(&self.jobs[*id], now));
        living.map(JobId::to_string).collect()
    }

    /// Makes these the settings.
    pub(super) fn set(&mut self, settings: &QueueSettings, event: &Event) {
        self.telling(|memory| {
            memory.settings = settings.clone();
            memory.settings.revision += 1;
            memory.events.push(event.clone());
        });
    }

    pub(super) fn count(&self) -> Counts {
        let count = |state| self.jobs().filter(|job| job.state == state).count() as u64;
        Counts {
            scheduled: count(State::Scheduled),
            ready: count(State::Ready),
            leased: count(State::Leased),
            retrying: count(State::Retrying),
            blocked: count(State::Blocked),
            succeeded: count(State::Succeeded),
            dead: count(State::Dead),
            cancelled: count(State::Cancelled),
            expired: count(State::Expired),
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let has_time = |job: &&Job| !matches!(job.state, State::Ready | State::Blocked);
        let times = self.jobs().filter(has_time).map(|job| job.at);
        let pending = self.jobs().filter(|job| job.state.is_pending());
        times.chain(pending.filter_map(|job| job.spec.expires)).min()
    }

    fn line(&mut self, priority: i16) -> &mut VecDeque<JobId> {
        self.ready.entry(Reverse(priority)).or_default()
    }

    fn tell(&mut self, job: &Job, kind: EventKind, from: Option<State>, now: Timestamp) {
        let (queue, id) = (job.name.queue.clone(), job.name.id.clone());
        let mut event = Event::new(kind, now, queue, id, job.state);
        event.from = from;
        event.attempt = job.counters.attempts;
        event.worker = job.lease.as_ref().map(|lease| lease.worker.clone());
        self.events.push(event);
    }

    /// What one call tells is one entry of the log.
    fn telling<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.events.len();
        let answer = call(self);
        self.entries += u64::from(self.events.len() > before);
        answer
    }
}

/// The job's expiry has passed.
fn is_lapsed(job: &Job, now: Timestamp) -> bool {
    job.spec.expires.is_some_and(|moment| moment <= now)
}

/// The attempts of the newest [`HISTORY`] leases, which every store must have kept.
pub(super) fn newest(attempts: &[Attempt]) -> Vec<Attempt> {
    let last = attempts.iter().map(|attempt| attempt.delivery).max().unwrap_or(0);
    let recent = attempts.iter().filter(|attempt| attempt.delivery + HISTORY > last);
    recent.cloned().collect()
}

fn replace<T: Clone>(place: &mut Option<T>, new: Option<&T>) {
    if new.is_some() {
        *place = new.cloned();
    }
}

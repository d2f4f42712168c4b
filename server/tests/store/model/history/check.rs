//! Where store and model are compared.

use super::{ALL, History};
use crate::clock::Timestamp;
use crate::fixture::{acked, claim, ids, seconds};
use crate::job::{Event, EventKind, Job, QueueSettings, State};
use crate::store::{Claimed, Index, LogStart, Order, Store, Survey};

use super::super::memory::{Served, newest};

impl History {
    /// What can be compared at little cost, after each step.
    pub(super) async fn look_around(&self) {
        let survey = self.queue.survey(self.now).await;
        assert_eq!((survey.counts, survey.totals), (self.memory.count(), self.memory.totals));
        assert_eq!(self.queue.next_due().await, self.memory.next_due());
        let end = self.queue.store.log_end(&self.queue.name).await.unwrap();
        assert_eq!(end.number, self.memory.entries);
        if let Some(job) = self.memory.jobs().nth(self.step as usize % 7) {
            let found = self.queue.find(job.name.id.as_str()).await;
            assert_eq!(found.as_ref().map(plain_job), Some(plain_job(job)));
        }
    }

    /// Every job in its place.
    pub(super) async fn compare_lists(&self) {
        let mut ready = self.queue.walk(&Index::State(State::Ready), Order::Forward, 7).await;
        let wanted = self.memory.line_up(self.now);
        ready.retain(|id| wanted.contains(id));
        assert_eq!(ready, wanted);
        for state in State::ALL {
            let listed = self.queue.walk(&Index::State(state), Order::Backward, 7).await;
            self.compare_ids(listed, |job| job.state == state);
        }
        let label = Index::Label("label".to_owned(), "value".to_owned());
        let listed = self.queue.walk(&label, Order::Forward, 7).await;
        self.compare_ids(listed, |job| job.spec.labels.contains_key("label"));
    }

    /// The store lists those jobs that it should; what has lapsed may be in no line any more.
    fn compare_ids(&self, mut listed: Vec<String>, wanted: impl Fn(&Job) -> bool) {
        let is_gone = |job: &Job| job.spec.expires.is_some_and(|moment| moment <= self.now);
        let may_miss = |job: &&Job| job.state == State::Ready && is_gone(job);
        let optional: Vec<String> =
            self.memory.jobs().filter(may_miss).map(|job| job.name.id.to_string()).collect();
        let wanted = self.memory.jobs().filter(|job| wanted(job));
        let mut wanted: Vec<String> = wanted.map(|job| job.name.id.to_string()).collect();
        wanted.retain(|id| !optional.contains(id));
        listed.retain(|id| !optional.contains(id));
        wanted.sort();
        listed.sort();
        assert_eq!(listed, wanted);
    }

    /// Every job and every event.
    pub(super) async fn compare_all(&self) {
        for job in self.memory.jobs() {
            let found = self.queue.find(job.name.id.as_str()).await;
            assert_eq!(found.as_ref().map(plain_job), Some(plain_job(job)));
        }
        let log = self.queue.store.log(&self.queue.name, LogStart::Oldest, ALL).await.unwrap();
        let numbers = log.iter().map(|entry| entry.position.number);
        assert!(numbers.eq(1..=self.memory.entries), "the log has holes");
        let events: Vec<Event> = log.into_iter().flat_map(|entry| entry.events).collect();
        assert_eq!(events.len(), self.memory.events.len());
        for (event, wanted) in events.into_iter().zip(&self.memory.events) {
            assert_eq!(plain_event(event), plain_event(wanted.clone()));
        }
    }

    pub(super) fn check_overdue(&self, overdue: &[Job], limit: usize) {
        let is_due = |job: &&Job| match job.state {
            State::Leased => job.at <= self.now,
            state => {
                state.is_pending() && job.spec.expires.is_some_and(|moment| moment <= self.now)
            }
        };
        let due: Vec<&Job> = self.memory.jobs().filter(is_due).collect();
        assert!(overdue.len() >= due.len().min(limit), "{} of {}", overdue.len(), due.len());
        for kind in [true, false] {
            let is_kind = |job: &&Job| (job.state == State::Leased) == kind;
            let found: Vec<Timestamp> = overdue.iter().filter(is_kind).map(end).collect();
            let mut wanted: Vec<Timestamp> = due.iter().copied().filter(is_kind).map(end).collect();
            wanted.sort_unstable();
            wanted.truncate(found.len().min(limit));
            assert_eq!(found, wanted);
        }
        for job in overdue {
            assert_eq!(Some(plain_job(job)), self.memory.get(&job.name.id).map(plain_job));
        }
    }

    /// No job is lost: each can be brought to its end.
    pub(super) async fn drain(&mut self) {
        self.store.fail_at_random(0, 0.0);
        let settings =
            QueueSettings { paused: false, max_leased: None, ..self.memory.settings.clone() };
        self.set(settings).await;
        for round in 0..8 {
            self.sweep_all().await;
            let waiting = self.memory.count();
            let promoted = self.store.promote(&self.queue.name, self.now, ALL).await.unwrap();
            assert_eq!(promoted as u64, waiting.scheduled + waiting.retrying, "never ready");
            assert_eq!(self.memory.promote(self.now, ALL), promoted);
            let claims = vec![claim(ALL)];
            let wanted = self.memory.claim(&claims, self.now).jobs.remove(0);
            let served = self.store.claim(&self.queue.name, claims, self.now).await.unwrap();
            same_jobs(&served.jobs[0], &wanted);
            let lost = if round < 3 { wanted.len() / 2 } else { 0 };
            let acks = wanted[lost..].iter().map(|job| acked(job, self.now)).collect();
            self.commit(acks).await;
        }
        let left = self.memory.jobs().find(|job| !job.state.is_terminal());
        assert_eq!(left, None, "never finished");
        self.look_around().await;
        self.now = self.now.after(seconds(3600));
        self.purge_all().await;
    }

    async fn purge_all(&mut self) {
        let finished = self.memory.jobs().count();
        let purged = self.store.purge(&self.queue.name, self.now, ALL).await.unwrap();
        assert_eq!(purged, finished);
        let survey = self.queue.survey(self.now).await;
        let wanted =
            Survey { totals: self.memory.totals, minute: survey.minute, ..Survey::default() };
        assert_eq!(survey, wanted);
        assert_eq!(self.queue.next_due().await, None);
    }
}

/// When the job is overdue.
fn end(job: &Job) -> Timestamp {
    if job.state == State::Leased { job.at } else { job.spec.expires.unwrap() }
}

/// What stores agree on: what older attempts a store happens to keep is its own affair.
fn plain_job(job: &Job) -> Job {
    let mut job = job.clone();
    let attempts = newest(&job.details.attempts);
    job.details_mut().attempts = attempts;
    job
}

/// Claims got what they should, and were told of the end where they should be.
pub(super) fn same_claimed(served: &Claimed, wanted: &Served) {
    same_jobs(&served.jobs.concat(), &wanted.jobs.concat());
    for (said, wanted) in served.exhausted.iter().zip(&wanted.exhausted) {
        assert_eq!(*said, wanted.unwrap_or(*said), "the end of the ready jobs");
    }
}

/// Both are the same jobs in the same order.
pub(super) fn same_jobs(found: &[Job], wanted: &[Job]) {
    assert_eq!(ids(found), ids(wanted));
    for (found, wanted) in found.iter().zip(wanted) {
        assert_eq!(plain_job(found), plain_job(wanted));
    }
}

/// What stores agree on: some leave to the broker what it can read in the job, and tell a
/// duplicate by their own clock.
fn plain_event(mut event: Event) -> Event {
    event.job_type = String::new();
    event.labels.clear();
    event.trace_context.clear();
    event.waited = None;
    match event.kind {
        EventKind::Ready => event.attempt = 0,
        EventKind::Deduplicated => {
            event.attempt = 0;
            event.worker = None;
            event.at = Timestamp::default();
        }
        _ => {}
    }
    event
}

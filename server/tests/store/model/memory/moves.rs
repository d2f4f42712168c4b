//! How jobs move in the model, and how they leave it.

use super::{Memory, newest, replace};
use crate::clock::Timestamp;
use crate::job::{
    DedupScope, EventKind, Guard, Job, JobId, Keep, Outcome, Place, State, Transition,
};
use crate::store::{Commit, Guarded, Room};

/// The store has forgotten `gone` of these jobs, and may choose which.
#[derive(Debug)]
pub(in super::super) struct Forgotten {
    pub(in super::super) among: Vec<JobId>,
    pub(in super::super) gone: usize,
    /// It forgot those whose time is nearest.
    pub(in super::super) in_turn: bool,
}

impl Memory {
    /// What becomes of the commits, and which jobs make room.
    pub(in super::super) fn commit(
        &mut self,
        commits: &[Commit],
        now: Timestamp,
    ) -> (Vec<Guarded>, Vec<Forgotten>) {
        let outcomes = self.telling(|memory| {
            commits.iter().map(|commit| memory.commit_one(commit, now)).collect()
        });
        // A history keeps the same number of all jobs of a state, so it is enough to look once.
        let states = State::ALL.into_iter().filter(|state| state.is_terminal());
        let forgotten = states.filter_map(|state| {
            let moves = commits.iter().map(|commit| &commit.transition);
            let mut ends = moves.filter(|one| one.to == state && !one.forgets());
            self.beyond(state, ends.next_back()?.keep)
        });
        (outcomes, forgotten.collect())
    }

    fn commit_one(&mut self, Commit { transition, then }: &Commit, now: Timestamp) -> Guarded {
        let job = self.jobs.get(&transition.name.id);
        if !job.is_some_and(|job| allows(job, transition)) {
            return Guarded::Lost;
        }
        let before = self.clone();
        self.apply(transition, now);
        for (index, item) in then.iter().enumerate() {
            let why = self.insert_one(item, Room::default(), now);
            if why.refuses() {
                *self = before;
                return Guarded::Refused { index, why };
            }
        }
        Guarded::Applied
    }

    /// Makes a move whose guard holds.
    pub(super) fn apply(&mut self, transition: &Transition, now: Timestamp) {
        let id = &transition.name.id;
        let mut job = self.jobs[id].clone();
        let from = job.state;
        let worker = job.lease.take().map(|lease| lease.worker);
        job.cancel = None;
        let mut event = transition.event.clone();
        event.worker = event.worker.or(worker.clone());
        self.events.push(event);
        self.add_up(from, transition);
        if let Some(key) = &transition.free_dedup
            && let Some((holder, scope)) = self.holders.get(key)
            && holder == id
            && !matches!(scope, DedupScope::Window(_))
        {
            self.holders.remove(key);
        }
        let stays =
            transition.to == State::Ready && from == State::Ready && job.at == transition.at;
        if !stays || transition.forgets() {
            for line in self.ready.values_mut() {
                line.retain(|one| one != id);
            }
        }
        if transition.forgets() || transition.to != State::Blocked {
            self.behind.retain(|_, waiting| waiting != id);
        }
        if transition.forgets() {
            self.forget(id);
            self.unblock(id, now);
            return;
        }
        if let Some(spec) = &transition.spec {
            job.spec = spec.clone();
            job.revision += 1;
        }
        match (transition.to, transition.place) {
            (State::Ready, _) if stays => {}
            (State::Ready, Place::Front) => self.line(job.spec.priority).push_front(id.clone()),
            (State::Ready, Place::Back) => self.line(job.spec.priority).push_back(id.clone()),
            _ => {}
        }
        job.state = transition.to;
        job.at = transition.at;
        job.counters = transition.counters;
        job.started = transition.started;
        job.ended = transition.ended;
        let details = job.details_mut();
        replace(&mut details.last_failure, transition.failure.as_ref());
        replace(&mut details.result, transition.result.as_ref());
        replace(&mut details.checkpoint, transition.checkpoint.as_ref());
        if let Some(mut attempt) = transition.attempt.clone() {
            attempt.worker = attempt.worker.or(worker);
            details.attempts.retain(|one| one.delivery != attempt.delivery);
            details.attempts.push(attempt);
            details.attempts = newest(&details.attempts);
        }
        self.jobs.insert(id.clone(), job);
        if transition.to.is_terminal() {
            self.unblock(id, now);
        }
    }

    fn add_up(&mut self, from: State, transition: &Transition) {
        let outcome = transition.attempt.as_ref().map(|attempt| attempt.outcome);
        self.totals.lease_expired += u64::from(outcome == Some(Outcome::LeaseExpired));
        let becomes = |state| u64::from(transition.to == state && from != state);
        self.totals.succeeded += becomes(State::Succeeded);
        self.totals.dead += becomes(State::Dead);
    }

    /// The job has ended: the one that waits for that gets the key and waits no more.
    fn unblock(&mut self, ended: &JobId, now: Timestamp) {
        let Some(id) = self.behind.remove(ended) else { return };
        let mut job = self.jobs[&id].clone();
        let (to, kind) = if job.at > now {
            (State::Scheduled, EventKind::Scheduled)
        } else {
            (State::Ready, EventKind::Ready)
        };
        job.state = to;
        job.at = job.at.max(now);
        if to == State::Ready {
            self.line(job.spec.priority).push_back(id.clone());
        }
        if self.holder(&job).is_none_or(|holder| holder.name.id == *ended) {
            self.hold(&job, &id);
        }
        self.tell(&job, kind, Some(State::Blocked), now);
        self.jobs.insert(id, job);
    }

    /// The finished jobs in `state` that are more than `keep` allows: those to be purged first.
    fn beyond(&self, state: State, keep: Keep) -> Option<Forgotten> {
        let finished = || self.jobs.values().filter(|job| job.state == state);
        let number = finished().count();
        let excess = if number > keep.most()? as usize { number - keep.count? as usize } else { 0 };
        let mut times: Vec<Timestamp> = finished().map(|job| job.at).collect();
        times.sort_unstable();
        let last = *times[..excess].last()?;
        let among = finished().filter(|job| job.at <= last).map(|job| job.name.id.clone());
        Some(Forgotten { among: among.collect(), gone: excess, in_turn: true })
    }

    pub(in super::super) fn promote(&mut self, now: Timestamp, limit: usize) -> usize {
        let waits = |state| matches!(state, State::Scheduled | State::Retrying);
        let due = self.jobs.values().filter(|job| waits(job.state) && job.at <= now);
        let mut due: Vec<Job> = due.cloned().collect();
        due.sort_by(|one, other| (one.at, &one.name.id).cmp(&(other.at, &other.name.id)));
        due.truncate(limit);
        self.telling(|memory| {
            for job in &due {
                let id = &job.name.id;
                memory.line(job.spec.priority).push_back(id.clone());
                let ready = Job { state: State::Ready, ..job.clone() };
                memory.tell(&ready, EventKind::Ready, Some(job.state), now);
                memory.jobs.insert(id.clone(), ready);
            }
        });
        due.len()
    }

    /// How many jobs a purge forgets, and among which it may choose.
    pub(in super::super) fn purge(&self, now: Timestamp, limit: usize) -> Forgotten {
        let due = self.jobs.values().filter(|job| job.state.is_terminal() && job.at <= now);
        let among: Vec<JobId> = due.map(|job| job.name.id.clone()).collect();
        Forgotten { gone: among.len().min(limit), among, in_turn: false }
    }
}

fn allows(job: &Job, transition: &Transition) -> bool {
    let is_held = |secret| job.lease.as_ref().is_some_and(|lease| lease.secret == secret);
    let knows =
        job.cancel.is_none() || matches!(transition.to, State::Succeeded | State::Cancelled);
    match transition.guard {
        Guard::Leased(secret) => is_held(secret) && knows,
        Guard::Overdue { secret, now } => is_held(secret) && knows && job.at <= now,
        Guard::Standing(version) => job.lease.is_none() && job.version() == version,
    }
}

//! The model: a store in maps and lists, as plain as can be, so that reading it is believing it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::clock::Timestamp;
use crate::job::{
    Attempt, DEFAULT_LEASE_DURATION, DedupKey, DedupScope, Event, EventKind, Guard, HISTORY, Job,
    JobId, Keep, Lease, LeaseSecret, Place, RequestId, State, Transition,
};
use crate::store::{Claim, Counts, Extended, Extension, Guarded, Insert, Inserted};

/// What a store should have in one queue.
#[derive(Clone, Default)]
pub(super) struct Memory {
    jobs: BTreeMap<JobId, Job>,
    /// Ids of ready jobs, in order, by priority.
    ready: BTreeMap<Reverse<i16>, VecDeque<JobId>>,
    requests: BTreeMap<RequestId, (u64, JobId)>,
    /// Who holds a dedup key, and whether the holder's end gives it free.
    holders: BTreeMap<DedupKey, (JobId, bool)>,
    claims: BTreeMap<RequestId, (LeaseSecret, Vec<JobId>)>,
    /// All that was told, and by how many entries of the log.
    pub(super) events: Vec<Event>,
    pub(super) entries: u64,
}

/// The store has forgotten `gone` of these jobs, and may choose which.
#[derive(Debug)]
pub(super) struct Forgotten {
    pub(super) among: Vec<JobId>,
    pub(super) gone: usize,
    /// It forgot those whose time is nearest.
    pub(super) in_turn: bool,
}

impl Memory {
    pub(super) fn insert(&mut self, groups: &[Vec<Insert>], now: Timestamp) -> Vec<Vec<Inserted>> {
        self.telling(|memory| groups.iter().map(|group| memory.insert_group(group, now)).collect())
    }

    fn insert_group(&mut self, group: &[Insert], now: Timestamp) -> Vec<Inserted> {
        // The events so far need not be copied.
        let mut events = std::mem::take(&mut self.events);
        let before = self.clone();
        let mut outcomes: Vec<Inserted> =
            group.iter().map(|item| self.insert_one(item, now)).collect();
        if outcomes.iter().any(Inserted::refuses) {
            *self = before;
            for outcome in outcomes.iter_mut().filter(|outcome| !outcome.refuses()) {
                *outcome = Inserted::Withheld;
            }
        }
        events.append(&mut self.events);
        self.events = events;
        outcomes
    }

    fn insert_one(&mut self, item: &Insert, now: Timestamp) -> Inserted {
        let Insert { job, chosen_id, request, .. } = item;
        if let Some((digest, first)) = request.and_then(|request| self.requests.get(&request.id)) {
            return if request.is_some_and(|request| request.digest == *digest) {
                Inserted::Replayed(first.clone())
            } else {
                Inserted::RequestReused
            };
        }
        if let Some(taken) = self.jobs.get(&job.name.id).filter(|_| *chosen_id) {
            return Inserted::Exists(taken.state);
        }
        let dedup = job.spec.dedup.as_ref();
        let holder = dedup.and_then(|dedup| self.holders.get(&dedup.key));
        let survivor = holder.and_then(|(holder, _)| self.jobs.get(holder)).unwrap_or(job).clone();
        let id = survivor.name.id.clone();
        if let Some(request) = request {
            self.requests.insert(request.id, (request.digest, id.clone()));
        }
        let new = id == job.name.id;
        let kind = if new { EventKind::Created } else { EventKind::Deduplicated };
        self.tell(&survivor, kind, None, now);
        if !new {
            return Inserted::Duplicate(id);
        }
        if let Some(dedup) = dedup {
            let until_finished = matches!(dedup.scope, DedupScope::UntilFinished { .. });
            self.holders.insert(dedup.key.clone(), (id.clone(), until_finished));
        }
        if job.state == State::Ready {
            self.line(job.spec.priority).push_back(id.clone());
        }
        self.jobs.insert(id, job.clone());
        Inserted::New
    }

    pub(super) fn claim(&mut self, claims: &[Claim], now: Timestamp) -> Vec<Vec<Job>> {
        self.telling(|memory| claims.iter().map(|claim| memory.serve(claim, now)).collect())
    }

    fn serve(&mut self, claim: &Claim, now: Timestamp) -> Vec<Job> {
        let living = self.living(claim);
        if !living.is_empty() {
            return living;
        }
        // Histories ask for any number of bytes or for so few that one job exceeds them.
        let limit = if claim.max_bytes == usize::MAX { claim.limit } else { claim.limit.min(1) };
        let mut taken = Vec::new();
        while taken.len() < limit {
            let Some(id) = self.ready.values_mut().find_map(VecDeque::pop_front) else { break };
            taken.push(self.lease(&id, claim, now));
        }
        if let Some(request) = claim.request.filter(|_| !taken.is_empty()) {
            let ids = taken.iter().map(|job| job.name.id.clone()).collect();
            self.claims.insert(request, (claim.secret, ids));
        }
        taken
    }

    /// The jobs of an earlier claim with the same request that are still under its leases.
    fn living(&self, claim: &Claim) -> Vec<Job> {
        let Some((secret, ids)) = claim.request.and_then(|request| self.claims.get(&request))
        else {
            return Vec::new();
        };
        let held = ids.iter().filter_map(|id| self.held(id, *secret));
        held.cloned().collect()
    }

    fn lease(&mut self, id: &JobId, claim: &Claim, now: Timestamp) -> Job {
        let job = self.jobs.get_mut(id).unwrap();
        let own = job.spec.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION);
        let duration = claim.lease_duration.unwrap_or(own);
        job.state = State::Leased;
        job.at = now.after(duration);
        job.counters = job.counters.leased();
        job.started = job.started.or(Some(now));
        let worker = claim.worker.clone();
        job.lease = Some(Lease { secret: claim.secret, worker, started: now, duration });
        let job = job.clone();
        self.tell(&job, EventKind::Leased, Some(State::Ready), now);
        job
    }

    pub(super) fn extend(&mut self, extensions: &[Extension]) -> Vec<Extended> {
        self.telling(|memory| extensions.iter().map(|one| memory.extend_one(one)).collect())
    }

    fn extend_one(&mut self, extension: &Extension) -> Extended {
        let Some(mut job) = self.held(&extension.id, extension.secret).cloned() else {
            return Extended::Lost;
        };
        job.at = extension.until.unwrap_or(job.at);
        replace(&mut job.details.progress, extension.progress.as_ref());
        replace(&mut job.details.checkpoint, extension.checkpoint.as_ref());
        if let Some(event) = &extension.event {
            let mut event = event.clone();
            event.worker = event.worker.or(job.lease.as_ref().map(|lease| lease.worker.clone()));
            self.events.push(event);
        }
        let until = job.at;
        self.jobs.insert(extension.id.clone(), job);
        Extended::Held { until, cancel: None }
    }

    /// What becomes of the transitions, and which jobs make room.
    pub(super) fn commit(&mut self, transitions: &[Transition]) -> (Vec<Guarded>, Vec<Forgotten>) {
        let outcomes = self.telling(|memory| {
            transitions.iter().map(|transition| memory.commit_one(transition)).collect()
        });
        // A history keeps the same number of all jobs of a state, so it is enough to look once.
        let states = [State::Succeeded, State::Dead];
        let forgotten = states.into_iter().filter_map(|state| {
            let ends = transitions.iter().filter(|one| one.to == state && !one.keep.nothing());
            self.beyond(state, ends.last()?.keep)
        });
        (outcomes, forgotten.collect())
    }

    fn commit_one(&mut self, transition: &Transition) -> Guarded {
        let id = &transition.name.id;
        let Some(mut job) = self.jobs.get(id).filter(|job| holds(job, transition.guard)).cloned()
        else {
            return Guarded::Lost;
        };
        let worker = job.lease.take().map(|lease| lease.worker);
        let mut event = transition.event.clone();
        event.worker = event.worker.or(worker.clone());
        self.events.push(event);
        for line in self.ready.values_mut() {
            line.retain(|one| one != id);
        }
        if let Some(key) = &transition.free_dedup
            && self.holders.get(key) == Some(&(id.clone(), true))
        {
            self.holders.remove(key);
        }
        if transition.to.is_terminal() && transition.keep.nothing() {
            self.jobs.remove(id);
            return Guarded::Applied;
        }
        match (transition.to, transition.place) {
            (State::Ready, Place::Front) => {
                self.line(transition.line.priority).push_front(id.clone());
            }
            (State::Ready, Place::Back) => {
                self.line(transition.line.priority).push_back(id.clone());
            }
            _ => {}
        }
        job.state = transition.to;
        job.at = transition.at;
        job.counters = transition.counters;
        job.started = transition.started;
        job.ended = transition.ended;
        replace(&mut job.details.last_failure, transition.failure.as_ref());
        replace(&mut job.details.result, transition.result.as_ref());
        replace(&mut job.details.checkpoint, transition.checkpoint.as_ref());
        if let Some(mut attempt) = transition.attempt.clone() {
            attempt.worker = attempt.worker.or(worker);
            job.details.attempts.retain(|one| one.delivery != attempt.delivery);
            job.details.attempts.push(attempt);
            job.details.attempts = newest(&job.details.attempts);
        }
        self.jobs.insert(id.clone(), job);
        Guarded::Applied
    }

    /// The finished jobs in `state` that are more than `keep` allows: those to be purged first.
    fn beyond(&self, state: State, keep: Keep) -> Option<Forgotten> {
        let finished = || self.jobs.values().filter(|job| job.state == state);
        let excess = finished().count().saturating_sub(keep.count? as usize);
        let mut times: Vec<Timestamp> = finished().map(|job| job.at).collect();
        times.sort_unstable();
        let last = *times[..excess].last()?;
        let among = finished().filter(|job| job.at <= last).map(|job| job.name.id.clone());
        Some(Forgotten { among: among.collect(), gone: excess, in_turn: true })
    }

    pub(super) fn promote(&mut self, now: Timestamp, limit: usize) -> usize {
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
    pub(super) fn purge(&self, now: Timestamp, limit: usize) -> Forgotten {
        let due = self.jobs.values().filter(|job| job.state.is_terminal() && job.at <= now);
        let among: Vec<JobId> = due.map(|job| job.name.id.clone()).collect();
        Forgotten { gone: among.len().min(limit), among, in_turn: false }
    }

    /// The store says that this job is forgotten.
    pub(super) fn forget(&mut self, id: &JobId) {
        self.jobs.remove(id);
    }

    /// All jobs, by id.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    pub(super) fn get(&self, id: &JobId) -> Option<&Job> {
        self.jobs.get(id)
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
        self.jobs().filter(|job| job.state != State::Ready).map(|job| job.at).min()
    }

    /// The job, if it is leased with this secret.
    fn held(&self, id: &JobId, secret: LeaseSecret) -> Option<&Job> {
        self.jobs.get(id).filter(|job| holds(job, Guard::Leased(secret)))
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

/// The attempts of the newest [`HISTORY`] leases, which every store must have kept.
pub(super) fn newest(attempts: &[Attempt]) -> Vec<Attempt> {
    let last = attempts.iter().map(|attempt| attempt.delivery).max().unwrap_or(0);
    let recent = attempts.iter().filter(|attempt| attempt.delivery + HISTORY > last);
    recent.cloned().collect()
}

fn holds(job: &Job, guard: Guard) -> bool {
    let is_held = |secret| job.lease.as_ref().is_some_and(|lease| lease.secret == secret);
    match guard {
        Guard::Leased(secret) => is_held(secret),
        Guard::Overdue { secret, now } => is_held(secret) && job.at <= now,
        Guard::Standing(version) => job.lease.is_none() && job.version() == version,
    }
}

fn replace<T: Clone>(place: &mut Option<T>, new: Option<&T>) {
    if new.is_some() {
        *place = new.cloned();
    }
}

//! How jobs come into the model.

use super::Memory;
use crate::clock::Timestamp;
use crate::job::{EventKind, Job, JobId, OnDuplicate, RequestId, State, operate};
use crate::store::{Group, Insert, Inserted, Room};

impl Memory {
    pub(in super::super) fn insert(
        &mut self,
        groups: &[Group],
        now: Timestamp,
    ) -> Vec<Vec<Inserted>> {
        self.telling(|memory| groups.iter().map(|group| memory.insert_group(group, now)).collect())
    }

    /// True when that request for a batch made jobs.
    pub(in super::super) fn has_made(&self, request: &RequestId) -> bool {
        self.batches.contains_key(request)
    }

    fn insert_group(&mut self, group: &Group, now: Timestamp) -> Vec<Inserted> {
        let before = self.clone();
        let request = group.request;
        let known = request.and_then(|request| self.batches.get(&request.id).cloned());
        let (digest, mut made) = known.unwrap_or_default();
        if !made.is_empty() && request.is_some_and(|request| request.digest != digest) {
            return vec![Inserted::RequestReused; group.inserts.len()];
        }
        let mut outcomes = Vec::new();
        for item in &group.inserts {
            let id = &item.job.name.id;
            let outcome = if made.contains(id) {
                Inserted::Replayed(id.clone())
            } else {
                self.insert_one(item, group.room, now)
            };
            if matches!(outcome, Inserted::New | Inserted::Behind(_)) && request.is_some() {
                made.insert(id.clone());
            }
            outcomes.push(outcome);
        }
        if group.atomic && outcomes.iter().any(Inserted::refuses) {
            *self = before;
            for outcome in outcomes.iter_mut().filter(|outcome| !outcome.refuses()) {
                *outcome = Inserted::Withheld;
            }
        } else if let Some(request) = request.filter(|_| !made.is_empty()) {
            self.batches.insert(request.id, (request.digest, made));
        }
        outcomes
    }

    pub(super) fn insert_one(&mut self, item: &Insert, room: Room, now: Timestamp) -> Inserted {
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
        let outcome = match self.holder(job) {
            Some(holder) => self.meet(item, &holder, room, now),
            None => self.create(job.clone(), room, now),
        };
        let id = match &outcome {
            Inserted::New | Inserted::Behind(_) => &job.name.id,
            Inserted::Duplicate(id) | Inserted::Replaced(id) => id,
            _ => return outcome,
        };
        if let Some(request) = request {
            self.requests.insert(request.id, (request.digest, id.clone()));
        }
        if outcome == Inserted::New {
            self.hold(job, id);
        }
        outcome
    }

    /// The job that holds the key of `job`.
    pub(super) fn holder(&self, job: &Job) -> Option<Job> {
        let (holder, _) = self.holders.get(&job.spec.dedup.as_ref()?.key)?;
        self.jobs.get(holder).cloned()
    }

    /// The key of `job` is held by `id` from now on.
    pub(super) fn hold(&mut self, job: &Job, id: &JobId) {
        if let Some(dedup) = &job.spec.dedup {
            self.holders.insert(dedup.key.clone(), (id.clone(), dedup.scope));
        }
    }

    fn create(&mut self, job: Job, room: Room, now: Timestamp) -> Inserted {
        let unfinished = self.jobs().filter(|job| !job.state.is_terminal()).count() as u64;
        if room.jobs.is_some_and(|most| unfinished >= most) {
            return Inserted::Full(room);
        }
        self.tell(&job, EventKind::Created, None, now);
        self.totals.enqueued += 1;
        if job.state == State::Ready {
            self.line(job.spec.priority).push_back(job.name.id.clone());
        }
        self.jobs.insert(job.name.id.clone(), job);
        Inserted::New
    }

    fn meet(&mut self, item: &Insert, holder: &Job, room: Room, now: Timestamp) -> Inserted {
        let job = &item.job;
        let id = holder.name.id.clone();
        match job.spec.dedup.as_ref().unwrap().on_duplicate {
            OnDuplicate::Reject => Inserted::Rejected(id, holder.state),
            OnDuplicate::Replace if holder.state.is_pending() && holder.started.is_none() => {
                self.replace(holder, job, Some((job.state, job.at)), now)
            }
            OnDuplicate::RunAfter if holder.state.is_pending() => {
                self.replace(holder, job, None, now)
            }
            OnDuplicate::RunAfter if holder.state == State::Leased => {
                self.follow(job, id, room, now)
            }
            _ => {
                self.tell(holder, EventKind::Deduplicated, None, now);
                Inserted::Duplicate(id)
            }
        }
    }

    /// The job runs once `holder` has ended.
    fn follow(&mut self, job: &Job, holder: JobId, room: Room, now: Timestamp) -> Inserted {
        if let Some(waiting) = self.behind.get(&holder) {
            let waiting = self.jobs[waiting].clone();
            return self.replace(&waiting, job, None, now);
        }
        let blocked = Job { state: State::Blocked, ..job.clone() };
        let outcome = self.create(blocked, room, now);
        if outcome != Inserted::New {
            return outcome;
        }
        self.behind.insert(holder.clone(), job.name.id.clone());
        Inserted::Behind(holder)
    }

    /// `old` does what `new` asks for.
    fn replace(
        &mut self,
        old: &Job,
        new: &Job,
        start: Option<(State, Timestamp)>,
        now: Timestamp,
    ) -> Inserted {
        let decided = operate::replace(old, (*new.spec).clone(), start, now);
        self.apply(&decided, now);
        if old.state != State::Blocked {
            self.hold(new, &old.name.id);
        }
        Inserted::Replaced(old.name.id.clone())
    }
}

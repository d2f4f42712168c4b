//! Claims and heartbeats in the model.

use super::{Memory, is_lapsed, replace};
use crate::clock::Timestamp;
use crate::job::{
    DEFAULT_LEASE_DURATION, DedupScope, EventKind, Job, JobId, Lease, LeaseSecret, State,
};
use crate::store::{Claim, Extended, Extension};

/// What claims should get.
pub(in super::super) struct Served {
    pub(in super::super) jobs: Vec<Vec<Job>>,
    /// Which claims must see the end of what they could get, and which must not.
    pub(in super::super) exhausted: Vec<Option<bool>>,
}

impl Memory {
    pub(in super::super) fn claim(&mut self, claims: &[Claim], now: Timestamp) -> Served {
        self.telling(|memory| {
            let served = claims.iter().map(|claim| memory.serve(claim, now));
            let (jobs, mut exhausted): (Vec<_>, Vec<_>) = served.unzip();
            for (claim, ended) in claims.iter().zip(&mut exhausted) {
                // What later claims of the call took is not left either.
                if !memory.open_to(claim, now).is_empty() {
                    *ended = Some(false);
                }
            }
            Served { jobs, exhausted }
        })
    }

    /// The jobs that a claim gets, and whether it must see that there are no more.
    fn serve(&mut self, claim: &Claim, now: Timestamp) -> (Vec<Job>, Option<bool>) {
        let living = self.living(claim);
        if !living.is_empty() {
            return (living, None);
        }
        // Histories ask for any number of bytes or for so few that one job exceeds them.
        let wanted = if claim.max_bytes == usize::MAX { claim.limit } else { claim.limit.min(1) };
        let limit = wanted.min(self.slots());
        let open = self.open_to(claim, now);
        let chosen: Vec<JobId> = open.iter().take(limit).cloned().collect();
        let taken: Vec<Job> = chosen.iter().map(|id| self.lease(id, claim, now)).collect();
        if let Some(request) = claim.request.filter(|_| !taken.is_empty()) {
            self.claims.insert(request, (claim.secret, chosen));
        }
        (taken, (open.len() < limit).then_some(true))
    }

    /// The jobs that a claim could get if it asked for any number, in order.
    fn open_to(&self, claim: &Claim, now: Timestamp) -> Vec<JobId> {
        let may_take = |id: &&JobId| {
            let job = &self.jobs[*id];
            let wanted = claim.types.is_empty() || claim.types.contains(&job.spec.job_type);
            wanted && !is_lapsed(job, now)
        };
        self.ready.values().flatten().filter(may_take).cloned().collect()
    }

    /// How many more jobs may be leased.
    fn slots(&self) -> usize {
        let leased = self.jobs().filter(|job| job.state == State::Leased).count();
        match self.settings.max_leased {
            _ if self.settings.paused => 0,
            Some(most) => (most as usize).saturating_sub(leased),
            None => usize::MAX,
        }
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
        for line in self.ready.values_mut() {
            line.retain(|one| one != id);
        }
        let job = self.jobs.get_mut(id).unwrap();
        let own = job.spec.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION);
        let duration = claim.lease_duration.unwrap_or(own);
        job.state = State::Leased;
        job.at = now.after(duration.min(job.attempt_timeout()));
        job.counters = job.counters.leased();
        job.started = job.started.or(Some(now));
        let worker = claim.worker.clone();
        job.lease = Some(Lease { secret: claim.secret, worker, started: now, duration });
        let job = job.clone();
        if let Some(dedup) = &job.spec.dedup
            && let Some((holder, DedupScope::UntilStarted { .. })) = self.holders.get(&dedup.key)
            && holder == id
        {
            self.holders.remove(&dedup.key);
        }
        self.tell(&job, EventKind::Leased, Some(State::Ready), now);
        job
    }

    pub(in super::super) fn extend(&mut self, extensions: &[Extension]) -> Vec<Extended> {
        self.telling(|memory| extensions.iter().map(|one| memory.extend_one(one)).collect())
    }

    fn extend_one(&mut self, extension: &Extension) -> Extended {
        let Some(mut job) = self.held(&extension.id, extension.secret).cloned() else {
            return Extended::Lost;
        };
        let asked = job.cancel.take().into_iter().chain(extension.cancel.clone());
        job.cancel = asked.min_by_key(|cancel| cancel.by);
        job.at = extension.until.unwrap_or(job.at);
        if let Some(cancel) = &job.cancel {
            job.at = job.at.min(cancel.by);
        }
        replace(&mut job.details_mut().progress, extension.progress.as_ref());
        replace(&mut job.details_mut().checkpoint, extension.checkpoint.as_ref());
        if let Some(event) = &extension.event {
            let mut event = event.clone();
            event.worker = event.worker.or(job.lease.as_ref().map(|lease| lease.worker.clone()));
            self.events.push(event);
        }
        let answer = Extended::Held { until: job.at, cancel: job.cancel.clone() };
        self.jobs.insert(extension.id.clone(), job);
        answer
    }

    /// The job, if it is leased with this secret.
    pub(super) fn held(&self, id: &JobId, secret: LeaseSecret) -> Option<&Job> {
        let is_held = |job: &&Job| job.lease.as_ref().is_some_and(|lease| lease.secret == secret);
        self.jobs.get(id).filter(is_held)
    }
}

//! What a worker holds: jobs that arrived and were not settled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::deliveries::Arrived;
use super::greeting::PINGS;
use crate::clock::Timestamp;
use crate::job::{JobName, LeaseToken};

/// The leases that a worker holds.
pub(super) struct Held {
    leases: HashMap<JobName, Lease>,
    ping_interval: Duration,
    /// No lease wants to be extended before this moment.
    look_at: Timestamp,
    /// No lease ends before this moment.
    ends_at: Timestamp,
}

const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

/// One lease.
pub(super) struct Lease {
    pub(super) token: Arc<LeaseToken>,
    /// The end of its visibility timeout.
    pub(super) until: Timestamp,
    /// An extension is under way.
    asking: bool,
    /// The worker knows that the job is to be cancelled.
    pub(super) told: bool,
}

impl Held {
    /// For a worker that sends a frame at least once per `ping_interval`.
    pub(super) fn new(ping_interval: Duration) -> Self {
        Self { leases: HashMap::new(), ping_interval, look_at: NEVER, ends_at: NEVER }
    }

    /// The worker has it now.
    pub(super) fn insert(&mut self, arrived: Arrived) {
        let Arrived { token, until } = arrived;
        self.put_back(Lease { token, until, asking: false, told: false });
    }

    /// Takes out the lease with this token.
    pub(super) fn remove(&mut self, token: &LeaseToken) -> Option<Lease> {
        self.get_mut(token)?;
        self.leases.remove(&token.name)
    }

    /// A lease that was taken out is still held.
    pub(super) fn put_back(&mut self, lease: Lease) {
        self.look_at = self.look_at.min(fresh_until(&lease.token, lease.until, self.ping_interval));
        self.ends_at = self.ends_at.min(lease.until);
        self.leases.insert(lease.token.name.clone(), lease);
    }

    /// The lease with this token.
    pub(super) fn get_mut(&mut self, token: &LeaseToken) -> Option<&mut Lease> {
        let lease = self.leases.get_mut(&token.name)?;
        (lease.token.secret == token.secret).then_some(lease)
    }

    /// The leases of which a third of the time has passed, to be extended together, and by how
    /// much. A lease that is shorter than three ping intervals would end before its worker has to
    /// send the next frame, so it gets as much time as that.
    pub(super) fn due(&mut self, now: Timestamp) -> Vec<(Arc<LeaseToken>, Duration)> {
        if now < self.look_at {
            return Vec::new();
        }
        let mut due = Vec::new();
        let mut next = NEVER;
        for lease in self.leases.values_mut() {
            // The attempt may not become longer, so nothing would be gained.
            let is_last = lease.until >= attempt_end(&lease.token);
            if is_last || lease.asking {
                continue;
            }
            let at = fresh_until(&lease.token, lease.until, self.ping_interval);
            if at <= now {
                lease.asking = true;
                due.push((Arc::clone(&lease.token), reach(&lease.token, self.ping_interval)));
            } else {
                next = next.min(at);
            }
        }
        // Many leases that were made one after the other are still extended together.
        self.look_at = next.max(now.after(self.ping_interval / 4));
        due
    }

    /// An extension came back: the lease ends then, or as before when that is not known.
    pub(super) fn extended(
        &mut self,
        token: &LeaseToken,
        until: Option<Timestamp>,
    ) -> Option<&mut Lease> {
        let lease = self.get_mut(token)?;
        lease.asking = false;
        lease.until = until.unwrap_or(lease.until);
        let until = lease.until;
        self.look_at = self.look_at.min(fresh_until(token, until, self.ping_interval));
        self.ends_at = self.ends_at.min(until);
        self.get_mut(token)
    }

    /// The lease of this job.
    pub(super) fn of_job(&self, name: &JobName) -> Option<&Arc<LeaseToken>> {
        self.leases.get(name).map(|lease| &lease.token)
    }

    /// No lease ends before this moment, if none is extended.
    pub(super) fn next_end(&self) -> Timestamp {
        self.ends_at
    }

    /// The leases that have ended, as far as is known. They are looked at again after `pause`.
    pub(super) fn ended(&mut self, now: Timestamp, pause: Duration) -> Vec<Arc<LeaseToken>> {
        let mut ended = Vec::new();
        self.ends_at = NEVER;
        for lease in self.leases.values_mut() {
            if lease.until <= now {
                lease.until = now.after(pause);
                ended.push(Arc::clone(&lease.token));
            }
            self.ends_at = self.ends_at.min(lease.until);
        }
        ended
    }

    /// All of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Lease> {
        self.leases.drain().map(|(_, lease)| lease)
    }

    /// True when nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }
}

/// How long a lease is extended.
fn reach(token: &LeaseToken, ping_interval: Duration) -> Duration {
    token.lease_duration.max(ping_interval * PINGS)
}

/// When a third of the time of a lease that ends at `until` has passed.
fn fresh_until(token: &LeaseToken, until: Timestamp, ping_interval: Duration) -> Timestamp {
    until.before(reach(token, ping_interval) * 2 / 3)
}

/// When the attempt must end.
fn attempt_end(token: &LeaseToken) -> Timestamp {
    token.leased_at.after(token.attempt_timeout)
}

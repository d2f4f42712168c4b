//! The gates of a claim: pause, the limit of leased jobs, the rate limit.

use super::row::{integer, time};
use crate::clock::Timestamp;
use crate::job::QueueSettings;
use crate::job::queue::RateLimit;
use crate::store::Gate;

/// What a queue's settings say about claims, and where its rate limit stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates {
    /// The revision of the settings; 0: nobody set the queue up.
    pub(super) revision: u64,
    /// The theoretical arrival time of the rate limit, in microseconds.
    pub(super) tat: i64,
    paused: bool,
    max_leased: Option<i64>,
    rate: Option<Rate>,
}

impl Gates {
    /// The gates of these settings, with the rate limit where `tat` says.
    pub(super) fn of(settings: &QueueSettings, tat: i64) -> Self {
        Self {
            revision: settings.revision,
            tat,
            paused: settings.paused,
            max_leased: settings.most_leased().map(i64::from),
            rate: settings.rate_limit.map(Rate::of),
        }
    }

    /// How many jobs may be leased now, besides those that are.
    pub(super) fn room(&self, leased: i64, now: Timestamp) -> usize {
        if self.paused {
            return 0;
        }
        let slots = self.max_leased.map(|most| most - leased);
        let permits = self.rate.map(|rate| rate.permits(self.tat, now));
        let room = slots.into_iter().chain(permits).min().unwrap_or(i64::MAX);
        usize::try_from(room.max(0)).unwrap_or(usize::MAX)
    }

    /// So many jobs were leased.
    pub(super) fn pass(&mut self, jobs: usize, now: Timestamp) {
        if let Some(rate) = self.rate {
            self.tat = rate.spend(self.tat, jobs, now);
        }
    }

    /// What keeps `ready` jobs back while others are leased. A pause is told of even if there are
    /// none, as it is what whoever waits should know.
    pub(super) fn shut(&self, ready: i64, leased: i64, now: Timestamp) -> Option<Gate> {
        if self.paused {
            return Some(Gate::Paused);
        }
        if ready == 0 {
            return None;
        }
        if self.is_full(leased) {
            return Some(Gate::Full);
        }
        let rate = self.rate.filter(|rate| rate.permits(self.tat, now) == 0)?;
        Some(Gate::Limited { until: rate.next(self.tat, now) })
    }

    /// True when no more jobs may be leased until one fewer is.
    pub(super) fn is_full(&self, leased: i64) -> bool {
        self.max_leased.is_some_and(|most| leased >= most)
    }
}

/// A rate limit by the generic cell rate algorithm, virtual scheduling (ITU-T I.371, annex A): a
/// lease conforms while `tat <= now + tolerance`, and puts `tat` one interval after the later of
/// itself and now. The same as in `lua/gates.lua`. All times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    /// Between two leases at the full rate.
    interval: i64,
    /// How far ahead of the full rate leases may be: a burst less the lease at hand.
    tolerance: i64,
}

impl Rate {
    fn of(limit: RateLimit) -> Self {
        let interval = i64::try_from(limit.interval_micros()).unwrap_or(i64::MAX);
        let tolerance = interval.saturating_mul(i64::from(limit.burst.max(1)) - 1);
        Self { interval, tolerance }
    }

    /// Where `tat` stands now. What a slower limit or a clock that was ahead left behind is no more
    /// than this limit used up.
    fn current(self, tat: i64, now: i64) -> i64 {
        tat.clamp(now, now.saturating_add(self.tolerance).saturating_add(self.interval))
    }

    /// How many leases conform now.
    fn permits(self, tat: i64, now: Timestamp) -> i64 {
        let now = micros(now);
        let ahead = self.current(tat, now) - now;
        if ahead > self.tolerance { 0 } else { (self.tolerance - ahead) / self.interval + 1 }
    }

    /// `tat` after so many leases.
    fn spend(self, tat: i64, leases: usize, now: Timestamp) -> i64 {
        let leases = i64::try_from(leases).unwrap_or(i64::MAX);
        if leases == 0 {
            return tat;
        }
        self.current(tat, micros(now)).saturating_add(self.interval.saturating_mul(leases))
    }

    /// The first millisecond at which a lease conforms.
    fn next(self, tat: i64, now: Timestamp) -> Timestamp {
        let next = self.current(tat, micros(now)).saturating_sub(self.tolerance);
        time(next.saturating_add(999) / 1000)
    }
}

fn micros(moment: Timestamp) -> i64 {
    integer(moment).saturating_mul(1000)
}

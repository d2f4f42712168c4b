//! How much one principal may call: calls a second, and streams and waits under way.
//!
//! Limits hold on each broker by itself. A principal without limits costs one comparison.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use serde::Deserialize;

use super::principal::Principal;
use crate::clock::Clock;

/// Principals whose use is kept in mind before those are forgotten that have used nothing lately.
const MOST_ACCOUNTS: usize = 10_000;

/// The largest number that makes sense.
const MOST: u32 = 1_000_000;

/// How much a principal may call; what is `None` is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Calls a second.
    pub calls_per_second: Option<u32>,
    /// Calls at once after a pause; a second's worth of calls unless it is set.
    pub burst: Option<u32>,
    /// Streams and waiting calls under way.
    pub streams: Option<u32>,
}

impl Limits {
    /// Refuses what makes no sense: which limit, and why, as the rest of a sentence.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let all = [
            ("calls_per_second", self.calls_per_second),
            ("burst", self.burst),
            ("streams", self.streams),
        ];
        for (name, limit) in all {
            if limit.is_some_and(|limit| limit == 0 || limit > MOST) {
                return Err((name, format!("must be from 1 to {MOST}")));
            }
        }
        if self.burst.is_some() && self.calls_per_second.is_none() {
            return Err(("burst", "needs calls_per_second beside it".to_owned()));
        }
        Ok(())
    }

    /// These limits, and where there is none that of `others`.
    #[must_use]
    fn or(self, others: Self) -> Self {
        let (calls_per_second, burst) = match self.calls_per_second {
            Some(_) => (self.calls_per_second, self.burst),
            None => (others.calls_per_second, others.burst),
        };
        Self { calls_per_second, burst, streams: self.streams.or(others.streams) }
    }

    fn quota(&self) -> Option<Quota> {
        let rate = NonZeroU32::new(self.calls_per_second?)?;
        let burst = self.burst.and_then(NonZeroU32::new);
        Some(Quota::per_second(rate).allow_burst(burst.unwrap_or(rate)))
    }
}

/// Why a call is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The principal calls too often; after so long it may again.
    Calls {
        /// Calls a second that it may make.
        limit: u32,
        /// How long to wait.
        wait: Duration,
    },
    /// Too many streams and waits are under way.
    Streams {
        /// How many there may be.
        limit: u32,
    },
}

/// What all principals have used.
pub(super) struct Accounts {
    usual: Limits,
    table: Mutex<HashMap<Arc<str>, Arc<Account>>>,
}

/// What one principal has used.
struct Account {
    limits: Limits,
    rate: Option<RateLimiter<NotKeyed, InMemoryState, Time, NoOpMiddleware<Duration>>>,
    streams: Arc<AtomicU32>,
}

/// A stream or wait under way, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Accounts {
    /// `usual` holds for whoever has no limits of its own.
    pub(super) fn new(usual: Limits) -> Self {
        Self { usual, table: Mutex::default() }
    }

    /// Counts a call of a principal; a stream or wait holds its place until that is dropped.
    pub(super) fn count(
        &self,
        principal: &Principal,
        is_long: bool,
        clock: &Clock,
    ) -> Result<Option<Place>, Excess> {
        let limits = principal.limits().or(self.usual);
        if limits == Limits::default() {
            return Ok(None);
        }
        let account = self.account(principal, limits, clock);
        if let Some(rate) = &account.rate
            && let Err(early) = rate.check()
        {
            let limit = limits.calls_per_second.unwrap_or_default();
            return Err(Excess::Calls { limit, wait: early.wait_time_from(rate.clock().now()) });
        }
        match limits.streams {
            Some(limit) if is_long => {
                let room = |open: u32| (open < limit).then_some(open + 1);
                let taken = account.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
                taken.map_err(|_| Excess::Streams { limit })?;
                Ok(Some(Place(Arc::clone(&account.streams))))
            }
            _ => Ok(None),
        }
    }

    fn account(&self, principal: &Principal, limits: Limits, clock: &Clock) -> Arc<Account> {
        let mut table = self.table.lock();
        let known = table.get(principal.name());
        if let Some(known) = known
            && known.limits == limits
        {
            return Arc::clone(known);
        }
        // Other limits than before: what is open stays counted.
        let streams = known.map(|known| Arc::clone(&known.streams)).unwrap_or_default();
        let quota = limits.quota();
        let rate = quota.map(|quota| RateLimiter::direct_with_clock(quota, Time(clock.clone())));
        let account = Arc::new(Account { limits, rate, streams });
        if table.len() >= MOST_ACCOUNTS {
            table.retain(|_, account| !account.is_idle());
        }
        table.insert(Arc::clone(principal.shared_name()), Arc::clone(&account));
        account
    }
}

impl Account {
    /// True when forgetting it changes nothing.
    fn is_idle(&self) -> bool {
        let is_full = |quota: Quota| {
            let rate = self.rate.as_ref();
            // It counts these, but is about to be forgotten if there are that many.
            rate.is_none_or(|rate| matches!(rate.check_n(quota.burst_size()), Ok(Ok(()))))
        };
        self.streams.load(Ordering::Acquire) == 0 && self.limits.quota().is_none_or(is_full)
    }
}

/// The clock of the broker, as limits read it.
#[derive(Clone, Debug)]
struct Time(Clock);

impl GovernorClock for Time {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now().as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    const FEW: Limits = Limits { calls_per_second: Some(2), burst: Some(3), streams: Some(1) };

    fn principal(name: &str) -> Principal {
        Principal::new(name, Vec::new())
    }

    #[test]
    fn a_burst_is_followed_by_so_many_calls_a_second() {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let accounts = Accounts::new(FEW);
        let call = |name| accounts.count(&principal(name), false, &clock).map(|_| ());
        for _ in 0..3 {
            call("one").unwrap();
        }
        let wait = Duration::from_millis(500);
        assert_eq!(call("one"), Err(Excess::Calls { limit: 2, wait }));
        call("other").unwrap();
        clock.advance(wait);
        call("one").unwrap();
        assert!(call("one").is_err());
    }

    #[test]
    fn a_stream_holds_its_place_until_it_ends() {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let accounts = Accounts::new(Limits { streams: Some(1), ..Limits::default() });
        let open = |name| accounts.count(&principal(name), true, &clock);
        let place = open("one").unwrap();
        assert_eq!(open("one").unwrap_err(), Excess::Streams { limit: 1 });
        assert!(accounts.count(&principal("one"), false, &clock).is_ok());
        let _others = open("other").unwrap();
        drop(place);
        assert!(open("one").unwrap().is_some());
    }

    #[test]
    fn limits_of_its_own_count_before_the_usual_ones_and_what_is_open_stays_counted() {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let accounts = Accounts::new(FEW);
        let _open = accounts.count(&principal("one"), true, &clock).unwrap();
        let own = |streams| {
            principal("one").limited(Limits { streams: Some(streams), ..Limits::default() })
        };
        assert!(accounts.count(&own(1), true, &clock).is_err());
        assert!(accounts.count(&own(2), true, &clock).is_ok());
    }

    #[test]
    fn whoever_used_nothing_lately_is_forgotten() {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let accounts = Accounts::new(FEW);
        let mut open = Vec::new();
        for number in 0..MOST_ACCOUNTS {
            let busy = number % 2 == 0;
            let place = accounts.count(&principal(&number.to_string()), busy, &clock).unwrap();
            open.extend(place);
        }
        clock.advance(Duration::from_secs(10));
        accounts.count(&principal("late"), false, &clock).unwrap();
        assert_eq!(accounts.table.lock().len(), MOST_ACCOUNTS / 2 + 1);
    }

    #[test]
    fn nobody_is_counted_without_limits() {
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let accounts = Accounts::new(Limits::default());
        assert!(accounts.count(&principal("one"), true, &clock).unwrap().is_none());
        assert!(accounts.table.lock().is_empty());
    }
}

//! Time: [`Timestamp`], and the [`Clock`] that is the only reader of it.
//!
//! A broker never decides anything by its own wall clock. It anchors a monotonic clock to the
//! time of its store ([`Clock::anchor`], about once a second), so all brokers of a store share one
//! timeline and a skewed or jumping host clock changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// A moment, in milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A moment that a library tells in the host's terms; one before the epoch becomes the epoch.
    pub fn of(time: SystemTime) -> Self {
        Self(millis(time.duration_since(UNIX_EPOCH).unwrap_or_default()))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment plus `span`, capped at the end of representable time.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This moment less `span`, capped at the epoch.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A span in whole milliseconds, capped at what fits.
pub fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The clock of a broker; cheap to clone, all clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// Runs by itself from `origin`; `offset` is the store's time at `origin`, in milliseconds.
    Anchored { origin: Instant, offset: AtomicI64 },
    /// Moves only when a test says so.
    Manual(watch::Sender<Timestamp>),
}

impl Clock {
    /// A clock that runs by itself, anchored to `store_time`.
    #[expect(clippy::disallowed_methods, reason = "the one reader of monotonic time")]
    pub fn anchored(store_time: Timestamp) -> Self {
        let offset = AtomicI64::new(signed(store_time));
        Self(Arc::new(Source::Anchored { origin: Instant::now(), offset }))
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual(watch::Sender::new(start))))
    }

    /// True when it moves only by hand.
    pub fn is_manual(&self) -> bool {
        matches!(*self.0, Source::Manual(_))
    }

    /// The present moment on the store's timeline.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Source::Anchored { origin, offset } => {
                let running = i64::try_from(origin.elapsed().as_millis()).unwrap_or(i64::MAX);
                let millis = running.saturating_add(offset.load(Ordering::Relaxed));
                Timestamp(u64::try_from(millis).unwrap_or(0))
            }
            Source::Manual(now) => *now.borrow(),
        }
    }

    /// Corrects the clock: the store said `store_time` just now. A manual clock ignores it.
    pub fn anchor(&self, store_time: Timestamp) {
        if let Source::Anchored { origin, offset } = &*self.0 {
            let running = i64::try_from(origin.elapsed().as_millis()).unwrap_or(i64::MAX);
            offset.store(signed(store_time).saturating_sub(running), Ordering::Relaxed);
        }
    }

    /// Moves a manual clock; an anchored clock ignores it.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual(now) = &*self.0 {
            now.send_modify(|now| *now = now.after(span));
        }
    }

    /// Returns once the clock shows `moment` or later.
    pub async fn sleep_until(&self, moment: Timestamp) {
        match &*self.0 {
            Source::Anchored { .. } => {
                // The anchor may move while this sleeps, so look again before returning.
                while self.now() < moment {
                    Self::pause(moment.since(self.now())).await;
                }
            }
            Source::Manual(now) => {
                let mut changes = now.subscribe();
                // The sender lives in `self`, so this ends only when the moment has come.
                let _closed = changes.wait_for(|now| *now >= moment).await;
            }
        }
    }

    /// Waits `span` of real time, whatever the store's timeline does: for retries and timeouts.
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    pub async fn pause(span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// How long something takes in real time, for measurements; nothing is decided by it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[expect(clippy::disallowed_methods, reason = "the one reader of monotonic time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since its beginning.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The host's own clock: the timeline of a store that lives inside this process.
#[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
pub fn host_time() -> Timestamp {
    Timestamp::of(SystemTime::now())
}

fn signed(moment: Timestamp) -> i64 {
    i64::try_from(moment.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_on_a_manual_clock_wakes_when_its_moment_comes() {
        let clock = Clock::manual(Timestamp::from_millis(1_000));
        let sleeper = {
            let clock = clock.clone();
            async move {
                clock.sleep_until(Timestamp::from_millis(1_500)).await;
                clock.now()
            }
        };
        let mover = async {
            clock.advance(Duration::from_millis(499));
            tokio::task::yield_now().await;
            clock.advance(Duration::from_millis(1));
        };
        let (woken_at, ()) = tokio::join!(sleeper, mover);
        assert_eq!(woken_at, Timestamp::from_millis(1_500));
    }

    #[test]
    fn anchoring_moves_the_clock_to_the_time_of_the_store() {
        let clock = Clock::anchored(Timestamp::from_millis(5_000));
        clock.anchor(Timestamp::from_millis(1_000_000));
        let now = clock.now().as_millis();
        assert!((1_000_000..1_060_000).contains(&now), "{now}");
    }
}

//! The one timer of a stream.

use futures_util::future::BoxFuture;

use crate::clock::{Clock, Timestamp};

/// Goes off at the earliest moment that was asked for, or before: who hears it looks at the clock
/// and asks again. So a moment that moves on, as most do, costs nothing.
pub(super) struct Alarm {
    clock: Clock,
    armed: Option<(Timestamp, BoxFuture<'static, ()>)>,
}

impl Alarm {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, armed: None }
    }

    /// Shall go off by `at`.
    pub(super) fn set(&mut self, at: Timestamp) {
        if self.armed.as_ref().is_some_and(|(armed, _)| *armed <= at) {
            return;
        }
        let clock = self.clock.clone();
        self.armed = Some((at, Box::pin(async move { clock.sleep_until(at).await })));
    }

    /// Returns when it goes off. Cancel-safe: it stays armed.
    pub(super) async fn rings(&mut self) {
        match &mut self.armed {
            Some((_, sleeping)) => sleeping.await,
            None => std::future::pending().await,
        }
        self.armed = None;
    }
}

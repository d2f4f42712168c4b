//! The pauses before a broken stream is opened again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::Error;

/// The bounds of the pauses; each is random below.
const BOUNDS: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(250))
    .with_max_delay(Duration::from_secs(20))
    .with_factor(2.0)
    .without_max_times();

#[derive(Debug)]
pub(crate) struct Pauses(ExponentialBackoff);

impl Pauses {
    pub(crate) fn new() -> Self {
        Self(BOUNDS.build())
    }

    /// Full jitter, so that the clients of a broker that restarts do not all come at once.
    pub(crate) fn next(&mut self, error: &Error) -> Duration {
        let bound = self.0.next().unwrap_or_default();
        bound.mul_f64(fastrand::f64()).max(error.retry_after().unwrap_or_default())
    }
}

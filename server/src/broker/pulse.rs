//! The pulse: the store is asked the time about once a second, which keeps the clock on its
//! timeline and tells whether it answers at all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Error, Result};
use crate::clock::Clock;
use crate::store::Store;

/// How often the store is asked. Between two answers the clock runs on the host's oscillator,
/// whose drift over this span is far below a millisecond.
const PERIOD: Duration = Duration::from_secs(1);

/// Every so many beats, and until it answers again, the store is asked for its epoch too: a write,
/// so that a store which only reads is told from a sound one.
const BEATS_PER_EPOCH: u64 = 5;

/// A store that needs longer does not serve anybody.
const PATIENCE: Duration = Duration::from_secs(2);

/// The task that takes the pulse.
pub struct Pulse {
    store: Arc<dyn Store>,
    clock: Clock,
    told: watch::Sender<Result<()>>,
}

/// The task, and what it tells: whether the store takes writes. Until the first answer it doesn't.
pub fn pair(store: Arc<dyn Store>, clock: Clock) -> (watch::Receiver<Result<()>>, Pulse) {
    let unknown = Err(Error::Unavailable("the store has not been asked yet".to_owned()));
    let (told, telling) = watch::channel(unknown);
    (telling, Pulse { store, clock, told })
}

impl Pulse {
    /// Takes the pulse until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let beating = async {
            for beat in 0.. {
                let thorough = beat % BEATS_PER_EPOCH == 0 || self.told.borrow().is_err();
                let answer = tokio::time::timeout(PATIENCE, self.ask(thorough)).await;
                let late = || Error::Unavailable(format!("no answer within {PATIENCE:?}"));
                let _before = self.told.send_replace(answer.unwrap_or_else(|_| Err(late())));
                Clock::pause(PERIOD).await;
            }
        };
        stop.run_until_cancelled(beating).await;
    }

    async fn ask(&self, thorough: bool) -> Result<()> {
        // A store that is away leaves the clock running as it was.
        self.clock.anchor(self.store.time().await?);
        if thorough {
            self.store.epoch().await?;
        }
        Ok(())
    }
}

//! What a store holds, read when somebody asks and remembered for some seconds.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::broker::Broker;
use crate::broker::stock::Holdings;
use crate::clock::{Clock, Stopwatch};

/// How long a reading is good.
const FRESH: Duration = Duration::from_secs(5);

/// A store that needs longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was seen last; cheap to clone, all clones are one.
#[derive(Clone, Default)]
pub struct Stock(Arc<RwLock<Seen>>);

/// What was seen of a broker and its store.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `None`: nobody asked yet, or the store did not answer.
    pub holdings: Option<Arc<Holdings>>,
    /// The store answers and takes writes.
    pub is_up: bool,
    /// The broker shuts down.
    pub is_draining: bool,
    /// Workers that wait for jobs.
    pub waiting: usize,
}

impl Stock {
    /// What was seen last.
    pub fn seen(&self) -> Seen {
        self.0.read().clone()
    }
}

/// Reads what a store holds when somebody asks.
pub struct Stocktaking {
    broker: Broker,
    metrics: Metrics,
    /// Since the last reading; held during one, so that there is one at a time.
    last: Mutex<Option<Stopwatch>>,
}

impl Stocktaking {
    /// For the metrics of `broker`.
    pub fn new(broker: Broker, metrics: Metrics) -> Self {
        Self { broker, metrics, last: Mutex::new(None) }
    }

    /// All metrics in the text format of Prometheus.
    pub async fn scrape(&self) -> String {
        self.refresh().await;
        let metrics = self.metrics.clone();
        // Thousands of series take milliseconds, which calls would wait for.
        let rendering = tokio::task::spawn_blocking(move || metrics.render());
        rendering.await.unwrap_or_default()
    }

    /// Sends all metrics to the collector, each `period` and once more after `stop`.
    pub async fn run(&self, period: Duration, stop: CancellationToken) {
        while stop.run_until_cancelled(Clock::pause(period)).await.is_some() {
            self.export().await;
        }
        self.export().await;
    }

    async fn export(&self) {
        self.refresh().await;
        let metrics = self.metrics.clone();
        let _panicked = tokio::task::spawn_blocking(move || metrics.flush()).await;
    }

    /// Reads what the store holds, if the last reading is too old.
    async fn refresh(&self) {
        let mut last = self.last.lock().await;
        let broker = &self.broker;
        let is_fresh = last.as_ref().is_some_and(|watch| watch.elapsed() < FRESH);
        let holdings = if is_fresh {
            self.metrics.stock().seen().holdings
        } else {
            *last = Some(Stopwatch::start());
            match tokio::time::timeout(PATIENCE, broker.holdings()).await {
                Ok(Ok(holdings)) => Some(Arc::new(holdings)),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "can't read what the store holds");
                    None
                }
                Err(_) => None,
            }
        };
        *self.metrics.stock().0.write() = Seen {
            holdings,
            is_up: broker.health().borrow().is_ok(),
            is_draining: broker.is_draining(),
            waiting: broker.waiting(),
        };
    }
}

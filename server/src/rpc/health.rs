//! `grpc.health.v1.Health`: whether to send this broker work.
//!
//! Ready, under the names `""`, `lessor.v1.JobBroker` and `readiness`: the store takes writes and
//! the broker is not shutting down. Alive, under `liveness`: the process answers; the store has no
//! part in it, for restarting a broker does not mend a store.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::broker::Broker;

const READINESS: [&str; 3] = ["", "lessor.v1.JobBroker", "readiness"];
const LIVENESS: &str = "liveness";

/// Keeps the health service true.
pub(crate) struct Health {
    reporter: HealthReporter,
    broker: Broker,
    ready: watch::Sender<bool>,
}

impl Health {
    /// A health service that says "not ready" until [`run`](Self::run) has heard that the store answers.
    pub(crate) async fn new(broker: Broker) -> Self {
        let health =
            Self { reporter: HealthReporter::new(), broker, ready: watch::Sender::new(false) };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health
    }

    /// What ends the watches of health in the end.
    pub(crate) fn farewell(&self) -> Farewell {
        Farewell(self.reporter.clone())
    }

    /// Whether the broker is ready, for those who ask without gRPC.
    pub(crate) fn readiness(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// What answers health checks.
    pub(super) fn service(&self) -> HealthService {
        HealthService::from_health_reporter(self.reporter.clone())
    }

    /// Follows the broker's pulse until `stop`. When this returns, the broker is told not ready,
    /// and stays so.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut pulse = self.broker.health();
        let mut was_ready = true;
        while matches!(stop.run_until_cancelled(pulse.changed()).await, Some(Ok(()))) {
            let answer = pulse.borrow_and_update().clone();
            let ready = answer.is_ok();
            match answer {
                Ok(()) if !was_ready => tracing::info!("the store answers again"),
                Err(error) if was_ready => tracing::warn!(%error, "the store does not answer"),
                _ => {}
            }
            was_ready = ready;
            self.set(if ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        }
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        self.ready.send_replace(status == ServingStatus::Serving);
        for name in READINESS {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Ends the watches of health.
pub(crate) struct Farewell(HealthReporter);

impl Farewell {
    /// Ends them after their last word, and lets none begin: a watch has no end of its own, and a
    /// connection is not closed before its last stream.
    pub(crate) async fn say(mut self) {
        for name in READINESS.into_iter().chain([LIVENESS]) {
            self.0.clear_service_status(name).await;
        }
    }
}

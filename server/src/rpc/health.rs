//! `grpc.health.v1.Health`: whether to send this broker work.
//!
//! Ready, under the names `""`, `lessor.v1.JobBroker` and `readiness`: the store takes writes and
//! the broker is not shutting down. Alive, under `liveness`: the process answers; the store has no
//! part in it, for restarting a broker does not mend a store.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::broker::{Broker, Error};
use crate::clock::Clock;

const READINESS: [&str; 3] = ["", "lessor.v1.JobBroker", "readiness"];
const LIVENESS: &str = "liveness";

/// How often the store is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// A store that needs longer does not serve anybody.
const PATIENCE: Duration = Duration::from_secs(2);

/// Keeps the health service true.
pub(crate) struct Health {
    reporter: HealthReporter,
    broker: Broker,
}

impl Health {
    /// A health service that says "not ready" until [`run`](Self::run) has asked the store.
    pub(crate) async fn new(broker: Broker) -> Self {
        let health = Self { reporter: HealthReporter::new(), broker };
        health.set(ServingStatus::NotServing).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        health
    }

    /// What answers health checks.
    pub(super) fn service(&self) -> HealthService {
        HealthService::from_health_reporter(self.reporter.clone())
    }

    /// Asks the store about once a second until `stop`. When this returns, the broker is told not
    /// ready, and stays so.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut was_ready = true;
        loop {
            let Some(answer) = stop.run_until_cancelled(self.ask()).await else { break };
            let ready = answer.is_ok();
            match answer {
                Ok(()) if !was_ready => tracing::info!("the store answers again"),
                Err(error) if was_ready => tracing::warn!(%error, "the store does not answer"),
                _ => {}
            }
            was_ready = ready;
            self.set(if ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
            if stop.run_until_cancelled(Clock::pause(PERIOD)).await.is_none() {
                break;
            }
        }
        self.set(ServingStatus::NotServing).await;
    }

    async fn ask(&self) -> Result<(), Error> {
        match tokio::time::timeout(PATIENCE, self.broker.status()).await {
            Ok(status) => status.map(drop),
            Err(_) => Err(Error::Unavailable(format!("no answer within {PATIENCE:?}"))),
        }
    }

    async fn set(&self, status: ServingStatus) {
        for name in READINESS {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

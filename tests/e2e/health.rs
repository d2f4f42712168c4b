//! The health check: ready while the store takes writes, alive as long as the process is.

use std::time::Duration;

use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::on_every_store;
use crate::redis::RedisServer;
use crate::refusal::Refusal;
use crate::server::{Server, Store, lease, request};

on_every_store! {
    a_broker_with_a_store_is_ready,
    a_service_that_there_is_not_is_not_found,
}

const READINESS: [&str; 3] = ["", "lessor.v1.JobBroker", "readiness"];

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// Waits until the broker gives this answer.
pub(crate) async fn wait_for(channel: Channel, service: &str, wanted: ServingStatus) {
    let mut answers = HealthClient::new(channel).watch(of(service)).await.unwrap().into_inner();
    while answers.message().await.unwrap().unwrap().status() != wanted {}
}

async fn check(server: &Server, service: &str) -> ServingStatus {
    let answer = HealthClient::new(server.channel()).check(of(service)).await;
    answer.unwrap().into_inner().status()
}

async fn a_broker_with_a_store_is_ready(server: &mut Server) {
    for service in READINESS {
        wait_for(server.channel(), service, ServingStatus::Serving).await;
        assert_eq!(check(server, service).await, ServingStatus::Serving);
    }
    assert_eq!(check(server, "liveness").await, ServingStatus::Serving);
}

async fn a_service_that_there_is_not_is_not_found(server: &mut Server) {
    let answer = HealthClient::new(server.channel()).check(of("nothing")).await;
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_broker_whose_store_went_away_is_alive_but_not_ready() {
    let redis = RedisServer::start();
    let mut server = Server::start(Store::Redis, redis.url(), "1s").await;
    for service in READINESS {
        wait_for(server.channel(), service, ServingStatus::Serving).await;
    }
    redis.end();
    for service in READINESS {
        wait_for(server.channel(), service, ServingStatus::NotServing).await;
    }
    assert_eq!(check(&server, "liveness").await, ServingStatus::Serving);
    let refusals = [
        Refusal::of(server.broker().enqueue(request("mail")).await),
        Refusal::of(server.broker().lease(lease("mail")).await),
    ];
    for refusal in refusals {
        assert_eq!(
            (refusal.code, refusal.reason.as_str()),
            (Code::Unavailable, "STORE_UNAVAILABLE")
        );
        assert!(refusal.retry_after.is_some_and(|pause| pause > Duration::ZERO));
        assert!(!refusal.message.contains("127.0.0.1"), "{}", refusal.message);
    }
    server.stop();
    server.stopped().await;
}

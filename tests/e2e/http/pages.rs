//! `/livez` and `/readyz`: beside the calls, or on a port of their own.

use http_body_util::Full;
use hyper::{Request, StatusCode};
use lessor_server::config::RawConfig;
use tokio::net::TcpListener;
use tonic_health::pb::health_check_response::ServingStatus;

use super::client::Http;
use crate::health::wait_for;
use crate::on_every_store;
use crate::redis::RedisServer;
use crate::server::{Server, Store, configured_case, request};

on_every_store! {
    a_ready_broker_says_so_over_both_versions_of_http,
}

async fn a_ready_broker_says_so_over_both_versions_of_http(server: &mut Server) {
    wait_for(server.channel(), "readiness", ServingStatus::Serving).await;
    for mut http in Http::both(server.address).await {
        for (path, status, text) in [
            ("/livez", StatusCode::OK, "alive\n"),
            ("/readyz", StatusCode::OK, "ready\n"),
            ("/nothing", StatusCode::NOT_FOUND, ""),
        ] {
            let answer = http.get(path).await;
            assert_eq!((answer.status, answer.text()), (status, text), "{path}");
        }
        assert_eq!(http.get("/readyz").await.header("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn a_broker_whose_store_went_away_is_alive_but_not_ready() {
    let redis = RedisServer::start();
    let mut server = Server::start(Store::Redis, redis.url(), "1s").await;
    wait_for(server.channel(), "readiness", ServingStatus::Serving).await;
    redis.end();
    wait_for(server.channel(), "readiness", ServingStatus::NotServing).await;
    let mut http = Http::one(server.address).await;
    assert_eq!(http.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(http.get("/livez").await.status, StatusCode::OK);
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn a_port_of_their_own_serves_the_pages_and_no_calls() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ops = free.local_addr().unwrap();
    drop(free);
    let raw = RawConfig { ops_listen: Some(ops.to_string()), ..RawConfig::default() };
    configured_case(raw, async |server| {
        wait_for(server.channel(), "readiness", ServingStatus::Serving).await;
        for mut http in Http::both(ops).await {
            assert_eq!(http.get("/livez").await.status, StatusCode::OK);
            assert_eq!(http.get("/readyz").await.status, StatusCode::OK);
        }
        // Nor are they told to a web page whose name leads here.
        let mut deceived = Request::get("/metrics").body(Full::default()).unwrap();
        deceived.headers_mut().insert("host", "evil.example".parse().unwrap());
        let answer = Http::one(ops).await.ask(deceived).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        for mut http in Http::both(server.address).await {
            assert_eq!(http.get("/readyz").await.status, StatusCode::NOT_FOUND);
        }
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{ops}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut there = lessor_proto::v1::job_broker_client::JobBrokerClient::new(channel);
        assert!(there.enqueue(request("mail")).await.is_err());
    })
    .await;
}

//! What a broker tells of itself over plain HTTP: to a kubelet, a load balancer, a person with curl.
//!
//! These pages need no credentials. They are served on the port of the calls, or on one of their
//! own (`ops_listen`) and then only there.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{StatusCode, header};
use tokio::sync::watch;

use crate::telemetry::metrics::Stocktaking;

/// The text format of Prometheus.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const NOT_READY: &str = "not ready: the store takes no writes, or the broker is shutting down\n";

/// `/livez`: the process answers. `/readyz`: it takes calls, as `grpc.health.v1` says of `readiness`.
/// `/metrics`: numbers for Prometheus.
pub(crate) fn router(ready: watch::Receiver<bool>, stocktaking: Arc<Stocktaking>) -> Router {
    let readyz = move || {
        let is_ready = *ready.borrow();
        async move {
            if is_ready {
                page(StatusCode::OK, "ready\n")
            } else {
                page(StatusCode::SERVICE_UNAVAILABLE, NOT_READY)
            }
        }
    };
    Router::new()
        .route("/livez", get(|| async { page(StatusCode::OK, "alive\n") }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(move || metrics(stocktaking)))
}

async fn metrics(stocktaking: Arc<Stocktaking>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], stocktaking.scrape().await)
}

fn page(status: StatusCode, text: &'static str) -> impl IntoResponse {
    // A cached answer would be a wrong one.
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, text)
}

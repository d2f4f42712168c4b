//! What the protocol promises, kept over real gRPC: one file per promise.
//!
//! Each case is a function over a [`server::Server`] and runs against every store. The calls are those of
//! the generated stubs, so nothing stands between a case and the wire.

#![expect(clippy::unwrap_used, reason = "a test that can't go on says where")]

mod redis;
mod refusal;
mod server;

mod attempts;
mod auth;
mod batch;
mod bulk;
mod cancel;
mod client;
mod dedup;
mod enqueue;
mod enqueue_options;
mod errors;
mod gates;
mod health;
mod http;
mod lease;
mod limits;
mod lists;
mod metrics;
mod operate;
mod push;
mod queues;
mod reflection;
mod schedules;
mod settle;
mod shutdown;
mod startup;
mod stats;
mod tls;
mod travel;
mod wait;
mod watch;
mod wire;
mod work;
mod workers;

/// Makes a test per store of each function.
macro_rules! on_every_store {
    ($($case:ident,)+) => {
        $(
            mod $case {
                #[tokio::test]
                async fn redis() {
                    crate::server::case(crate::server::Store::Redis, super::$case).await;
                }

                #[tokio::test]
                async fn sqlite() {
                    crate::server::case(crate::server::Store::Sqlite, super::$case).await;
                }
            }
        )+
    };
}
pub(crate) use on_every_store;

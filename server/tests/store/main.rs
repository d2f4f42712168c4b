//! The conformance suite of the stores. Together with the trait's own text it defines what a store
//! is: one file per method, each promise a case of its own, each case run on every store.
//!
//! Time is an argument of every case and starts at [`fixture::at`]`(0)`. Redis is the real thing,
//! started by the suite; without `redis-server` the cases fail and say so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

use lessor_server::{clock, job, store};

/// Makes `case::sqlite`, `case::sqlite_file`, `case::redis` and `case::redis_cluster` of one body.
macro_rules! every_store {
    ($($(#[$note:meta])* async fn $case:ident($queue:ident: $fixture:ty) $body:block)+) => {$(
        $(#[$note])*
        async fn $case($queue: $fixture) $body

        mod $case {
            use crate::fixture::Queue;

            #[tokio::test]
            async fn sqlite() {
                super::$case(Queue::in_sqlite_memory().await).await;
            }

            #[tokio::test]
            async fn sqlite_file() {
                super::$case(Queue::in_sqlite_file().await).await;
            }

            #[tokio::test]
            async fn redis() {
                super::$case(Queue::in_redis().await).await;
            }

            #[tokio::test]
            async fn redis_cluster() {
                super::$case(Queue::in_redis_cluster().await).await;
            }
        }
    )+};
}

mod fixture;
mod redis_server;

mod batch;
mod cancel;
mod claim;
mod commit;
mod dedup;
mod documents;
mod exhausted;
mod expiry;
mod extend;
mod faults;
mod follow_ups;
mod gates;
mod hand_over;
mod insert;
mod list;
mod log;
mod model;
mod neighbours;
mod overdue;
mod promote;
mod purge;
mod reads;
mod redis_lines;
mod redis_only;
mod redis_pages;
mod redis_sentinel;
mod retention;
mod room;
mod settings;
mod signals;
mod sqlite_only;
mod standing;
mod survey;
mod types;
mod wipe;

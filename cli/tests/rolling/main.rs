//! Three brokers on one Redis are restarted one after the other, under load: nothing is lost, no
//! call fails that follows the advice on retries, and who works keeps its jobs.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

#[path = "../machine/mod.rs"]
mod machine;
#[expect(dead_code, reason = "nothing happens to this Redis")]
#[path = "../machine/redis.rs"]
mod redis;
#[expect(dead_code, reason = "some calls are not needed here")]
#[path = "../machine/wire.rs"]
mod wire;

mod balancer;
mod fleet;
mod held;
mod ledger;
mod load;
mod plain;

use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lessor::{Client, JobQuery, JobState};
use tokio_util::sync::CancellationToken;

use crate::balancer::Balancer;
use crate::fleet::Fleet;
use crate::held::Held;
use crate::ledger::Book;
use crate::redis::Redis;
use crate::wire::PATIENCE;

const BROKERS: usize = 3;
const QUEUES: [&str; 4] = [load::SDK, load::PLAIN, held::ON_STREAM, held::BY_CALLS];

/// What the load does between two restarts at least.
const STRETCH: usize = 200;

#[tokio::test]
async fn a_rolling_restart_loses_nothing_and_fails_no_call() {
    let redis = Redis::start(&[]).await;
    let mut fleet = Fleet::start(BROKERS, &redis).await;
    let balancer = Balancer::before(&fleet.backends).await;
    join_all((0..BROKERS).map(|broker| balancer.knows(broker))).await;
    let url = balancer.url();

    let (book, shutdown) = (Book::default(), CancellationToken::new());
    let restarting = async {
        let held = Held::begin(&url, &book).await;
        for broker in 0..BROKERS {
            book.goes_on(STRETCH).await;
            fleet.restart(broker).await;
            balancer.knows(broker).await;
            held.beat().await;
        }
        book.goes_on(STRETCH).await;
        held.end(&book).await;
        book.close();
    };
    let loading = async {
        tokio::join!(load::produce(&url, &book), restarting);
        book.all_done().await;
        shutdown.cancel();
    };
    let run = async { tokio::join!(loading, load::work(&url, &book, &shutdown)) };
    let ended = tokio::time::timeout(PATIENCE, Box::pin(run)).await.is_ok();
    assert!(ended, "the run does not come to its end: {}", book.summary());
    verify(&url, &book).await;
}

/// Compares the store with what clients were told.
async fn verify(url: &str, book: &Book) {
    let client = Client::connect(url).unwrap();
    let mut runs = book.jobs();
    for queue in QUEUES {
        let mut jobs = pin!(client.jobs(JobQuery::queue(queue)));
        while let Some(job) = jobs.next().await {
            let job = job.unwrap();
            let runs = runs.remove(&job.name);
            let runs = runs.unwrap_or_else(|| panic!("nobody was told of {}", job.name));
            assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
            // No lease was lost. A delivery that was not received goes back, and does not count.
            assert_eq!((job.attempt, job.lease_expired_count), (1, 0), "{job:?}");
            assert!(runs <= job.delivery_count, "{runs} runs: {job:?}");
        }
    }
    assert!(runs.is_empty(), "lost: {runs:?}");
    eprintln!("{}", book.summary());
}

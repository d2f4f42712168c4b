//! The load: producers and workers of the Rust client, and callers that have the stubs alone.

use futures_util::future::{join, join_all};
use lessor::{Client, Job, Nack, NewJob, Retention, Worker};
use tokio_util::sync::CancellationToken;

use crate::ledger::Book;
use crate::plain::Caller;

/// Jobs of the Rust client, and of callers without one.
pub(crate) const SDK: &str = "sdk";
pub(crate) const PLAIN: &str = "plain";

/// Of each kind.
const PRODUCERS: usize = 2;
const WORKERS: usize = 2;

/// A job that is kept until it is looked at in the end.
pub(crate) fn kept_job(queue: &str) -> NewJob {
    NewJob::new(queue).retention(Retention::new().succeeded_count(-1))
}

/// Enqueues until there shall be no more.
pub(crate) async fn produce(url: &str, book: &Book) {
    let by_sdk = join_all((0..PRODUCERS).map(|_| async {
        let client = Client::connect(url).unwrap();
        while book.has_room().await {
            let enqueued = client.enqueue(kept_job(SDK)).await.unwrap();
            book.enqueued(enqueued.job.name);
        }
    }));
    let by_stub = join_all((0..PRODUCERS).map(|_| async {
        let caller = Caller::of(url);
        while book.has_room().await {
            caller.enqueue(PLAIN, book).await;
        }
    }));
    join(by_sdk, by_stub).await;
}

/// Works until `shutdown`.
pub(crate) async fn work(url: &str, book: &Book, shutdown: &CancellationToken) {
    let by_sdk = join_all((0..WORKERS).map(|_| async {
        let client = Client::connect(url).unwrap();
        let worker = Worker::builder(client).queue(SDK).concurrency(8).default_handler(run(book));
        worker.build().unwrap().run_until(shutdown.cancelled()).await.unwrap();
    }));
    let by_stub = join_all((0..WORKERS).map(|_| async {
        let caller = Caller::of(url);
        let working = async {
            loop {
                for leased in caller.lease(PLAIN).await {
                    caller.ack(leased, book).await;
                }
            }
        };
        shutdown.run_until_cancelled(Box::pin(working)).await
    }));
    join(by_sdk, by_stub).await;
}

/// Does a job, by noting it down.
fn run(book: &Book) -> impl Fn(Job) -> std::future::Ready<Result<(), Nack>> + Send + Sync + use<> {
    let book = book.clone();
    move |job| {
        book.begun(job.name());
        book.done(job.name());
        std::future::ready(Ok(()))
    }
}

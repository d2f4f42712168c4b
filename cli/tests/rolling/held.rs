//! Jobs that are in progress all the while: one on a stream of the SDK's worker, one leased and
//! extended by calls.

use lessor::proto::LeasedJob;
use lessor::{Client, Job, Nack, Worker};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::Book;
use crate::load::kept_job;
use crate::plain::Caller;
use crate::wire::awaited;

pub(crate) const ON_STREAM: &str = "held-on-stream";
pub(crate) const BY_CALLS: &str = "held-by-calls";

pub(crate) struct Held {
    caller: Caller,
    leased: LeasedJob,
    name: String,
    done: CancellationToken,
    workers: JoinSet<lessor::Result<()>>,
    shutdown: CancellationToken,
}

impl Held {
    /// Begins both jobs.
    pub(crate) async fn begin(url: &str, book: &Book) -> Self {
        let client = Client::connect(url).unwrap();
        let name = client.enqueue(kept_job(ON_STREAM)).await.unwrap().job.name;
        book.enqueued(name.clone());
        let (begun, done) = (CancellationToken::new(), CancellationToken::new());
        let shutdown = CancellationToken::new();
        let handler = {
            let (book, begun, done) = (book.clone(), begun.clone(), done.clone());
            move |job: Job| {
                book.begun(job.name());
                begun.cancel();
                let done = done.clone();
                async move {
                    done.cancelled().await;
                    Ok::<_, Nack>(())
                }
            }
        };
        let worker = Worker::builder(client).queue(ON_STREAM).default_handler(handler);
        let (worker, told) = (worker.build().unwrap(), shutdown.clone());
        let mut workers = JoinSet::new();
        workers.spawn(async move { worker.run_until(told.cancelled()).await });
        awaited(begun.cancelled()).await;

        let caller = Caller::of(url);
        caller.enqueue(BY_CALLS, book).await;
        let leased = caller.lease(BY_CALLS).await.remove(0);
        Self { caller, leased, name, done, workers, shutdown }
    }

    /// Sends the heartbeat of the one that is held by calls; that of the other is the worker's.
    pub(crate) async fn beat(&self) {
        self.caller.extend(&self.leased.lease_token).await;
    }

    /// Finishes both.
    pub(crate) async fn end(mut self, book: &Book) {
        self.caller.ack(self.leased, book).await;
        self.done.cancel();
        self.shutdown.cancel();
        awaited(self.workers.join_next()).await.unwrap().unwrap().unwrap();
        book.done(&self.name);
    }
}

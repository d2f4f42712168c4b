//! What the scenarios share: a broker, a queue of one's own, workers that end with their test.

use std::time::Duration;

use lessor::proto::Job as Message;
use lessor::{
    Client, Event, EventType, Job, JobState, Json, NewJob, WatchOptions, Worker, WorkerBuilder,
};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::machine::broker::Broker;
use crate::machine::pause;

/// Far more than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest lease there is.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// The broker of all scenarios that do not hurt theirs.
static BROKER: OnceCell<Broker> = OnceCell::const_new();

pub(crate) async fn broker() -> &'static Broker {
    let start = || Broker::start(&["--listen", "127.0.0.1:0", "--store", "sqlite::memory:"]);
    BROKER.get_or_init(start).await
}

/// A client of the common broker, and a queue of one's own.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) queue: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at(&broker().await.url())
    }

    pub(crate) fn at(url: &str) -> Self {
        let client = Client::connect(url).unwrap();
        Self { client, queue: format!("q-{:016x}", fastrand::u64(..)) }
    }

    pub(crate) fn job(&self, job_type: &str) -> NewJob {
        NewJob::new(&self.queue).job_type(job_type)
    }

    /// Enqueues a job of this type; its name.
    pub(crate) async fn enqueue(&self, job_type: &str) -> String {
        self.enqueued(self.job(job_type)).await
    }

    pub(crate) async fn enqueued(&self, job: NewJob) -> String {
        self.client.enqueue(job).await.unwrap().job.name
    }

    pub(crate) async fn job_of(&self, name: &str) -> Message {
        self.client.get_job(name).await.unwrap()
    }

    /// The job when it has ended.
    pub(crate) async fn ended(&self, name: &str) -> Message {
        let reply = self.client.wait_job(name, &[], PATIENCE).await.unwrap();
        let job = reply.job.unwrap();
        assert!(reply.reached, "{name} is still {:?}: {job:?}", job.state());
        job
    }

    /// The job, which must succeed by its first attempt.
    pub(crate) async fn succeeded_at_once(&self, name: &str) -> Message {
        let job = self.ended(name).await;
        let counts = (job.state(), job.attempt, job.delivery_count);
        assert_eq!(counts, (JobState::Succeeded, 1, 1), "{job:?}");
        job
    }

    /// Waits for an event of a job, which may have come already.
    pub(crate) async fn until(&self, name: &str, what: EventType) -> Event {
        let options = WatchOptions::queues([&self.queue]).oldest();
        let mut watch = self.client.watch(options).await.unwrap();
        let find = async {
            loop {
                let page = watch.next().await.unwrap().unwrap();
                let mut events = page.events.into_iter();
                if let Some(event) = events.find(|it| it.job == name && it.r#type() == what) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, find).await.unwrap_or_else(|_| panic!("{name}: no {what:?}"))
    }

    /// A worker of the queue.
    pub(crate) fn worker(&self) -> WorkerBuilder {
        self.worker_by(self.client.clone())
    }

    pub(crate) fn worker_by(&self, client: Client) -> WorkerBuilder {
        Worker::builder(client).queue(&self.queue)
    }

    /// A worker whose leases are as short as may be.
    pub(crate) fn brisk_worker(&self) -> WorkerBuilder {
        self.worker().lease_duration(LEASE)
    }
}

/// The result of a job, as JSON.
pub(crate) fn result(job: &Message) -> serde_json::Value {
    serde_json::from_slice(&lessor::payload::read(job.result.as_ref().unwrap())).unwrap()
}

/// A worker that works until it is stopped, or until the test ends.
pub(crate) struct Working {
    shutdown: CancellationToken,
    _end: DropGuard,
    task: JoinHandle<lessor::Result<()>>,
}

pub(crate) fn start(builder: WorkerBuilder) -> Working {
    run(builder.build().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "it ends with the test")]
pub(crate) fn run(worker: Worker) -> Working {
    let shutdown = CancellationToken::new();
    let told = shutdown.clone();
    let task = tokio::spawn(async move { worker.run_until(told.cancelled()).await });
    Working { _end: shutdown.clone().drop_guard(), shutdown, task }
}

impl Working {
    /// Tells it to end.
    pub(crate) fn drain(&self) {
        self.shutdown.cancel();
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> lessor::Result<()> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the worker does not end").unwrap()
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        self.drain();
        self.ended().await.unwrap();
    }
}

/// A handler that says when it begins, and goes on when it is let.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    began: CancellationToken,
    open: CancellationToken,
}

impl Gate {
    /// Waits at the gate. Answers how often the job was leased.
    pub(crate) async fn pass(self, job: Job) -> lessor::Result<i32> {
        // Once this is answered, the broker counts on us.
        job.progress(1.0, "at the gate").await?;
        self.began.cancel();
        self.open.cancelled().await;
        Ok(job.message().delivery_count)
    }

    pub(crate) async fn reached(&self) {
        let reached = tokio::time::timeout(PATIENCE, self.began.cancelled()).await;
        reached.expect("no job came to the gate");
    }

    pub(crate) fn open(&self) {
        self.open.cancel();
    }

    pub(crate) fn handler(
        &self,
    ) -> impl Fn(Job) -> std::pin::Pin<Box<dyn Future<Output = lessor::Result<i32>> + Send>>
    + Send
    + Sync
    + 'static
    + use<> {
        let gate = self.clone();
        move |job| Box::pin(gate.clone().pass(job))
    }
}

/// Answers with the payload.
pub(crate) async fn echo(
    Json(value): Json<serde_json::Value>,
) -> Result<serde_json::Value, lessor::Nack> {
    Ok(value)
}

/// Does nothing, well.
pub(crate) async fn nothing(_: Job) -> Result<(), lessor::Nack> {
    Ok(())
}

/// Waits for what no event tells.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    const LOOKS: u32 = 1_500;
    for _ in 0..LOOKS {
        if holds().await {
            return;
        }
        pause(Duration::from_millis(20)).await;
    }
    panic!("it did not come to be: {what}");
}

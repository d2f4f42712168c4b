//! Hashes the files it is told to, on nothing but the generated gRPC stubs.
//!
//! Hashing has a thread of its own, so that the heartbeats go on however long a file is. Settings
//! come from the environment: see [`Settings`].

#![expect(clippy::disallowed_methods, reason = "a heartbeat keeps the worker's own time")]

mod digest;

use std::error::Error as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use clap::Parser as _;
use lessor_proto::v1::job_broker_client::JobBrokerClient;
use lessor_proto::v1::nack_request::{Disposition, Retry};
use lessor_proto::v1::{
    AckRequest, ExtendLeaseRequest, Failure, LeaseRequest, LeasedJob, NackRequest, Payload,
    payload::Body,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::digest::{Interrupted, digest};

const BATCH: i32 = 4;
const WAIT: Duration = Duration::from_secs(20);
const CALL: Duration = Duration::from_secs(30);
/// Without a word from the broker for this long, the worker gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// A connection on which nothing comes back for this long is pinged, and lost if that does not help
/// within as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A server that sends many small messages needs room to do so.
const WINDOW: u32 = 16 << 20;

#[derive(clap::Parser)]
struct Settings {
    /// Host and port of the broker.
    #[arg(long, env = "LESSOR_ADDRESS", default_value = "127.0.0.1:7077")]
    address: String,
    /// The queue to take jobs from.
    #[arg(long, env = "DEMO_QUEUE", default_value = "files")]
    queue: String,
    /// Unique for each start of a worker.
    #[arg(long, env = "DEMO_WORKER_ID", default_value_t = format!("rust-{}", uuid::Uuid::new_v4()))]
    worker_id: String,
    /// How long a lease lasts without a heartbeat.
    #[arg(long, env = "DEMO_LEASE_SECONDS", default_value_t = 3.0)]
    lease_seconds: f64,
    /// The number of the job to sit on, counted from 1; 0 is none.
    #[arg(long, env = "DEMO_HOLD_JOB", default_value_t = 0)]
    hold_job: u32,
    /// How long to sit on it.
    #[arg(long, env = "DEMO_HOLD_SECONDS", default_value_t = 3600.0)]
    hold_seconds: f64,
}

#[derive(Clone)]
struct Worker {
    settings: Arc<Settings>,
    client: JobBrokerClient<Channel>,
    stopping: CancellationToken,
}

/// A job this worker has the lease of. Its heartbeats stop when it is dropped.
struct Held {
    leased: LeasedJob,
    lost: Arc<AtomicBool>,
    heartbeat: tokio::task::JoinHandle<()>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

impl Held {
    fn name(&self) -> &str {
        self.leased.job.as_ref().map_or("", |job| &job.name)
    }

    fn token(&self) -> String {
        self.leased.lease_token.clone()
    }
}

impl Worker {
    async fn run(&self) -> anyhow::Result<()> {
        say("ready")?;
        let mut begun = 0;
        while !self.stopping.is_cancelled() {
            for job in self.lease().await? {
                if self.stopping.is_cancelled() {
                    self.release(&job).await?;
                } else {
                    begun += 1;
                    self.work_on(&job, begun == self.settings.hold_job).await?;
                }
            }
        }
        say("stopped")
    }

    /// Waits for jobs. One `request_id` until an answer comes: a lost answer is replayed.
    async fn lease(&self) -> anyhow::Result<Vec<Held>> {
        let request = LeaseRequest {
            queues: vec![self.settings.queue.clone()],
            worker_id: self.settings.worker_id.clone(),
            max_jobs: BATCH,
            lease_duration: Some(prost_types::Duration::try_from(self.lease_duration())?),
            wait: Some(prost_types::Duration::try_from(WAIT)?),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..LeaseRequest::default()
        };
        let answer = retried(|| {
            let (mut client, request) = (self.client.clone(), timed(request.clone(), WAIT + CALL));
            async move { client.lease(request).await }
        });
        let answer = tokio::select! {
            () = self.stopping.cancelled() => return Ok(Vec::new()),
            answer = answer => answer?.into_inner(),
        };
        if let Some(pause) = answer.retry_after {
            let _ = timeout(pause.try_into()?, self.stopping.cancelled()).await;
        }
        Ok(answer.jobs.into_iter().map(|leased| self.hold(leased)).collect())
    }

    /// Starts the heartbeats of a leased job.
    fn hold(&self, leased: LeasedJob) -> Held {
        let lost = Arc::new(AtomicBool::new(false));
        let beats = self.clone().extend_until_lost(leased.lease_token.clone(), Arc::clone(&lost));
        Held { leased, lost, heartbeat: tokio::spawn(beats) }
    }

    async fn extend_until_lost(mut self, token: String, lost: Arc<AtomicBool>) {
        let pause = self.lease_duration() / 3;
        while !lost.load(Ordering::Relaxed) {
            tokio::time::sleep(pause).await;
            let request =
                ExtendLeaseRequest { lease_token: token.clone(), ..ExtendLeaseRequest::default() };
            match self.client.extend_lease(timed(request, pause)).await {
                Ok(answer) if answer.get_ref().drain => self.stopping.cancel(),
                Err(status) if status.code() == Code::FailedPrecondition => {
                    lost.store(true, Ordering::Relaxed);
                }
                // The next beat comes before the lease ends.
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn work_on(&self, job: &Held, hold: bool) -> anyhow::Result<()> {
        if hold {
            say(&format!("holding {}", job.name()))?;
            let hold = Duration::from_secs_f64(self.settings.hold_seconds);
            let _ = timeout(hold, self.stopping.cancelled()).await;
        }
        let task = job.leased.job.as_ref().and_then(|job| job.payload.clone());
        let lost = Arc::clone(&job.lost);
        match tokio::task::spawn_blocking(move || digest(task, &lost)).await? {
            Ok(result) => {
                let data = serde_json::to_vec(&result)?;
                let payload = Payload {
                    body: Some(Body::Data(data.into())),
                    content_type: "application/json".to_owned(),
                    ..Payload::default()
                };
                if self.ack(job, payload).await? {
                    let (size, lines) = (&result["size"], &result["lines"]);
                    say(&format!("done {} {size} bytes, {lines} lines", job.name()))?;
                }
                Ok(())
            }
            Err(Interrupted::LeaseLost) => say(&format!("lost {}", job.name())),
            Err(Interrupted::Failed { code, message }) => {
                say(&format!("failed {} {message}", job.name()))?;
                let failure = Failure { code: code.to_owned(), message, ..Failure::default() };
                self.nack(job, Some(failure), Disposition::Retry(Retry::default())).await
            }
        }
    }

    /// Whether the result was taken. Repeating an ack with the same token is safe.
    async fn ack(&self, job: &Held, result: Payload) -> anyhow::Result<bool> {
        let request =
            AckRequest { lease_token: job.token(), result: Some(result), ..AckRequest::default() };
        let answer = retried(|| {
            let (mut client, request) = (self.client.clone(), timed(request.clone(), CALL));
            async move { client.ack(request).await }
        });
        settled(job, answer.await.map(drop))
    }

    async fn release(&self, job: &Held) -> anyhow::Result<()> {
        self.nack(job, None, Disposition::Release(())).await
    }

    async fn nack(
        &self,
        job: &Held,
        failure: Option<Failure>,
        disposition: Disposition,
    ) -> anyhow::Result<()> {
        let request = NackRequest {
            lease_token: job.token(),
            failure,
            disposition: Some(disposition),
            ..NackRequest::default()
        };
        let answer = retried(|| {
            let (mut client, request) = (self.client.clone(), timed(request.clone(), CALL));
            async move { client.nack(request).await }
        });
        settled(job, answer.await.map(drop)).map(drop)
    }

    fn lease_duration(&self) -> Duration {
        Duration::from_secs_f64(self.settings.lease_seconds)
    }
}

/// Whether the broker took it; a lease that is lost or already settled is no reason to stop.
fn settled(job: &Held, answer: Result<(), Status>) -> anyhow::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(status) if status.code() == Code::FailedPrecondition => {
            say(&format!("lost {} {}", job.name(), status.message()))?;
            Ok(false)
        }
        Err(status) => Err(status.into()),
    }
}

/// Repeats a call while that may help, with growing and jittered pauses.
async fn retried<T, F>(call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let give_up = Instant::now() + PATIENCE;
    let pauses = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter();
    call.retry(pauses).when(|status| may_pass(status) && Instant::now() < give_up).await
}

/// Whether another try may succeed. A status with a source was made on this side of the wire, by no
/// broker: tonic gives a broken connection one of many codes. On both sides it says `CANCELLED` when
/// the time for a call is up.
fn may_pass(status: &Status) -> bool {
    status.source().is_some() || matches!(status.code(), Code::Unavailable | Code::Cancelled)
}

fn timed<T>(message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    request
}

/// One line for whoever watches: the demo reads these.
fn say(line: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}

async fn stop_on_signal(stopping: CancellationToken) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stopping.cancel();
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let stopping = CancellationToken::new();
    tokio::spawn(stop_on_signal(stopping.clone()));
    let channel = Endpoint::from_shared(format!("http://{}", settings.address))?
        .connect_timeout(CALL)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .initial_connection_window_size(WINDOW)
        .connect()
        .await
        .with_context(|| format!("cannot reach the broker at {}", settings.address))?;
    let client = JobBrokerClient::new(channel);
    Worker { settings: Arc::new(settings), client, stopping }.run().await
}

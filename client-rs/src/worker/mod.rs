//! Workers: handlers by job type, run as many at a time as there is room for, until the process
//! shall end.

mod attempt;
mod builder;
mod crew;
mod handler;
mod health;
mod io;
mod job;
mod stop;
mod trace;

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::pause::Pauses;
use crate::work::{WorkEvent, WorkStream};
use crate::{Client, Error, Nack, Result};

use builder::Plan;
use crew::Crew;
use io::Io;

pub use builder::WorkerBuilder;
pub use handler::{ByService, Done, FromJob, Handler, IntoDone, Json};
pub use health::Health;
pub use job::Job;
pub use stop::Stop;

/// Beyond the grace of a handler that was told to stop: the time to give its job back.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs jobs: takes them as they become ready, hands them to the handler of their type, and settles
/// them by what it returns.
///
/// - **Leases are extended by a thread of the worker's own**, which also talks to the broker. A
///   handler that blocks its thread keeps its job and costs no other job its lease, on a runtime of
///   one thread too; there it does keep other handlers from running. Long computations belong into
///   [`tokio::task::spawn_blocking`].
/// - **A handler is told when to stop**: [`Job::stopped`]. It is dropped at its next `await` when it
///   does not heed that within the [`stop_grace`](WorkerBuilder::stop_grace).
/// - **A broken connection** is opened again, with the leases that are held. What is done meanwhile
///   is settled then.
///
/// ```no_run
/// use lessor::{Client, Json, Nack, Worker};
///
/// #[derive(serde::Deserialize)]
/// struct Email {
///     to: String,
/// }
///
/// async fn send_email(Json(email): Json<Email>) -> Result<(), Nack> {
///     if !email.to.contains('@') {
///         return Err(Nack::dead().failure("BAD_ADDRESS", email.to));
///     }
///     Ok(())
/// }
///
/// #[tokio::main]
/// async fn main() -> lessor::Result<()> {
///     let client = Client::connect("http://127.0.0.1:7077")?;
///     // Until SIGTERM; then it finishes what it runs.
///     Worker::builder(client)
///         .queue("emails")
///         .concurrency(16)
///         .handler("send_email", send_email)
///         .run()
///         .await
/// }
/// ```
#[must_use = "a worker does nothing until it is run"]
pub struct Worker(Arc<Crew>);

/// Why a worker ends.
enum End {
    /// It was told to.
    Told,
    /// An operator drains it.
    Drained,
    /// The broker ended the stream for good.
    Over(Result<()>),
}

impl Worker {
    /// A worker whose queues and handlers are still to be named.
    pub fn builder(client: Client) -> WorkerBuilder {
        WorkerBuilder::new(client)
    }

    fn new(plan: Plan) -> Self {
        Self(Arc::new(Crew::new(plan)))
    }

    /// How the worker is, also while it runs.
    pub fn health(&self) -> Health {
        Health(self.0.clone())
    }

    /// Works until the process gets SIGTERM or SIGINT, and then as
    /// [`run_until`](Self::run_until) ends.
    pub async fn run(self) -> Result<()> {
        let signals = signals().map_err(|why| {
            Error::local(Code::Internal, format!("signals cannot be heard: {why}"))
        })?;
        self.run_until(signals).await
    }

    /// Works until `shutdown` is ready, such as a `CancellationToken`'s `cancelled`. Then it takes no
    /// more jobs, lets those that run finish within the [`grace`](WorkerBuilder::grace), and gives
    /// back the rest, uncounted.
    ///
    /// Waits for a broker that is not there yet, and for one that is gone, however long it takes.
    /// Ends by itself when an operator drains the worker, once its jobs are done; and with an error
    /// when the broker refuses it.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let io = Io::start()?;
        let mut crew = Gang { crew: self.0, attempts: JoinSet::new() };
        #[cfg(feature = "health")]
        if let Some(listener) = crew.crew.plan.health.as_ref() {
            let listener = listener.try_clone().map_err(|why| {
                Error::local(Code::Internal, format!("the health address cannot be served: {why}"))
            })?;
            io.spawn(health::serve(listener, Health(crew.crew.clone())));
        }
        let mut shutdown = pin!(shutdown);
        let mut work = tokio::select! {
            biased;
            () = &mut shutdown => return Ok(()),
            work = open(&io, &crew.crew.plan) => work?,
        };
        crew.crew.connect(work.connection());
        tracing::info!(worker = work.worker_id(), "worker is connected");
        let end = crew.take_on(&mut work, shutdown.as_mut()).await;
        crew.crew.begin_to_drain();
        work.stop();
        let ended = match end {
            End::Told => Ok(()),
            End::Drained => {
                crew.finish_unless(&mut work, shutdown).await;
                Ok(())
            }
            End::Over(ended) => {
                crew.crew.stop_all(&Stop::Shutdown);
                ended
            }
        };
        crew.wind_up(&mut work).await;
        work.close(true).await;
        tracing::info!(worker = crew.crew.plan.worker_id, "worker has ended");
        ended
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Worker").field(&self.health()).finish()
    }
}

/// Opens the stream, however long it takes, on the thread that will carry it.
async fn open(io: &Io, plan: &Plan) -> Result<WorkStream> {
    let mut pauses = Pauses::new();
    loop {
        let (client, options) = (plan.client.clone(), plan.options.clone());
        let opening = io.spawn(async move { client.moved_here().work(&options).await });
        let opened = opening.await.unwrap_or_else(|why| {
            Err(Error::local(Code::Internal, format!("the worker's thread ended: {why}")))
        });
        match opened {
            Err(error) if matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded) => {
                tracing::warn!(%error, "no broker yet");
                let pause = pauses.next(&error);
                #[expect(clippy::disallowed_methods, reason = "a reconnect's pause is our own")]
                sleep(pause).await;
            }
            opened => return opened,
        }
    }
}

/// The jobs that run, each a task.
struct Gang {
    crew: Arc<Crew>,
    attempts: JoinSet<()>,
}

impl Gang {
    /// Runs what comes until there is a reason to end.
    async fn take_on(
        &mut self,
        work: &mut WorkStream,
        mut shutdown: Pin<&mut impl Future<Output = ()>>,
    ) -> End {
        loop {
            // Each branch may be dropped: nothing is taken that is not handed over.
            let event = tokio::select! {
                biased;
                () = shutdown.as_mut() => return End::Told,
                event = work.next() => event,
            };
            while self.attempts.try_join_next().is_some() {}
            match event {
                Some(Ok(WorkEvent::Job(delivery))) => {
                    let job = Job::of(&delivery);
                    self.crew.remember(&job);
                    self.attempts.spawn(attempt::run(self.crew.clone(), job, delivery));
                }
                Some(Ok(WorkEvent::Drain { reason })) => {
                    tracing::warn!(reason, "an operator drains the worker");
                    return End::Drained;
                }
                Some(Ok(event)) => self.heed(event),
                Some(Err(error)) => return End::Over(Err(error)),
                None => return End::Over(Ok(())),
            }
        }
    }

    fn heed(&self, event: WorkEvent) {
        match event {
            WorkEvent::Cancel { lease_token, reason, within } => {
                self.crew.stop(&lease_token, Stop::Cancelled { reason, within });
            }
            WorkEvent::LeaseLost { lease_token, reason } => {
                self.crew.stop(&lease_token, Stop::LeaseLost { reason });
            }
            WorkEvent::Job(_) | WorkEvent::Drain { .. } => {}
        }
    }

    /// Waits until nothing runs. What still comes goes back.
    async fn finish(&mut self, work: &mut WorkStream) {
        let mut is_over = false;
        loop {
            tokio::select! {
                biased;
                joined = self.attempts.join_next() => if joined.is_none() {
                    return;
                },
                event = work.next(), if !is_over => match event {
                    Some(Ok(WorkEvent::Job(mut delivery))) => {
                        self.attempts.spawn(async move {
                            // What is not given back runs out.
                            delivery.nack(Nack::release()).await.ok();
                        });
                    }
                    Some(Ok(event)) => self.heed(event),
                    Some(Err(_)) | None => is_over = true,
                },
            }
        }
    }

    async fn finish_unless(
        &mut self,
        work: &mut WorkStream,
        shutdown: Pin<&mut impl Future<Output = ()>>,
    ) {
        tokio::select! {
            biased;
            () = self.finish(work) => {}
            () = shutdown => {}
        }
    }

    /// Lets what runs finish, then tells it to stop, and leaves what does not.
    async fn wind_up(&mut self, work: &mut WorkStream) {
        let (grace, stop_grace) = (self.crew.plan.grace, self.crew.plan.stop_grace);
        if timeout(grace, self.finish(work)).await.is_err() {
            self.crew.stop_all(&Stop::Shutdown);
            // A handler that blocks its thread is not waited for: its job goes back all the same.
            timeout(stop_grace + LAST_WORDS, self.finish(work)).await.ok();
        }
    }
}

/// Ready when the process is told to end.
#[cfg(unix)]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// Ready when the process is told to end.
#[cfg(not(unix))]
fn signals() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        tokio::signal::ctrl_c().await.ok();
    })
}

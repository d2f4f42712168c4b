//! A job in the hands of a handler.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use lessor_proto::v1::{self as proto, ExtendLeaseRequest, LeasedJob, Payload, Progress};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::stop::{Signal, Stop};
use crate::work::{Delivery, Orders};
use crate::{Error, Nack, Result, payload, span};

/// A job in the hands of a handler. Cheap to clone.
///
/// It can be read, tell how far it has come, and say when it shall be stopped. It is settled by what
/// its handler returns.
#[derive(Clone)]
pub struct Job(Arc<Held>);

struct Held {
    leased: Arc<LeasedJob>,
    orders: Orders,
    signal: Signal,
}

static NOTHING: LazyLock<proto::Job> = LazyLock::new(proto::Job::default);

impl Job {
    pub(super) fn of(delivery: &Delivery) -> Self {
        let (leased, orders) = delivery.share();
        Self(Arc::new(Held { leased, orders, signal: Signal::default() }))
    }

    /// The whole job, as the protocol has it.
    pub fn message(&self) -> &proto::Job {
        self.0.leased.job.as_deref().unwrap_or(&NOTHING)
    }

    /// Its full name: `queues/{queue}/jobs/{job}`.
    pub fn name(&self) -> &str {
        &self.message().name
    }

    /// The queue that it comes from.
    pub fn queue(&self) -> &str {
        self.name().strip_prefix("queues/").and_then(|it| it.split('/').next()).unwrap_or_default()
    }

    /// Its id, unique in the queue.
    pub fn id(&self) -> &str {
        self.name().rsplit('/').next().unwrap_or_default()
    }

    /// What kind of work it is.
    pub fn job_type(&self) -> &str {
        &self.message().r#type
    }

    /// Which attempt this is, counted from 1.
    pub fn attempt(&self) -> i32 {
        self.message().attempt
    }

    /// The labels that its producer gave it.
    pub fn labels(&self) -> &HashMap<String, String> {
        &self.message().labels
    }

    /// On whose behalf it was enqueued.
    pub fn owner(&self) -> &str {
        &self.message().owner
    }

    /// The producer's `traceparent`, `tracestate` and `baggage`.
    pub fn trace_context(&self) -> &HashMap<String, String> {
        &self.message().trace_context
    }

    /// The payload's bytes; none for a job without a payload.
    pub fn payload(&self) -> Bytes {
        self.message().payload.as_ref().map(payload::read).unwrap_or_default()
    }

    /// The payload, read as JSON. A payload that cannot be read so never can: the error rejects the
    /// job, with code `INVALID_PAYLOAD`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Nack> {
        let unreadable = |why| {
            let why = format!("the payload is not what the handler expects: {why}");
            Nack::dead().failure("INVALID_PAYLOAD", why)
        };
        serde_json::from_slice(&self.payload()).map_err(unreadable)
    }

    /// What an earlier attempt saved with [`checkpoint`](Self::checkpoint).
    pub fn saved(&self) -> Option<Bytes> {
        self.message().checkpoint.as_ref().map(payload::read)
    }

    /// The same, read as JSON. What cannot be read so is taken for nothing.
    pub fn saved_json<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.saved()?).ok()
    }

    /// Tells those who watch how far the work has come, from 0 to 100 percent, and in words.
    pub async fn progress(&self, percent: f64, message: impl Into<String>) -> Result<()> {
        let message = message.into();
        self.report(Progress { percent, message, ..Progress::default() }).await
    }

    /// As [`progress`](Self::progress), with all that there is to tell.
    pub async fn report(&self, progress: Progress) -> Result<()> {
        let progress = Some(progress);
        self.tell(ExtendLeaseRequest { progress, ..ExtendLeaseRequest::default() }).await
    }

    /// Saves how far the work has come, for the next attempt.
    pub async fn checkpoint(&self, checkpoint: Payload) -> Result<()> {
        let checkpoint = Some(checkpoint);
        self.tell(ExtendLeaseRequest { checkpoint, ..ExtendLeaseRequest::default() }).await
    }

    /// The same, as JSON.
    pub async fn checkpoint_json<T: Serialize>(&self, state: &T) -> Result<()> {
        let text = serde_json::to_vec(state).map_err(|why| {
            Error::local(tonic::Code::InvalidArgument, format!("the checkpoint is no JSON: {why}"))
        })?;
        self.checkpoint(payload::json(text)).await
    }

    /// Waits until the job shall be stopped, and says why. For `select!`, beside the work.
    ///
    /// A handler that does not heed it is dropped after the worker's
    /// [`stop_grace`](super::WorkerBuilder::stop_grace), at its next `await`.
    pub async fn stopped(&self) -> Stop {
        self.0.signal.token().cancelled().await;
        self.stop_reason().unwrap_or(Stop::Shutdown)
    }

    /// Why the job shall be stopped; `None` while it may go on.
    pub fn stop_reason(&self) -> Option<Stop> {
        self.0.signal.why().cloned()
    }

    /// Fires when the job shall be stopped. To hand on; it is the handler's to read only.
    pub fn cancellation_token(&self) -> CancellationToken {
        self.0.signal.token().child_token()
    }

    pub(super) fn signal(&self) -> &Signal {
        &self.0.signal
    }

    pub(super) fn leased(&self) -> &LeasedJob {
        &self.0.leased
    }

    async fn tell(&self, request: ExtendLeaseRequest) -> Result<()> {
        let lease_token = self.0.leased.lease_token.clone();
        let told = self.0.orders.extend(ExtendLeaseRequest { lease_token, ..request }).await;
        match told {
            Ok(reply) if reply.cancel_requested => {
                let within = Some(span::read(reply.lease_remaining));
                self.signal().fire(Stop::Cancelled { reason: reply.cancel_reason, within });
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                if error.is_lease_lost() {
                    self.signal().fire(Stop::LeaseLost { reason: error.to_string() });
                }
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("name", &self.name())
            .field("type", &self.job_type())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

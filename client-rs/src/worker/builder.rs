//! What a worker works on, and how.

use std::collections::HashMap;
#[cfg(feature = "health")]
use std::net::{TcpListener, ToSocketAddrs};
use std::time::Duration;

use lessor_proto::v1::{Order, Worker as Details};
use tonic::Code;

use super::Worker;
use super::handler::{Erased, Handler, erase};
use crate::{Client, Error, Result, WorkOptions};

/// Jobs at a time.
const CONCURRENCY: u32 = 10;
/// Kubernetes kills after 30 s: this leaves time to give back what is left.
const GRACE: Duration = Duration::from_secs(20);
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What a [`Worker`] is made of; see [`Worker::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct WorkerBuilder {
    client: Client,
    queues: Vec<String>,
    concurrency: u32,
    handlers: HashMap<String, Erased>,
    any: Option<Erased>,
    order: Order,
    weights: HashMap<String, i32>,
    lease_duration: Option<Duration>,
    known_types_only: bool,
    details: Details,
    grace: Duration,
    stop_grace: Duration,
    #[cfg(feature = "health")]
    health: Option<TcpListener>,
}

/// A checked builder.
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) options: WorkOptions,
    pub(super) worker_id: String,
    handlers: HashMap<String, Erased>,
    any: Option<Erased>,
    pub(super) grace: Duration,
    pub(super) stop_grace: Duration,
    #[cfg(feature = "health")]
    pub(super) health: Option<TcpListener>,
}

impl Plan {
    pub(super) fn handler(&self, job_type: &str) -> Option<&Erased> {
        self.handlers.get(job_type).or(self.any.as_ref())
    }
}

impl WorkerBuilder {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            queues: Vec::new(),
            concurrency: CONCURRENCY,
            handlers: HashMap::new(),
            any: None,
            order: Order::Unspecified,
            weights: HashMap::new(),
            lease_duration: None,
            known_types_only: false,
            details: Details::default(),
            grace: GRACE,
            stop_grace: STOP_GRACE,
            #[cfg(feature = "health")]
            health: None,
        }
    }

    /// Work on this queue too: a name, a prefix such as `mail-*`, or `*` for all.
    pub fn queue(mut self, name: impl Into<String>) -> Self {
        self.queues.push(name.into());
        self
    }

    /// Work on these queues too.
    pub fn queues<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.queues.extend(names.into_iter().map(Into::into));
        self
    }

    /// The most jobs that run at a time. Default 10.
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.concurrency = jobs;
        self
    }

    /// What runs the jobs of this type: see [`Handler`].
    pub fn handler<Args>(
        mut self,
        job_type: impl Into<String>,
        handler: impl Handler<Args>,
    ) -> Self {
        self.handlers.insert(job_type.into(), erase(handler));
        self
    }

    /// What runs the jobs of all other types. Without it they go back uncounted, with the code
    /// `NO_HANDLER`, for another worker.
    pub fn default_handler<Args>(mut self, handler: impl Handler<Args>) -> Self {
        self.any = Some(erase(handler));
        self
    }

    /// Take only jobs of the types that have a handler, at most 64. Default: all, so that one which
    /// no worker knows is seen.
    pub fn known_types_only(mut self) -> Self {
        self.known_types_only = true;
        self
    }

    /// How to choose between the queues. Default: they take turns.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// For [`Order::Weighted`]: the weight of each entry of the queues.
    pub fn weights(mut self, weights: HashMap<String, i32>) -> Self {
        self.weights = weights;
        self
    }

    /// For how long a job is ours after the last sign of life. Default: as job and queue say.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = Some(duration);
        self
    }

    /// The worker's name, unique per start of the process. Default: made from the client's.
    pub fn worker_id(mut self, id: impl Into<String>) -> Self {
        self.details.worker_id = id.into();
        self
    }

    /// What operators call the worker.
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.details.display_name = name.into();
        self
    }

    /// A label that operators see at the worker.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.labels.insert(key.into(), value.into());
        self
    }

    /// How long jobs may go on when the worker shall end. Default 20 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long a handler has once it was told to stop, before it is dropped. Default 5 s.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Where the worker tells of its health: see [`Health`](super::Health). Over HTTP/1, `/livez` is
    /// 200 as long as the process answers; any other path is 200 while the worker is connected, and
    /// 503 while it is not.
    #[cfg(feature = "health")]
    pub fn health_listen(self, address: impl ToSocketAddrs) -> Result<Self> {
        let failed = |why| {
            Error::local(Code::InvalidArgument, format!("no health address for the worker: {why}"))
        };
        TcpListener::bind(address).map(|listener| self.health_listener(listener)).map_err(failed)
    }

    /// As [`health_listen`](Self::health_listen), on a socket that listens already.
    #[cfg(feature = "health")]
    pub fn health_listener(mut self, listener: TcpListener) -> Self {
        self.health = Some(listener);
        self
    }

    /// The worker. Fails only when it would have nothing to do; nothing is sent yet.
    pub fn build(mut self) -> Result<Worker> {
        let missing = |what: &str| {
            Err(Error::local(Code::InvalidArgument, format!("the worker has no {what}")))
        };
        if self.queues.is_empty() {
            return missing("queue");
        }
        if self.handlers.is_empty() && self.any.is_none() {
            return missing("handler");
        }
        if self.concurrency == 0 {
            return missing("room: its concurrency is 0");
        }
        if self.details.worker_id.is_empty() {
            self.details.worker_id = self.client.stream_worker_id();
        }
        let worker_id = self.details.worker_id.clone();
        let mut options = WorkOptions::new(self.queues)
            .concurrency(self.concurrency)
            .order(self.order)
            .weights(self.weights)
            .worker(self.details)
            .receipts_first();
        if let Some(duration) = self.lease_duration {
            options = options.lease_duration(duration);
        }
        if self.known_types_only && self.any.is_none() {
            options = options.types(self.handlers.keys().cloned());
        }
        Ok(Worker::new(Plan {
            client: self.client,
            options,
            worker_id,
            handlers: self.handlers,
            any: self.any,
            grace: self.grace,
            stop_grace: self.stop_grace,
            #[cfg(feature = "health")]
            health: self.health,
        }))
    }

    /// [Builds](Self::build) the worker and [runs](Worker::run) it until the process shall end.
    pub async fn run(self) -> Result<()> {
        self.build()?.run().await
    }
}

//! Working on a stream: jobs come as long as there is room for them, and are settled where they came.

mod calls;
mod ledger;
mod session;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use lessor_proto::v1::work_request::{Frame, Hello};
use lessor_proto::v1::{
    AckRequest, AckResponse, EnqueueRequest, ExtendLeaseRequest, ExtendLeaseResponse, Job,
    LeasedJob, NackResponse, Order, Payload, Worker,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::{Client, Error, Extend, Nack, NewJob, Reason, Result, raw, settle, span};

use calls::Calls;
use session::{Ends, Session};
use wire::encode;

impl Client {
    /// Opens a stream on which the broker hands over jobs as they become ready, so many at a time
    /// as `options` have room for. Fails when the broker refuses, or cannot be reached in a few
    /// tries.
    ///
    /// The stream is served by a task of its own, which shows the broker that the worker is alive,
    /// and opens a new stream when this one breaks, with the leases that are held.
    ///
    /// A broker without streams is asked by calls instead: `Lease`, `BatchSettle`. The rest is the same.
    pub async fn work(&self, options: &WorkOptions) -> Result<WorkStream> {
        let mut options = options.clone();
        let (hello, concurrency) = (&mut options.hello, options.concurrency);
        let worker = hello.worker.get_or_insert_default();
        if worker.worker_id.is_empty() {
            worker.worker_id = self.stream_worker_id();
        }
        if worker.concurrency == 0 {
            worker.concurrency = i32::try_from(concurrency).unwrap_or(i32::MAX);
        }
        if worker.sdk.is_empty() {
            concat!("rust/", env!("CARGO_PKG_VERSION")).clone_into(&mut worker.sdk);
        }
        let worker_id = worker.worker_id.clone();
        let (orders, commands) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::unbounded_channel();
        let connected = Arc::new(AtomicBool::new(true));
        let ends = Ends { commands, events: tell, connected: connected.clone() };
        let client = self.clone();
        let task = match session::open_first(self, hello).await {
            Ok(link) => spawn(Session::new(client, options, ends).run(link)),
            Err(error) if error.code() == Code::Unimplemented => {
                tracing::info!(worker_id, "the broker has no work streams: leasing by calls");
                spawn(Calls::new(client, options, ends).run())
            }
            Err(error) => return Err(error),
        };
        Ok(WorkStream { worker_id, orders: Orders(orders), events, connected, task })
    }
}

#[expect(clippy::disallowed_methods, reason = "it is ended when the stream is dropped")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
}

/// Jobs for this worker, and what there is to tell about those that it holds.
///
/// Dropped, it ends at once: the leases that are held run out, unless they are settled by
/// [`Client::ack`] and its like. [`close`](Self::close) ends it in good order.
#[derive(Debug)]
pub struct WorkStream {
    worker_id: String,
    orders: Orders,
    events: mpsc::UnboundedReceiver<Result<Event>>,
    connected: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl WorkStream {
    /// The next job or message, or `None` when the stream is over: the broker ended it after a
    /// [`Drain`](WorkEvent::Drain), or an error was returned.
    ///
    /// May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<WorkEvent>> {
        let event = self.events.recv().await?;
        Some(event.and_then(|event| match event {
            Event::Job(leased, id) => {
                let (leased, orders) = (Arc::new(raw::read(leased)?), self.orders.clone());
                Ok(WorkEvent::Job(Delivery { leased, id, orders, is_open: true }))
            }
            Event::Other(event) => Ok(event),
        }))
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<WorkEvent>> + Send + 'static {
        stream::unfold(self, |mut work| async move { work.next().await.map(|it| (it, work)) })
    }

    /// The name under which this stream leases.
    pub fn worker_id(&self) -> &str {
        &self.worker_id
    }

    /// Whether the stream is open. It is not while it is opened again after a break.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn connection(&self) -> Arc<AtomicBool> {
        self.connected.clone()
    }

    /// Asks for no more jobs. A few that are on their way may still come.
    pub fn stop(&self) {
        self.orders.give(Command::Stop);
    }

    /// Ends the stream in good order, after what was settled so far. The leases that are still
    /// held go back at once when `release` is set, and else run out. The worker gets no more.
    pub async fn close(mut self, release: bool) {
        self.events.close();
        while let Ok(event) = self.events.try_recv() {
            // It was never taken from here.
            if let Ok(Event::Job(leased, id)) = event
                && let Ok(frame) = released(&leased)
            {
                self.orders.give(Command::Ask { settles: Some(id), frame, reply: None });
            }
        }
        let (done, closed) = oneshot::channel();
        self.orders.give(Command::Close { release, done });
        // An error means that the stream was over.
        closed.await.ok();
    }
}

impl Drop for WorkStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What comes on a [`WorkStream`].
#[derive(Debug)]
#[non_exhaustive]
pub enum WorkEvent {
    /// A job to be done.
    Job(Delivery),
    /// A job that is held shall be stopped and settled.
    Cancel {
        /// Its lease: see [`Delivery::lease_token`].
        lease_token: String,
        /// Why.
        reason: String,
        /// How long there is.
        within: Option<Duration>,
    },
    /// A job that was held is not ours any more: drop the work.
    LeaseLost {
        /// What was its lease: see [`Delivery::lease_token`].
        lease_token: String,
        /// Why.
        reason: String,
    },
    /// An operator drains this worker: finish what is held, nothing more comes.
    Drain {
        /// Why.
        reason: String,
    },
}

/// A job that is this worker's until it is settled or its lease ends.
///
/// Each answer of the broker is awaited; a word that is lost with the stream is repeated on the next
/// one. A delivery that is dropped without being settled, by a panic say, is nacked to be tried
/// again.
#[derive(Debug)]
pub struct Delivery {
    leased: Arc<LeasedJob>,
    id: u64,
    orders: Orders,
    is_open: bool,
}

impl Delivery {
    /// The job, with its payload.
    pub fn job(&self) -> Option<&Job> {
        self.leased.job.as_deref()
    }

    /// The job and its lease.
    pub fn leased(&self) -> &LeasedJob {
        &self.leased
    }

    /// What names the lease.
    pub fn lease_token(&self) -> &str {
        &self.leased.lease_token
    }

    /// The job is done. A result is kept with it.
    pub async fn ack(&mut self, result: Option<Payload>) -> Result<AckResponse> {
        self.ack_then(result, Vec::new()).await
    }

    /// As [`ack`](Self::ack), and enqueues follow-up jobs in the same step: see
    /// [`Client::ack_then`].
    pub async fn ack_then(
        &mut self,
        result: Option<Payload>,
        then: Vec<NewJob>,
    ) -> Result<AckResponse> {
        self.ack_with(result, settle::followers(then)).await
    }

    pub(crate) async fn ack_with(
        &mut self,
        result: Option<Payload>,
        then: Vec<EnqueueRequest>,
    ) -> Result<AckResponse> {
        let request = AckRequest { then, ..settle::ack(self.lease_token(), result) };
        match self.settle(Frame::Ack(request)).await? {
            Answered::Ack(reply) => raw::read(reply),
            _ => Err(Error::incomplete("the answer to the ack")),
        }
    }

    /// The job is not done: try it again, later, or never.
    pub async fn nack(&mut self, nack: Nack) -> Result<NackResponse> {
        let request = nack.into_request(self.lease_token());
        match self.settle(Frame::Nack(request)).await? {
            Answered::Nack(reply) => raw::read(reply),
            _ => Err(Error::incomplete("the answer to the nack")),
        }
    }

    /// More time, progress, a checkpoint. The stream extends its leases by itself unless
    /// [`auto_extend`](WorkOptions::auto_extend) is off.
    pub async fn extend(&self, extend: Extend) -> Result<ExtendLeaseResponse> {
        let request = extend.into_request(self.lease_token());
        self.orders.extend(request).await
    }

    /// Makes room for another job without a word to the broker: for one whose lease is lost.
    pub fn forget(mut self) {
        self.is_open = false;
        self.orders.give(Command::Forget(self.id));
    }

    /// Keeps the lease until the stream is closed, which releases it. Released before, the job could
    /// come back on the room that this stream had left.
    pub(crate) fn leave(mut self) {
        self.is_open = false;
    }

    /// What a job needs in the hands of a handler.
    pub(crate) fn share(&self) -> (Arc<LeasedJob>, Orders) {
        (self.leased.clone(), self.orders.clone())
    }

    /// Nobody carries what is settled to the broker any more.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.orders.0.is_closed()
    }

    async fn settle(&mut self, frame: Frame) -> Result<Answered> {
        self.is_open = false;
        let settled = self.orders.ask(Some(self.id), frame).await;
        // Who was refused may settle in another way.
        self.is_open = settled.as_ref().is_err_and(|error| !is_final(error));
        settled
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.is_open {
            let why = "the worker dropped the job without settling it";
            let nack = Nack::retry().failure("ABANDONED", why);
            let frame = encode(Frame::Nack(nack.into_request(self.lease_token())));
            self.orders.give(Command::Ask { settles: Some(self.id), frame, reply: None });
        }
    }
}

/// The way to the task of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Orders(mpsc::UnboundedSender<Command>);

impl Orders {
    /// More time, progress, a checkpoint.
    pub(crate) async fn extend(&self, request: ExtendLeaseRequest) -> Result<ExtendLeaseResponse> {
        match self.ask(None, Frame::Extend(request)).await? {
            Answered::Extend(reply) => raw::read(reply),
            _ => Err(Error::incomplete("the answer to the extension")),
        }
    }

    fn give(&self, command: Command) {
        // A task that has ended needs no orders.
        self.0.send(command).ok();
    }

    async fn ask(&self, settles: Option<u64>, frame: Frame) -> Result<Answered> {
        let (reply, answer) = oneshot::channel();
        let frame = encode(frame);
        self.give(Command::Ask { settles, frame, reply: Some(reply) });
        answer.await.unwrap_or_else(|_| {
            Err(Error::local(Code::Unavailable, "the work stream was closed before an answer came"))
        })
    }
}

/// What the task of a stream tells its owner.
#[derive(Debug)]
enum Event {
    /// A job, encoded, and the number of its delivery.
    Job(Bytes, u64),
    Other(WorkEvent),
}

/// The lease is gone for good, or settled: there is nothing more to say about it.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Some(Reason::LeaseLost | Reason::LeaseSettled))
}

/// What the task of a stream is told by its owner.
#[derive(Debug)]
enum Command {
    /// A word to the broker, of which the answer is wanted; it may settle a delivery.
    Ask {
        settles: Option<u64>,
        frame: Bytes,
        reply: Option<Answer>,
    },
    /// A delivery that nobody settles makes room.
    Forget(u64),
    Stop,
    Close {
        release: bool,
        done: oneshot::Sender<()>,
    },
}

type Answer = oneshot::Sender<Result<Answered>>;

/// The reply to a settle or an extension, encoded.
#[derive(Debug)]
enum Answered {
    Ack(Bytes),
    Nack(Bytes),
    Extend(Bytes),
}

/// The frame that gives a job back that nobody has begun.
fn released(leased: &Bytes) -> Result<Bytes> {
    let nack = Nack::release().into_request(wire::lease_token(leased)?);
    Ok(encode(Frame::Nack(nack)))
}

/// What to work on, and how. May be used for any number of streams.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "options do nothing until `work`"]
pub struct WorkOptions {
    hello: Hello,
    concurrency: u32,
    receipts_first: bool,
}

impl WorkOptions {
    /// One job at a time from any of these queues. A queue may be a name, a prefix such as
    /// `mail-*`, or `*` for all.
    pub fn new<S: Into<String>>(queues: impl IntoIterator<Item = S>) -> Self {
        let queues = queues.into_iter().map(Into::into).collect();
        let hello = Hello { queues, auto_extend: true, ..Hello::default() };
        Self { hello, concurrency: 1, receipts_first: false }
    }

    /// The most jobs that are held unsettled. Default 1.
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.concurrency = jobs;
        self
    }

    /// Only jobs of these types. Default: all.
    pub fn types<S: Into<String>>(mut self, types: impl IntoIterator<Item = S>) -> Self {
        self.hello.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// How to choose between the queues. Default: they take turns.
    pub fn order(mut self, order: Order) -> Self {
        self.hello.order = order.into();
        self
    }

    /// For [`Order::Weighted`]: the weight of each entry of the queues.
    pub fn weights(mut self, weights: HashMap<String, i32>) -> Self {
        self.hello.weights = weights;
        self
    }

    /// For how long a job is ours after the last sign of life. Default: as job and queue say.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.hello.lease_duration = Some(span::to_wire(duration));
        self
    }

    /// Whether the leases that are held go on while the worker shows signs of life, which the
    /// stream does by itself. Default true; else each is extended by [`Delivery::extend`].
    pub fn auto_extend(mut self, auto_extend: bool) -> Self {
        self.hello.auto_extend = auto_extend;
        self
    }

    /// What an operator sees of the worker.
    pub fn worker(mut self, worker: Worker) -> Self {
        self.hello.worker = Some(worker);
        self
    }

    /// Jobs come only when their receipt is on its way, so that whatever becomes of this thread, the
    /// broker knows who has them. For owners on another runtime; others lose a little speed.
    pub(crate) fn receipts_first(mut self) -> Self {
        self.receipts_first = true;
        self
    }

    /// The worker's name, unique per process start and open stream. Default: made from the
    /// client's.
    pub fn worker_id(mut self, id: impl Into<String>) -> Self {
        self.hello.worker.get_or_insert_default().worker_id = id.into();
        self
    }
}

/// A first frame of one's own making, for what the builder has no method for.
impl From<Hello> for WorkOptions {
    fn from(hello: Hello) -> Self {
        Self { hello, concurrency: 1, receipts_first: false }
    }
}

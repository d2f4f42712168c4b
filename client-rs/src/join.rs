//! Enqueues that ride together: while calls are under way, the jobs that come make the next one.
//!
//! There is no timer. A job that finds no call under way travels as soon as the tasks that are
//! ready to run had their turn; it is a unary call when it is alone. The calls are owned by tasks
//! of their own, so a caller that goes away takes nobody else's job with it; a task lives only
//! while there are calls to make. The rules are those of `docs/joined-enqueue.md`.

#![expect(clippy::disallowed_methods, reason = "a call's deadline is the client's own")]

use std::collections::{HashSet, VecDeque};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use bytes::{BufMut, Bytes};
use lessor_proto::v1::{BatchEnqueueResponse, EnqueueRequest, EnqueueResponse};
use prost::Message;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstDecoder;
use uuid::Uuid;

use crate::producer::{Enqueued, batch, results};
use crate::{Error, Result, connect};

/// Calls under way at most. With one the broker would be idle while the client reads its answer.
const MOST_CALLS: usize = 2;
const MOST_JOBS: usize = 256;
const MOST_BYTES: usize = 1 << 20;

const ENQUEUE: &str = "/lessor.v1.JobBroker/Enqueue";
const BATCH_ENQUEUE: &str = "/lessor.v1.JobBroker/BatchEnqueue";

/// What the clones of a client share to let their enqueues join. Dropped, it ends its calls.
pub(crate) struct Joiner(Arc<Shared>);

struct Shared {
    channel: Channel,
    url: String,
    timeout: Duration,
    line: Mutex<Line>,
}

/// The jobs that wait for a call, and the tasks that make the calls.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    callers: JoinSet<()>,
    /// Tasks that make calls or are about to.
    busy: usize,
    /// One of the tasks is about to take what waits.
    collecting: bool,
}

struct Waiting {
    job: EnqueueRequest,
    size: usize,
    seat: Seat,
}

/// One caller of a call.
struct Seat {
    deadline: Instant,
    /// Taken when answered.
    reply: Option<oneshot::Sender<Result<Enqueued>>>,
    /// What the broker said last, where that is no answer yet.
    refusal: Option<Error>,
}

impl Joiner {
    pub(crate) fn new(channel: Channel, url: String, timeout: Duration) -> Self {
        Self(Arc::new(Shared { channel, url, timeout, line: Mutex::default() }))
    }

    pub(crate) async fn enqueue(&self, job: EnqueueRequest) -> Result<Enqueued> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.0.timeout;
        let seat = Seat { deadline, reply: Some(reply), refusal: None };
        self.0.admit(Waiting { size: job.encoded_len(), job, seat });
        answer.await.unwrap_or_else(|_| {
            let why = "the runtime that carried the call ended";
            Err(Error::local(Code::Unavailable, why))
        })
    }
}

impl Drop for Joiner {
    fn drop(&mut self) {
        self.0.line().callers.abort_all();
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, newcomer: Waiting) {
        let mut line = self.line();
        line.waiting.push_back(newcomer);
        self.staff(&mut line);
    }

    /// Sees to it that somebody takes what waits, if a call more may be under way.
    fn staff(self: &Arc<Self>, line: &mut Line) {
        if line.collecting || line.busy == MOST_CALLS || line.waiting.is_empty() {
            return;
        }
        line.collecting = true;
        line.busy += 1;
        while line.callers.try_join_next().is_some() {}
        let shift = Shift { shared: self.clone(), on_duty: true };
        line.callers.spawn(shift.work());
    }

    /// One try. The deadline is told to the broker.
    async fn send(&self, call: &Call, deadline: Instant) -> Result<Vec<Result<Enqueued>>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let replied = match call {
            Call::One(job) => self
                .unary::<EnqueueResponse>(ENQUEUE, job, left)
                .await
                .map(|reply| Ok(vec![Enqueued::try_from(reply)])),
            Call::Many { jobs, count } => self
                .unary::<BatchEnqueueResponse>(BATCH_ENQUEUE, jobs, left)
                .await
                .map(|reply| results(reply, *count)),
        };
        match replied {
            Err(status) if connect::is_deadline(&status) => Err(self.late()),
            Err(status) => Err(Error::from_call(&status, &self.url)),
            Ok(results) => results,
        }
    }

    async fn unary<R>(
        &self,
        path: &'static str,
        message: &Bytes,
        left: Duration,
    ) -> Result<R, Status>
    where
        R: Message + Default + Send + Sync + 'static,
    {
        let mut stub = connect::stub(self.channel.clone());
        stub.ready().await.map_err(|fault| Status::from_error(fault.into()))?;
        let mut request = Request::new(message.clone());
        request.set_timeout(left);
        let path = PathAndQuery::from_static(path);
        Ok(stub.unary(request, path, Encoded(PhantomData)).await?.into_inner())
    }

    fn late(&self) -> Error {
        connect::late(&self.url, self.timeout)
    }
}

/// A task that makes calls until nothing waits.
struct Shift {
    shared: Arc<Shared>,
    /// It is counted among the busy ones.
    on_duty: bool,
}

impl Shift {
    async fn work(mut self) {
        loop {
            // Whoever is ready to enqueue as well does so first.
            yield_now().await;
            let Some((call, seats)) = self.collect() else { return };
            Journey { shared: &self.shared, call, seats }.make().await;
            if !self.resume() {
                return;
            }
        }
    }

    /// Takes the jobs of the next call, or leaves when there are none.
    fn collect(&mut self) -> Option<(Call, Vec<Seat>)> {
        let mut line = self.shared.line();
        line.collecting = false;
        let (jobs, seats) = line.take();
        if jobs.is_empty() {
            line.busy -= 1;
            self.on_duty = false;
        }
        // What is too much for one call need not wait for its end.
        self.shared.staff(&mut line);
        drop(line);
        Call::of(jobs).map(|call| (call, seats))
    }

    /// Goes on, for those who were just answered may have more; unless another one takes that.
    fn resume(&mut self) -> bool {
        let mut line = self.shared.line();
        if line.collecting {
            line.busy -= 1;
            self.on_duty = false;
        }
        line.collecting = true;
        self.on_duty
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        if self.on_duty {
            // Cut off by the end of its runtime: those who wait must not wait for it.
            let mut line = self.shared.line();
            line.busy -= 1;
            line.collecting = false;
            line.waiting.clear();
        }
    }
}

impl Line {
    /// The longest run of jobs from the front that one call carries. Those whose callers are gone
    /// are left out.
    fn take(&mut self) -> (Vec<EnqueueRequest>, Vec<Seat>) {
        let (mut jobs, mut seats, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut chosen = Chosen::default();
        while jobs.len() < MOST_JOBS
            && let Some(next) = self.waiting.pop_front()
        {
            if next.seat.is_left() {
                continue;
            }
            bytes += next.size;
            if !jobs.is_empty() && (bytes > MOST_BYTES || chosen.has(&next.job)) {
                self.waiting.push_front(next);
                break;
            }
            chosen.add(&next.job);
            jobs.push(next.job);
            seats.push(next.seat);
        }
        (jobs, seats)
    }
}

/// The ids that callers chose: a batch refuses one that stands in it twice.
#[derive(Default)]
struct Chosen(HashSet<(String, String)>);

impl Chosen {
    fn has(&self, job: &EnqueueRequest) -> bool {
        !self.0.is_empty() && Self::ids(job).any(|id| self.0.contains(&id))
    }

    fn add(&mut self, job: &EnqueueRequest) {
        self.0.extend(Self::ids(job));
    }

    fn ids(job: &EnqueueRequest) -> impl Iterator<Item = (String, String)> {
        let call = Some(&job.request_id).filter(|id| !id.is_empty()).map(|id| {
            // One UUID may be written in several ways.
            Uuid::parse_str(id).map_or_else(|_| id.clone(), |id| id.to_string())
        });
        let id = Some(&job.job_id).filter(|id| !id.is_empty()).map(|id| format!("jobs/{id}"));
        call.into_iter().chain(id).map(|id| (job.queue.clone(), id))
    }
}

/// A call, written once: each try sends the same bytes.
enum Call {
    One(Bytes),
    Many { jobs: Bytes, count: usize },
}

impl Call {
    fn of(mut jobs: Vec<EnqueueRequest>) -> Option<Self> {
        if jobs.len() > 1 {
            let count = jobs.len();
            let batch = batch(jobs, true);
            return Some(Self::Many { jobs: batch.encode_to_vec().into(), count });
        }
        let mut job = jobs.pop()?;
        if job.request_id.is_empty() {
            job.request_id = Uuid::new_v4().to_string();
        }
        Some(Self::One(job.encode_to_vec().into()))
    }
}

/// One call with all its tries, and those who wait for its answer.
struct Journey<'a> {
    shared: &'a Shared,
    call: Call,
    seats: Vec<Seat>,
}

impl Journey<'_> {
    async fn make(mut self) {
        let Some(deadline) = self.seats.last().map(|seat| seat.deadline) else { return };
        let mut pauses = connect::PAUSES.build();
        loop {
            let sending = self.shared.send(&self.call, deadline);
            let Some(outcome) = patiently(self.shared, &mut self.seats, sending).await else {
                return;
            };
            let Some(fault) = answer(&mut self.seats, outcome) else { return };
            let pause = pauses.next();
            let Some(pause) = connect::affordable(pause, &fault, deadline) else {
                return resign(&mut self.seats, &fault);
            };
            if patiently(self.shared, &mut self.seats, sleep(pause)).await.is_none() {
                return;
            }
        }
    }
}

/// Waits for `work`, while those whose deadline passes are told so. `None` when nobody is left.
async fn patiently<T>(
    shared: &Shared,
    seats: &mut [Seat],
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        // They came in this order, and all have the same time.
        let next = seats.iter().find(|seat| !seat.is_left())?.deadline;
        tokio::select! {
            biased;
            done = &mut work => return Some(done),
            () = sleep_until(next) => {
                for seat in seats.iter_mut().filter(|seat| seat.deadline <= next) {
                    seat.tell(Err(shared.late()));
                }
            }
        }
    }
}

/// Gives each its answer. The fault, when the call must be repeated.
///
/// A job that was made is told at once. What else the broker said is kept back until nothing in the
/// call is open, because the repetition decides it anew.
fn answer(seats: &mut [Seat], outcome: Result<Vec<Result<Enqueued>>>) -> Option<Error> {
    let mut passing = None;
    match outcome {
        Err(fault) if fault.is_unavailable() => return Some(fault),
        Err(fault) => seats.iter_mut().for_each(|seat| seat.tell(Err(fault.clone()))),
        Ok(results) => {
            for (seat, result) in seats.iter_mut().zip(results) {
                match result {
                    Ok(enqueued) => seat.tell(Ok(enqueued)),
                    Err(refusal) => {
                        if refusal.is_unavailable() {
                            passing = Some(refusal.clone());
                        }
                        seat.refusal = Some(refusal);
                    }
                }
            }
            if passing.is_none() {
                for seat in seats {
                    if let Some(refusal) = seat.refusal.take() {
                        seat.tell(Err(refusal));
                    }
                }
            }
        }
    }
    passing
}

/// There is no further try: each is told what the broker said last.
fn resign(seats: &mut [Seat], fault: &Error) {
    for seat in seats {
        let refusal = seat.refusal.take().unwrap_or_else(|| fault.clone());
        seat.tell(Err(refusal));
    }
}

impl Seat {
    fn tell(&mut self, answer: Result<Enqueued>) {
        if let Some(reply) = self.reply.take() {
            // Whoever left does not want to know.
            reply.send(answer).ok();
        }
    }

    /// Answered, or its caller went away.
    fn is_left(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// The codec of messages that are bytes already.
struct Encoded<R>(PhantomData<fn() -> R>);

impl<R: Message + Default + Send + 'static> Codec for Encoded<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Verbatim;
    type Decoder = ProstDecoder<R>;

    fn encoder(&mut self) -> Verbatim {
        Verbatim
    }

    fn decoder(&mut self) -> ProstDecoder<R> {
        ProstDecoder::default()
    }
}

struct Verbatim;

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

//! Enqueues that ride together: while calls are under way, the jobs that come make the next one.
//!
//! There is no timer. A job that finds no call under way travels as soon as the tasks that are
//! ready to run had their turn; it is a unary call when it is alone. The calls are owned by tasks
//! of their own, so a caller that goes away takes nobody else's job with it; a task lives only
//! while there are calls to make. The rules are those of `docs/joined-enqueue.md`.

#![expect(clippy::disallowed_methods, reason = "a call's deadline is the client's own")]

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use bytes::Bytes;
use lessor_proto::v1::{EnqueueRequest, EnqueueResponse};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Request};
use uuid::Uuid;

use crate::batch::{self, BATCH_ENQUEUE, ENQUEUE, Encoded};
use crate::channel::Channel;
use crate::producer::Enqueued;
use crate::{Error, Result, connect, raw};

/// Calls under way at most. With one the broker would be idle while the client reads its answer.
const MOST_CALLS: usize = 2;
const MOST_JOBS: usize = 256;
/// So many jobs are shared between two calls; fewer are not worth what a call costs.
const CROWD: usize = 16;
const MOST_BYTES: usize = 1 << 20;

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
    job: Encoded,
    /// The ids that its caller chose.
    chosen: Vec<Chosen>,
    seat: Seat,
}

/// One caller of a call.
struct Seat {
    deadline: Instant,
    /// Taken when answered.
    reply: Option<oneshot::Sender<Result<Bytes>>>,
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
        self.0.admit(Waiting { job: Encoded::of(&job), chosen: Chosen::of(&job), seat });
        drop(job);
        let answer = answer.await.unwrap_or_else(|_| {
            let why = "the runtime that carried the call ended";
            Err(Error::local(Code::Unavailable, why))
        });
        raw::read::<EnqueueResponse>(answer?)?.try_into()
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
    async fn send(&self, call: &Call, deadline: Instant) -> Result<Vec<Result<Bytes>>> {
        let (path, message) = match call {
            Call::One(job) => (ENQUEUE, job),
            Call::Many { jobs, .. } => (BATCH_ENQUEUE, jobs),
        };
        let mut request = Request::new(message.clone());
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        match (raw::unary(self.channel.clone(), path, request).await, call) {
            (Ok(reply), Call::One(_)) => Ok(vec![Ok(reply.into_inner())]),
            (Ok(reply), Call::Many { count, .. }) => batch::replies(reply.into_inner(), *count),
            (Err(status), _) if connect::is_deadline(&status) => Err(self.late()),
            (Err(status), _) => Err(Error::from_call(&status, &self.url)),
        }
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
    /// How many jobs the next call may carry. Where no other call is under way, half of a crowd: the
    /// others follow at once, and from then on the callers of one call make ready while the other
    /// travels. All in one would leave client, broker and store waiting for each other in turn.
    fn share(&self) -> usize {
        let all = self.waiting.len();
        let is_crowd = self.busy == 1 && all >= CROWD;
        MOST_JOBS.min(if is_crowd { all.div_ceil(2) } else { all })
    }

    /// The longest run of jobs from the front that one call carries. Those whose callers are gone
    /// are left out.
    fn take(&mut self) -> (Vec<Encoded>, Vec<Seat>) {
        let (mut jobs, mut seats, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut chosen = HashSet::new();
        let most = self.share();
        while jobs.len() < most
            && let Some(next) = self.waiting.pop_front()
        {
            if next.seat.is_left() {
                continue;
            }
            bytes += next.job.len();
            // A batch refuses an id that stands in it twice.
            let is_twice = next.chosen.iter().any(|id| chosen.contains(id));
            if !jobs.is_empty() && (bytes > MOST_BYTES || is_twice) {
                self.waiting.push_front(next);
                break;
            }
            chosen.extend(next.chosen);
            jobs.push(next.job);
            seats.push(next.seat);
        }
        (jobs, seats)
    }
}

/// An id that a caller chose: it names one thing in its queue.
#[derive(PartialEq, Eq, Hash)]
enum Chosen {
    Request(String, Uuid),
    Job(String, String),
}

impl Chosen {
    fn of(job: &EnqueueRequest) -> Vec<Self> {
        let mut ids = Vec::new();
        // One UUID may be written in several ways; what is none is refused anyway.
        if !job.request_id.is_empty()
            && let Ok(id) = Uuid::parse_str(&job.request_id)
        {
            ids.push(Self::Request(job.queue.clone(), id));
        }
        if !job.job_id.is_empty() {
            ids.push(Self::Job(job.queue.clone(), job.job_id.clone()));
        }
        ids
    }
}

/// A call, written once: each try sends the same bytes.
enum Call {
    One(Bytes),
    Many { jobs: Bytes, count: usize },
}

impl Call {
    fn of(mut jobs: Vec<Encoded>) -> Option<Self> {
        if jobs.len() > 1 {
            let count = jobs.len();
            return Some(Self::Many { jobs: batch::together(jobs, true), count });
        }
        jobs.pop().map(|job| Self::One(job.alone()))
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
fn answer(seats: &mut [Seat], outcome: Result<Vec<Result<Bytes>>>) -> Option<Error> {
    let mut passing = None;
    match outcome {
        Err(fault) if fault.is_unavailable() => return Some(fault),
        Err(fault) => seats.iter_mut().for_each(|seat| seat.tell(Err(fault.clone()))),
        Ok(results) => {
            for (seat, result) in seats.iter_mut().zip(results) {
                match result {
                    Ok(reply) => seat.tell(Ok(reply)),
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
    fn tell(&mut self, answer: Result<Bytes>) {
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

//! One stream, from its first frame to its end: a task that waits for whatever comes next.
//!
//! All that is ready is taken before anything is told, so that what belongs together leaves
//! together. The task never waits for the worker: one that does not read its answers is not read
//! either, and one that does not take its deliveries loses them.

mod news;
mod settle;
mod supply;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};

use super::alarm::Alarm;
use super::deliveries::Deliveries;
use super::desk::{Move, Notes};
use super::greeting::greet;
use super::held::{Held, Lease};
use super::outbox::{ENOUGH, End, Outbox};
use super::{Body, Directive, Frame, Hello, Lost, Reply};
use crate::broker::dispatch::Subscription;
use crate::broker::settle::{Answer, Settled};
use crate::broker::workers::Presence;
use crate::broker::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::{DEFAULT_LEASE_DURATION, LeaseToken, Payload};
use crate::store::Extended;

/// A worker that was silent for so many ping intervals is given up.
const SILENCE: u32 = 3;

/// A stream is to be opened anew after about this long, so that streams spread over the brokers.
const AGE: Duration = Duration::from_mins(30);

/// The stream ends so long after the worker was told to open a new one.
const RECONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Frames read in one go.
const ROUND: usize = 256;

/// Settles under way at once.
const SETTLES: usize = 1024;

/// A store that could not give jobs is asked again after this long.
const RETRY: Duration = Duration::from_secs(1);

/// A worker's stream.
pub(super) struct Session<W> {
    broker: Arc<Broker>,
    hello: Hello,
    ping_interval: Duration,
    notes: Arc<Notes>,
    _presence: Presence,
    deliveries: Deliveries,
    held: Held,
    settles: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Frames that wait for the store.
    asked: usize,
    /// Acks that came together, to be made together.
    acks: Vec<PlainAck>,
    /// What is told next.
    replies: Vec<Reply<W>>,
    /// How many replies wait for the wire.
    unsent: usize,
    subscription: Option<Subscription>,
    /// The credit that the subscription has.
    granted: usize,
    /// The store is asked for jobs no sooner.
    subscribe_at: Timestamp,
    /// The last frame came then.
    heard: Timestamp,
    /// The worker is to open a new stream then.
    reconnect_at: Timestamp,
    phase: Phase,
}

/// How far a stream is.
enum Phase {
    /// Jobs are delivered.
    Open,
    /// None any more, but settles are taken.
    Drained,
    /// As drained; it ends when nothing is held.
    Closing,
    /// As drained; it ends then.
    Leaving(Timestamp),
    /// It ends when the settles under way are answered.
    Ending,
    /// It ends at once.
    Over(Option<Error>),
}

/// An ack that its token alone decides.
struct PlainAck {
    seq: u64,
    token: LeaseToken,
    result: Option<Payload>,
    /// What was held before it.
    lease: Option<Lease>,
}

/// Something asked of the store is answered.
enum Done {
    /// A settle of the worker; the lease is what was held before it.
    Settled { seq: u64, lease: Option<Lease>, token: Option<LeaseToken>, answer: Result<Answer> },
    /// Acks of the worker, with what was held before each.
    Acked(Vec<(u64, Option<Lease>, Result<Settled>)>),
    /// An extension that no frame asked for.
    Extended(Arc<LeaseToken>, Result<Answer>),
    /// A lease that was looked at.
    Checked(Arc<LeaseToken>, Result<Extended>),
    /// A lease that was given back.
    Released,
}

impl<W: Send + 'static> Session<W> {
    /// Serves a worker until the end of its stream.
    pub(super) async fn run<F>(broker: Broker, mut frames: F, outbox: Outbox<W>)
    where
        F: Stream<Item = std::result::Result<Frame<W>, Lost<W>>> + Send + Unpin,
    {
        let silent_at = broker.clock.now().after(DEFAULT_LEASE_DURATION);
        let first = tokio::select! {
            frame = frames.next() => frame,
            () = outbox.stirs() => return,
            () = broker.clock.sleep_until(silent_at) => return outbox.end(End::Failed(Error::Silent)),
        };
        let (seq, hello) = match first {
            Some(Ok(Frame { seq, body: Body::Hello(hello), .. })) => (seq, *hello),
            Some(Ok(Frame { body: Body::Wrong(wrong), .. }) | Err(Lost::Refused(wrong))) => {
                return outbox.end(End::Refused(wrong));
            }
            _ => return outbox.end(End::Done),
        };
        let mut session = Box::new(Self::begin(broker, hello, seq).await);
        let end = session.serve(&mut frames, &outbox).await;
        session.finish(&outbox).await;
        outbox.end(end);
    }

    async fn begin(broker: Broker, hello: Hello, seq: u64) -> Self {
        let presence =
            broker.workers.asks(&hello.worker, Some(hello.profile.clone()), &hello.queues);
        let notes: Arc<Notes> = Arc::default();
        let (welcome, held) = greet(&broker, &hello, seq, &notes).await;
        let now = broker.clock.now();
        let ping_interval = welcome.ping_interval;
        // Registered before looking, so that nothing falls between the two.
        let (closing, drained) = (broker.is_draining(), presence.is_drained());
        notes.write(|news| {
            news.closing |= closing;
            news.drained |= drained;
        });
        Self {
            deliveries: Deliveries::new(hello.max_bytes),
            broker: Arc::new(broker),
            hello,
            ping_interval,
            notes,
            _presence: presence,
            held,
            settles: FuturesUnordered::new(),
            asked: 0,
            acks: Vec::new(),
            replies: vec![Reply::Welcome(welcome)],
            unsent: 0,
            subscription: None,
            granted: 0,
            subscribe_at: now,
            heard: now,
            reconnect_at: now.after(AGE.mul_f64(0.8 + 0.4 * fastrand::f64())),
            phase: Phase::Open,
        }
    }

    async fn serve<F>(&mut self, frames: &mut F, outbox: &Outbox<W>) -> End<W>
    where
        F: Stream<Item = std::result::Result<Frame<W>, Lost<W>>> + Send + Unpin,
    {
        let mut alarm = Alarm::new(self.broker.clock.clone());
        let notes = Arc::clone(&self.notes);
        loop {
            self.grant().await;
            outbox.put(&mut self.replies);
            match outbox.waiting() {
                Some(waiting) => self.unsent = waiting,
                None => return End::Done,
            }
            if let Some(end) = self.end() {
                return end;
            }
            alarm.set(self.next_alarm());
            let (reads, settles) = (self.reads(), !self.settles.is_empty());
            // All are cancel-safe: what is not taken stays where it is.
            tokio::select! {
                frame = frames.next(), if reads => {
                    let mut frame = Some(frame);
                    for _ in 0..ROUND {
                        match frame {
                            Some(Some(Ok(frame))) => self.hear(frame),
                            Some(Some(Err(Lost::Refused(wrong)))) => return End::Refused(wrong),
                            Some(Some(Err(Lost::Broken))) => return End::Done,
                            Some(None) => self.phase = Phase::Ending,
                            None => break,
                        }
                        frame = if self.reads() { frames.next().now_or_never() } else { None };
                    }
                    self.make_acks();
                    self.extend_due();
                }
                Some(done) = self.settles.next(), if settles => {
                    self.answer(done);
                    while let Some(Some(done)) = self.settles.next().now_or_never() {
                        self.answer(done);
                    }
                }
                leased = supply::next(&mut self.subscription) => {
                    self.deliver(leased);
                    while let Some(leased) = supply::next(&mut self.subscription).now_or_never() {
                        self.deliver(leased);
                    }
                }
                () = notes.come() => self.read_notes(),
                () = alarm.rings() => self.ring(),
                () = outbox.stirs() => {}
            }
        }
    }

    /// True while frames are read. A worker that does not read its answers is not read either.
    fn reads(&self) -> bool {
        let is_open = !matches!(self.phase, Phase::Ending | Phase::Over(_));
        is_open
            && self.unsent + self.replies.len() < ENOUGH
            && self.asked + self.acks.len() < SETTLES
    }

    fn end(&mut self) -> Option<End<W>> {
        let is_idle = self.settles.is_empty();
        match &mut self.phase {
            Phase::Over(Some(error)) => Some(End::Failed(error.clone())),
            Phase::Over(None) => Some(End::Done),
            Phase::Ending if is_idle => Some(End::Done),
            Phase::Closing if is_idle && self.held.is_empty() && self.deliveries.is_empty() => {
                Some(End::Done)
            }
            _ => None,
        }
    }

    /// What was not received goes back, and what is under way is finished: it was asked for.
    async fn finish(&mut self, outbox: &Outbox<W>) {
        self.make_acks();
        self.stop_delivering();
        self.give_back();
        self.broker.desk.leave(&self.hello.worker, &self.notes);
        while let Some(done) = self.settles.next().await {
            self.answer(done);
        }
        if let Some(Move { done, .. }) = self.notes.read().moved {
            let _gone = done.send(());
        }
        outbox.put(&mut self.replies);
    }

    fn hear(&mut self, frame: Frame<W>) {
        self.heard = self.broker.clock.now();
        let Frame { seq, received_through, body } = frame;
        if received_through > self.deliveries.sent() {
            let (sent, told) = (self.deliveries.sent(), received_through);
            self.replies.push(Reply::Failed(seq, Error::NotSent { told, sent }));
            return;
        }
        self.receive(received_through);
        match body {
            Body::Credit(through) => self.deliveries.allow(through),
            Body::Settle(settle) => self.settle(seq, settle),
            Body::Ping => self.replies.push(Reply::Pong(seq)),
            Body::Goodbye { release } => self.part(release),
            Body::Wrong(wrong) => self.replies.push(Reply::Wrong(seq, wrong)),
            // The wire lets only the first frame be one.
            Body::Hello(_) => {}
        }
    }

    /// The next moment at which something is to be done.
    fn next_alarm(&self) -> Timestamp {
        let mut next = self.heard.after(self.ping_interval * SILENCE).min(self.held.next_end());
        if let Some(grace) = self.deliveries.next_grace() {
            next = next.min(grace);
        }
        match &self.phase {
            Phase::Open => {
                next = next.min(self.reconnect_at);
                // Only an open stream gets more jobs: any other would be woken for it for ever.
                if self.subscription.is_none() && self.deliveries.wanted() > 0 {
                    next = next.min(self.subscribe_at);
                }
            }
            Phase::Leaving(at) => next = next.min(*at),
            Phase::Drained | Phase::Closing | Phase::Ending | Phase::Over(_) => {}
        }
        next
    }

    fn ring(&mut self) {
        let now = self.broker.clock.now();
        for (job, token) in self.deliveries.give_up(now) {
            self.broker.give_back(&job);
            let reason = "the delivery was not received in time".to_owned();
            self.replies.push(Reply::Directive(Directive::LeaseLost(token, reason)));
        }
        for token in self.held.ended(now, RETRY) {
            self.check(token);
        }
        match self.phase {
            _ if self.heard.after(self.ping_interval * SILENCE) <= now => {
                self.phase = Phase::Over(Some(Error::Silent));
            }
            Phase::Open if self.reconnect_at <= now => {
                self.replies.push(Reply::Directive(Directive::Reconnect(RECONNECT_WITHIN)));
                self.phase = Phase::Leaving(now.after(RECONNECT_WITHIN));
            }
            Phase::Leaving(at) if at <= now => self.phase = Phase::Ending,
            _ => {}
        }
    }
}

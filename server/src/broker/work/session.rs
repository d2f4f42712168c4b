//! One stream, from its first frame to its end: a task that waits for whatever comes next.
//!
//! All that is ready is taken before anything is told, so that what belongs together leaves
//! together. The task never waits for the worker: one that does not read its answers is not read
//! either, and one that does not take its deliveries loses them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};

use super::alarm::Alarm;
use super::deliveries::Deliveries;
use super::desk::{FAREWELL, Move, Notes};
use super::greeting::greet;
use super::held::{Held, Lease};
use super::outbox::{ENOUGH, End, Outbox};
use super::{Body, Delivery, Directive, Frame, Hello, Lost, Reply};
use crate::broker::dispatch::{Subscription, Wish};
use crate::broker::lease::Leased;
use crate::broker::settle::{Answer, Extend, Nack, Settle};
use crate::broker::workers::Presence;
use crate::broker::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::transition::Disposition;
use crate::job::{DEFAULT_LEASE_DURATION, LeaseSecret, LeaseToken};
use crate::store::{Claim, Extended};

/// A worker that was silent for so many ping intervals is given up.
const SILENCE: u32 = 3;

/// A stream is to be opened anew after about this long, so that streams spread over the brokers.
const AGE: Duration = Duration::from_mins(30);

/// The stream ends so long after the worker was told to open a new one.
const RECONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Jobs that a claim takes at most.
const BATCH: usize = 256;

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

/// Something asked of the store is answered.
enum Done {
    /// A settle of the worker; the lease is what was held before it.
    Settled { seq: u64, lease: Option<Lease>, token: Option<LeaseToken>, answer: Result<Answer> },
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
                    self.extend_due();
                }
                Some(done) = self.settles.next(), if settles => {
                    self.answer(done);
                    while let Some(Some(done)) = self.settles.next().now_or_never() {
                        self.answer(done);
                    }
                }
                leased = next(&mut self.subscription) => self.deliver(leased),
                () = notes.come() => self.read_notes(),
                () = alarm.rings() => self.ring(),
                () = outbox.stirs() => {}
            }
        }
    }

    /// True while frames are read. A worker that does not read its answers is not read either.
    fn reads(&self) -> bool {
        let is_open = !matches!(self.phase, Phase::Ending | Phase::Over(_));
        is_open && self.unsent + self.replies.len() < ENOUGH && self.settles.len() < SETTLES
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

    /// Passes the worker's credit on to the dispatcher, as far as it may be used now.
    async fn grant(&mut self) {
        let wanted = match self.phase {
            Phase::Open => self.deliveries.wanted().min(BATCH),
            _ => 0,
        };
        if wanted <= self.granted {
            if wanted == 0 && self.granted > 0 {
                self.stop_delivering();
            }
            return;
        }
        let more = wanted - self.granted;
        if let Some(subscription) = &self.subscription {
            subscription.credit(more);
            self.granted = wanted;
        } else if self.subscribe_at <= self.broker.clock.now() {
            match subscribe(&self.broker, &self.hello, wanted).await {
                Ok(subscription) => {
                    self.subscription = Some(subscription);
                    self.granted = wanted;
                }
                Err(error) => self.retry(&error),
            }
        }
    }

    fn stop_delivering(&mut self) {
        self.subscription = None;
        self.granted = 0;
    }

    fn retry(&mut self, error: &Error) {
        tracing::debug!(%error, worker = self.hello.worker.as_str(), "can't get jobs for a stream");
        self.stop_delivering();
        self.subscribe_at = self.broker.clock.now().after(RETRY);
    }

    fn deliver(&mut self, leased: Result<Leased>) {
        let leased = match leased {
            Ok(leased) => leased,
            Err(error) => return self.retry(&error),
        };
        let now = self.broker.clock.now();
        self.granted = self.granted.saturating_sub(leased.jobs.len());
        for job in leased.jobs {
            let Some(token) = job.token() else { continue };
            let job = Arc::new(job);
            let number = self.deliveries.send(Arc::clone(&job), Arc::new(token), now);
            self.replies.push(Reply::Delivery(Delivery { number, job }));
        }
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

    fn receive(&mut self, through: u64) {
        for arrived in self.deliveries.receive(through) {
            self.held.insert(arrived);
        }
    }

    fn settle(&mut self, seq: u64, settle: Settle) {
        let token = settle.token();
        if self.held.get_mut(token).is_none()
            && let Some(number) = self.deliveries.number_of(token)
        {
            // Who settles a job has received it.
            self.receive(number);
        }
        let (lease, token) = match &settle {
            Settle::Extend(token, _) => (None, Some(token.clone())),
            Settle::Ack(token, _) | Settle::Nack(token, _) => (self.held.remove(token), None),
        };
        let broker = Arc::clone(&self.broker);
        self.settles.push(Box::pin(async move {
            let answer = broker.settle(settle).await;
            Done::Settled { seq, lease, token, answer }
        }));
    }

    fn answer(&mut self, done: Done) {
        match done {
            Done::Settled { seq, lease, token, answer } => {
                match (&answer, token, lease) {
                    (Ok(Answer::Extended(extended)), Some(token), _) => {
                        if let Some(lease) = self.held.extended(&token, Some(extended.until)) {
                            lease.told |= extended.cancel.is_some();
                        }
                    }
                    (Err(Error::LeaseLost { .. }), Some(token), _) => {
                        self.held.remove(&token);
                    }
                    // It was not settled, so it is held still.
                    (Err(error), _, Some(lease)) if !is_final(error) => self.held.put_back(lease),
                    _ => {}
                }
                self.replies.push(match answer {
                    Ok(answer) => Reply::Settled(seq, Box::new(answer)),
                    Err(error) => Reply::Failed(seq, error),
                });
            }
            Done::Extended(token, answer) => self.extended(&token, answer),
            Done::Checked(token, Ok(Extended::Held { until, cancel })) => {
                let within = until.since(self.broker.clock.now());
                self.held.extended(&token, Some(until));
                if let Some(cancel) = cancel {
                    self.tell_cancelled(&token, cancel.reason, within);
                }
            }
            Done::Checked(token, Ok(Extended::Lost)) => self.tell_lost(&token),
            Done::Checked(_, Err(_)) | Done::Released => {}
        }
    }

    fn tell_cancelled(&mut self, token: &Arc<LeaseToken>, reason: String, within: Duration) {
        let lease = self.held.get_mut(token);
        if lease.is_some_and(|lease| std::mem::replace(&mut lease.told, true)) {
            return;
        }
        let directive = Directive::Cancel(Arc::clone(token), reason, within);
        self.replies.push(Reply::Directive(directive));
    }

    fn tell_lost(&mut self, token: &Arc<LeaseToken>) {
        // One that was settled meanwhile is no news.
        if self.held.remove(token).is_some() || self.deliveries.number_of(token).is_some() {
            let reason = "the lease is not held any more".to_owned();
            let directive = Directive::LeaseLost(Arc::clone(token), reason);
            self.replies.push(Reply::Directive(directive));
        }
    }

    /// Looks what became of a lease.
    fn check(&mut self, token: Arc<LeaseToken>) {
        let broker = Arc::clone(&self.broker);
        self.settles.push(Box::pin(async move {
            let verdict = broker.check(&token).await;
            Done::Checked(token, verdict)
        }));
    }

    /// Extends what a frame should extend, if the worker wants that.
    fn extend_due(&mut self) {
        if !self.hello.auto_extend {
            return;
        }
        for token in self.held.due(self.heard) {
            let broker = Arc::clone(&self.broker);
            self.settles.push(Box::pin(async move {
                let extend = Settle::Extend((*token).clone(), Extend::default());
                let answer = broker.settle(extend).await;
                Done::Extended(token, answer)
            }));
        }
    }

    fn extended(&mut self, token: &Arc<LeaseToken>, answer: Result<Answer>) {
        match answer {
            Ok(Answer::Extended(extended)) => {
                self.held.extended(token, Some(extended.until));
                if let Some(reason) = extended.cancel {
                    self.tell_cancelled(token, reason, extended.until.since(extended.now));
                }
            }
            Err(Error::LeaseLost { .. }) => self.tell_lost(token),
            // Tried again with the next frame.
            Ok(_) | Err(_) => {
                self.held.extended(token, None);
            }
        }
    }

    /// The worker leaves.
    fn part(&mut self, release: bool) {
        self.broker.workers.parts(&self.hello.worker);
        self.stop_delivering();
        self.give_back();
        if release {
            for lease in self.held.drain() {
                let broker = Arc::clone(&self.broker);
                self.settles.push(Box::pin(async move {
                    let nack =
                        Nack { disposition: Disposition::Release, failure: None, checkpoint: None };
                    if let Err(error) = broker.nack((*lease.token).clone(), nack).await {
                        tracing::debug!(%error, "can't release a lease; it will run out");
                    }
                    Done::Released
                }));
            }
        }
        self.phase = Phase::Ending;
    }

    /// What has not arrived goes back.
    fn give_back(&mut self) {
        for job in self.deliveries.close() {
            self.broker.give_back(&job);
        }
    }

    fn read_notes(&mut self) {
        let news = self.notes.read();
        for job in &news.called_off {
            let token = self.held.of_job(job).or_else(|| self.deliveries.of_job(job)).cloned();
            if let Some(token) = token {
                self.check(token);
            }
        }
        if news.drained && matches!(self.phase, Phase::Open) {
            self.phase = Phase::Drained;
            let reason = "an operator drains this worker".to_owned();
            self.replies.push(Reply::Directive(Directive::Drain(reason, None)));
        }
        if news.closing && matches!(self.phase, Phase::Open | Phase::Drained | Phase::Leaving(_)) {
            self.phase = Phase::Closing;
            let reason = "the broker is shutting down".to_owned();
            self.replies.push(Reply::Directive(Directive::Drain(reason, Some(FAREWELL))));
            self.stop_delivering();
            self.give_back();
        }
        if news.closed {
            self.phase = Phase::Ending;
        }
        if let Some(Move { held, done }) = news.moved {
            self.stop_delivering();
            for job in self.deliveries.close() {
                let secret = job.lease.as_ref().map(|lease| lease.secret);
                let moves =
                    |token: &LeaseToken| Some(token.secret) == secret && token.name == job.name;
                if !held.iter().any(moves) {
                    self.broker.give_back(&job);
                }
            }
            // What this stream held, it holds no more; the settles under way are answered here.
            drop(self.held.drain());
            let _gone = done.send(());
            self.phase = Phase::Ending;
        }
    }

    /// The next moment at which something is to be done.
    fn next_alarm(&self) -> Timestamp {
        let mut next = self.heard.after(self.ping_interval * SILENCE).min(self.held.next_end());
        if let Some(grace) = self.deliveries.next_grace() {
            next = next.min(grace);
        }
        match &self.phase {
            Phase::Open => next = next.min(self.reconnect_at),
            Phase::Leaving(at) => next = next.min(*at),
            Phase::Drained | Phase::Closing | Phase::Ending | Phase::Over(_) => {}
        }
        if self.subscription.is_none() && self.deliveries.wanted() > 0 {
            next = next.min(self.subscribe_at);
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

/// Puts in the worker's wish, with a first credit.
async fn subscribe(broker: &Broker, hello: &Hello, limit: usize) -> Result<Subscription> {
    let Hello { worker, queues, order, types, lease_duration, max_bytes, .. } = hello;
    let route = broker.resolve(queues, order.clone()).await?;
    let mut types = types.clone();
    types.sort_unstable();
    types.dedup();
    let claim = Claim {
        worker: worker.clone(),
        limit,
        max_bytes: *max_bytes,
        lease_duration: *lease_duration,
        types,
        secret: LeaseSecret(fastrand::u64(1..)),
        request: None,
    };
    broker.dispatcher.subscribe(Wish { route, claim, patient: true, linger: None })
}

/// True when a settle that failed so is not to be tried again.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::LeaseLost { .. } | Error::LeaseSettled { .. })
}

/// The next jobs of a subscription; waits for ever without one.
async fn next(subscription: &mut Option<Subscription>) -> Result<Leased> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

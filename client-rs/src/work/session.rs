//! The task of a work stream: the one place that reads from it and writes to it.
//!
//! What is ready is taken together, and what comes of it is sent together. After jobs were handed
//! over, the tasks that are ready to run have their turn first, so that what they settle travels
//! with the receipt of the jobs.

#![expect(clippy::disallowed_methods, reason = "a worker's signs of life keep its own time")]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use lessor_proto::v1::work_request::{Frame, Goodbye, Hello};
use lessor_proto::v1::work_response::directive::Kind;
use lessor_proto::v1::work_response::{Directive, Welcome};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Status, Streaming};

use super::ledger::Ledger;
use super::wire::{Delivered, Reply, Request, Told, WORK, WorkCodec, encode, lease_token};
use super::{Command, Event, WorkEvent, WorkOptions, released};
use crate::channel::Channel;
use crate::pause::Pauses;
use crate::{Client, Error, Result, connect, raw, span};

/// Commands and replies taken at once.
const MANY: usize = 256;
/// A broker that was silent for so many ping intervals is given up.
const SILENCE: u32 = 3;
/// The part of a ping interval after which a ping is sent.
const EARLY: f64 = 0.75;
/// For a broker that does not name the interval.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// What connects the task with the owner of the stream.
pub(super) struct Ends {
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) events: mpsc::UnboundedSender<Result<Event>>,
    pub(super) connected: Arc<AtomicBool>,
}

pub(super) struct Session {
    client: Client,
    channel: Channel,
    hello: Hello,
    ends: Ends,
    ledger: Ledger,
    pauses: Pauses,
    /// Frames that are sent next.
    outgoing: Vec<Request>,
    closing: Option<Closing>,
    /// An operator drains the worker: when the broker ends the stream, that is for good.
    is_drained: bool,
    /// Whether jobs are handed over only when their receipt is on its way.
    receipts_first: bool,
    /// What is handed over then.
    fresh: Vec<Event>,
}

/// The owner wants the end.
struct Closing {
    release: bool,
    done: oneshot::Sender<()>,
}

/// An open stream.
pub(super) struct Link {
    frames: mpsc::UnboundedSender<Request>,
    replies: Streaming<Reply>,
    ping_interval: Duration,
}

/// How a stream ended.
enum End {
    /// For good.
    Over,
    /// The next one is opened after a pause.
    Broken(Error),
    /// The next one is opened on a new connection, after a pause: this one lets nothing through.
    Stuck(Error),
    /// The next one is opened at once, on a new connection.
    Moved,
}

impl Session {
    pub(super) fn new(client: Client, options: WorkOptions, ends: Ends) -> Self {
        let WorkOptions { hello, concurrency, receipts_first } = options;
        Self {
            channel: client.channel(),
            client,
            hello,
            ends,
            ledger: Ledger::new(concurrency),
            is_drained: false,
            receipts_first,
            fresh: Vec::new(),
            pauses: Pauses::new(),
            outgoing: Vec::new(),
            closing: None,
        }
    }

    /// Serves the stream and those that follow it.
    pub(super) async fn run(mut self, link: Link) {
        let mut link = Some(link);
        while let Some(open) = link.take() {
            let fault = match self.serve(open).await {
                End::Over => break,
                End::Broken(fault) => Some(fault),
                End::Stuck(fault) => {
                    self.channel = self.client.new_channel();
                    Some(fault)
                }
                End::Moved => {
                    self.channel = self.client.new_channel();
                    None
                }
            };
            self.ends.connected.store(false, Ordering::Relaxed);
            match self.reopen(fault).await {
                Ok(next) => link = next,
                Err(error) => self.tell(Err(error)),
            }
            self.ends.connected.store(link.is_some(), Ordering::Relaxed);
        }
        self.ends.connected.store(false, Ordering::Relaxed);
        if let Some(Closing { done, .. }) = self.closing {
            done.send(()).ok();
        }
    }

    async fn serve(&mut self, link: Link) -> End {
        let Link { frames, mut replies, ping_interval } = link;
        let (mut heard, mut commands) = (Vec::new(), Vec::new());
        let (mut heard_at, mut said_at) = (Instant::now(), Instant::now());
        let mut alarm = pin!(sleep_until(said_at));
        let mut is_new = true;
        // The broker ends this stream and is to be asked for another.
        let mut leads_on = false;
        self.outgoing = self.ledger.begin_stream();
        loop {
            self.outgoing.extend(self.ledger.credit());
            if !self.outgoing.is_empty() {
                said_at = Instant::now();
            }
            for frame in self.outgoing.drain(..) {
                // When nobody takes it, the replies say why.
                frames.send(frame).ok();
            }
            if let Some(closing) = &self.closing {
                let release = closing.release;
                self.part(frames, replies, release).await;
                return End::Over;
            }
            let silent_at = heard_at + ping_interval * SILENCE;
            let ping_at = said_at + ping_interval.mul_f64(EARLY);
            let due = self.ledger.next_ring().into_iter().chain([silent_at, ping_at]).min();
            if let Some(due) = due.filter(|due| *due < alarm.deadline() || alarm.is_elapsed()) {
                alarm.as_mut().reset(due);
            }
            let mut end = None;
            tokio::select! {
                biased;
                () = &mut alarm => {
                    let now = Instant::now();
                    if now >= silent_at {
                        let why = "the broker is silent";
                        return End::Stuck(Error::local(Code::Unavailable, why));
                    }
                    if now >= ping_at {
                        let ping = self.ledger.say(encode(Frame::Ping(())));
                        self.outgoing.push(ping);
                    }
                    let again = self.ledger.ring(now, || self.client.late_error());
                    self.outgoing.extend(again);
                }
                _ = self.ends.commands.recv_many(&mut commands, MANY) => {}
                ended = take(&mut replies, &mut heard) => end = ended,
            }
            if !heard.is_empty() {
                heard_at = Instant::now();
                if std::mem::take(&mut is_new) {
                    self.pauses = Pauses::new();
                }
            }
            let mut is_moved = false;
            for reply in heard.drain(..) {
                match self.hear(reply, heard_at) {
                    Heard::Nothing => {}
                    Heard::LeadsOn => leads_on = true,
                    Heard::Move => is_moved = true,
                }
            }
            if !self.fresh.is_empty() {
                if let Some(receipt) = self.ledger.credit() {
                    said_at = Instant::now();
                    frames.send(receipt).ok();
                }
                // The tasks of the connection write it meanwhile.
                yield_now().await;
                self.hand_over();
            } else if self.ledger.owes_receipt() {
                yield_now().await;
            }
            if is_moved {
                return End::Moved;
            }
            while commands.len() < MANY
                && let Ok(command) = self.ends.commands.try_recv()
            {
                commands.push(command);
            }
            self.obey(&mut commands);
            match end {
                None => {}
                Some(Ok(())) if leads_on || !self.is_drained => {
                    let why = "the broker ended the stream";
                    return End::Broken(Error::local(Code::Unavailable, why));
                }
                Some(Ok(())) => return End::Over,
                Some(Err(status)) => {
                    let error = self.client.error(&status);
                    // When what the credential allows has changed, the next stream may be served.
                    if is_lasting(&error) && error.code() != Code::Unauthenticated {
                        self.tell(Err(error));
                        return End::Over;
                    }
                    return End::Broken(error);
                }
            }
        }
    }

    fn hear(&mut self, reply: Reply, now: Instant) -> Heard {
        match reply.told {
            Some(Told::Delivery(delivery)) => self.receive(delivery),
            Some(Told::Directive(directive)) => return self.follow(directive),
            Some(told) => self.ledger.answer(reply.request_seq, told, now),
            None => {}
        }
        Heard::Nothing
    }

    fn receive(&mut self, delivery: Bytes) {
        let Ok(Delivered { delivery_seq, leased }) = raw::read(delivery) else { return };
        let Ok(token) = lease_token(&leased) else { return };
        let id = self.ledger.receive(delivery_seq, token);
        self.fresh.push(Event::Job(leased, id));
        if !self.receipts_first {
            self.hand_over();
        }
    }

    /// Hands over what came.
    fn hand_over(&mut self) {
        for event in self.fresh.drain(..) {
            if let Err(mpsc::error::SendError(Ok(Event::Job(leased, id)))) =
                self.ends.events.send(Ok(event))
                && let Ok(frame) = released(&leased)
            {
                // The owner is about to close the stream.
                let deadline = Instant::now() + self.client.timeout();
                let frame = self.ledger.ask(Some(id), frame, None, deadline);
                self.outgoing.push(frame);
            }
        }
    }

    fn follow(&mut self, directive: Directive) -> Heard {
        let kind = directive.kind();
        let Directive { lease_token, reason, within, .. } = directive;
        let within = within.map(|within| span::read(Some(within)));
        match kind {
            Kind::CancelJob => self.report(WorkEvent::Cancel { lease_token, reason, within }),
            Kind::LeaseLost => self.lose(lease_token, reason),
            // A broker that shuts down says until when; another one may have jobs.
            Kind::Drain if within.is_some() => return Heard::LeadsOn,
            Kind::Drain => {
                self.is_drained = true;
                self.report(WorkEvent::Drain { reason });
            }
            Kind::Reconnect => return Heard::Move,
            Kind::Unspecified => {}
        }
        Heard::Nothing
    }

    fn lose(&mut self, lease_token: String, reason: String) {
        if self.ledger.lose(&lease_token) {
            self.report(WorkEvent::LeaseLost { lease_token, reason });
        }
    }

    fn report(&mut self, event: WorkEvent) {
        // After the jobs that came before it.
        self.hand_over();
        self.tell(Ok(Event::Other(event)));
    }

    fn tell(&self, event: Result<Event>) {
        // An owner that closes the stream does not want to know.
        self.ends.events.send(event).ok();
    }

    fn obey(&mut self, commands: &mut Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        let deadline = Instant::now() + self.client.timeout();
        for command in commands.drain(..) {
            match command {
                Command::Ask { settles, frame, reply } => {
                    let frame = self.ledger.ask(settles, frame, reply, deadline);
                    self.outgoing.push(frame);
                }
                Command::Forget(id) => self.ledger.forget(id),
                Command::Stop => self.ledger.stop(),
                Command::Close { release, done } => {
                    self.ledger.stop();
                    self.closing = Some(Closing { release, done });
                }
            }
        }
    }

    /// Says goodbye, and waits for the answers that are still to come.
    async fn part(
        &mut self,
        frames: mpsc::UnboundedSender<Request>,
        mut replies: Streaming<Reply>,
        release_held: bool,
    ) {
        let goodbye = self.ledger.say(encode(Frame::Goodbye(Goodbye { release_held })));
        frames.send(goodbye).ok();
        drop(frames);
        let ending = async {
            while let Some(Ok(reply)) = replies.next().await {
                if let Some(told) = reply.told {
                    self.ledger.answer(reply.request_seq, told, Instant::now());
                }
            }
        };
        // Without the answers the broker does the same.
        timeout(self.client.timeout(), ending).await.ok();
    }

    /// Opens the next stream, however long it takes. `None` when the owner wants the end.
    async fn reopen(&mut self, mut fault: Option<Error>) -> Result<Option<Link>> {
        loop {
            let pause = fault.as_ref().map_or(Duration::ZERO, |fault| self.pauses.next(fault));
            let hello = Hello { held_lease_tokens: self.ledger.held(), ..self.hello.clone() };
            let (client, channel) = (self.client.clone(), self.channel.clone());
            let opening = async move {
                sleep(pause).await;
                open(&client, channel, hello).await
            };
            match self.meanwhile(opening).await {
                None => return Ok(None),
                Some(Ok((link, welcome))) => {
                    for lost in welcome.held.into_iter().filter(|held| !held.kept) {
                        let why = "the lease ended while the stream was broken";
                        self.lose(lost.lease_token, why.to_owned());
                    }
                    return Ok(Some(link));
                }
                Some(Err(error)) if is_lasting(&error) => return Err(error),
                Some(Err(error)) => {
                    if error.code() == Code::DeadlineExceeded {
                        self.channel = self.client.new_channel();
                    }
                    fault = Some(error);
                }
            }
        }
    }

    /// Waits for `work` without a stream: what is asked is kept for the next one, within its
    /// deadline. `None` when the owner wants the end.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut commands = Vec::new();
        loop {
            let ring = self.ledger.next_ring();
            tokio::select! {
                done = &mut work => return Some(done),
                _ = self.ends.commands.recv_many(&mut commands, MANY) => self.obey(&mut commands),
                () = sleep_until(ring.unwrap_or_else(Instant::now)), if ring.is_some() => {
                    self.ledger.ring(Instant::now(), || self.client.late_error());
                }
            }
            // The next stream begins with all that is open.
            self.outgoing.clear();
            if self.closing.is_some() {
                return None;
            }
        }
    }
}

/// What a reply means for the stream.
enum Heard {
    Nothing,
    /// The broker will end it and is to be asked for another.
    LeadsOn,
    /// Another one is to be opened.
    Move,
}

/// Opens the first stream.
pub(super) async fn open_first(client: &Client, hello: &Hello) -> Result<Link> {
    let deadline = Instant::now() + client.timeout();
    let opening = || open(client, client.channel(), hello.clone());
    connect::persist(deadline, opening).await.map(|(link, _)| link)
}

async fn open(client: &Client, channel: Channel, hello: Hello) -> Result<(Link, Welcome)> {
    let (frames, requests) = mpsc::unbounded_channel();
    let frame = encode(Frame::Hello(hello));
    frames.send(Request { frame, seq: 0, received_through: 0 }).ok();
    let opening = async {
        let requests = tonic::Request::new(Requests(requests));
        let path = PathAndQuery::from_static(WORK);
        let mut stub = raw::ready(channel).await?;
        let mut replies = stub.streaming(requests, path, WorkCodec).await?.into_inner();
        let first = replies.message().await?;
        Ok::<_, Status>((replies, first.and_then(|reply| reply.told)))
    };
    match timeout(client.timeout(), opening).await {
        Ok(Ok((replies, Some(Told::Welcome(welcome))))) => {
            let ping_interval = Some(span::read(welcome.ping_interval));
            let ping_interval = ping_interval.filter(|it| !it.is_zero()).unwrap_or(PING_INTERVAL);
            Ok((Link { frames, replies, ping_interval }, welcome))
        }
        Ok(Ok(_)) => Err(Error::incomplete("a welcome")),
        Ok(Err(status)) => Err(client.error(&status)),
        Err(_elapsed) => Err(client.late_error()),
    }
}

/// A worker that tries again would be told the same.
pub(super) fn is_lasting(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
    )
}

/// Takes the replies that are ready, at least one. Answers the end of the stream, if that came.
async fn take(
    replies: &mut Streaming<Reply>,
    heard: &mut Vec<Reply>,
) -> Option<Result<(), Status>> {
    poll_fn(|context| {
        while heard.len() < MANY {
            match replies.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(reply))) => heard.push(reply),
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Some(Err(status))),
                Poll::Ready(None) => return Poll::Ready(Some(Ok(()))),
                Poll::Pending if heard.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(None)
    })
    .await
}

/// The frames of a worker, as the transport wants them.
struct Requests(mpsc::UnboundedReceiver<Request>);

impl Stream for Requests {
    type Item = Request;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Request>> {
        self.0.poll_recv(context)
    }
}

//! The task of a worker whose broker has no streams: it leases, extends and settles by calls, and
//! looks to the worker's owner like a stream.
//!
//! One Lease call waits while there is room. What is settled in one turn travels in one call. The
//! leases that are held are extended together, each after a third of its time.

#![expect(clippy::disallowed_methods, reason = "a worker's signs of life keep its own time")]

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use lessor_proto::v1::{ExtendLeaseResponse, LeaseRequest, LeasedJob, WorkRequest};
use prost::Message;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::session::{Ends, is_lasting};
use super::{Answer, Answered, Command, Event, WorkEvent, WorkOptions, is_final};
use crate::pause::Pauses;
use crate::{
    Client, Error, Extend, LeaseOptions, Leased, Nack, Reason, Result, Settle, Settled, raw, span,
};

/// How long one Lease call waits.
const WAIT: Duration = Duration::from_secs(20);
/// The most jobs of a Lease call, and items of a `BatchSettle`.
const MOST: usize = 256;
/// Between two Lease calls of which the first found nothing at once.
const PAUSE: Duration = Duration::from_millis(250);
/// The shortest time between two extensions of a lease.
const SHORTEST: Duration = Duration::from_millis(100);

pub(super) struct Calls {
    client: Client,
    request: LeaseRequest,
    auto_extend: bool,
    ends: Ends,
    room: usize,
    held: HashMap<u64, Held>,
    /// The id of the last delivery.
    deliveries: u64,
    pauses: Pauses,
    lease_at: Instant,
    under_way: FuturesUnordered<BoxFuture<'static, Round>>,
    wanted: Wanted,
    is_drained: bool,
    closing: Option<(bool, oneshot::Sender<()>)>,
}

/// Whether there shall be more jobs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    More,
    /// Only what is held is seen to.
    NoMore,
    /// The broker refuses the worker.
    Nothing,
}

struct Held {
    token: String,
    is_settled: bool,
    /// `None` while that is under way, and for leases that are not extended.
    extend_at: Option<Instant>,
    is_cancel_told: bool,
}

/// A call that was answered: what was asked, and what of each item became.
struct Round(Vec<Item>, Result<Vec<Result<Settled>>>);

enum Item {
    Asked { settles: Option<u64>, reply: Option<Answer> },
    Extended(u64),
}

impl Calls {
    pub(super) fn new(client: Client, options: WorkOptions, ends: Ends) -> Self {
        let WorkOptions { hello, concurrency, .. } = options;
        let worker_id = hello.worker.as_ref().map(|worker| worker.worker_id.clone());
        let request = LeaseRequest {
            queues: hello.queues,
            worker_id: worker_id.unwrap_or_default(),
            types: hello.types,
            order: hello.order,
            weights: hello.weights,
            lease_duration: hello.lease_duration,
            max_bytes: hello.max_message_bytes,
            worker: hello.worker,
            ..LeaseRequest::default()
        };
        Self {
            client,
            request,
            auto_extend: hello.auto_extend,
            ends,
            room: usize::try_from(concurrency).unwrap_or(usize::MAX),
            held: HashMap::new(),
            deliveries: 0,
            pauses: Pauses::new(),
            lease_at: Instant::now(),
            under_way: FuturesUnordered::new(),
            wanted: Wanted::More,
            is_drained: false,
            closing: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut leasing: Option<BoxFuture<'static, (Instant, Result<Leased>)>> = None;
        let mut commands = Vec::new();
        while self.wanted != Wanted::Nothing {
            self.extend_due();
            let room = self.room.saturating_sub(self.busy()).min(MOST);
            if self.wanted != Wanted::More {
                leasing = None;
            } else if leasing.is_none() && room > 0 && self.lease_at <= Instant::now() {
                leasing = Some(Box::pin(lease(self.client.clone(), self.request.clone(), room)));
            }
            if let Some((release, done)) = self.closing.take() {
                self.part(release).await;
                self.ends.connected.store(false, Ordering::Relaxed);
                done.send(()).ok();
                return;
            }
            let may_lease = leasing.is_none() && room > 0 && self.wanted == Wanted::More;
            let next_lease = may_lease.then_some(self.lease_at);
            let due = self.held.values().filter_map(|held| held.extend_at).chain(next_lease).min();
            // Each branch may be dropped: nothing is taken that is not handed over.
            tokio::select! {
                biased;
                count = self.ends.commands.recv_many(&mut commands, MOST) => {
                    if count == 0 {
                        break;
                    }
                    self.obey(&mut commands);
                }
                Some(Round(items, results)) = self.under_way.next() => self.hear(items, results),
                Some((begin, leased)) = OptionFuture::from(leasing.as_mut()) => {
                    leasing = None;
                    self.receive(begin, leased);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        self.ends.connected.store(false, Ordering::Relaxed);
    }

    /// Deliveries that are not settled, as far as this side is concerned.
    fn busy(&self) -> usize {
        self.held.values().filter(|held| !held.is_settled).count()
    }

    fn obey(&mut self, commands: &mut Vec<Command>) {
        let (mut items, mut settles) = (Vec::new(), Vec::new());
        for command in commands.drain(..) {
            match command {
                Command::Ask { settles: id, frame, reply } => {
                    let frame = raw::read::<WorkRequest>(frame).map(|request| request.frame);
                    let Ok(Some(Ok(settle))) = frame.map(|it| it.map(Settle::try_from)) else {
                        continue;
                    };
                    if let Some(held) = id.and_then(|id| self.held.get_mut(&id)) {
                        held.is_settled = true;
                    }
                    items.push(Item::Asked { settles: id, reply });
                    settles.push(settle);
                }
                Command::Forget(id) => {
                    self.held.remove(&id);
                }
                Command::Stop => self.wanted = Wanted::NoMore,
                Command::Close { release, done } => {
                    self.wanted = Wanted::NoMore;
                    self.closing = Some((release, done));
                }
            }
        }
        self.send(items, settles);
    }

    fn send(&self, items: Vec<Item>, settles: Vec<Settle>) {
        if !items.is_empty() {
            let client = self.client.clone();
            self.under_way
                .push(Box::pin(async move { Round(items, client.settle_batch(settles).await) }));
        }
    }

    /// Extends what is due, together.
    fn extend_due(&mut self) {
        let now = Instant::now();
        let (mut items, mut settles) = (Vec::new(), Vec::new());
        let due =
            self.held.iter_mut().filter(|(_, held)| held.extend_at.is_some_and(|at| at <= now));
        for (&id, held) in due.take(MOST) {
            held.extend_at = None;
            items.push(Item::Extended(id));
            settles.push(Settle::extend(&held.token, Extend::again()));
        }
        self.send(items, settles);
    }

    fn hear(&mut self, items: Vec<Item>, results: Result<Vec<Result<Settled>>>) {
        self.note_connection(results.as_ref().err());
        let mut results = match results {
            Ok(results) => results,
            Err(error) => items.iter().map(|_| Err(error.clone())).collect(),
        };
        for (item, result) in items.into_iter().zip(results.drain(..)) {
            match item {
                Item::Asked { settles, reply } => {
                    if let Some(id) = settles
                        && result.as_ref().err().is_none_or(is_final)
                    {
                        self.held.remove(&id);
                    }
                    if let Some(reply) = reply {
                        // Whoever left does not want to know.
                        reply.send(result.map(Answered::from)).ok();
                    }
                }
                Item::Extended(id) => match result {
                    Ok(Settled::Extend(reply)) => self.extended(id, reply),
                    Err(error) if error.kind() == Some(Reason::LeaseLost) => self.lose(id, &error),
                    _ => self.extend_again(id, SHORTEST * 10),
                },
            }
        }
    }

    fn extended(&mut self, id: u64, reply: ExtendLeaseResponse) {
        if reply.drain && !std::mem::replace(&mut self.is_drained, true) {
            self.wanted = Wanted::NoMore;
            let reason = "an operator drains the worker".to_owned();
            self.tell(WorkEvent::Drain { reason });
        }
        let remaining = span::read(reply.lease_remaining);
        self.extend_again(id, remaining / 3);
        if reply.cancel_requested
            && let Some(held) = self.held.get_mut(&id)
            && !std::mem::replace(&mut held.is_cancel_told, true)
        {
            let lease_token = held.token.clone();
            let (reason, within) = (reply.cancel_reason, Some(remaining));
            self.tell(WorkEvent::Cancel { lease_token, reason, within });
        }
    }

    fn extend_again(&mut self, id: u64, after: Duration) {
        if let Some(held) = self.held.get_mut(&id) {
            held.extend_at = Some(Instant::now() + after.max(SHORTEST));
        }
    }

    /// The delivery takes room until the work has stopped.
    fn lose(&self, id: u64, error: &Error) {
        let Some(held) = self.held.get(&id) else { return };
        if !held.is_settled {
            let lease_token = held.token.clone();
            self.tell(WorkEvent::LeaseLost { lease_token, reason: error.to_string() });
        }
    }

    fn receive(&mut self, begin: Instant, leased: Result<Leased>) {
        self.note_connection(leased.as_ref().err());
        match leased {
            Ok(Leased { jobs, retry_after, .. }) => {
                self.pauses = Pauses::new();
                let pause =
                    if jobs.is_empty() && begin.elapsed() < PAUSE { PAUSE } else { Duration::ZERO };
                self.lease_at = Instant::now() + retry_after.unwrap_or_default().max(pause);
                for leased in jobs {
                    self.hand_over(&leased);
                }
            }
            Err(error) if is_lasting(&error) => {
                self.ends.events.send(Err(error)).ok();
                self.wanted = Wanted::Nothing;
            }
            Err(error) => self.lease_at = Instant::now() + self.pauses.next(&error),
        }
    }

    fn hand_over(&mut self, leased: &LeasedJob) {
        self.deliveries += 1;
        let remaining = span::read(leased.lease_remaining);
        let extend_at = self.auto_extend.then(|| Instant::now() + (remaining / 3).max(SHORTEST));
        let (token, encoded) = (leased.lease_token.clone(), leased.encode_to_vec());
        let held = Held { token, is_settled: false, extend_at, is_cancel_told: false };
        self.held.insert(self.deliveries, held);
        // An owner that is about to close gets what is left released.
        self.ends.events.send(Ok(Event::Job(encoded.into(), self.deliveries))).ok();
    }

    fn note_connection(&self, fault: Option<&Error>) {
        let connected = fault.is_none_or(|fault| fault.reason().is_some());
        self.ends.connected.store(connected, Ordering::Relaxed);
    }

    fn tell(&self, event: WorkEvent) {
        // An owner that closes the stream does not want to know.
        self.ends.events.send(Ok(Event::Other(event))).ok();
    }

    /// Waits for what is under way, and gives back what is held.
    async fn part(&mut self, release: bool) {
        while let Some(Round(items, results)) = self.under_way.next().await {
            self.hear(items, results);
        }
        let held = self.held.values().filter(|held| release && !held.is_settled);
        let releases: Vec<Settle> =
            held.map(|held| Settle::nack(&held.token, Nack::release())).collect();
        for some in releases.chunks(MOST) {
            // What is not given back runs out.
            self.client.settle_batch(some.to_vec()).await.ok();
        }
    }
}

impl From<Settled> for Answered {
    fn from(settled: Settled) -> Self {
        match settled {
            Settled::Ack(reply) => Self::Ack(reply.encode_to_vec().into()),
            Settled::Nack(reply) => Self::Nack(reply.encode_to_vec().into()),
            Settled::Extend(reply) => Self::Extend(reply.encode_to_vec().into()),
        }
    }
}

async fn lease(client: Client, request: LeaseRequest, room: usize) -> (Instant, Result<Leased>) {
    let begin = Instant::now();
    let room = i32::try_from(room).unwrap_or(i32::MAX);
    let options = LeaseOptions::from(request).max_jobs(room).wait(WAIT);
    (begin, client.lease(&options).await)
}

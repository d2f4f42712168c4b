//! The one dispatcher: matches workers that want jobs with queues that have them.
//!
//! One task holds all waiting workers. A new one *looks*: its queues are probed one after another,
//! so it never holds jobs of two. If all are empty it is *parked* in each, and a parked worker
//! costs nothing until a queue is told ready; then one claim serves as many of its workers as
//! there are jobs for, first come first served. While a claim of a queue is under way, new wishes
//! wait and share the next one.
//!
//! A queue that is paused, full or at its rate is taken for empty until the store tells otherwise
//! or the moment comes that it named. A worker that wants several jobs at once *lingers*: it keeps
//! what it got and waits in that queue for the rest.

mod answer;
mod line;
mod taken;
mod timers;
mod told;
mod waiter;
mod why;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use self::answer::{Message, Returns, Ticket};
use self::line::Line;
use self::timers::{Timer, Timers};
use self::waiter::{Phase, Waiter};
use super::Result;
use super::fold::Folder;
use super::lease::{Leased, QueuePattern};
use crate::clock::Clock;
use crate::job::{Job, QueueName};
use crate::store::{self, Claim, Claimed, Signal, Store};

pub use self::answer::{Answer, Dispatcher};

/// Jobs taken by one store call at most.
const BATCH: usize = 256;

/// Messages that may wait for the task.
const BACKLOG: usize = 16_384;

/// What a worker wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The queues to look into, in this order.
    pub queues: Vec<QueueName>,
    /// Queues that come to be later and are meant too.
    pub patterns: Vec<QueuePattern>,
    /// How it wants jobs.
    pub claim: Claim,
    /// Waits when there are none; else one look is all.
    pub patient: bool,
    /// Waits for more once there are some.
    pub linger: Option<Linger>,
}

/// A wish for several jobs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// So many are enough.
    pub enough: usize,
    /// How long to wait for them once there is a first one.
    pub span: Duration,
}

/// The dispatching task.
pub struct Dispatching {
    mailbox: mpsc::Receiver<Message>,
    store: Arc<dyn Store>,
    clock: Clock,
    returns: Returns,
    waiters: HashMap<Ticket, Waiter>,
    lines: HashMap<QueueName, Line>,
    /// Waiters that mean queues which may come to be later.
    roaming: BTreeSet<Ticket>,
    /// Queues told ready since the last reset: a roaming wish that was made just before such a
    /// signal must not miss it.
    heard: HashSet<QueueName>,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Who waits until nothing is under way.
    resting: Vec<oneshot::Sender<()>>,
    timers: Timers,
    draining: bool,
}

/// A store call that came back.
enum Done {
    Claimed { queue: QueueName, tickets: Vec<Ticket>, taken: store::Result<Claimed> },
    Listed(store::Result<Vec<QueueName>>),
}

/// A dispatching task and the way in to it.
pub fn pair(store: Arc<dyn Store>, clock: Clock, folder: Folder) -> (Dispatcher, Dispatching) {
    let (sender, mailbox) = mpsc::channel(BACKLOG);
    let returns = Returns::new(folder, clock.clone());
    let dispatching = Dispatching {
        mailbox,
        store,
        clock,
        returns: returns.clone(),
        waiters: HashMap::new(),
        lines: HashMap::new(),
        roaming: BTreeSet::new(),
        heard: HashSet::new(),
        calls: FuturesUnordered::new(),
        resting: Vec::new(),
        timers: Timers::default(),
        draining: false,
    };
    (Dispatcher::new(sender, returns), dispatching)
}

impl Dispatching {
    /// Dispatches until every [`Dispatcher`] and [`Answer`] is gone.
    pub async fn run(mut self) {
        let mut signals = self.store.signals();
        loop {
            let clock = self.clock.clone();
            let alarm = self.timers.next();
            tokio::select! {
                // All are cancel-safe: what is not taken stays where it is.
                message = self.mailbox.recv() => match message {
                    Some(message) => self.read(message),
                    None => break,
                },
                Some(done) = self.calls.next() => self.finish(done),
                signal = signals.recv() => match signal {
                    // New settings may have opened a gate.
                    Ok(Signal::Ready(queue) | Signal::Settings(queue)) => self.told_ready(&queue),
                    Ok(Signal::Reset) | Err(RecvError::Lagged(_)) => self.reset(),
                    Ok(_) => {}
                    Err(RecvError::Closed) => break,
                },
                () = clock.sleep_until(alarm.unwrap_or_default()), if alarm.is_some() => {
                    self.ring();
                }
            }
            let rings = self.timers.next().is_some_and(|at| at <= self.clock.now());
            if self.calls.is_empty() && signals.is_empty() && !rings {
                for rested in self.resting.drain(..) {
                    // Whoever waited may be gone.
                    let _unread = rested.send(());
                }
            }
        }
        while let Some(done) = self.calls.next().await {
            self.finish(done);
        }
    }

    fn read(&mut self, message: Message) {
        match message {
            Message::Ask(ticket, wish, reply) => self.welcome(ticket, wish, reply),
            Message::Hurry(ticket) => self.hurry(ticket),
            Message::Rest(rested) => self.resting.push(rested),
            Message::Forget(ticket) => {
                // A claim under way finds the closed answer when it comes back.
                if self.waiters.get(&ticket).is_some_and(|waiter| !waiter.is_busy()) {
                    self.answer(ticket, Ok(Vec::new()));
                }
            }
            Message::Drain => {
                self.draining = true;
                let idle: Vec<Ticket> = self
                    .waiters
                    .iter()
                    .filter(|(_, waiter)| !waiter.is_busy())
                    .map(|(ticket, _)| *ticket)
                    .collect();
                for ticket in idle {
                    self.answer(ticket, Ok(Vec::new()));
                }
            }
        }
    }

    fn welcome(&mut self, ticket: Ticket, wish: Wish, reply: oneshot::Sender<Result<Leased>>) {
        let mut queues = wish.queues;
        let known: HashSet<QueueName> = queues.iter().cloned().collect();
        queues.extend(
            self.heard
                .iter()
                .filter(|queue| {
                    !known.contains(*queue)
                        && wish.patterns.iter().any(|pattern| pattern.matches(queue))
                })
                .cloned(),
        );
        // A queue known to be empty need not be looked into by a worker that waits anyway: it
        // tells when that changes.
        let probes: VecDeque<QueueName> = queues
            .iter()
            .filter(|queue| !(wish.patient && self.is_dry(queue, &wish.claim.types)))
            .cloned()
            .collect();
        if !wish.patterns.is_empty() {
            self.roaming.insert(ticket);
        }
        let waiter = Waiter {
            queues,
            patterns: wish.patterns,
            claim: wish.claim,
            patient: wish.patient,
            linger: wish.linger,
            held: Vec::new(),
            gates: HashMap::new(),
            reply,
            phase: Phase::Probing(probes),
        };
        self.waiters.insert(ticket, waiter);
        if self.draining {
            self.answer(ticket, Ok(Vec::new()));
        } else {
            self.go_on(ticket);
        }
    }

    fn hurry(&mut self, ticket: Ticket) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        waiter.patient = false;
        waiter.linger = None;
        if !waiter.is_busy() {
            self.answer(ticket, Ok(Vec::new()));
        }
    }

    fn is_dry(&self, queue: &QueueName, types: &[String]) -> bool {
        self.lines.get(queue).is_some_and(|line| line.is_dry(types))
    }

    /// Sends a waiter to the next queue it has not looked into, or parks it, or answers it empty.
    fn go_on(&mut self, ticket: Ticket) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        let Phase::Probing(probes) = &mut waiter.phase else { return };
        if let Some(queue) = probes.front().cloned() {
            self.lines.entry(queue.clone()).or_default().probing.insert(ticket);
            self.pump(&queue);
        } else if waiter.patient {
            waiter.phase = Phase::Parked;
            let (queues, types) = (waiter.queues.clone(), waiter.claim.types.clone());
            for queue in &queues {
                self.lines.entry(queue.clone()).or_default().parked.insert(ticket);
            }
            self.pump_wet(&queues, &types);
        } else {
            self.answer(ticket, Ok(Vec::new()));
        }
    }

    /// Claims for those of `queues` that may have jobs: a signal may have come while their waiter
    /// was busy elsewhere.
    fn pump_wet(&mut self, queues: &[QueueName], types: &[String]) {
        for queue in queues {
            if !self.is_dry(queue, types) {
                self.pump(queue);
            }
        }
    }

    /// Starts a claim for those who want jobs of `queue`, if none is under way.
    fn pump(&mut self, queue: &QueueName) {
        let Some(line) = self.lines.get_mut(queue) else { return };
        if line.under_way {
            return;
        }
        let (mut tickets, mut claims, mut wanted) = (Vec::new(), Vec::new(), 0);
        for ticket in line.all() {
            let Some(waiter) = self.waiters.get_mut(&ticket) else { continue };
            // A worker that looks is served even if the queue is thought empty.
            if line.parked.contains(&ticket) && line.is_dry(&waiter.claim.types) {
                continue;
            }
            if waiter.reply.is_closed() || !waiter.may_claim_in(queue) {
                continue;
            }
            if wanted + waiter.claim.limit > BATCH && wanted > 0 {
                break;
            }
            wanted += waiter.claim.limit;
            claims.push(waiter.claim.clone());
            tickets.push(ticket);
            waiter.become_busy();
        }
        if tickets.is_empty() {
            return;
        }
        line.under_way = true;
        line.told = false;
        let (store, queue, now) = (Arc::clone(&self.store), queue.clone(), self.clock.now());
        self.calls.push(Box::pin(async move {
            let taken = store.claim(&queue, claims, now).await;
            Done::Claimed { queue, tickets, taken }
        }));
    }

    /// Answers a waiter, with what it holds already before `jobs`, and forgets it; jobs that find
    /// it gone go back.
    fn answer(&mut self, ticket: Ticket, jobs: Result<Vec<Job>>) {
        let empty = self.why_empty(ticket);
        let Some(mut waiter) = self.dismiss(ticket) else {
            if let Ok(jobs) = jobs {
                self.returns.give_back(&jobs);
            }
            return;
        };
        let mut all = std::mem::take(&mut waiter.held);
        let answer = match jobs {
            Ok(jobs) => {
                all.extend(jobs);
                Ok(Leased { jobs: all, empty })
            }
            // What it holds is worth more than the news that there is trouble.
            Err(_) if !all.is_empty() => Ok(Leased { jobs: all, empty }),
            Err(error) => Err(error),
        };
        if let Err(Ok(undelivered)) = waiter.reply.send(answer) {
            self.returns.give_back(&undelivered.jobs);
        }
    }

    fn dismiss(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        self.roaming.remove(&ticket);
        self.timers.cancel(&Timer::Linger(ticket));
        for queue in &waiter.queues {
            if let Some(line) = self.lines.get_mut(queue) {
                line.probing.remove(&ticket);
                line.parked.remove(&ticket);
            }
            self.close_line(queue);
        }
        Some(waiter)
    }

    fn close_line(&mut self, queue: &QueueName) {
        if self.lines.get(queue).is_some_and(Line::is_empty) {
            self.lines.remove(queue);
        }
    }
}

//! The one dispatcher: matches workers that want jobs with queues that have them.
//!
//! One task holds all waiting workers. One that has come *looks*: it stands in the line of one of
//! its queues after another, so it never holds jobs of two. If all are empty it is *parked* in each,
//! and a parked worker costs nothing until a queue is told ready; then one claim serves as many of
//! its workers as there may be jobs for, first come first served. While a claim of a queue is under
//! way, new wishes wait and share the next one.
//!
//! A wish ends with its first answer, or it *stands*: then its worker looks again once it was served,
//! behind those who wait, as long as it may have more jobs. That is all the difference.
//!
//! A queue that is paused, full or at its rate is taken for empty until the store tells otherwise
//! or the moment comes that it named. A worker that wants several jobs at once *lingers*: it keeps
//! what it got and waits in that queue for the rest.

mod answer;
mod arrivals;
mod door;
mod heard;
mod line;
mod look;
mod returns;
mod route;
mod taken;
mod timers;
mod told;
mod waiter;
mod why;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};

use self::answer::Outlet;
use self::door::{Message, Ticket};
use self::heard::Heard;
use self::line::{Line, Stand, Turn};
use self::returns::Returns;
use self::timers::{Timer, Timers};
use self::waiter::{Phase, Waiter};
use super::Result;
use super::fold::Folder;
use super::lease::Leased;
use crate::clock::Clock;
use crate::job::{Job, QueueName};
use crate::store::{self, Claim, Claimed, Signal, Store};

pub use self::answer::{Answer, Subscription};
pub use self::arrivals::{Arrivals, Invitations, Riders};
pub use self::door::Dispatcher;
pub use self::route::Route;
#[cfg(test)]
pub(super) use self::taken::DOUBT;

/// Messages that may wait for the task.
const BACKLOG: usize = 16_384;

/// What a worker wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where it is served.
    pub route: Route,
    /// How it wants jobs.
    pub claim: Claim,
    /// Waits when there are none; else one look is all.
    pub patient: bool,
    /// Waits for more once there are some.
    pub linger: Option<Linger>,
}

impl Wish {
    /// A wish that is served again and again.
    fn standing(self) -> Self {
        let claim = Claim { request: None, ..self.claim };
        Self { claim, patient: true, linger: None, ..self }
    }
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
    arrivals: Arrivals,
    invitations: Invitations,
    store: Arc<dyn Store>,
    clock: Clock,
    returns: Returns,
    waiters: HashMap<Ticket, Waiter>,
    /// How many they are, for whoever asks from outside.
    waiting: Arc<AtomicUsize>,
    lines: HashMap<QueueName, Line>,
    /// Waiters that mean queues which may come to be later.
    roaming: BTreeSet<Ticket>,
    heard: Heard,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Who waits until nothing is under way.
    resting: Vec<oneshot::Sender<()>>,
    timers: Timers,
    /// The place in line of the next one who comes.
    next_turn: Turn,
    draining: bool,
}

/// A store call that came back.
enum Done {
    Claimed(Claiming, store::Result<Claimed>),
    Listed(store::Result<Vec<QueueName>>),
}

/// What is known of a claim under way.
struct Claiming {
    queue: QueueName,
    /// For whom it is, and how many jobs each wants.
    stands: Vec<(Stand, usize)>,
    /// What its line had been told when it was started.
    told: u64,
}

/// A dispatching task and the way in to it. It hears of `arrivals`, and answers their `invitations`.
pub fn pair(
    store: Arc<dyn Store>,
    clock: Clock,
    folder: Folder,
    arrivals: Arrivals,
    invitations: Invitations,
) -> (Dispatcher, Dispatching) {
    let (sender, mailbox) = mpsc::channel(BACKLOG);
    let returns = Returns::new(folder, clock.clone());
    let waiting = Arc::<AtomicUsize>::default();
    let dispatching = Dispatching {
        mailbox,
        arrivals: arrivals.clone(),
        invitations,
        store,
        clock,
        returns: returns.clone(),
        waiters: HashMap::new(),
        waiting: Arc::clone(&waiting),
        lines: HashMap::new(),
        roaming: BTreeSet::new(),
        heard: Heard::default(),
        calls: FuturesUnordered::new(),
        resting: Vec::new(),
        timers: Timers::default(),
        next_turn: 0,
        draining: false,
    };
    (Dispatcher::new(sender, returns, arrivals, waiting), dispatching)
}

impl Dispatching {
    /// Dispatches until every [`Dispatcher`] and [`Answer`] is gone.
    pub async fn run(mut self) {
        let mut signals = self.store.signals();
        loop {
            let (clock, arrivals) = (self.clock.clone(), self.arrivals.clone());
            let alarm = self.timers.next();
            tokio::select! {
                // All are cancel-safe: what is not taken stays where it is.
                message = self.mailbox.recv() => match message {
                    Some(message) => self.read(message),
                    None => break,
                },
                Some(done) = self.calls.next() => self.finish(done),
                () = arrivals.wait() => self.hear(),
                Some(invitation) = self.invitations.recv() => self.invited(invitation),
                signal = signals.recv() => match signal {
                    // New settings may have opened a gate.
                    Ok(Signal::Ready(queue) | Signal::Settings(queue)) => self.told_ready(&queue, None),
                    Ok(Signal::Reset) | Err(RecvError::Lagged(_)) => self.reset(),
                    Ok(_) => {}
                    Err(RecvError::Closed) => break,
                },
                () = clock.sleep_until(alarm.unwrap_or_default()), if alarm.is_some() => {
                    self.ring();
                }
            }
            let rings = self.timers.next().is_some_and(|at| at <= self.clock.now());
            let told =
                signals.is_empty() && self.invitations.is_empty() && self.arrivals.is_silent();
            if self.calls.is_empty() && told && !rings {
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
            Message::Ask(ticket, wish, outlet) => self.welcome(ticket, *wish, outlet),
            Message::Credit(ticket, more) => self.allow(ticket, more),
            Message::Hurry(ticket) => self.hurry(ticket),
            Message::Rest(rested) => self.resting.push(rested),
            Message::Forget(ticket) => {
                // A claim under way finds the closed outlet when it comes back.
                if self.waiters.get(&ticket).is_some_and(|waiter| !waiter.is_busy()) {
                    self.answer(ticket, Ok(Vec::new()));
                }
            }
            Message::Drain => {
                self.draining = true;
                self.answer_all(|_| true);
            }
        }
    }

    fn welcome(&mut self, ticket: Ticket, wish: Wish, outlet: Outlet) {
        let mut waiter = Waiter::new(wish, outlet);
        if waiter.route.is_open() {
            self.roaming.insert(ticket);
            for queue in self.heard.queues() {
                waiter.join(queue);
            }
        }
        for queue in waiter.route.queues() {
            self.lines.entry(queue.clone()).or_default().members += 1;
        }
        if !waiter.patient {
            waiter.route.round(&mut waiter.round, |_| true);
        }
        self.waiters.insert(ticket, waiter);
        self.waiting.store(self.waiters.len(), Ordering::Relaxed);
        self.go_on(ticket);
    }

    /// A standing wish may have so many jobs more.
    fn allow(&mut self, ticket: Ticket, more: usize) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        waiter.claim.limit = waiter.claim.limit.saturating_add(more);
        if waiter.phase == Phase::Idle {
            self.go_on(ticket);
        }
    }

    fn hurry(&mut self, ticket: Ticket) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        waiter.patient = false;
        waiter.linger = None;
        waiter.round.clear();
        if !waiter.is_busy() {
            self.answer(ticket, Ok(Vec::new()));
        }
    }

    /// Jobs for a waiter: one answer is all that a wish of [`Dispatcher::ask`] gets.
    fn deliver(&mut self, ticket: Ticket, index: usize, jobs: Vec<Job>) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else {
            self.returns.give_back(&jobs);
            return;
        };
        let Outlet::Standing(sender) = &waiter.outlet else {
            self.answer(ticket, Ok(jobs));
            return;
        };
        let count = jobs.len();
        if let Err(undelivered) = sender.send(Leased { jobs, ..Leased::default() }) {
            self.returns.give_back(&undelivered.0.jobs);
            self.dismiss(ticket);
            return;
        }
        waiter.claim.limit = waiter.claim.limit.saturating_sub(count);
        waiter.phase = Phase::Idle;
        waiter.requeue(index);
        waiter.route.served(index);
        waiter.round.clear();
        self.go_on(ticket);
    }

    /// Ends a wish: with what it holds already before `jobs`. Jobs that find nobody go back.
    fn answer(&mut self, ticket: Ticket, jobs: Result<Vec<Job>>) {
        let empty = self.why_empty(ticket);
        let Some(waiter) = self.dismiss(ticket) else {
            if let Ok(jobs) = jobs {
                self.returns.give_back(&jobs);
            }
            return;
        };
        let mut all = waiter.held;
        let answer = match jobs {
            Ok(jobs) => {
                all.extend(jobs);
                Ok(Leased { jobs: all, empty })
            }
            // What it holds is worth more than the news that there is trouble.
            Err(_) if !all.is_empty() => Ok(Leased { jobs: all, empty }),
            Err(error) => Err(error),
        };
        let undelivered = match (waiter.outlet, answer) {
            (Outlet::Once(reply), answer) => reply.send(answer).err().and_then(Result::ok),
            (Outlet::Standing(sender), Ok(leased)) => sender.send(leased).err().map(|it| it.0),
            (Outlet::Standing(_), Err(_)) => None,
        };
        if let Some(leased) = undelivered {
            self.returns.give_back(&leased.jobs);
        }
    }

    /// Answers those waiters, empty, who are not served just now.
    fn answer_all(&mut self, which: impl Fn(&Waiter) -> bool) {
        let idle = self.waiters.iter().filter(|(_, waiter)| !waiter.is_busy() && which(waiter));
        let idle: Vec<Ticket> = idle.map(|(ticket, _)| *ticket).collect();
        for ticket in idle {
            self.answer(ticket, Ok(Vec::new()));
        }
    }

    fn dismiss(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        self.waiting.store(self.waiters.len(), Ordering::Relaxed);
        self.roaming.remove(&ticket);
        self.timers.cancel(&Timer::Linger(ticket));
        self.leave_lines(&waiter);
        Some(waiter)
    }

    /// Lets a waiter out of all its lines.
    fn leave_lines(&mut self, waiter: &Waiter) {
        for (queue, turn) in waiter.turns() {
            if let Some(line) = self.lines.get_mut(queue) {
                line.members -= 1;
                if let Some(turn) = turn {
                    line.leave(turn, &waiter.claim.types);
                }
            }
            self.close_line(queue);
        }
    }

    fn close_line(&mut self, queue: &QueueName) {
        if self.lines.get(queue).is_some_and(|line| line.members == 0 && line.under_way == 0) {
            self.lines.remove(queue);
        }
    }
}

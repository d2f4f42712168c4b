//! Folding: concurrent writes of one queue ride in one store call.
//!
//! One task owns all writes. What arrives while a call of the same kind and queue is under way
//! waits and makes the next batch, so batches grow with the load by themselves; an idle broker
//! sends a batch of one at once. Nothing waits on a timer. A caller that goes away leaves its
//! write to be made: writes are never cut in the middle.

mod reply;
mod weight;

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::{BoxFuture, Either, ready};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::coop::unconstrained;

use self::reply::{Gathering, Reply, receive};
use self::weight::{Weigh, Weight};
use super::dispatch::{Arrivals, Riders};
use super::{Error, Result};
use crate::clock::{Clock, Timestamp};
use crate::job::{QueueName, State};
use crate::store::{self, Commit, Extended, Extension, Group, Guarded, Inserted, Store};

/// Calls of one kind and queue that may be under way at once: the second travels while the first
/// is carried out.
const ROUNDS: usize = 2;

/// Commands that may wait for the task; more are refused or held back.
const BACKLOG: usize = 8192;

/// The way in to the folding task.
#[derive(Clone)]
pub struct Folder {
    commands: mpsc::Sender<Command>,
}

/// The folding task.
pub struct Folding {
    commands: mpsc::Receiver<Command>,
    store: Arc<dyn Store>,
    clock: Clock,
    arrivals: Arrivals,
    lanes: HashMap<QueueName, Lanes>,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
}

enum Command {
    Insert(QueueName, Group, Reply<Vec<Inserted>>),
    Extend(QueueName, Box<Extension>, Reply<Extended>),
    Commit(Box<Commit>, Reply<Guarded>),
    /// Any number, of any queues.
    Commits(Vec<Commit>, Gathering<Guarded>),
}

/// What waits and what travels for one kind of write of one queue.
struct Lane<I, O> {
    waiting: VecDeque<(I, Reply<O>)>,
    under_way: usize,
}

#[derive(Default)]
struct Lanes {
    commits: Lane<Commit, Guarded>,
    inserts: Lane<Group, Vec<Inserted>>,
    extensions: Lane<Extension, Extended>,
}

#[derive(Clone, Copy)]
enum Kind {
    Commit,
    Insert,
    Extend,
}

/// A store call that came back.
struct Done {
    queue: QueueName,
    kind: Kind,
}

/// A folding task and the way in to it. It tells `arrivals` what it inserts.
pub fn pair(store: Arc<dyn Store>, clock: Clock, arrivals: Arrivals) -> (Folder, Folding) {
    let (sender, commands) = mpsc::channel(BACKLOG);
    let (lanes, calls) = (HashMap::new(), FuturesUnordered::new());
    let folding = Folding { commands, store, clock, arrivals, lanes, calls };
    (Folder { commands: sender }, folding)
}

impl Folder {
    /// Inserts one group.
    pub async fn insert(&self, queue: QueueName, group: Group) -> Result<Vec<Inserted>> {
        let (reply, answer) = oneshot::channel();
        self.offer(Command::Insert(queue, group, Reply::One(reply)))?;
        receive(answer).await
    }

    /// Moves the end of a lease.
    pub async fn extend(&self, queue: QueueName, extension: Extension) -> Result<Extended> {
        let (reply, answer) = oneshot::channel();
        self.settle(Command::Extend(queue, Box::new(extension), Reply::One(reply))).await?;
        receive(answer).await
    }

    /// Applies a transition if its guard holds.
    pub async fn commit(&self, commit: impl Into<Commit>) -> Result<Guarded> {
        let (reply, answer) = oneshot::channel();
        self.settle(Command::Commit(Box::new(commit.into()), Reply::One(reply))).await?;
        receive(answer).await
    }

    /// Applies each of many transitions if its guard holds; each stands for itself. The same as so
    /// many calls of [`commit`](Self::commit), for less.
    pub async fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<Guarded>> {
        let count = commits.len();
        let (gathering, gathered) = reply::gather(count);
        if let Err(error) = self.settle(Command::Commits(commits, gathering)).await {
            return vec![Err(error); count];
        }
        gathered.receive().await
    }

    /// Applies a transition if its guard holds; nobody waits for the answer. When the broker is
    /// too busy even to take the command, the lease's own end will do the work.
    pub fn commit_later(&self, commit: impl Into<Commit>) {
        let command = Command::Commit(Box::new(commit.into()), Reply::Nobody);
        if self.commands.try_send(command).is_err() {
            tracing::debug!("no room to give a lease back; it will run out");
        }
    }

    /// New work is refused when too much waits already.
    fn offer(&self, command: Command) -> Result<()> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Error::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Error::Draining,
        })
    }

    /// Settles are never refused; they wait for room.
    async fn settle(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| Error::Draining)
    }
}

impl Folding {
    /// Folds until every [`Folder`] is gone and all that was taken is answered.
    pub async fn run(mut self) {
        let mut commands = Vec::new();
        let mut open = true;
        while open || !self.calls.is_empty() {
            tokio::select! {
                // Cancel-safe: recv_many takes nothing when it loses.
                taken = self.commands.recv_many(&mut commands, BACKLOG), if open => {
                    open = taken > 0;
                    self.take(&mut commands);
                }
                // Cancel-safe: a call stays in the set until it is done.
                Some(done) = self.calls.next() => self.finish(&done),
            }
        }
    }

    fn take(&mut self, commands: &mut Vec<Command>) {
        let mut touched = Vec::new();
        for command in commands.drain(..) {
            match command {
                Command::Insert(queue, group, reply) => {
                    self.lanes(queue, &mut touched).inserts.push(group, reply);
                }
                Command::Extend(queue, extension, reply) => {
                    self.lanes(queue, &mut touched).extensions.push(*extension, reply);
                }
                Command::Commit(commit, reply) => {
                    let queue = commit.transition.name.queue.clone();
                    self.lanes(queue, &mut touched).commits.push(*commit, reply);
                }
                Command::Commits(commits, gathering) => {
                    for (commit, reply) in commits.into_iter().zip(gathering.replies()) {
                        let queue = commit.transition.name.queue.clone();
                        self.lanes(queue, &mut touched).commits.push(commit, reply);
                    }
                }
            }
        }
        for queue in touched {
            self.start(&queue);
        }
    }

    /// The lanes of `queue`, which are `touched` then.
    fn lanes(&mut self, queue: QueueName, touched: &mut Vec<QueueName>) -> &mut Lanes {
        // Much of what comes together is of one queue; a queue that is in there twice does no harm.
        if touched.last() != Some(&queue) {
            touched.push(queue.clone());
        }
        self.lanes.entry(queue).or_default()
    }

    fn finish(&mut self, done: &Done) {
        if let Some(lanes) = self.lanes.get_mut(&done.queue) {
            match done.kind {
                Kind::Commit => lanes.commits.under_way -= 1,
                Kind::Insert => lanes.inserts.under_way -= 1,
                Kind::Extend => lanes.extensions.under_way -= 1,
            }
        }
        self.start(&done.queue);
        if self.lanes.get(&done.queue).is_some_and(Lanes::idle) {
            self.lanes.remove(&done.queue);
        }
    }

    /// Starts the calls of `queue` that may start. Settles go first: they make room.
    fn start(&mut self, queue: &QueueName) {
        let Some(lanes) = self.lanes.get_mut(queue) else { return };
        let now = self.clock.now();
        while let Some((batch, replies)) = lanes.commits.next_batch() {
            let (store, queue) = (Arc::clone(&self.store), queue.clone());
            self.calls.push(Box::pin(async move {
                answer(replies, store.commit(&queue, batch, now).await);
                Done { queue, kind: Kind::Commit }
            }));
        }
        while let Some((batch, replies)) = lanes.inserts.next_batch() {
            let (store, queue) = (Arc::clone(&self.store), queue.clone());
            let arrivals = self.arrivals.clone();
            self.calls.push(Box::pin(async move {
                insert(&*store, &queue, batch, replies, now, &arrivals).await;
                Done { queue, kind: Kind::Insert }
            }));
        }
        while let Some((batch, replies)) = lanes.extensions.next_batch() {
            let (store, queue) = (Arc::clone(&self.store), queue.clone());
            self.calls.push(Box::pin(async move {
                answer(replies, store.extend(&queue, batch, now).await);
                Done { queue, kind: Kind::Extend }
            }));
        }
    }
}

/// Inserts groups: in one step with the claims of those who wait for their ready jobs, if the store can
/// do that, else telling of these jobs as soon as the call is begun.
async fn insert(
    store: &dyn Store,
    queue: &QueueName,
    batch: Vec<Group>,
    replies: Vec<Reply<Vec<Inserted>>>,
    now: Timestamp,
    arrivals: &Arrivals,
) {
    let inserts = batch.iter().flat_map(|group| &group.inserts);
    let ready = inserts.filter(|insert| insert.job.state == State::Ready).count();
    if arrivals.concern_somebody(ready)
        && store.may_hand_over(queue, &batch)
        && let Some(riders) = arrivals.invite(queue, ready).await
    {
        answer(replies, hand_over(store, queue, batch, now, riders).await);
        return;
    }
    arrivals.coming(ready);
    let call = begun(store.insert(queue, batch, now)).await;
    arrivals.begun(queue, ready);
    answer(replies, call.await);
}

/// Inserts groups and serves the claims that ride with them.
async fn hand_over(
    store: &dyn Store,
    queue: &QueueName,
    batch: Vec<Group>,
    now: Timestamp,
    riders: Riders,
) -> store::Result<Vec<Vec<Inserted>>> {
    match store.hand_over(queue, &batch, &riders.claims, now).await {
        Ok(Some((inserted, claimed))) => {
            riders.served(Ok(claimed));
            // A delivery passes two tasks more than the answer of an insert before both are at the wire.
            // With this head start workers get theirs first, or both leave in one message.
            behind_others().await;
            behind_others().await;
            Ok(inserted)
        }
        Ok(None) => {
            let call = begun(store.insert(queue, batch, now)).await;
            drop(riders);
            call.await
        }
        Err(error) => {
            riders.served(Err(error.clone()));
            Err(error)
        }
    }
}

/// Lets the tasks go first that are ready by now; on one thread all of them, each once. Unlike tokio's
/// `yield_now`, without a look at the sockets in between.
async fn behind_others() {
    let mut is_last = false;
    poll_fn(|context| {
        if is_last {
            return Poll::Ready(());
        }
        is_last = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Begins a call: claims that are begun from now on come behind it, so it must not yield before the
/// store has it.
async fn begun<T>(call: impl Future<Output = T> + Unpin) -> impl Future<Output = T> {
    let mut call = unconstrained(call);
    match poll_fn(|context| Poll::Ready(Pin::new(&mut call).poll(context))).await {
        Poll::Ready(result) => Either::Left(ready(result)),
        Poll::Pending => Either::Right(call),
    }
}

/// Hands each caller its part of a call's result; callers that went away are passed over.
fn answer<O>(replies: Vec<Reply<O>>, result: store::Result<Vec<O>>) {
    match result {
        Ok(outcomes) => {
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                reply.send(Ok(outcome));
            }
        }
        Err(error) => {
            for reply in replies {
                reply.send(Err(error.clone()));
            }
        }
    }
}

impl Lanes {
    fn idle(&self) -> bool {
        self.commits.idle() && self.inserts.idle() && self.extensions.idle()
    }
}

impl<I, O> Default for Lane<I, O> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), under_way: 0 }
    }
}

/// The items of one call and who waits for each.
type Batch<I, O> = (Vec<I>, Vec<Reply<O>>);

impl<I: Weigh, O> Lane<I, O> {
    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }

    fn push(&mut self, item: I, reply: Reply<O>) {
        self.waiting.push_back((item, reply));
    }

    /// Takes what may travel now: as much as fits into one call, but at least one item; `None` when
    /// nothing waits or enough is under way.
    fn next_batch(&mut self) -> Option<Batch<I, O>> {
        if self.under_way >= ROUNDS || self.waiting.is_empty() {
            return None;
        }
        let mut total = Weight::default();
        let fitting = self.waiting.iter().take_while(|(item, _)| {
            total += item.weigh();
            total.is_bearable()
        });
        let count = fitting.count().max(1);
        self.under_way += 1;
        Some(self.waiting.drain(..count).unzip())
    }
}

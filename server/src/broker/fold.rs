//! Folding: concurrent writes of one queue ride in one store call.
//!
//! One task owns all writes. What arrives while a call of the same kind and queue is under way
//! waits and makes the next batch, so batches grow with the load by themselves; an idle broker
//! sends a batch of one at once. Nothing waits on a timer. A caller that goes away leaves its
//! write to be made: writes are never cut in the middle.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::{Error, Result};
use crate::clock::Clock;
use crate::job::QueueName;
use crate::store::{self, Commit, Extended, Extension, Group, Guarded, Inserted, Store};

/// Calls of one kind and queue that may be under way at once: the second travels while the first
/// is carried out.
const ROUNDS: usize = 2;

/// Items of one batch at most: a script then holds the store for a millisecond or two.
const BATCH: usize = 256;

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
    lanes: HashMap<QueueName, Lanes>,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
}

enum Command {
    Insert(QueueName, Group, Reply<Vec<Inserted>>),
    Extend(QueueName, Box<Extension>, Reply<Extended>),
    Commit(Box<Commit>, Option<Reply<Guarded>>),
}

type Reply<T> = oneshot::Sender<store::Result<T>>;

/// What waits and what travels for one kind of write of one queue.
struct Lane<I, O> {
    waiting: VecDeque<(I, Option<Reply<O>>)>,
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

/// A folding task and the way in to it.
pub fn pair(store: Arc<dyn Store>, clock: Clock) -> (Folder, Folding) {
    let (sender, commands) = mpsc::channel(BACKLOG);
    let folding =
        Folding { commands, store, clock, lanes: HashMap::new(), calls: FuturesUnordered::new() };
    (Folder { commands: sender }, folding)
}

impl Folder {
    /// Inserts one group.
    pub async fn insert(&self, queue: QueueName, group: Group) -> Result<Vec<Inserted>> {
        let (reply, answer) = oneshot::channel();
        self.offer(Command::Insert(queue, group, reply))?;
        receive(answer).await
    }

    /// Inserts groups of one job each.
    pub async fn insert_each(&self, queue: QueueName, groups: Vec<Group>) -> Vec<Result<Inserted>> {
        let offers: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let (reply, answer) = oneshot::channel();
                self.offer(Command::Insert(queue.clone(), group, reply)).map(|()| answer)
            })
            .collect();
        let mut results = Vec::with_capacity(offers.len());
        for offer in offers {
            results.push(match offer {
                Ok(answer) => receive(answer)
                    .await
                    .and_then(|inserted| inserted.into_iter().next().ok_or(Error::Withheld)),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Moves the end of a lease.
    pub async fn extend(&self, queue: QueueName, extension: Extension) -> Result<Extended> {
        let (reply, answer) = oneshot::channel();
        self.settle(Command::Extend(queue, Box::new(extension), reply)).await?;
        receive(answer).await
    }

    /// Applies a transition if its guard holds.
    pub async fn commit(&self, commit: impl Into<Commit>) -> Result<Guarded> {
        let (reply, answer) = oneshot::channel();
        self.settle(Command::Commit(Box::new(commit.into()), Some(reply))).await?;
        receive(answer).await
    }

    /// Applies each of many transitions if its guard holds; each stands for itself.
    pub async fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<Guarded>> {
        join_all(commits.into_iter().map(|commit| self.commit(commit))).await
    }

    /// Applies a transition if its guard holds; nobody waits for the answer. When the broker is
    /// too busy even to take the command, the lease's own end will do the work.
    pub fn commit_later(&self, commit: impl Into<Commit>) {
        let command = Command::Commit(Box::new(commit.into()), None);
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

async fn receive<T>(answer: oneshot::Receiver<store::Result<T>>) -> Result<T> {
    match answer.await {
        Ok(result) => result.map_err(Error::from),
        // The task ended between taking the command and answering it.
        Err(_) => Err(Error::Draining),
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
            let queue = command.queue().clone();
            let lanes = self.lanes.entry(queue.clone()).or_default();
            match command {
                Command::Insert(_, group, reply) => lanes.inserts.push(group, Some(reply)),
                Command::Extend(_, extension, reply) => {
                    lanes.extensions.push(*extension, Some(reply));
                }
                Command::Commit(commit, reply) => lanes.commits.push(*commit, reply),
            }
            if touched.last() != Some(&queue) {
                touched.push(queue);
            }
        }
        for queue in touched {
            self.start(&queue);
        }
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
        while let Some((batch, replies)) = lanes.commits.next_batch(|commit| 1 + commit.then.len())
        {
            let (store, queue) = (Arc::clone(&self.store), queue.clone());
            self.calls.push(Box::pin(async move {
                answer(replies, store.commit(&queue, batch, now).await);
                Done { queue, kind: Kind::Commit }
            }));
        }
        while let Some((batch, replies)) = lanes.inserts.next_batch(|group| group.inserts.len()) {
            let (store, queue) = (Arc::clone(&self.store), queue.clone());
            self.calls.push(Box::pin(async move {
                answer(replies, store.insert(&queue, batch, now).await);
                Done { queue, kind: Kind::Insert }
            }));
        }
        while let Some((batch, replies)) = lanes.extensions.next_batch(|_| 1) {
            let (store, queue) = (Arc::clone(&self.store), queue.clone());
            self.calls.push(Box::pin(async move {
                answer(replies, store.extend(&queue, batch, now).await);
                Done { queue, kind: Kind::Extend }
            }));
        }
    }
}

/// Hands each caller its part of a call's result; callers that went away are passed over.
fn answer<O>(replies: Vec<Option<Reply<O>>>, result: store::Result<Vec<O>>) {
    match result {
        Ok(outcomes) => {
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                if let Some(reply) = reply {
                    let _gone = reply.send(Ok(outcome));
                }
            }
        }
        Err(error) => {
            for reply in replies.into_iter().flatten() {
                let _gone = reply.send(Err(error.clone()));
            }
        }
    }
}

impl Command {
    fn queue(&self) -> &QueueName {
        match self {
            Self::Insert(queue, ..) | Self::Extend(queue, ..) => queue,
            Self::Commit(commit, _) => &commit.transition.name.queue,
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
type Batch<I, O> = (Vec<I>, Vec<Option<Reply<O>>>);

impl<I, O> Lane<I, O> {
    fn idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }

    fn push(&mut self, item: I, reply: Option<Reply<O>>) {
        self.waiting.push_back((item, reply));
    }

    /// Takes what may travel now: up to [`BATCH`] by `size`, but at least one item; `None` when
    /// nothing waits or enough is under way.
    fn next_batch(&mut self, size: impl Fn(&I) -> usize) -> Option<Batch<I, O>> {
        if self.under_way >= ROUNDS || self.waiting.is_empty() {
            return None;
        }
        let mut batch = (Vec::new(), Vec::new());
        let mut total = 0;
        while let Some((item, _)) = self.waiting.front() {
            total += size(item);
            if total > BATCH && !batch.0.is_empty() {
                break;
            }
            if let Some((item, reply)) = self.waiting.pop_front() {
                batch.0.push(item);
                batch.1.push(reply);
            }
        }
        self.under_way += 1;
        Some(batch)
    }
}

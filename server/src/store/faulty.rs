//! A store that fails as it is told, for tests: before the inner call, or after it.
//!
//! The second is the lost reply: the move was made and nobody knows. It is where brokers break.
//! It also lets others move first, between a read and the write that follows it, holds its answers
//! back, and counts the calls.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::job::{Event, Job, JobName, QueueName, QueueSettings};
use crate::store::{
    Claim, Claimed, Commit, Document, Entry, Error, Extended, Extension, Following, Group, Guarded,
    Index, Inserted, Kind, LogStart, Mark, Order, Page, Position, Put, Result, Signal, Status,
    Store, Survey,
};

/// Where a call fails. The caller sees [`Error::Unavailable`] in both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The inner store is never called.
    Before,
    /// The inner store does its work, and its answer is lost.
    After,
}

/// When the inner store hands over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandOver {
    /// When it can.
    #[default]
    Passed,
    /// It says that it may, and declines.
    Declined,
    /// Never: it says so before.
    Refused,
}

/// A method that can fail: that of [`Store`] with the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Insert,
    Claim,
    HandOver,
    Extend,
    Commit,
    Promote,
    Overdue,
    Purge,
    NextDue,
    Get,
    List,
    Ahead,
    Queues,
    Survey,
    Settings,
    SetSettings,
    Wipe,
    Documents,
    PutDocuments,
    Log,
    LogEnd,
    Time,
    Status,
}

/// What happens before a call.
type Move = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The wrapper. It passes everything on until [`Faulty::fail_next`] or [`Faulty::fail_at_random`]
/// says otherwise.
pub struct Faulty {
    inner: Arc<dyn Store>,
    plan: Mutex<Plan>,
    /// The operation whose answers are held back.
    held: watch::Sender<Option<Operation>>,
    /// The calls so far.
    calls: watch::Sender<HashMap<Operation, usize>>,
    /// Signals that are none of the inner store's, if those are kept back.
    silence: Option<broadcast::Sender<Signal>>,
}

#[derive(Default)]
struct Plan {
    next: Vec<(Operation, Fault)>,
    first: Vec<(Operation, Move)>,
    random: Option<(fastrand::Rng, f64)>,
    hand_over: HandOver,
    made: Vec<(Operation, Fault)>,
}

impl Faulty {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            plan: Mutex::default(),
            held: watch::Sender::default(),
            calls: watch::Sender::default(),
            silence: None,
        }
    }

    /// Wraps `inner` and keeps its signals back.
    pub fn silent(inner: Arc<dyn Store>) -> Self {
        Self { silence: Some(broadcast::Sender::new(1)), ..Self::new(inner) }
    }

    /// Holds back the answers of `operation` until told otherwise; the work is done.
    pub fn hold(&self, operation: Option<Operation>) {
        self.held.send_replace(operation);
    }

    /// How often `operation` was called.
    pub fn calls(&self, operation: Operation) -> usize {
        self.calls.borrow().get(&operation).copied().unwrap_or_default()
    }

    /// Waits until `operation` was called so often.
    pub async fn until_called(&self, operation: Operation, times: usize) {
        let called = |calls: &HashMap<_, _>| calls.get(&operation).is_some_and(|it| *it >= times);
        // The sender lives as long as the store.
        let mut calls = self.calls.subscribe();
        let _called = calls.wait_for(called).await;
    }

    /// Fails the next call of `operation`; said twice, the next two.
    pub fn fail_next(&self, operation: Operation, fault: Fault) {
        self.plan.lock().next.push((operation, fault));
    }

    /// From now on it hands over in this way.
    pub fn hand_over_as(&self, how: HandOver) {
        self.plan.lock().hand_over = how;
    }

    /// Has `first` done right before the next call of `operation`.
    pub fn before_next(
        &self,
        operation: Operation,
        first: impl Future<Output = ()> + Send + 'static,
    ) {
        self.plan.lock().first.push((operation, Box::pin(first)));
    }

    /// From now on fails this `share` (0 to 1) of all calls, half of them before and half after the
    /// inner call. The same seed makes the same choices.
    pub fn fail_at_random(&self, seed: u64, share: f64) {
        self.plan.lock().random = Some((fastrand::Rng::with_seed(seed), share));
    }

    /// The faults made since this was last asked, in order.
    pub fn take_made(&self) -> Vec<(Operation, Fault)> {
        std::mem::take(&mut self.plan.lock().made)
    }

    /// Carries out one call as planned.
    async fn call<T>(
        &self,
        operation: Operation,
        inner: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let first = self.plan.lock().first(operation);
        if let Some(first) = first {
            first.await;
        }
        let fault = self.plan.lock().choose(operation);
        self.calls.send_modify(|calls| *calls.entry(operation).or_default() += 1);
        if fault != Some(Fault::Before) {
            let answer = inner.await;
            // The sender lives as long as the store.
            let mut held = self.held.subscribe();
            let _free = held.wait_for(|held| *held != Some(operation)).await;
            if fault.is_none() || answer.is_err() {
                return answer;
            }
        }
        Err(Error::Unavailable(format!("{operation:?} was made to fail")))
    }
}

impl Plan {
    fn first(&mut self, operation: Operation) -> Option<Move> {
        let planned = self.first.iter().position(|(one, _)| *one == operation)?;
        Some(self.first.remove(planned).1)
    }

    fn choose(&mut self, operation: Operation) -> Option<Fault> {
        let planned = self.next.iter().position(|(one, _)| *one == operation);
        let fault = match planned {
            Some(planned) => Some(self.next.remove(planned).1),
            None => self.random.as_mut().and_then(|(random, share)| {
                let fault = if random.bool() { Fault::Before } else { Fault::After };
                (random.f64() < *share).then_some(fault)
            }),
        };
        self.made.extend(fault.map(|fault| (operation, fault)));
        fault
    }
}

#[async_trait]
impl Store for Faulty {
    async fn insert(
        &self,
        queue: &QueueName,
        groups: Vec<Group>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Inserted>>> {
        self.call(Operation::Insert, self.inner.insert(queue, groups, now)).await
    }

    async fn claim(
        &self,
        queue: &QueueName,
        claims: Vec<Claim>,
        now: Timestamp,
    ) -> Result<Claimed> {
        self.call(Operation::Claim, self.inner.claim(queue, claims, now)).await
    }

    fn may_hand_over(&self, queue: &QueueName, groups: &[Group]) -> bool {
        let is_refused = self.plan.lock().hand_over == HandOver::Refused;
        !is_refused && self.inner.may_hand_over(queue, groups)
    }

    async fn hand_over(
        &self,
        queue: &QueueName,
        groups: &[Group],
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Option<(Vec<Vec<Inserted>>, Claimed)>> {
        if self.plan.lock().hand_over != HandOver::Passed {
            return Ok(None);
        }
        let inner = self.inner.hand_over(queue, groups, claims, now);
        self.call(Operation::HandOver, inner).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        self.call(Operation::Extend, self.inner.extend(queue, extensions, now)).await
    }

    async fn commit(
        &self,
        queue: &QueueName,
        commits: Vec<Commit>,
        now: Timestamp,
    ) -> Result<Vec<Guarded>> {
        self.call(Operation::Commit, self.inner.commit(queue, commits, now)).await
    }

    async fn promote(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        self.call(Operation::Promote, self.inner.promote(queue, now, limit)).await
    }

    async fn overdue(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<Vec<Job>> {
        self.call(Operation::Overdue, self.inner.overdue(queue, now, limit)).await
    }

    async fn purge(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        self.call(Operation::Purge, self.inner.purge(queue, now, limit)).await
    }

    async fn next_due(&self, queue: &QueueName) -> Result<Option<Timestamp>> {
        self.call(Operation::NextDue, self.inner.next_due(queue)).await
    }

    async fn get(&self, name: &JobName) -> Result<Option<Job>> {
        self.call(Operation::Get, self.inner.get(name)).await
    }

    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.call(Operation::Queues, self.inner.queues()).await
    }

    async fn list(
        &self,
        queue: &QueueName,
        index: &Index,
        order: Order,
        after: Option<&Mark>,
        limit: usize,
    ) -> Result<Page> {
        self.call(Operation::List, self.inner.list(queue, index, order, after, limit)).await
    }

    async fn ahead(&self, job: &Job) -> Result<u64> {
        self.call(Operation::Ahead, self.inner.ahead(job)).await
    }

    async fn survey(&self, queue: &QueueName, now: Timestamp) -> Result<Survey> {
        self.call(Operation::Survey, self.inner.survey(queue, now)).await
    }

    async fn settings(&self, queue: &QueueName) -> Result<Option<QueueSettings>> {
        self.call(Operation::Settings, self.inner.settings(queue)).await
    }

    async fn set_settings(
        &self,
        queue: &QueueName,
        settings: &QueueSettings,
        event: &Event,
        now: Timestamp,
    ) -> Result<Guarded> {
        let inner = self.inner.set_settings(queue, settings, event, now);
        self.call(Operation::SetSettings, inner).await
    }

    async fn wipe(&self, queue: &QueueName, limit: usize) -> Result<bool> {
        self.call(Operation::Wipe, self.inner.wipe(queue, limit)).await
    }

    async fn documents(&self, kind: Kind) -> Result<Vec<Document>> {
        self.call(Operation::Documents, self.inner.documents(kind)).await
    }

    async fn document(&self, kind: Kind, key: &str) -> Result<Option<Document>> {
        self.call(Operation::Documents, self.inner.document(kind, key)).await
    }

    async fn put_documents(&self, kind: Kind, puts: Vec<Put>) -> Result<Vec<Guarded>> {
        self.call(Operation::PutDocuments, self.inner.put_documents(kind, puts)).await
    }

    async fn log(&self, queue: &QueueName, from: LogStart, limit: usize) -> Result<Vec<Entry>> {
        self.call(Operation::Log, self.inner.log(queue, from, limit)).await
    }

    async fn recent(&self, queue: &QueueName, limit: usize) -> Result<Vec<Entry>> {
        self.call(Operation::Log, self.inner.recent(queue, limit)).await
    }

    async fn log_end(&self, queue: &QueueName) -> Result<Position> {
        self.call(Operation::LogEnd, self.inner.log_end(queue)).await
    }

    async fn time(&self) -> Result<Timestamp> {
        self.call(Operation::Time, self.inner.time()).await
    }

    async fn epoch(&self) -> Result<String> {
        self.call(Operation::Status, self.inner.epoch()).await
    }

    async fn status(&self) -> Result<Status> {
        self.call(Operation::Status, self.inner.status()).await
    }

    async fn call_off(&self, job: &JobName) -> Result<()> {
        self.inner.call_off(job).await
    }

    async fn follow(&self) -> Following {
        self.inner.follow().await
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.silence.as_ref().map_or_else(|| self.inner.signals(), broadcast::Sender::subscribe)
    }

    async fn run(&self, stop: CancellationToken) {
        self.inner.run(stop).await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

//! A store that is watched: what its operations take, and what they make of jobs.
//!
//! All moves of jobs go through here, whoever decided them, so this is the one place that counts
//! them, traces them and logs them. A store call carries many jobs, and counters rise once per call.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::clock::{Stopwatch, Timestamp};
use crate::job::{Event, Job, JobName, QueueName, QueueSettings};
use crate::store::{
    Claim, Claimed, Commit, Document, Entry, Extended, Extension, Following, Group, Guarded, Index,
    Inserted, Kind, LogStart, Mark, Order, Page, Position, Put, Result, Signal, Status, Store,
    Survey,
};
use crate::telemetry::metrics::{Metrics, Operation};
use crate::telemetry::traces;

mod diary;
mod tally;

use self::diary::{Diary, tell_claimed};
use self::tally::{Move, count_claimed, count_inserted, count_moves};

/// The wrapper.
pub struct Observed {
    inner: Arc<dyn Store>,
    metrics: Metrics,
}

impl Observed {
    /// Watches `inner`.
    pub fn new(inner: Arc<dyn Store>, metrics: Metrics) -> Self {
        Self { inner, metrics }
    }

    async fn watch<T>(
        &self,
        operation: Operation,
        inner: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.watch_in(traces::step(operation.name()), operation, inner).await
    }

    async fn watch_in<T>(
        &self,
        span: Span,
        operation: Operation,
        inner: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let watch = Stopwatch::start();
        let result = inner.instrument(span).await;
        self.metrics.operations().record(operation, watch.elapsed(), result.is_err());
        result
    }
}

#[async_trait]
impl Store for Observed {
    async fn insert(
        &self,
        queue: &QueueName,
        groups: Vec<Group>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Inserted>>> {
        let contexts = groups
            .iter()
            .flat_map(|group| &group.inserts)
            .map(|insert| &insert.job.spec.trace_context);
        let span = traces::batch("insert", queue, contexts);
        let diary = Diary::of(groups.iter().flat_map(|group| &group.inserts));
        let inner = self.inner.insert(queue, groups, now);
        let inserted = self.watch_in(span.clone(), Operation::Insert, inner).await?;
        span.in_scope(|| diary.tell_inserted(inserted.iter().flatten()));
        count_inserted(&self.metrics.jobs().of(queue), inserted.iter().flatten());
        Ok(inserted)
    }

    async fn claim(
        &self,
        queue: &QueueName,
        claims: Vec<Claim>,
        now: Timestamp,
    ) -> Result<Claimed> {
        let claimed = self.watch(Operation::Claim, self.inner.claim(queue, claims, now)).await?;
        if claimed.jobs.iter().any(|jobs| !jobs.is_empty()) {
            let jobs = || claimed.jobs.iter().flatten();
            let span = traces::batch("claim", queue, jobs().map(|job| &job.spec.trace_context));
            span.in_scope(|| tell_claimed(jobs()));
            count_claimed(&self.metrics.jobs().of(queue), jobs());
        }
        Ok(claimed)
    }

    fn may_hand_over(&self, queue: &QueueName, groups: &[Group]) -> bool {
        self.inner.may_hand_over(queue, groups)
    }

    async fn hand_over(
        &self,
        queue: &QueueName,
        groups: &[Group],
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Option<(Vec<Vec<Inserted>>, Claimed)>> {
        let inserts = || groups.iter().flat_map(|group| &group.inserts);
        let contexts = inserts().map(|insert| &insert.job.spec.trace_context);
        let span = traces::batch("hand_over", queue, contexts);
        let diary = Diary::of(inserts());
        let inner = self.inner.hand_over(queue, groups, claims, now);
        let done = self.watch_in(span.clone(), Operation::HandOver, inner).await?;
        if let Some((inserted, claimed)) = &done {
            let jobs = || claimed.jobs.iter().flatten();
            span.in_scope(|| {
                diary.tell_inserted(inserted.iter().flatten());
                tell_claimed(jobs());
            });
            let counts = self.metrics.jobs().of(queue);
            count_inserted(&counts, inserted.iter().flatten());
            count_claimed(&counts, jobs());
        }
        Ok(done)
    }

    async fn extend(
        &self,
        queue: &QueueName,
        extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        self.watch(Operation::Extend, self.inner.extend(queue, extensions, now)).await
    }

    async fn commit(
        &self,
        queue: &QueueName,
        commits: Vec<Commit>,
        now: Timestamp,
    ) -> Result<Vec<Guarded>> {
        let moves: Vec<Move> = commits.iter().map(Move::of).collect();
        let events = || commits.iter().map(|commit| &commit.transition.event);
        let span = traces::batch("commit", queue, events().map(|event| &event.trace_context));
        let diary = Diary::of_moves(events());
        let inner = self.inner.commit(queue, commits, now);
        let outcomes = self.watch_in(span.clone(), Operation::Commit, inner).await?;
        span.in_scope(|| diary.tell_moved(&outcomes));
        count_moves(&self.metrics.jobs().of(queue), &moves, &outcomes);
        Ok(outcomes)
    }

    async fn promote(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        self.watch(Operation::Promote, self.inner.promote(queue, now, limit)).await
    }

    async fn overdue(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<Vec<Job>> {
        self.watch(Operation::Overdue, self.inner.overdue(queue, now, limit)).await
    }

    async fn purge(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        self.watch(Operation::Purge, self.inner.purge(queue, now, limit)).await
    }

    async fn next_due(&self, queue: &QueueName) -> Result<Option<Timestamp>> {
        self.watch(Operation::NextDue, self.inner.next_due(queue)).await
    }

    async fn get(&self, name: &JobName) -> Result<Option<Job>> {
        self.watch(Operation::Get, self.inner.get(name)).await
    }

    async fn list(
        &self,
        queue: &QueueName,
        index: &Index,
        order: Order,
        after: Option<&Mark>,
        limit: usize,
    ) -> Result<Page> {
        self.watch(Operation::List, self.inner.list(queue, index, order, after, limit)).await
    }

    async fn ahead(&self, job: &Job) -> Result<u64> {
        self.watch(Operation::Ahead, self.inner.ahead(job)).await
    }

    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.watch(Operation::Queues, self.inner.queues()).await
    }

    async fn survey(&self, queue: &QueueName, now: Timestamp) -> Result<Survey> {
        self.watch(Operation::Survey, self.inner.survey(queue, now)).await
    }

    async fn settings(&self, queue: &QueueName) -> Result<Option<QueueSettings>> {
        self.watch(Operation::Settings, self.inner.settings(queue)).await
    }

    async fn set_settings(
        &self,
        queue: &QueueName,
        settings: &QueueSettings,
        event: &Event,
        now: Timestamp,
    ) -> Result<Guarded> {
        let inner = self.inner.set_settings(queue, settings, event, now);
        self.watch(Operation::SetSettings, inner).await
    }

    async fn wipe(&self, queue: &QueueName, limit: usize) -> Result<bool> {
        self.watch(Operation::Wipe, self.inner.wipe(queue, limit)).await
    }

    async fn documents(&self, kind: Kind) -> Result<Vec<Document>> {
        self.watch(Operation::Documents, self.inner.documents(kind)).await
    }

    async fn document(&self, kind: Kind, key: &str) -> Result<Option<Document>> {
        self.watch(Operation::Document, self.inner.document(kind, key)).await
    }

    async fn put_documents(&self, kind: Kind, puts: Vec<Put>) -> Result<Vec<Guarded>> {
        self.watch(Operation::PutDocuments, self.inner.put_documents(kind, puts)).await
    }

    async fn log(&self, queue: &QueueName, from: LogStart, limit: usize) -> Result<Vec<Entry>> {
        self.watch(Operation::Log, self.inner.log(queue, from, limit)).await
    }

    async fn recent(&self, queue: &QueueName, limit: usize) -> Result<Vec<Entry>> {
        self.watch(Operation::Recent, self.inner.recent(queue, limit)).await
    }

    async fn log_end(&self, queue: &QueueName) -> Result<Position> {
        self.watch(Operation::LogEnd, self.inner.log_end(queue)).await
    }

    async fn time(&self) -> Result<Timestamp> {
        self.watch(Operation::Time, self.inner.time()).await
    }

    async fn epoch(&self) -> Result<String> {
        self.watch(Operation::Epoch, self.inner.epoch()).await
    }

    async fn status(&self) -> Result<Status> {
        self.watch(Operation::Status, self.inner.status()).await
    }

    async fn call_off(&self, job: &JobName) -> Result<()> {
        self.watch(Operation::CallOff, self.inner.call_off(job)).await
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.inner.signals()
    }

    async fn follow(&self) -> Following {
        self.inner.follow().await
    }

    async fn run(&self, stop: CancellationToken) {
        self.inner.run(stop).await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

//! The `SQLite` store: jobs in one file, or in memory.
//!
//! One thread owns the connection ([`writer`]). It takes all calls that wait, carries them out in
//! one transaction and commits once; another one flushes that to disk and then answers them
//! ([`flusher`]), so that concurrent calls share the flush. Reads go the same way and see what the calls
//! before them did.
//!
//! One process at a time has a file: the counters in `queue` are kept in memory between
//! transactions. A lock on `{file}.lock` holds others off ([`open`]); other programs may still
//! read the file itself, which `locking_mode = exclusive` would not let them.

mod batch;
mod claim;
mod commit;
mod dedup;
mod document;
mod extend;
mod flusher;
mod forget;
mod gate;
mod hand_over;
mod insert;
mod lately;
mod list;
mod log;
mod memory;
mod migrate;
mod open;
mod promote;
mod purge;
mod queue;
mod read;
mod request;
mod row;
mod settings;
mod standing;
mod survey;
mod term;
mod wipe;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use self::batch::Batch;
use self::open::{Opened, Place};
use self::writer::Writer;
use super::{
    Claim, Claimed, Commit, Document, Entry, Extended, Extension, Group, Guarded, Index, Inserted,
    Kind, LogStart, Mark, Order, Page, Position, Put, Result, Signal, Status, Store, Survey,
};
use crate::clock::{Timestamp, host_time};
use crate::job::{Event, Job, JobName, QueueName, QueueSettings};

/// How many signals a slow receiver may be behind.
const SIGNALS: usize = 1024;

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Once it is on the disk: it survives a power loss.
    #[default]
    Full,
    /// Once the operating system has it: it survives a crash of the broker, and a power loss may
    /// take the newest commits.
    Normal,
}

/// Jobs in `SQLite`.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    status: Status,
}

impl SqliteStore {
    /// Opens the store in the file at `path`; makes it if there is none.
    pub async fn open(path: &Path, sync: Synchronous) -> Result<Arc<Self>> {
        Self::start(Place::File { path: path.to_owned(), sync }).await
    }

    /// A store that lives as long as this value, for tests and trials.
    pub async fn in_memory() -> Result<Arc<Self>> {
        Self::start(Place::Memory).await
    }

    async fn start(place: Place) -> Result<Arc<Self>> {
        let (writer, status) = Writer::start(move || Opened::at(&place), SIGNALS).await?;
        Ok(Arc::new(Self { writer, status }))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn insert(
        &self,
        queue: &QueueName,
        groups: Vec<Group>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Inserted>>> {
        let queue = queue.clone();
        self.writer.call(move |batch| insert::insert(batch, &queue, &groups, now)).await
    }

    async fn claim(
        &self,
        queue: &QueueName,
        claims: Vec<Claim>,
        now: Timestamp,
    ) -> Result<Claimed> {
        let queue = queue.clone();
        self.writer.call(move |batch| claim::claim(batch, &queue, &claims, now)).await
    }

    fn may_hand_over(&self, _queue: &QueueName, _groups: &[Group]) -> bool {
        true
    }

    async fn hand_over(
        &self,
        queue: &QueueName,
        groups: &[Group],
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Option<(Vec<Vec<Inserted>>, Claimed)>> {
        let (queue, groups, claims) = (queue.clone(), groups.to_vec(), claims.to_vec());
        let work =
            move |batch: &mut Batch<'_>| hand_over::hand_over(batch, &queue, &groups, &claims, now);
        self.writer.call(work).await.map(Some)
    }

    async fn extend(
        &self,
        queue: &QueueName,
        extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        let queue = queue.clone();
        self.writer.call(move |batch| extend::extend(batch, &queue, &extensions, now)).await
    }

    async fn commit(
        &self,
        queue: &QueueName,
        commits: Vec<Commit>,
        now: Timestamp,
    ) -> Result<Vec<Guarded>> {
        let queue = queue.clone();
        self.writer.call(move |batch| commit::commit(batch, &queue, &commits, now)).await
    }

    async fn promote(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        let queue = queue.clone();
        self.writer.call(move |batch| promote::promote(batch, &queue, now, limit)).await
    }

    async fn overdue(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<Vec<Job>> {
        let queue = queue.clone();
        self.writer.call(move |batch| read::overdue(batch, &queue, now, limit)).await
    }

    async fn purge(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        let queue = queue.clone();
        self.writer.call(move |batch| purge::purge(batch, &queue, now, limit)).await
    }

    async fn next_due(&self, queue: &QueueName) -> Result<Option<Timestamp>> {
        let queue = queue.clone();
        self.writer.call(move |batch| read::next_due(batch, &queue)).await
    }

    async fn get(&self, name: &JobName) -> Result<Option<Job>> {
        let name = name.clone();
        self.writer.call(move |batch| read::get(batch, &name)).await
    }

    async fn queues(&self) -> Result<Vec<QueueName>> {
        self.writer.call(read::queues).await
    }

    async fn list(
        &self,
        queue: &QueueName,
        index: &Index,
        order: Order,
        after: Option<&Mark>,
        limit: usize,
    ) -> Result<Page> {
        let (queue, index, after) = (queue.clone(), index.clone(), after.cloned());
        self.writer
            .call(move |batch| list::list(batch, &queue, &index, order, after.as_ref(), limit))
            .await
    }

    async fn ahead(&self, job: &Job) -> Result<u64> {
        let name = job.name.clone();
        self.writer.call(move |batch| survey::ahead(batch, &name)).await
    }

    async fn survey(&self, queue: &QueueName, now: Timestamp) -> Result<Survey> {
        let queue = queue.clone();
        self.writer.call(move |batch| survey::survey(batch, &queue, now)).await
    }

    async fn settings(&self, queue: &QueueName) -> Result<Option<QueueSettings>> {
        let queue = queue.clone();
        self.writer.call(move |batch| settings::settings(batch, &queue)).await
    }

    async fn set_settings(
        &self,
        queue: &QueueName,
        settings: &QueueSettings,
        event: &Event,
        now: Timestamp,
    ) -> Result<Guarded> {
        let (queue, settings, event) = (queue.clone(), settings.clone(), event.clone());
        self.writer
            .call(move |batch| settings::set_settings(batch, &queue, &settings, &event, now))
            .await
    }

    async fn wipe(&self, queue: &QueueName, limit: usize) -> Result<bool> {
        let queue = queue.clone();
        self.writer.call(move |batch| wipe::wipe(batch, &queue, limit)).await
    }

    async fn documents(&self, kind: Kind) -> Result<Vec<Document>> {
        self.writer.call(move |batch| document::documents(batch, kind)).await
    }

    async fn document(&self, kind: Kind, key: &str) -> Result<Option<Document>> {
        let key = key.to_owned();
        self.writer.call(move |batch| document::document(batch, kind, &key)).await
    }

    async fn put_documents(&self, kind: Kind, puts: Vec<Put>) -> Result<Vec<Guarded>> {
        self.writer.call(move |batch| document::put(batch, kind, &puts)).await
    }

    async fn recent(&self, queue: &QueueName, limit: usize) -> Result<Vec<Entry>> {
        let queue = queue.clone();
        self.writer.call(move |batch| log::recent(batch, &queue, limit)).await
    }

    async fn log(&self, queue: &QueueName, from: LogStart, limit: usize) -> Result<Vec<Entry>> {
        let queue = queue.clone();
        self.writer.call(move |batch| log::read(batch, &queue, from, limit)).await
    }

    async fn log_end(&self, queue: &QueueName) -> Result<Position> {
        let queue = queue.clone();
        self.writer.call(move |batch| log::end(batch, &queue)).await
    }

    async fn time(&self) -> Result<Timestamp> {
        Ok(host_time())
    }

    async fn epoch(&self) -> Result<String> {
        Ok(self.status().await?.epoch)
    }

    async fn status(&self) -> Result<Status> {
        self.writer.call(read::try_write).await?;
        Ok(self.status.clone())
    }

    async fn call_off(&self, job: &JobName) -> Result<()> {
        self.writer.tell(Signal::CalledOff(job.clone()));
        Ok(())
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.writer.signals()
    }

    /// Signals come from this process alone and need nobody to carry them.
    async fn run(&self, stop: CancellationToken) {
        stop.cancelled().await;
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

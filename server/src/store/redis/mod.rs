//! Jobs in Redis or Valkey, one server, one of sentinels or a cluster: encode, call a script, decode. No decisions.
//!
//! Each operation is one script on one queue ([`keys`] names what it touches, `lua/` does it), so
//! it is atomic and stays in one cluster slot. Works from Redis 6.2.

mod address;
mod arguments;
mod codec;
mod connect;
mod documents;
mod feed;
mod fitness;
mod habits;
mod hand_over;
mod hot;
mod keys;
mod log;
mod pages;
mod reads;
mod reply;
mod scripts;
mod sentinel;
mod settings;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::Value;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use self::address::Address;
use self::connect::Link;
use self::fitness::Fitness;
use self::habits::Habits;
use self::keys::Namespace;
use self::scripts::{Call, Ran, Script, Scripts, unavailable};
use super::{
    Claim, Claimed, Commit, Document, EVENT_MEMORY, Entry, Extended, Extension, Following, Group,
    Guarded, Index, Inserted, Kind, LogStart, Mark, Order, Page, Position, Put, Result, Signal,
    Status, Store, Survey, record,
};
use crate::clock::{Timestamp, millis};
use crate::job::{Event, Job, JobName, QueueName, QueueSettings};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Keeps several products apart in one Redis.
    pub namespace: String,
    /// Work even where Redis may evict keys when memory runs out.
    pub allow_eviction: bool,
}

/// How much longer than its leases a claim's request is remembered: they live until they are swept.
const CLAIM_SLACK: Duration = Duration::from_mins(1);

/// Signals that a slow listener may leave unheard before it is told to look at everything.
const SIGNALS: usize = 4096;

/// Bytes of records after which a reading of many jobs ends; the rest is for the next one.
const PAGE_BYTES: usize = 4 << 20;

/// The store.
pub struct RedisStore {
    address: Address,
    namespace: Namespace,
    link: Link,
    scripts: Scripts,
    signals: broadcast::Sender<Signal>,
    /// Queues that are registered for sure.
    registered: Mutex<HashSet<QueueName>>,
    /// The epoch as last seen.
    epoch: Mutex<Option<String>>,
    /// Names this broker in its messages.
    origin: String,
    habits: Habits,
    /// Each one who follows event logs has a clone.
    followers: Arc<()>,
    follower_came: Notify,
    /// The growth of logs is heard.
    hears_log: watch::Sender<bool>,
}

impl RedisStore {
    /// Connects and checks that the server can be a store.
    pub async fn open(url: &str, options: &RedisOptions) -> Result<Arc<Self>> {
        let address = Address::parse(url)?;
        let link = address.connect().await.map_err(unavailable)?;
        let namespace = Namespace::new(&options.namespace);
        let store = Self {
            address,
            scripts: Scripts::new(&namespace),
            namespace,
            link,
            signals: broadcast::Sender::new(SIGNALS),
            registered: Mutex::default(),
            epoch: Mutex::default(),
            origin: format!("{:016x}", fastrand::u64(..)),
            habits: Habits::default(),
            followers: Arc::default(),
            follower_came: Notify::new(),
            hears_log: watch::Sender::new(false),
        };
        let fitness = store.fitness().await?;
        fitness.require(options.allow_eviction)?;
        for warning in fitness.warnings() {
            tracing::warn!("{warning}");
        }
        Ok(Arc::new(store))
    }

    async fn fitness(&self) -> Result<Fitness> {
        Ok(Fitness::read(&self.ask(&redis::cmd("INFO")).await?))
    }

    async fn ask(&self, command: &redis::Cmd) -> Result<Value> {
        self.link.ask(command).await.map_err(unavailable)
    }

    fn call<'s>(&'s self, script: &'s Script, queue: &QueueName, now: Timestamp) -> Call<'s> {
        Call::new(script, &self.namespace, queue, now)
    }

    async fn ran(&self, call: &Call<'_>) -> Result<Value> {
        Ok(call.run(&self.link).await?.answer)
    }

    /// Tells this broker of an insert that ran later than what was sent after its call was begun:
    /// it passes over the message that its own insert publishes.
    fn wake(&self, queue: &QueueName) {
        let _nobody = self.signals.send(Signal::Ready(queue.clone()));
    }

    /// What was known of a queue may not be so any more.
    fn forget(&self, queue: &QueueName) {
        self.registered.lock().remove(queue);
        self.habits.forget(queue);
    }

    /// Registers a queue before its first job, so that no job is in a queue nobody sweeps. True if
    /// that took a call.
    async fn register(&self, queue: &QueueName) -> Result<bool> {
        if self.registered.lock().contains(queue) {
            return Ok(false);
        }
        self.announce(queue).await?;
        self.registered.lock().insert(queue.clone());
        Ok(true)
    }

    async fn announce(&self, queue: &QueueName) -> Result<()> {
        let queues = self.namespace.queues();
        self.ask(redis::cmd("SADD").arg(queues).arg(queue.as_str())).await.map(drop)
    }

    /// Registers what was registered and is not any more: a server may forget its newest writes.
    async fn register_again(&self) -> Result<()> {
        let known = self.queues().await?;
        let mut forgotten = self.registered.lock().clone();
        forgotten.retain(|queue| known.binary_search(queue).is_err());
        for queue in &forgotten {
            self.announce(queue).await?;
        }
        Ok(())
    }

    /// True when the epoch was another one before.
    fn is_news(&self, epoch: &str) -> bool {
        self.epoch.lock().as_ref().is_some_and(|before| before != epoch)
    }

    /// The store lost its data under us: what was known of it is not so any more.
    async fn begin_anew(&self) -> Result<()> {
        tracing::warn!("the store is empty or another one");
        self.register_again().await?;
        let _nobody = self.signals.send(Signal::Reset);
        Ok(())
    }

    /// Registers a queue that a call found new though it was known: it was deleted meanwhile.
    async fn register_new(&self, queue: &QueueName, is_new: Option<&Value>) -> Result<()> {
        if is_new == Some(&Value::Int(1)) { self.announce(queue).await } else { Ok(()) }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn insert(
        &self,
        queue: &QueueName,
        groups: Vec<Group>,
        now: Timestamp,
    ) -> Result<Vec<Vec<Inserted>>> {
        let mut is_late = self.register(queue).await?;
        if hot::is_plain(&groups) {
            if let Some((inserted, again)) = self.insert_plain(queue, &groups, now).await? {
                if is_late || again {
                    self.wake(queue);
                }
                return Ok(inserted);
            }
            is_late = true;
        }
        let mut call = self.call(&self.scripts.insert_any, queue, now);
        call.text(&self.origin).text(groups.len());
        for group in &groups {
            call.number(group.room.jobs).number(group.room.bytes);
            call.text(u8::from(group.atomic));
            arguments::request_of(&mut call, group.request);
            call.text(group.inserts.len());
            for insert in &group.inserts {
                arguments::insert(&mut call, insert);
            }
        }
        let Ran { answer, again } = call.run(&self.link).await?;
        if is_late || again {
            self.wake(queue);
        }
        let mut answer = reply::array(answer)?.into_iter();
        self.register_new(queue, answer.next().as_ref()).await?;
        reply::inserted(answer, &groups)
    }

    async fn claim(
        &self,
        queue: &QueueName,
        claims: Vec<Claim>,
        now: Timestamp,
    ) -> Result<Claimed> {
        if hot::are_plain(&claims)
            && self.habits.claims_plainly(queue)
            && let Some(claimed) = self.claim_plain(queue, &claims, now).await?
        {
            return Ok(claimed);
        }
        let mut call = self.call(&self.scripts.claim_any, queue, now);
        call.text(claims.len());
        for claim in &claims {
            call.text(claim.limit).text(claim.max_bytes).number(claim.lease_duration.map(millis));
            call.bytes(codec::new_lease(claim, now)).text(claim.worker.as_str());
            call.text(claim.request.map_or(String::new(), |request| request.to_string()));
            call.text(claim.types.len());
            for job_type in &claim.types {
                call.text(job_type.as_str());
            }
        }
        let (claimed, is_plain) = reply::claimed(queue, self.ran(&call).await?)?;
        self.habits.note_claim(queue, is_plain);
        Ok(claimed)
    }

    fn may_hand_over(&self, queue: &QueueName, groups: &[Group]) -> bool {
        self.habits.claims_plainly(queue)
            && self.habits.hands_over(queue)
            && self.registered.lock().contains(queue)
            && hand_over::is_uniform(groups)
    }

    async fn hand_over(
        &self,
        queue: &QueueName,
        groups: &[Group],
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Option<(Vec<Vec<Inserted>>, Claimed)>> {
        self.insert_leased(queue, groups, claims, now).await
    }

    async fn extend(
        &self,
        queue: &QueueName,
        extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        let mut call = self.call(&self.scripts.extend, queue, now);
        call.text(extensions.len());
        for extension in &extensions {
            let Extension { id, secret, until, progress, checkpoint, cancel, event } = extension;
            call.bytes(codec::id_bytes(id)).bytes(secret.0.to_be_bytes()).moment(*until);
            call.maybe(progress.as_ref().map(record::encode_progress));
            call.maybe(checkpoint.as_ref().map(record::encode_payload));
            call.moment(cancel.as_ref().map(|cancel| cancel.by));
            call.maybe(cancel.as_ref().map(record::encode_cancel));
            call.maybe(event.as_ref().map(record::encode_event));
        }
        reply::extended(self.ran(&call).await?)
    }

    async fn commit(
        &self,
        queue: &QueueName,
        commits: Vec<Commit>,
        now: Timestamp,
    ) -> Result<Vec<Guarded>> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        if self.habits.ends_plainly(queue)
            && let Some(outcomes) = self.finish(queue, &commits, now).await?
        {
            return Ok(outcomes);
        }
        let mut call = self.call(&self.scripts.commit_any, queue, now);
        call.text(commits.len());
        for commit in &commits {
            arguments::commit(&mut call, commit);
        }
        reply::guarded(self.ran(&call).await?)
    }

    async fn promote(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        let mut call = self.call(&self.scripts.promote, queue, now);
        call.text(limit);
        reply::count(&self.ran(&call).await?)
    }

    async fn overdue(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<Vec<Job>> {
        let mut call = self.call(&self.scripts.overdue, queue, now);
        call.text(limit).text(PAGE_BYTES);
        reply::jobs(queue, reply::array(self.ran(&call).await?)?)
    }

    async fn purge(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        let mut call = self.call(&self.scripts.purge, queue, now);
        call.text(limit).text(log::id_before(now, EVENT_MEMORY));
        reply::count(&self.ran(&call).await?)
    }

    async fn next_due(&self, queue: &QueueName) -> Result<Option<Timestamp>> {
        let call = self.call(&self.scripts.next_due, queue, Timestamp::default());
        Ok(reply::moment(&self.ran(&call).await?))
    }

    async fn get(&self, name: &JobName) -> Result<Option<Job>> {
        let mut call = self.call(&self.scripts.read, &name.queue, Timestamp::default());
        call.bytes(codec::id_bytes(&name.id));
        reply::job(&name.queue, self.ran(&call).await?)
    }

    async fn queues(&self) -> Result<Vec<QueueName>> {
        let answer = self.ask(redis::cmd("SMEMBERS").arg(self.namespace.queues())).await?;
        let mut queues = reply::queues(answer)?;
        queues.sort_unstable();
        Ok(queues)
    }

    async fn list(
        &self,
        queue: &QueueName,
        index: &Index,
        order: Order,
        after: Option<&Mark>,
        limit: usize,
    ) -> Result<Page> {
        self.read_page(queue, index, order, after, limit).await
    }

    async fn ahead(&self, job: &Job) -> Result<u64> {
        self.count_ahead(job).await
    }

    async fn survey(&self, queue: &QueueName, now: Timestamp) -> Result<Survey> {
        let call = self.call(&self.scripts.survey, queue, now);
        reply::survey(self.ran(&call).await?)
    }

    async fn settings(&self, queue: &QueueName) -> Result<Option<QueueSettings>> {
        self.read_settings(queue).await
    }

    async fn set_settings(
        &self,
        queue: &QueueName,
        settings: &QueueSettings,
        event: &Event,
        now: Timestamp,
    ) -> Result<Guarded> {
        self.write_settings(queue, settings, event, now).await
    }

    async fn wipe(&self, queue: &QueueName, limit: usize) -> Result<bool> {
        self.wipe_some(queue, limit).await
    }

    async fn documents(&self, kind: Kind) -> Result<Vec<Document>> {
        self.all_documents(kind).await
    }

    async fn document(&self, kind: Kind, key: &str) -> Result<Option<Document>> {
        self.one_document(kind, key).await
    }

    async fn put_documents(&self, kind: Kind, puts: Vec<Put>) -> Result<Vec<Guarded>> {
        self.write_documents(kind, &puts).await
    }

    async fn recent(&self, queue: &QueueName, limit: usize) -> Result<Vec<Entry>> {
        self.read_newest(queue, limit).await
    }

    async fn log(&self, queue: &QueueName, start: LogStart, limit: usize) -> Result<Vec<Entry>> {
        self.read_log(queue, start, limit).await
    }

    async fn log_end(&self, queue: &QueueName) -> Result<Position> {
        let call = self.call(&self.scripts.log_end, queue, Timestamp::default());
        reply::position(self.ran(&call).await?)
    }

    async fn time(&self) -> Result<Timestamp> {
        let command = match &self.link {
            Link::One(_) | Link::Watched(_) => redis::cmd("TIME"),
            // By script, so that it always asks the same server.
            Link::Cluster(_) => {
                let mut command = redis::cmd("EVAL");
                command.arg("return redis.call('TIME')").arg(1).arg(self.namespace.anchor());
                command
            }
        };
        reply::time(self.ask(&command).await?)
    }

    async fn epoch(&self) -> Result<String> {
        // A server that only reads fails here; one whose memory is full does not, for it takes acks
        // still, which make room.
        self.ask(redis::cmd("UNLINK").arg(self.namespace.anchor())).await?;
        let key = self.namespace.epoch();
        let known = async || Ok(reply::text(&self.ask(redis::cmd("GET").arg(&key)).await?));
        let epoch = if let Some(epoch) = known().await? {
            epoch
        } else {
            let fresh = format!("{:016x}", fastrand::u64(..));
            self.ask(redis::cmd("SET").arg(&key).arg(&fresh).arg("NX")).await?;
            known().await?.unwrap_or_default()
        };
        if self.is_news(&epoch) {
            self.begin_anew().await?;
        }
        // Last, so that a beginning that failed is made again.
        *self.epoch.lock() = Some(epoch.clone());
        Ok(epoch)
    }

    async fn status(&self) -> Result<Status> {
        let fitness = self.fitness().await?;
        Ok(Status {
            version: format!("redis {}", fitness.version()?),
            epoch: self.epoch().await?,
            warnings: fitness.warnings(),
        })
    }

    async fn call_off(&self, job: &JobName) -> Result<()> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.namespace.documents_channel()).arg(job.to_string());
        self.ask(&publish).await.map(drop)
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    async fn follow(&self) -> Following {
        self.follow_log().await
    }

    async fn run(&self, stop: CancellationToken) {
        feed::run(self, stop).await;
    }

    async fn close(&self) {}
}

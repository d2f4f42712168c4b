//! Jobs in Redis or Valkey, one server or a cluster: encode, call a script, decode. No decisions.
//!
//! Each operation is one script on one queue ([`keys`] names what it touches, `lua/` does it), so
//! it is atomic and stays in one cluster slot. Works from Redis 6.2.

mod arguments;
mod codec;
mod connect;
mod feed;
mod keys;
mod log;
mod reply;
mod scripts;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::Value;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use self::connect::{Address, Link};
use self::keys::Namespace;
use self::scripts::{Call, Script, Scripts, unavailable};
use super::{
    Claim, Claimed, Commit, Document, EVENT_ENTRIES, EVENT_MEMORY, Entry, Error, Extended,
    Extension, Group, Guarded, Index, Inserted, Kind, LogStart, Mark, Order, Page, Position, Put,
    REQUEST_MEMORY, Result, Signal, Status, Store, Survey, not_built, record,
};
use crate::clock::{Timestamp, millis};
use crate::job::{DEFAULT_LEASE_DURATION, Event, Job, JobName, QueueName, QueueSettings};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Keeps several products apart in one Redis.
    pub namespace: String,
    /// Work even where Redis may evict keys when memory runs out.
    pub allow_eviction: bool,
}

/// Signals that a slow listener may leave unheard before it is told to look at everything.
const SIGNALS: usize = 4096;

/// Bytes of records after which a reading of overdue jobs ends; the rest is due at once again.
const OVERDUE_BYTES: usize = 4 << 20;

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
    warnings: Vec<String>,
}

impl RedisStore {
    /// Connects and checks that the server can be a store.
    pub async fn open(url: &str, options: &RedisOptions) -> Result<Arc<Self>> {
        let address = Address::parse(url)?;
        let link = address.connect().await.map_err(unavailable)?;
        let mut store = Self {
            address,
            namespace: Namespace::new(&options.namespace),
            link,
            scripts: Scripts::new(),
            signals: broadcast::Sender::new(SIGNALS),
            registered: Mutex::default(),
            epoch: Mutex::default(),
            warnings: Vec::new(),
        };
        store.check_version().await?;
        store.check_eviction(options.allow_eviction).await?;
        Ok(Arc::new(store))
    }

    async fn check_version(&self) -> Result<()> {
        let version = self.version().await?;
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if found < (6, 2) {
            return Err(Error::Unusable(format!("Redis {version} is too old; 6.2 is the oldest")));
        }
        Ok(())
    }

    /// A server that evicts keys would lose jobs without a word.
    async fn check_eviction(&mut self, allowed: bool) -> Result<()> {
        let asked = self.ask(redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy")).await;
        let policy = match asked {
            Ok(answer) => reply::text_after(&answer, "maxmemory-policy"),
            Err(error) => {
                tracing::warn!(%error, "the server does not tell its maxmemory-policy; it must be noeviction");
                self.warnings.push("maxmemory-policy is unknown; it must be noeviction".to_owned());
                return Ok(());
            }
        };
        match policy.as_deref() {
            None | Some("noeviction") => Ok(()),
            Some(policy) if allowed => {
                self.warnings.push(format!("maxmemory-policy is {policy}: jobs may be evicted"));
                Ok(())
            }
            Some(policy) => Err(Error::Unusable(format!(
                "maxmemory-policy is {policy}, so Redis may evict jobs; set it to noeviction, \
                 or allow eviction explicitly"
            ))),
        }
    }

    async fn version(&self) -> Result<String> {
        let info = self.ask(redis::cmd("INFO").arg("server")).await?;
        reply::version(&info).ok_or_else(|| Error::Unusable("the server tells no version".into()))
    }

    async fn ask(&self, command: &redis::Cmd) -> Result<Value> {
        self.link.ask(command).await.map_err(unavailable)
    }

    fn call(&self, queue: &QueueName, now: Timestamp) -> Call {
        Call::new(&self.namespace, queue, now)
    }

    /// A call that may write to the event log.
    fn moving(&self, queue: &QueueName, now: Timestamp) -> Call {
        let mut call = self.call(queue, now);
        call.text(EVENT_ENTRIES);
        call
    }

    async fn run_script(&self, call: &Call, script: &Script) -> Result<Value> {
        call.run(&self.link, script).await
    }

    /// Registers a queue before its first job, so that no job is in a queue nobody sweeps.
    async fn register(&self, queue: &QueueName) -> Result<()> {
        if self.registered.lock().contains(queue) {
            return Ok(());
        }
        self.announce(queue).await?;
        self.registered.lock().insert(queue.clone());
        Ok(())
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

    async fn look_over(&self, queue: &QueueName) -> Result<Value> {
        let call = self.call(queue, Timestamp::default());
        self.run_script(&call, &self.scripts.survey).await
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
        self.register(queue).await?;
        let mut call = self.moving(queue, now);
        call.text(millis(REQUEST_MEMORY)).text(groups.len());
        for group in &groups {
            call.text(group.inserts.len());
            for insert in &group.inserts {
                arguments::insert(&mut call, insert);
            }
        }
        let answer = self.run_script(&call, &self.scripts.insert).await?;
        let mut outcomes = reply::inserted(answer)?.into_iter();
        Ok(groups
            .iter()
            .map(|group| outcomes.by_ref().take(group.inserts.len()).collect())
            .collect())
    }

    async fn claim(
        &self,
        queue: &QueueName,
        claims: Vec<Claim>,
        now: Timestamp,
    ) -> Result<Claimed> {
        let mut call = self.moving(queue, now);
        call.text(millis(DEFAULT_LEASE_DURATION)).text(claims.len());
        for claim in &claims {
            let lease = claim.lease_duration.map_or(String::new(), |span| millis(span).to_string());
            call.text(claim.limit).text(claim.max_bytes).text(lease);
            call.bytes(codec::new_lease(claim, now)).text(claim.worker.as_str());
            call.text(claim.request.map_or(String::new(), |request| request.to_string()));
            // As long as an extended lease may reasonably live.
            call.text(millis(super::CLAIM_MEMORY));
        }
        let answer = self.run_script(&call, &self.scripts.claim).await?;
        let claims = reply::array(answer)?;
        let jobs =
            claims.into_iter().map(|jobs| reply::jobs(queue, jobs)).collect::<Result<_>>()?;
        Ok(Claimed { jobs, gate: None })
    }

    async fn extend(
        &self,
        queue: &QueueName,
        extensions: Vec<Extension>,
        now: Timestamp,
    ) -> Result<Vec<Extended>> {
        let mut call = self.moving(queue, now);
        call.text(extensions.len());
        for extension in &extensions {
            call.text(&extension.id).bytes(extension.secret.0.to_be_bytes().to_vec());
            call.text(extension.until.unwrap_or(now).as_millis());
            call.maybe(extension.progress.as_ref().map(record::encode_progress));
            call.maybe(extension.checkpoint.as_ref().map(record::encode_payload));
            call.maybe(extension.event.as_ref().map(record::encode_event));
        }
        let outcomes = reply::guarded(self.run_script(&call, &self.scripts.extend).await?)?;
        let held = |extension: Extension| Extended::Held {
            until: extension.until.unwrap_or(now),
            cancel: None,
        };
        let pairs = extensions.into_iter().zip(outcomes);
        Ok(pairs
            .map(|(extension, outcome)| match outcome {
                Guarded::Applied => held(extension),
                _ => Extended::Lost,
            })
            .collect())
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
        let mut call = self.moving(queue, now);
        call.text(commits.len());
        for commit in &commits {
            arguments::transition(&mut call, &commit.transition);
        }
        reply::guarded(self.run_script(&call, &self.scripts.commit).await?)
    }

    async fn promote(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        let mut call = self.moving(queue, now);
        call.text(limit);
        reply::count(&self.run_script(&call, &self.scripts.promote).await?)
    }

    async fn overdue(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<Vec<Job>> {
        let mut call = self.call(queue, now);
        call.text(limit).text(OVERDUE_BYTES);
        reply::jobs(queue, self.run_script(&call, &self.scripts.overdue).await?)
    }

    async fn purge(&self, queue: &QueueName, now: Timestamp, limit: usize) -> Result<usize> {
        let mut call = self.call(queue, now);
        call.text(limit).text(log::id_before(now, EVENT_MEMORY));
        reply::count(&self.run_script(&call, &self.scripts.purge).await?)
    }

    async fn next_due(&self, queue: &QueueName) -> Result<Option<Timestamp>> {
        Ok(reply::survey(self.look_over(queue).await?)?.1)
    }

    async fn get(&self, name: &JobName) -> Result<Option<Job>> {
        let mut call = self.call(&name.queue, Timestamp::default());
        call.text(&name.id);
        reply::job(&name.queue, self.run_script(&call, &self.scripts.read).await?)
    }

    async fn queues(&self) -> Result<Vec<QueueName>> {
        let answer = self.ask(redis::cmd("SMEMBERS").arg(self.namespace.queues())).await?;
        let mut queues = reply::queues(answer)?;
        queues.sort_unstable();
        Ok(queues)
    }

    async fn list(
        &self,
        _queue: &QueueName,
        _index: &Index,
        _order: Order,
        _after: Option<&Mark>,
        _limit: usize,
    ) -> Result<Page> {
        Err(not_built("list"))
    }

    async fn ahead(&self, _job: &Job) -> Result<u64> {
        Err(not_built("ahead"))
    }

    async fn survey(&self, queue: &QueueName, _now: Timestamp) -> Result<Survey> {
        let counts = reply::survey(self.look_over(queue).await?)?.0;
        Ok(Survey { counts, ..Survey::default() })
    }

    async fn settings(&self, _queue: &QueueName) -> Result<Option<QueueSettings>> {
        Ok(None)
    }

    async fn set_settings(
        &self,
        _queue: &QueueName,
        _settings: &QueueSettings,
        _event: &Event,
        _now: Timestamp,
    ) -> Result<Guarded> {
        Err(not_built("set_settings"))
    }

    async fn wipe(&self, _queue: &QueueName, _limit: usize) -> Result<bool> {
        Err(not_built("wipe"))
    }

    async fn documents(&self, _kind: Kind) -> Result<Vec<Document>> {
        Ok(Vec::new())
    }

    async fn document(&self, _kind: Kind, _key: &str) -> Result<Option<Document>> {
        Ok(None)
    }

    async fn put_documents(&self, _kind: Kind, _puts: Vec<Put>) -> Result<Vec<Guarded>> {
        Err(not_built("put_documents"))
    }

    async fn recent(&self, _queue: &QueueName, _limit: usize) -> Result<Vec<Entry>> {
        Err(not_built("recent"))
    }

    async fn log(&self, queue: &QueueName, start: LogStart, limit: usize) -> Result<Vec<Entry>> {
        let first = match start {
            LogStart::Oldest => "-".to_owned(),
            LogStart::Time(moment) => log::id_at(moment),
            LogStart::After(Position { entry: (millis, sequence), .. }) => {
                format!("({millis}-{sequence}")
            }
        };
        let events = keys::events(&self.namespace.base(queue));
        let mut command = redis::cmd("XRANGE");
        command.arg(events).arg(first).arg("+").arg("COUNT").arg(limit);
        reply::entries(queue, self.ask(&command).await?)
    }

    async fn log_end(&self, queue: &QueueName) -> Result<Position> {
        let call = self.call(queue, Timestamp::default());
        reply::position(self.run_script(&call, &self.scripts.log_end).await?)
    }

    async fn time(&self) -> Result<Timestamp> {
        let command = match &self.link {
            Link::One(_) => redis::cmd("TIME"),
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
        let key = self.namespace.epoch();
        let fresh = format!("{:016x}", fastrand::u64(..));
        // A write, so a server that only reads fails here.
        self.ask(redis::cmd("SET").arg(&key).arg(&fresh).arg("NX")).await?;
        let epoch = reply::text(&self.ask(redis::cmd("GET").arg(&key)).await?);
        let epoch = epoch.unwrap_or_default();
        if self.is_news(&epoch) {
            self.begin_anew().await?;
        }
        // Last, so that a beginning that failed is made again.
        *self.epoch.lock() = Some(epoch.clone());
        Ok(epoch)
    }

    async fn status(&self) -> Result<Status> {
        Ok(Status {
            version: format!("redis {}", self.version().await?),
            epoch: self.epoch().await?,
            warnings: self.warnings.clone(),
        })
    }

    fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    async fn run(&self, stop: CancellationToken) {
        feed::run(self, stop).await;
    }

    async fn close(&self) {}
}

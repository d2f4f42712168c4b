//! What the cases start from: a queue of its own in a store of its own.

mod operate;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use self::operate::{doom, expiring, labelled, meeting, typed};
use self::words::next_number;
pub(crate) use self::words::{
    UNTIL_FINISHED, acked, acked_late, claim, deduplicated, expired, extension, failure,
    given_back, held, kept, nacked, next_secret, payload, priority, request, request_id, roomy,
    scheduled, spec, tireless, worker,
};
use crate::clock::{Clock, Timestamp};
use crate::job::{Event, Job, JobId, JobName, QueueName, Spec, State, Transition};
use crate::redis_server::{RedisCluster, RedisServer};
use crate::store::open::{OpenOptions, open};
use crate::store::{
    Claim, Commit, Counts, Entry, Extended, Extension, Guarded, Insert, Inserted, LogStart,
    Request, Signal, Store,
};

/// The moment `seconds` after the start of a case. The start lies in the past, so a store that
/// looks at a clock of its own is found out: to it, all is due.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + 1000 * seconds)
}

/// So many seconds.
pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A queue that no other case knows, in a store that no other case knows.
pub(crate) struct Queue {
    pub(crate) store: Arc<dyn Store>,
    /// The store as another broker has it, where it can be shared: it is told what this one does.
    pub(crate) listener: Arc<dyn Store>,
    pub(crate) name: QueueName,
    pub(crate) namespace: String,
    /// Carries the signals until the case is over.
    _running: JoinSet<()>,
    /// Where the store's file is, if it has one.
    _dir: Option<TempDir>,
}

impl Queue {
    pub(crate) async fn in_sqlite_memory() -> Self {
        Self::open("sqlite::memory:", None).await
    }

    pub(crate) async fn in_sqlite_file() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("jobs.db").display());
        Self::open(&url, Some(dir)).await
    }

    pub(crate) async fn in_redis() -> Self {
        Self::open(&RedisServer::shared().url(), None).await
    }

    pub(crate) async fn in_redis_cluster() -> Self {
        Self::open(&RedisCluster::shared().url(), None).await
    }

    /// A queue in the store at `url`, which keeps `dir` as long as it lives.
    pub(crate) async fn open(url: &str, dir: Option<TempDir>) -> Self {
        let number = next_number();
        let name = QueueName::parse(&format!("queue-{number}")).unwrap();
        Self::connect(url, &format!("case-{number}"), name, dir).await
    }

    /// This queue as another broker has it, on a store that several brokers can share.
    pub(crate) async fn twin(&self, url: &str) -> Self {
        Self::connect(url, &self.namespace, self.name.clone(), None).await
    }

    async fn connect(url: &str, namespace: &str, name: QueueName, dir: Option<TempDir>) -> Self {
        let namespace = namespace.to_owned();
        let options = OpenOptions { namespace: namespace.clone(), ..OpenOptions::default() };
        let store = open(url, &options).await.unwrap();
        let is_shared = url.starts_with("redis");
        let listener =
            if is_shared { open(url, &options).await.unwrap() } else { Arc::clone(&store) };
        let mut running = JoinSet::new();
        let runner = Arc::clone(&listener);
        running.spawn(async move { runner.run(CancellationToken::new()).await });
        if is_shared {
            let runner = Arc::clone(&store);
            running.spawn(async move { runner.run(CancellationToken::new()).await });
        }
        Self { store, listener, name, namespace, _running: running, _dir: dir }
    }

    /// Another queue of the same store.
    pub(crate) fn sibling(&self, suffix: &str) -> Queue {
        Queue {
            store: Arc::clone(&self.store),
            listener: Arc::clone(&self.listener),
            name: QueueName::parse(&format!("{}.{suffix}", self.name)).unwrap(),
            namespace: self.namespace.clone(),
            _running: JoinSet::new(),
            _dir: None,
        }
    }

    /// The full name of a job of this queue.
    pub(crate) fn job_name(&self, id: &str) -> JobName {
        JobName { queue: self.name.clone(), id: id_of(id) }
    }

    /// A job of this queue, not yet in it.
    pub(crate) fn job(&self, id: &str, spec: Spec) -> Job {
        Job::enqueued(self.job_name(id), spec)
    }

    /// An insert of a job as the broker makes them, with an id that nobody chose.
    pub(crate) fn item(&self, id: &str, spec: Spec) -> Insert {
        Insert { job: self.job(id, spec), chosen_id: false, request: None, reason: String::new() }
    }

    /// An insert of a job whose id the caller chose.
    pub(crate) fn chosen(&self, id: &str, spec: Spec) -> Insert {
        Insert { chosen_id: true, ..self.item(id, spec) }
    }

    /// An insert that a request asks for.
    pub(crate) fn asked(&self, id: &str, spec: Spec, request: Request) -> Insert {
        Insert { request: Some(request), ..self.item(id, spec) }
    }

    /// Inserts groups at the start of the case.
    pub(crate) async fn insert(&self, groups: Vec<Vec<Insert>>) -> Vec<Vec<Inserted>> {
        let groups = groups.into_iter().map(roomy).collect();
        self.store.insert(&self.name, groups, at(0)).await.unwrap()
    }

    /// Inserts one group at the start of the case.
    pub(crate) async fn insert_group(&self, group: Vec<Insert>) -> Vec<Inserted> {
        one(self.insert(vec![group]).await)
    }

    /// Inserts one job when its spec says it was created.
    pub(crate) async fn insert_one(&self, item: Insert) -> Inserted {
        let now = item.job.spec.created;
        one(one(self.store.insert(&self.name, vec![roomy(vec![item])], now).await.unwrap()))
    }

    /// Inserts a new job and answers it.
    pub(crate) async fn add(&self, id: &str, spec: Spec) -> Job {
        let item = self.item(id, spec);
        let job = item.job.clone();
        assert_eq!(self.insert_one(item).await, Inserted::New);
        job
    }

    /// Inserts new jobs that are alike, in one call.
    pub(crate) async fn add_all(&self, ids: &[&str], spec: Spec) {
        let items = ids.iter().map(|id| self.item(id, spec.clone())).collect();
        let outcomes =
            self.store.insert(&self.name, vec![roomy(items)], spec.created).await.unwrap();
        assert_eq!(one(outcomes), vec![Inserted::New; ids.len()]);
    }

    /// Serves one claim.
    pub(crate) async fn serve(&self, claim: Claim, now: Timestamp) -> Vec<Job> {
        one(self.claims(vec![claim], now).await)
    }

    /// Serves claims in one call.
    pub(crate) async fn claims(&self, claims: Vec<Claim>, now: Timestamp) -> Vec<Vec<Job>> {
        self.store.claim(&self.name, claims, now).await.unwrap().jobs
    }

    /// Claims up to `limit` jobs for some worker.
    pub(crate) async fn claim(&self, limit: usize, now: Timestamp) -> Vec<Job> {
        self.serve(claim(limit), now).await
    }

    /// Claims the one job that is next.
    pub(crate) async fn claim_one(&self, now: Timestamp) -> Job {
        one(self.claim(1, now).await)
    }

    /// Inserts a new job and claims it at once.
    pub(crate) async fn add_leased(&self, id: &str, spec: Spec) -> Job {
        let now = spec.created;
        self.add(id, spec).await;
        let job = self.claim_one(now).await;
        assert_eq!(job.name.id.as_str(), id, "another job was ahead");
        job
    }

    /// Extends one lease.
    pub(crate) async fn extend(&self, extension: Extension, now: Timestamp) -> Extended {
        one(self.store.extend(&self.name, vec![extension], now).await.unwrap())
    }

    /// Commits transitions in one call.
    pub(crate) async fn commit_all(
        &self,
        transitions: Vec<Transition>,
        now: Timestamp,
    ) -> Vec<Guarded> {
        let commits = transitions.into_iter().map(Commit::from).collect();
        self.store.commit(&self.name, commits, now).await.unwrap()
    }

    /// Commits one transition.
    pub(crate) async fn commit(&self, transition: Transition, now: Timestamp) -> Guarded {
        one(self.commit_all(vec![transition], now).await)
    }

    /// Commits one transition whose guard holds.
    pub(crate) async fn apply(&self, transition: Transition, now: Timestamp) {
        assert_eq!(self.commit(transition, now).await, Guarded::Applied);
    }

    /// Makes all jobs ready that are due.
    pub(crate) async fn promote(&self, now: Timestamp) -> usize {
        self.store.promote(&self.name, now, 1000).await.unwrap()
    }

    /// Leased jobs that are overdue.
    pub(crate) async fn overdue(&self, now: Timestamp) -> Vec<Job> {
        self.store.overdue(&self.name, now, 1000).await.unwrap()
    }

    /// Forgets all finished jobs whose time has come.
    pub(crate) async fn purge(&self, now: Timestamp) -> usize {
        self.store.purge(&self.name, now, 1000).await.unwrap()
    }

    pub(crate) async fn next_due(&self) -> Option<Timestamp> {
        self.store.next_due(&self.name).await.unwrap()
    }

    /// The job with this id, if there is one.
    pub(crate) async fn find(&self, id: &str) -> Option<Job> {
        self.store.get(&self.job_name(id)).await.unwrap()
    }

    /// The job with this id, which must be there.
    pub(crate) async fn get(&self, id: &str) -> Job {
        self.find(id).await.unwrap()
    }

    /// The state of the job with this id, if there is one.
    pub(crate) async fn state(&self, id: &str) -> Option<State> {
        self.find(id).await.map(|job| job.state)
    }

    pub(crate) async fn count(&self) -> Counts {
        self.store.survey(&self.name, at(0)).await.unwrap().counts
    }

    /// The whole event log.
    pub(crate) async fn log(&self) -> Vec<Entry> {
        self.store.log(&self.name, LogStart::Oldest, 100_000).await.unwrap()
    }

    /// All events of the log, in order.
    pub(crate) async fn events(&self) -> Vec<Event> {
        self.log().await.into_iter().flat_map(|entry| entry.events).collect()
    }

    /// Signals as another broker hears them, known to flow: a store may need a moment before the
    /// first one.
    pub(crate) async fn signals(&self) -> Signals {
        self.signals_at(&self.listener).await
    }

    /// Signals of what this queue's broker does, as the broker with the store `hearing` hears them.
    pub(crate) async fn signals_at(&self, hearing: &Arc<dyn Store>) -> Signals {
        let mut signals = Signals(hearing.signals());
        for _ in 0..ATTEMPTS {
            let probe = self.sibling(&format!("probe-{}", next_number()));
            probe.add("probe", spec()).await;
            if signals.next_of(&probe.name, PATIENCE / ATTEMPTS).await.is_some() {
                return signals;
            }
        }
        panic!("no signals flow");
    }
}

const ATTEMPTS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(20);

/// The signals of a store.
pub(crate) struct Signals(broadcast::Receiver<Signal>);

impl Signals {
    /// Returns once `wanted` has come, with whatever came before it.
    pub(crate) async fn expect(&mut self, wanted: Signal) -> Vec<Signal> {
        let mut seen = Vec::new();
        let searched = tokio::time::timeout(PATIENCE, async {
            loop {
                let signal = self.0.recv().await.unwrap();
                if signal == wanted {
                    break;
                }
                seen.push(signal);
            }
        });
        assert!(searched.await.is_ok(), "{wanted:?} did not come, but {seen:?}");
        seen
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        let next = tokio::time::timeout(PATIENCE, self.0.recv()).await;
        next.unwrap().unwrap()
    }

    /// The next signal about `queue`, if one comes in time.
    async fn next_of(&mut self, queue: &QueueName, patience: Duration) -> Option<Signal> {
        let search = async {
            loop {
                let signal = self.0.recv().await.unwrap();
                let (Signal::Ready(about)
                | Signal::Due(about, _)
                | Signal::Logged(about)
                | Signal::Settings(about)) = &signal
                else {
                    continue;
                };
                if about == queue {
                    return signal;
                }
            }
        };
        tokio::time::timeout(patience, search).await.ok()
    }
}

/// Repeats `attempt` until it answers something: for what only real time brings about.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = attempt().await {
            return answer;
        }
        Clock::pause(PAUSE).await;
    }
    panic!("waited too long for {what}");
}

/// The only element.
pub(crate) fn one<T: std::fmt::Debug>(items: Vec<T>) -> T {
    let [item] = <[T; 1]>::try_from(items).unwrap();
    item
}

pub(crate) fn id_of(id: &str) -> JobId {
    JobId::parse(id).unwrap()
}

/// The ids of these jobs, in order.
pub(crate) fn ids(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.name.id.as_str()).collect()
}

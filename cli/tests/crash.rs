//! Killing the broker with SIGKILL at any moment loses no acknowledged job.
//!
//! Producers and workers of the Rust client go on while the broker is killed and started again,
//! many times. All that they are told goes into a ledger; in the end the store must agree with it.
//! `LESSOR_TEST_SEED` repeats the decisions of a run, though not the timing of the machine.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

#[expect(dead_code, reason = "nobody ends in good order here")]
mod machine;
#[path = "machine/redis.rs"]
#[expect(dead_code, reason = "nothing happens to this Redis")]
mod redis;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;
use lessor::proto::enqueue_request::Start;
use lessor::proto::job_broker_admin_client::JobBrokerAdminClient;
use lessor::proto::{EnqueueRequest, GetQueueStatsRequest, Retention, RetryPolicy};
use lessor::{Client, JobState, LeaseOptions, LeasedJob, Nack, NewJob, payload};
use tokio::sync::watch;
use uuid::Builder;

use crate::machine::broker::{Broker, serve};
use crate::machine::process::Process;
use crate::machine::{free_port, pause};
use crate::redis::Redis;

const QUEUE: &str = "ledger";
const KILLS: usize = 20;
const PRODUCERS: usize = 4;
const WORKERS: usize = 4;

/// Jobs that may be open: producers wait for workers, so that both go on to the end.
const BACKLOG: usize = 100;

/// Far more than a run takes.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test]
async fn no_acknowledged_job_is_lost_with_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    survive(&format!("sqlite:{}", folder.path().join("jobs.db").display())).await;
}

#[tokio::test]
async fn no_acknowledged_job_is_lost_with_redis() {
    let redis = Redis::start(&[]).await;
    survive(&redis.url()).await;
}

async fn survive(store: &str) {
    let seed = std::env::var("LESSOR_TEST_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("LESSOR_TEST_SEED is a number"),
    );
    eprintln!("LESSOR_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let listen = format!("127.0.0.1:{}", free_port());
    let killing = Killing { args: vec!["--listen", &listen, "--store", store] };
    let broker = killing.start(&mut rng).await;
    let client = Client::connect(broker.url()).unwrap();

    let ledger = watch::Sender::new(Ledger::default());
    let mut rngs = std::iter::repeat_with(|| rng.fork());
    let producers: Vec<_> = rngs.by_ref().take(PRODUCERS).collect();
    let workers: Vec<_> = rngs.take(WORKERS).collect();
    let producing = join_all(producers.into_iter().map(|rng| produce(&client, &ledger, rng)));
    let working = join_all(workers.into_iter().map(|rng| work(&client, &ledger, rng)));
    let proving = async {
        let killed = async {
            let broker = killing.kill_again_and_again(broker, &ledger, &mut rng).await;
            ledger.send_modify(|ledger| ledger.closing = true);
            broker
        };
        let (broker, _) = tokio::join!(killed, producing);
        // Each job that was acknowledged reaches its end, so none is where nobody can lease it.
        ledger.subscribe().wait_for(|ledger| ledger.open() == 0).await.unwrap();
        // What was acknowledged this very moment is kept too.
        drop(broker);
        let broker = killing.start(&mut rng).await;
        verify(&broker, &client, &ledger.borrow()).await;
    };
    let run = async {
        tokio::select! {
            () = proving => {}
            _ = working => panic!("workers do not end"),
        }
    };
    let ended = tokio::time::timeout(PATIENCE, run).await.is_ok();
    assert!(ended, "the run does not come to its end: {}", ledger.borrow().summary());
}

/// How brokers are started and killed.
struct Killing<'a> {
    args: Vec<&'a str>,
}

impl Killing<'_> {
    /// Starts the broker, and sometimes kills it before it serves and starts it once more.
    async fn start(&self, rng: &mut Rng) -> Broker {
        if rng.u8(..3) == 0 {
            let starting = Process::spawn(&mut serve(&self.args));
            pause(Duration::from_micros(rng.u64(..60_000))).await;
            drop(starting);
        }
        Broker::start(&self.args).await
    }

    /// Kills the broker whenever clients have been told some more, at any moment after.
    async fn kill_again_and_again(
        &self,
        mut broker: Broker,
        ledger: &watch::Sender<Ledger>,
        rng: &mut Rng,
    ) -> Broker {
        for _ in 0..KILLS {
            let goal = ledger.borrow().steps + rng.u64(1..200);
            ledger.subscribe().wait_for(|ledger| ledger.steps >= goal).await.unwrap();
            pause(Duration::from_micros(rng.u64(..20_000))).await;
            broker.process.kill();
            broker = self.start(rng).await;
        }
        broker
    }
}

/// All that clients were told.
#[derive(Default)]
struct Ledger {
    /// Names of jobs by the request that made them, as enqueues were acknowledged.
    enqueued: HashMap<String, String>,
    /// Names of jobs by the request that is their payload, as workers saw them.
    seen: HashMap<String, String>,
    /// Names of jobs whose ack was acknowledged, and at which step.
    acked: HashMap<String, u64>,
    /// Counts what clients were told: the only clock of the ledger.
    steps: u64,
    /// Producers shall come to their end.
    closing: bool,
}

impl Ledger {
    /// Jobs that are known and not done.
    fn open(&self) -> usize {
        self.seen.len() - self.acked.len()
    }

    fn summary(&self) -> String {
        let (enqueued, acked) = (self.enqueued.len(), self.acked.len());
        let open: Vec<_> =
            self.seen.values().filter(|name| !self.acked.contains_key(*name)).collect();
        format!("{enqueued} enqueued, {acked} acked, open: {open:?}")
    }

    fn enqueued(&mut self, request: &str, name: String) {
        self.steps += 1;
        self.one_job_for(request, &name);
        assert_eq!(self.enqueued.insert(request.to_owned(), name), None);
    }

    /// A worker that asked at step `asked` got this job.
    fn leased(&mut self, request: &str, name: &str, asked: u64) {
        self.steps += 1;
        self.one_job_for(request, name);
        if let Some(acked) = self.acked.get(name) {
            assert!(*acked > asked, "{name} was leased again after its ack was acknowledged");
        }
    }

    fn one_job_for(&mut self, request: &str, name: &str) {
        match self.seen.entry(request.to_owned()) {
            Entry::Vacant(unseen) => {
                unseen.insert(name.to_owned());
            }
            Entry::Occupied(seen) => assert_eq!(seen.get(), name, "one request made two jobs"),
        }
    }

    fn acked(&mut self, name: &str) {
        self.steps += 1;
        let before = self.acked.insert(name.to_owned(), self.steps);
        assert_eq!(before, None, "{name} was done by two leases");
    }
}

/// Repeats a call until something else than the broker's absence answers.
async fn persist<T>(mut call: impl AsyncFnMut() -> lessor::Result<T>) -> lessor::Result<T> {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match call().await {
            // The client itself has tried four times, with pauses between.
            Err(error) if error.is_unavailable() => {}
            answer => return answer,
        }
    }
    panic!("the broker stays away");
}

async fn produce(client: &Client, ledger: &watch::Sender<Ledger>, mut rng: Rng) {
    let mut room = ledger.subscribe();
    loop {
        let free = |ledger: &Ledger| ledger.closing || ledger.open() < BACKLOG;
        if room.wait_for(free).await.unwrap().closing {
            return;
        }
        let id = Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string();
        let request = EnqueueRequest {
            queue: QUEUE.to_owned(),
            request_id: id.clone(),
            payload: Some(payload::bytes(id.clone())),
            start: (rng.u8(..4) == 0).then(|| Start::Delay(millis(rng.i32(1..400)))),
            // A kill may cost an attempt, but never the job.
            retry_policy: Some(RetryPolicy { max_attempts: -1, ..RetryPolicy::default() }),
            retention: Some(Retention { succeeded_count: -1, ..Retention::default() }),
            ..EnqueueRequest::default()
        };
        let job = NewJob::from(request);
        let enqueued = persist(async || client.enqueue(job.clone()).await).await.unwrap();
        ledger.send_modify(|ledger| ledger.enqueued(&id, enqueued.job.name));
    }
}

async fn work(client: &Client, ledger: &watch::Sender<Ledger>, mut rng: Rng) {
    loop {
        let asked = ledger.borrow().steps;
        let options = LeaseOptions::new([QUEUE])
            .max_jobs(rng.i32(1..8))
            .lease_duration(Duration::from_secs(2))
            .wait(Duration::from_secs(2));
        let leased = persist(async || client.lease(&options).await).await.unwrap();
        let jobs = leased
            .jobs
            .into_iter()
            .map(|leased| handle(client, ledger, leased, asked, rng.u8(..20)));
        join_all(jobs).await;
    }
}

/// Does a job, or for some values of `dice` fails at its first attempt.
async fn handle(
    client: &Client,
    ledger: &watch::Sender<Ledger>,
    leased: LeasedJob,
    asked: u64,
    dice: u8,
) {
    let (job, token) = (leased.job.unwrap(), leased.lease_token);
    let request = String::from_utf8(payload::read(&job.payload.unwrap()).to_vec()).unwrap();
    ledger.send_modify(|ledger| ledger.leased(&request, &job.name, asked));
    let settled = match (job.delivery_count, dice) {
        // Forgotten: its lease runs out.
        (1, 0) => return,
        (1, 1..=3) => {
            let nack = Nack::retry_after(Duration::from_millis(u64::from(dice) * 100));
            persist(async || client.nack(&token, nack.clone()).await).await.map(drop)
        }
        _ => {
            let result = payload::bytes(format!("done {request}"));
            let ack = persist(async || client.ack(&token, Some(result.clone())).await).await;
            ack.map(|_| ledger.send_modify(|ledger| ledger.acked(&job.name)))
        }
    };
    if let Err(error) = settled {
        // The broker was away for longer than the lease: somebody else has the job.
        assert!(error.is_lease_lost(), "{}: {error:?}", job.name);
    }
}

/// Compares the store with the ledger.
async fn verify(broker: &Broker, client: &Client, ledger: &Ledger) {
    assert_eq!((ledger.open(), ledger.seen.len()), (0, ledger.enqueued.len()));
    for (request, name) in &ledger.enqueued {
        let job = persist(async || client.get_job(name).await).await.unwrap();
        assert_eq!(job.state(), JobState::Succeeded, "{name}: {job:?}");
        assert_eq!(payload::read(&job.payload.unwrap()), request.as_bytes());
        assert_eq!(payload::read(&job.result.unwrap()), format!("done {request}"));
    }
    let request = GetQueueStatsRequest { name: QUEUE.to_owned() };
    let mut admin = JobBrokerAdminClient::new(broker.channel());
    let stats = admin.get_queue_stats(request).await.unwrap().into_inner();
    // Every request was acknowledged in the end, so a job more than requests is one made twice.
    let requests = i64::try_from(ledger.enqueued.len()).unwrap();
    assert_eq!(stats.succeeded, requests, "{stats:?}");
    let others = [stats.scheduled, stats.ready, stats.leased, stats.retrying, stats.dead];
    assert_eq!(others, [0; 5], "{stats:?}");
    eprintln!("{}", ledger.summary());
}

fn millis(count: i32) -> prost_types::Duration {
    prost_types::Duration { seconds: 0, nanos: count * 1_000_000 }
}

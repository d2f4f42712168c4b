//! Redis goes away, hangs, forgets, and comes back: the broker says so, and goes on by itself.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

mod fitness;
#[path = "../machine/mod.rs"]
mod machine;
#[path = "../machine/redis.rs"]
mod redis;
#[path = "../machine/wire.rs"]
mod wire;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt, LocalBoxFuture, join_all};
use lessor::JobState;
use lessor::proto::enqueue_response::Outcome;
use lessor::proto::event::Type;
use lessor::proto::job_broker_admin_client::JobBrokerAdminClient;
use lessor::proto::watch_events_request::Start;
use lessor::proto::{
    EnqueueRequest, ExtendLeaseRequest, GetJobRequest, GetQueueStatsRequest, LeaseRequest,
    ListQueuesRequest, NackRequest, QueueStats, Retention, SettleOutcome, WatchEventsRequest,
    WatchEventsResponse,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::machine::broker::Broker;
use crate::machine::pause;
use crate::redis::Redis;
use crate::wire::{
    Stub, ack, answer, awaited, begin_to_wait, done, end_of, enqueued, health, job, leased, read,
    seconds, why, wish,
};

/// Every write is on the disk before it is answered.
const DURABLE: [&str; 2] = ["appendonly yes", "appendfsync always"];

/// The services that are served only while the store is there.
const READINESS: [&str; 2] = ["", "lessor.v1.JobBroker"];

async fn broker_on(redis: &Redis) -> (Broker, Stub) {
    let broker = Broker::start(&["--listen", "127.0.0.1:0", "--store", &redis.url()]).await;
    let stub = Stub::new(broker.channel());
    (broker, stub)
}

// ---- Redis is away, and comes back ----

/// What happens to Redis.
#[derive(Clone, Copy)]
enum Harm {
    /// It dies.
    Killed,
    /// It takes connections and commands, and answers nothing.
    Hung,
}

impl Harm {
    fn begin(self, redis: &mut Redis) {
        match self {
            Self::Killed => redis.kill(),
            Self::Hung => redis.signal("STOP"),
        }
    }

    async fn end(self, redis: &mut Redis) {
        match self {
            Self::Killed => redis.start_again().await,
            Self::Hung => redis.signal("CONT"),
        }
    }
}

#[tokio::test]
async fn a_dead_redis_is_told_and_its_return_noticed() {
    Box::pin(outage(Harm::Killed)).await;
}

#[tokio::test]
async fn a_hung_redis_is_told_and_its_return_noticed() {
    Box::pin(outage(Harm::Hung)).await;
}

async fn outage(harm: Harm) {
    let mut redis = Redis::start(&DURABLE).await;
    let (broker, stub) = broker_on(&redis).await;
    let channel = broker.channel();
    for service in READINESS {
        health(&channel, service, ServingStatus::Serving).await;
    }
    let calls = Calls::prepare(&stub).await;
    let mut events = watching(&stub, None).await;
    let mut parked_stub = stub.clone();
    let mut parked = pin!(parked_stub.lease(wish("idle", 60, 30)));
    begin_to_wait(&stub, &mut parked).await;

    harm.begin(&mut redis);
    let mut answers = calls.all(&stub);
    answers.push(("a waiting Lease", parked.map(unit).boxed_local()));
    answers.push(("an open WatchEvents", end_of(&mut events).map(Err).boxed_local()));
    let answers = answers.into_iter().map(|(name, call)| async move {
        (name, tokio::time::timeout(wire::DEADLINE, call).await)
    });
    for (name, answer) in join_all(answers).await {
        let answer = answer.unwrap_or_else(|_| panic!("{name} hangs"));
        let status = answer.err().unwrap_or_else(|| panic!("{name} works without a store"));
        let expected = (Code::Unavailable, "STORE_UNAVAILABLE".to_owned());
        assert_eq!(why(&status), expected, "{name}");
        let pause = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
        assert!(pause.is_some_and(|pause| pause > Duration::ZERO), "{name}: {pause:?}");
    }
    for service in READINESS {
        health(&channel, service, ServingStatus::NotServing).await;
    }
    let liveness = HealthCheckRequest { service: "liveness".to_owned() };
    let alive = answer(HealthClient::new(channel.clone()).check(liveness)).await.unwrap();
    assert_eq!(alive.into_inner().status(), ServingStatus::Serving);

    harm.end(&mut redis).await;
    for service in READINESS {
        health(&channel, service, ServingStatus::Serving).await;
    }
    Box::pin(calls.repeat(&stub)).await;
    let mut events = watching(&stub, None).await;
    let parked = leased(&stub, "idle", 60);
    let (parked, name) = tokio::join!(parked, enqueued(&stub, "idle"));
    assert_eq!(parked.job.unwrap().name, name);
    next_event(&mut events, Type::JobCreated, &name).await;
}

fn unit<T>(answer: Result<Response<T>, Status>) -> Result<(), Status> {
    answer.map(drop)
}

type Answer<'a> = LocalBoxFuture<'a, Result<(), Status>>;

/// One call of each kind, on jobs of its own.
struct Calls {
    enqueue: EnqueueRequest,
    ready: String,
    to_ack: String,
    to_fail: String,
    to_extend: String,
}

impl Calls {
    async fn prepare(stub: &Stub) -> Self {
        let mut tokens = Vec::new();
        for _ in 0..3 {
            enqueued(stub, "mail").await;
            tokens.push(leased(stub, "mail", 60).await.lease_token);
        }
        let [to_ack, to_fail, to_extend] = tokens.try_into().unwrap();
        let enqueue = EnqueueRequest { request_id: Uuid::new_v4().to_string(), ..job("new") };
        Self { enqueue, ready: enqueued(stub, "mail").await, to_ack, to_fail, to_extend }
    }

    fn nack(&self) -> NackRequest {
        NackRequest { lease_token: self.to_fail.clone(), ..NackRequest::default() }
    }

    fn extend(&self) -> ExtendLeaseRequest {
        let lease_token = self.to_extend.clone();
        ExtendLeaseRequest { lease_token, ..ExtendLeaseRequest::default() }
    }

    fn all<'a>(&'a self, stub: &Stub) -> Vec<(&'static str, Answer<'a>)> {
        /// Calls a method of a client of its own.
        macro_rules! call {
            ($method:ident, $request:expr) => {{
                let (mut stub, request) = (stub.clone(), $request);
                async move { unit(stub.$method(request).await) }.boxed_local()
            }};
        }
        let get = GetJobRequest { name: self.ready.clone(), ..GetJobRequest::default() };
        vec![
            ("Enqueue", call!(enqueue, self.enqueue.clone())),
            ("GetJob", call!(get_job, get)),
            // A hung Redis may still carry it out, for nobody: then it ends after this second.
            ("Lease", call!(lease, wish("mail", 1, 0))),
            ("a patient Lease", call!(lease, wish("mail", 1, 30))),
            ("a Lease of all queues", call!(lease, wish("*", 1, 30))),
            ("Ack", call!(ack, ack(&self.to_ack))),
            ("Nack", call!(nack, self.nack())),
            ("ExtendLease", call!(extend_lease, self.extend())),
            ("WatchEvents", call!(watch_events, WatchEventsRequest::default())),
        ]
    }

    /// The same calls once more, as a client does that was told to try again.
    async fn repeat(&self, stub: &Stub) {
        let again = answer(stub.clone().enqueue(self.enqueue.clone())).await.unwrap().into_inner();
        assert!(matches!(again.outcome(), Outcome::Created | Outcome::Replayed), "{again:?}");
        let once = [SettleOutcome::Settled, SettleOutcome::AlreadySettled];
        let acked = answer(stub.clone().ack(ack(&self.to_ack))).await.unwrap().into_inner();
        assert!(once.contains(&acked.outcome()), "{acked:?}");
        let nacked = answer(stub.clone().nack(self.nack())).await.unwrap().into_inner();
        assert!(once.contains(&nacked.outcome()), "{nacked:?}");
        answer(stub.clone().extend_lease(self.extend())).await.unwrap();
        // The nacked job comes too, after its backoff.
        let came = [done(stub, "mail").await, done(stub, "mail").await];
        assert!(came.contains(&self.ready) && came[0] != came[1], "{came:?}");
        let new = leased(stub, "new", 60).await.job.unwrap().name;
        assert_eq!(new, again.job.unwrap().name);
    }
}

async fn watching(stub: &Stub, start: Option<Start>) -> Streaming<WatchEventsResponse> {
    try_watching(stub, start).await.unwrap()
}

async fn try_watching(
    stub: &Stub,
    start: Option<Start>,
) -> Result<Streaming<WatchEventsResponse>, Status> {
    let request = WatchEventsRequest { start, ..WatchEventsRequest::default() };
    answer(stub.clone().watch_events(request)).await.map(Response::into_inner)
}

/// Waits for this event; returns the cursor behind it.
async fn next_event(events: &mut Streaming<WatchEventsResponse>, kind: Type, job: &str) -> String {
    loop {
        let page = awaited(events.message()).await.unwrap().unwrap();
        if page.events.iter().any(|event| event.r#type() == kind && event.job == job) {
            return page.cursor;
        }
    }
}

// ---- Redis comes back with less than it had ----

#[tokio::test]
async fn a_redis_that_syncs_each_second_loses_at_most_two() {
    let mut redis = Redis::start(&["appendonly yes", "appendfsync everysec"]).await;
    let (broker, stub) = broker_on(&redis).await;
    let ledger = Ledger::default();
    let load = join_all((0..4).map(|_| load(&stub, &ledger)));
    tokio::select! {
        _ = load => panic!("the load does not end"),
        // The promise is about seconds; so there must be some.
        () = pause(Duration::from_millis(4_500)) => {}
    }
    let killed = now();
    redis.kill();
    redis.start_again().await;
    awaited(works_again(&broker)).await;

    let safe = |told: &(Instant, String)| told.0 + Duration::from_secs(2) < killed;
    let names = |told: &RefCell<Vec<(Instant, String)>>| -> Vec<String> {
        told.borrow().iter().filter(|one| safe(one)).map(|(_, name)| name.clone()).collect()
    };
    let (enqueued, acked) = (names(&ledger.enqueued), names(&ledger.acked));
    assert!(enqueued.len() > 20 && acked.len() > 20, "{} {}", enqueued.len(), acked.len());
    for name in &acked {
        let job = read(&stub, name).await.unwrap();
        assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
    }
    // Whatever else is there can be leased, now or after its delay, backoff or lease.
    awaited(drain(&broker, &stub, "load")).await;
    for name in &enqueued {
        let job = read(&stub, name).await.unwrap();
        assert_eq!(job.state(), JobState::Succeeded, "{job:?}");
    }
}

/// What clients were told, and when.
#[derive(Default)]
struct Ledger {
    enqueued: RefCell<Vec<(Instant, String)>>,
    acked: RefCell<Vec<(Instant, String)>>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the promise is about the time of those who rely on it"
)]
fn now() -> Instant {
    Instant::now()
}

/// Enqueues and leases without end; acks most of the jobs, and leaves or fails the others. Those
/// it acks the second time, so that none becomes a dead letter.
async fn load(stub: &Stub, ledger: &Ledger) {
    for turn in 0_u64.. {
        let retention = Some(Retention { succeeded_count: -1, ..Retention::default() });
        let delay =
            (turn % 5 == 0).then(|| lessor::proto::enqueue_request::Start::Delay(seconds(1)));
        let request = EnqueueRequest { retention, start: delay, ..job("load") };
        let reply = answer(stub.clone().enqueue(request)).await.unwrap().into_inner();
        ledger.enqueued.borrow_mut().push((now(), reply.job.unwrap().name));
        let found = answer(stub.clone().lease(wish("load", 1, 0))).await.unwrap().into_inner();
        for leased in found.jobs {
            let token = leased.lease_token;
            let is_first = leased.job.as_ref().unwrap().delivery_count == 1;
            match turn % 16 {
                0 if is_first => {}
                1 if is_first => {
                    let nack = NackRequest { lease_token: token, ..NackRequest::default() };
                    answer(stub.clone().nack(nack)).await.unwrap();
                }
                _ => {
                    answer(stub.clone().ack(ack(&token))).await.unwrap();
                    ledger.acked.borrow_mut().push((now(), leased.job.unwrap().name));
                }
            }
        }
    }
}

/// Leases and acks until the queue holds no job that could be leased now or later.
async fn drain(broker: &Broker, stub: &Stub, queue: &str) {
    loop {
        let wish = LeaseRequest { max_jobs: 50, ..wish(queue, 5, 1) };
        let found = answer(stub.clone().lease(wish)).await.unwrap().into_inner();
        let acks = found.jobs.iter().map(|leased| {
            let mut stub = stub.clone();
            async move { answer(stub.ack(ack(&leased.lease_token))).await.unwrap() }
        });
        join_all(acks).await;
        let stats = stats(&broker.channel(), queue).await;
        assert_eq!(stats.dead, 0, "{stats:?}");
        if [stats.scheduled, stats.ready, stats.leased, stats.retrying] == [0; 4] {
            return;
        }
    }
}

async fn stats(channel: &Channel, queue: &str) -> QueueStats {
    let request = GetQueueStatsRequest { name: queue.to_owned() };
    let mut admin = JobBrokerAdminClient::new(channel.clone());
    answer(admin.get_queue_stats(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_redis_forgot_is_not_missed_for_ever() {
    let mut redis = Redis::start(&DURABLE).await;
    let (broker, stub) = broker_on(&redis).await;
    let kept = BTreeSet::from([enqueued(&stub, "mail").await, enqueued(&stub, "mail").await]);
    let held = leased(&stub, "mail", 2).await;
    let written = redis.append_only_file().metadata().unwrap().len();

    // All this is forgotten: an ack, a lease, a queue, and the events of all three.
    let mut events = watching(&stub, None).await;
    answer(stub.clone().ack(ack(&held.lease_token))).await.unwrap();
    leased(&stub, "mail", 60).await;
    let lost = enqueued(&stub, "late").await;
    let cursor = next_event(&mut events, Type::JobCreated, &lost).await;
    redis.kill();
    let file = File::options().write(true).open(redis.append_only_file()).unwrap();
    file.set_len(written).unwrap();
    redis.start_again().await;
    awaited(works_again(&broker)).await;

    assert_eq!(why(&read(&stub, &lost).await.unwrap_err()).0, Code::NotFound);
    // Both jobs are there: one waits, the other's lease ends by itself.
    let came = BTreeSet::from([done(&stub, "mail").await, done(&stub, "mail").await]);
    assert_eq!(came, kept);
    // Events are not left out without a word.
    let refused = try_watching(&stub, Some(Start::Cursor(cursor))).await.unwrap_err();
    assert_eq!(why(&refused), (Code::OutOfRange, "STORE_RESET".to_owned()));
    lives_on_with_another_broker(&redis, broker, "late").await;
}

/// A job of `queue` that is leased through this broker, and then left with it, comes back.
async fn lives_on_with_another_broker(redis: &Redis, mut broker: Broker, queue: &str) {
    let stub = Stub::new(broker.channel());
    let name = enqueued(&stub, queue).await;
    assert_eq!(leased(&stub, queue, 1).await.job.unwrap().name, name);
    awaited(listed(&broker, queue)).await;
    broker.process.kill();
    let (_broker, stub) = broker_on(redis).await;
    let again = leased(&stub, "*", 60).await.job.unwrap();
    assert_eq!((again.name, again.lease_expired_count), (name, 1));
}

/// Waits until the broker has found Redis again; its health may not have missed it meanwhile.
async fn works_again(broker: &Broker) {
    let mut admin = JobBrokerAdminClient::new(broker.channel());
    while let Err(status) = answer(admin.list_queues(ListQueuesRequest::default())).await {
        assert_eq!(why(&status), (Code::Unavailable, "STORE_UNAVAILABLE".to_owned()));
        pause(Duration::from_millis(50)).await;
    }
}

/// Waits until the queue is among those that brokers look after.
async fn listed(broker: &Broker, queue: &str) {
    let mut admin = JobBrokerAdminClient::new(broker.channel());
    loop {
        let reply = answer(admin.list_queues(ListQueuesRequest::default())).await.unwrap();
        if reply.into_inner().queues.iter().any(|one| one.name == queue) {
            return;
        }
        pause(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_emptied_redis_is_a_store_like_a_new_one() {
    let redis = Redis::start(&[]).await;
    let (broker, stub) = broker_on(&redis).await;
    let before = enqueued(&stub, "mail").await;
    let mut events = watching(&stub, Some(Start::Oldest(true))).await;
    let cursor = next_event(&mut events, Type::JobCreated, &before).await;
    assert_eq!(redis.tell("FLUSHALL"), "+OK");

    // New jobs flow at once.
    let after = enqueued(&stub, "mail").await;
    assert_eq!(done(&stub, "mail").await, after);
    assert_eq!(why(&read(&stub, &before).await.unwrap_err()).0, Code::NotFound);
    // Who watched is told, and may begin again; so is who comes back with a cursor.
    let reset = (Code::OutOfRange, "STORE_RESET".to_owned());
    assert_eq!(why(&awaited(end_of(&mut events)).await), reset);
    let refused = try_watching(&stub, Some(Start::Cursor(cursor))).await.unwrap_err();
    assert_eq!(why(&refused), reset);
    let mut events = watching(&stub, Some(Start::Oldest(true))).await;
    next_event(&mut events, Type::JobSucceeded, &after).await;
    lives_on_with_another_broker(&redis, broker, "mail").await;
}

#[tokio::test]
async fn a_watcher_of_a_quiet_store_hears_that_it_was_emptied() {
    let redis = Redis::start(&[]).await;
    let (_broker, stub) = broker_on(&redis).await;
    enqueued(&stub, "mail").await;
    let mut events = watching(&stub, None).await;
    assert_eq!(redis.tell("FLUSHALL"), "+OK");
    let end = awaited(end_of(&mut events)).await;
    assert_eq!(why(&end), (Code::OutOfRange, "STORE_RESET".to_owned()));
}

#[tokio::test]
async fn a_redis_without_its_scripts_learns_them_again() {
    let redis = Redis::start(&[]).await;
    let (broker, stub) = broker_on(&redis).await;
    let flush = || assert_eq!(redis.tell("SCRIPT FLUSH"), "+OK");
    flush();
    let name = enqueued(&stub, "mail").await;
    flush();
    let got = leased(&stub, "mail", 60).await;
    flush();
    let extend = ExtendLeaseRequest {
        lease_token: got.lease_token.clone(),
        ..ExtendLeaseRequest::default()
    };
    answer(stub.clone().extend_lease(extend)).await.unwrap();
    flush();
    let nack = NackRequest { lease_token: got.lease_token, ..NackRequest::default() };
    answer(stub.clone().nack(nack)).await.unwrap();
    flush();
    let got = leased(&stub, "mail", 60).await;
    flush();
    answer(stub.clone().ack(ack(&got.lease_token))).await.unwrap();
    flush();
    assert_eq!(read(&stub, &name).await.unwrap().state(), JobState::Succeeded);
    flush();
    assert_eq!(stats(&broker.channel(), "mail").await.succeeded, 1);
    flush();
    let mut events = watching(&stub, Some(Start::Oldest(true))).await;
    next_event(&mut events, Type::JobSucceeded, &name).await;
}

// ---- two brokers, one Redis ----

#[tokio::test]
async fn brokers_that_share_a_redis_share_its_jobs() {
    let redis = Redis::start(&[]).await;
    let (mut one, one_stub) = broker_on(&redis).await;
    let (_other, other_stub) = broker_on(&redis).await;
    // A lease that waits at one broker gets the job that is enqueued at the other.
    let waiting = leased(&other_stub, "mail", 60);
    let (got, name) = tokio::join!(waiting, enqueued(&one_stub, "mail"));
    assert_eq!(got.job.unwrap().name, name);

    // A lease ends in time, though the broker that made it is no more.
    let name = enqueued(&one_stub, "orphans").await;
    let held = leased(&one_stub, "orphans", 1).await;
    one.process.kill();
    let again = leased(&other_stub, "orphans", 60).await.job.unwrap();
    assert_eq!((again.name, again.lease_expired_count), (name, 1));
    let refused = answer(other_stub.clone().ack(ack(&held.lease_token))).await.unwrap_err();
    assert_eq!(why(&refused), (Code::FailedPrecondition, "LEASE_LOST".to_owned()));
}

//! When things break: processes die, connections break, brokers go and come back.

use std::collections::HashSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lessor::{
    Cancel, Client, Code, EnqueueOutcome, EventType, Job, JobState, Nack, QueueUpdate, Reason,
    Retry, Stop, WatchOptions,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::machine::broker::Broker;
use crate::machine::process::Process;
use crate::machine::{free_port, pause};
use crate::passing::Passing;
use crate::program::{command, play};
use crate::relay::Relay;
use crate::world::{Gate, LEASE, PATIENCE, World, broker, eventually, nothing, result, run, start};

/// A broker with a store in a file, which can be killed and started again at its address.
struct Mortal {
    listen: String,
    store: String,
    broker: Option<Broker>,
    _folder: TempDir,
}

impl Mortal {
    fn unborn() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", folder.path().join("jobs.db").display());
        let listen = format!("127.0.0.1:{}", free_port());
        Self { listen, store, broker: None, _folder: folder }
    }

    async fn start(&mut self) {
        let broker = Broker::start(&["--listen", &self.listen, "--store", &self.store]).await;
        self.broker = Some(broker);
    }

    fn kill(&mut self) {
        self.broker.take().unwrap().process.kill();
    }

    /// A broker of the same store at another address, where no worker looks for it.
    async fn elsewhere(&self) -> Broker {
        Broker::start(&["--listen", "127.0.0.1:0", "--store", &self.store]).await
    }

    fn world(&self) -> World {
        World::at(&format!("http://{}", self.listen))
    }
}

#[tokio::test]
async fn scenario_process_killed() {
    let world = World::new().await;
    let mut program = play("hold", &broker().await.url(), &world.queue);
    let name = world.enqueue("one").await;
    program.says("holding").await;

    program.kill();
    let _worker = start(world.worker().default_handler(nothing));

    let job = world.ended(&name).await;
    assert_eq!((job.state(), job.attempt), (JobState::Succeeded, 2));
}

#[tokio::test]
async fn scenario_process_frozen() {
    let world = World::new().await;
    let mut program = play("late", &broker().await.url(), &world.queue);
    let name = world.enqueue("one").await;
    program.says("at work").await;

    program.signal("STOP");
    let rescue = |_: Job| async { Ok::<_, Nack>("the rescuer") };
    let _worker = start(world.worker().default_handler(rescue));
    let rescued = world.ended(&name).await;
    program.signal("CONT");
    // It notices, one way or the other.
    program.says("noticed").await;
    program.signal("TERM");
    program.says("ended well: true").await;

    assert_eq!(result(&rescued), "the rescuer");
    assert_eq!(world.job_of(&name).await.result, rescued.result);
}

#[tokio::test]
async fn scenario_poison_job() {
    let world = World::new().await;
    let name = world.enqueued(world.job("one").retry(Retry::attempts(9))).await;

    for _ in 0..3 {
        let mut program = play("poison", &broker().await.url(), &world.queue);
        program.says("dying").await;
        program.ended().await;
    }

    let job = world.ended(&name).await;
    assert_eq!((job.state(), job.attempt), (JobState::Dead, 3));
    assert_eq!(job.last_failure.unwrap().code, "CRASH_LOOP");
}

/// A worker behind a relay that holds a job at a gate.
async fn held_behind(relay: &Relay, world: &World) -> (crate::world::Working, Gate, String) {
    let gate = Gate::default();
    let client = Client::connect(relay.url()).unwrap();
    let worker = world.worker_by(client).lease_duration(LEASE);
    let worker = start(worker.default_handler(gate.handler()));
    let name = world.enqueue("held").await;
    gate.reached().await;
    (worker, gate, name)
}

#[tokio::test]
async fn scenario_connection_lost_mid_job() {
    let relay = Relay::to(broker().await.address).await;
    let world = World::new().await;
    let (_worker, gate, name) = held_behind(&relay, &world).await;

    relay.cut();
    eventually("a new connection", async || relay.connections() == 2).await;
    gate.open();

    world.succeeded_at_once(&name).await;
}

#[tokio::test]
async fn scenario_reconnect_keeps_leases() {
    let relay = Relay::to(broker().await.address).await;
    let world = World::new().await;
    let (_worker, gate, name) = held_behind(&relay, &world).await;
    let end = async || {
        let end = world.job_of(&name).await.lease_expire_time.unwrap();
        SystemTime::try_from(end).unwrap()
    };
    let before = end().await;

    relay.cut();

    eventually("heartbeats on the new stream", async || end().await > before + LEASE * 2).await;
    assert_eq!(relay.connections(), 2);
    gate.open();
    world.succeeded_at_once(&name).await;
}

#[tokio::test]
async fn scenario_ack_answer_lost() {
    let relay = Relay::to(broker().await.address).await;
    let world = World::new().await;
    let (worker, gate, name) = held_behind(&relay, &world).await;

    relay.silence();
    gate.open();
    world.until(&name, EventType::JobSucceeded).await;
    relay.cut();

    world.succeeded_at_once(&name).await;
    let after = world.enqueue("after").await;
    world.succeeded_at_once(&after).await;
    // Nothing is left to be said.
    worker.stop().await;
    let told = world.client.watch(WatchOptions::job(&name)).await.unwrap().next().await;
    assert_eq!(told.unwrap().unwrap().events.len(), 1);
}

#[tokio::test]
async fn scenario_broker_restart_mid_job() {
    let mut broker = Mortal::unborn();
    broker.start().await;
    let world = broker.world();
    let gate = Gate::default();
    let worker = world.worker().lease_duration(LEASE * 10).default_handler(gate.handler());
    let _worker = start(worker);
    let name = world.enqueue("held").await;
    gate.reached().await;

    broker.kill();
    // Done while there is nobody to tell.
    gate.open();
    broker.start().await;

    world.succeeded_at_once(&name).await;
    world.succeeded_at_once(&world.enqueue("after").await).await;
}

/// As long as it takes until the leases have been ended, not 30 s: what is promised is the same.
#[tokio::test]
async fn scenario_broker_gone_30_s() {
    let mut broker = Mortal::unborn();
    broker.start().await;
    let world = broker.world();
    let told = Arc::<Mutex<Vec<Stop>>>::default();
    let (began, notes) = (CancellationToken::new(), told.clone());
    let says = began.clone();
    let holds = move |job: Job| {
        let (says, notes) = (says.clone(), notes.clone());
        async move {
            if job.message().delivery_count == 1 {
                job.progress(1.0, "holding").await?;
                says.cancel();
                let why = job.stopped().await;
                notes.lock().unwrap().push(why);
            }
            Ok::<_, lessor::Error>(())
        }
    };
    let worker = world.brisk_worker().handler("held", holds).handler("after", nothing);
    let worker = worker.build().unwrap();
    let health = worker.health();
    let _worker = run(worker);
    let name = world.enqueue("held").await;
    tokio::time::timeout(PATIENCE, began.cancelled()).await.unwrap();

    broker.kill();
    eventually("the break is noticed", async || !health.is_connected()).await;
    // A broker may keep an overdue lease that nobody has ended yet for the worker that shows it.
    let mut elsewhere = broker.elsewhere().await;
    let beside = World::at(&elsewhere.url()).client;
    let is_over = [JobState::Retrying, JobState::Ready];
    assert!(beside.wait_job(&name, &is_over, PATIENCE).await.unwrap().reached);
    elsewhere.process.kill();
    broker.start().await;

    let job = world.ended(&name).await;
    assert_eq!((job.state(), job.delivery_count), (JobState::Succeeded, 2));
    eventually("the first attempt is told", async || !told.lock().unwrap().is_empty()).await;
    let told = told.lock().unwrap().clone();
    assert!(matches!(&told[..], [Stop::LeaseLost { .. }]), "{told:?}");
    world.succeeded_at_once(&world.enqueue("after").await).await;
}

#[tokio::test]
async fn scenario_silent_broker_is_given_up() {
    let relay = Relay::to(broker().await.address).await;
    let world = World::new().await;
    let (_worker, gate, name) = held_behind(&relay, &world).await;
    gate.open();
    world.succeeded_at_once(&name).await;

    // The connection stays open, but nothing comes back on it.
    relay.silence();

    let job = world.ended(&world.enqueue("after").await).await;
    // It may have been sent on the old connection, where it was not received.
    assert_eq!((job.state(), job.attempt), (JobState::Succeeded, 1));
    assert!(relay.connections() >= 2);
}

#[tokio::test]
async fn scenario_broker_absent_at_start() {
    let mut broker = Mortal::unborn();
    let world = broker.world();
    let worker = world.worker().default_handler(nothing).build().unwrap();
    let health = worker.health();
    let _worker = run(worker);
    assert!(!health.is_connected());

    broker.start().await;

    let name = world.enqueue("one").await;
    world.succeeded_at_once(&name).await;
    assert!(health.is_connected());
}

/// What is preloaded to shift the clock of a program.
const CLOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../client-python/tests/shifted_clock.c");

#[tokio::test]
async fn scenario_clock_off_by_an_hour() {
    const HOUR: u64 = 3600;
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("clock.so");
    let mut compiler = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).args([CLOCK, "-ldl"]);
    assert!(compiler.status().unwrap().success());

    for offset in ["3600", "-3600"] {
        let mut command = command("shifted", &broker().await.url(), &world.queue);
        let mut program =
            Process::spawn(command.env("LD_PRELOAD", &library).env("CLOCK_OFFSET", offset));
        let name = world.enqueue("long").await;
        let said = program.says("it is ").await;
        let said: u64 = said.rsplit(' ').next().unwrap().parse().unwrap();
        #[expect(clippy::disallowed_methods, reason = "it is compared with the shifted one")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(said.abs_diff(now).abs_diff(HOUR) < 30, "{said} at {now}");

        assert_eq!(result(&world.succeeded_at_once(&name).await), "in time");
        program.signal("TERM");
        assert_eq!(program.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn scenario_two_workers_same_id() {
    let world = World::new().await;
    let runs = Arc::<Mutex<Vec<String>>>::default();
    let twin = || {
        let runs = runs.clone();
        let notes = move |job: Job| {
            runs.lock().unwrap().push(job.name().to_owned());
            async { Ok::<_, Nack>(()) }
        };
        world.worker().worker_id(&world.queue).concurrency(2).default_handler(notes)
    };
    let batch = || world.client.enqueue_batch((0..20).map(|_| world.job("one")).collect());

    let _first = start(twin());
    let mut jobs = batch().await.unwrap();
    world.until(&jobs[0].job.name, EventType::JobLeased).await;
    let _second = start(twin());
    jobs.extend(batch().await.unwrap());

    let mut names = HashSet::new();
    for enqueued in jobs {
        let job = world.ended(&enqueued.job.name).await;
        assert_eq!((job.state(), job.attempt), (JobState::Succeeded, 1), "{job:?}");
        names.insert(job.name);
    }
    // A job whose receipt was cut off by the other's stream may be begun twice; it counts once.
    let runs: HashSet<String> = runs.lock().unwrap().iter().cloned().collect();
    assert_eq!(runs, names);
}

#[tokio::test]
async fn scenario_fallback_to_lease() {
    let old = Passing::but("Work", Status::unimplemented("no such call"), broker().await.channel());
    let old = old.await;
    let world = World::new().await;
    let told = Arc::<Mutex<Vec<Stop>>>::default();
    let notes = told.clone();
    let waits = move |job: Job| {
        let notes = notes.clone();
        async move {
            let why = job.stopped().await;
            notes.lock().unwrap().push(why);
            Err::<(), _>(Nack::retry().failure("STOPPED", "as told"))
        }
    };
    let long = |job: Job| async move {
        job.progress(50.0, "half").await?;
        pause(LEASE * 3).await;
        Ok::<_, lessor::Error>("done")
    };
    let fails = |_: Job| async { Err::<(), _>("no") };
    let gate = Gate::default();
    let worker = world
        .worker_by(Client::connect(old.url()).unwrap())
        .lease_duration(LEASE)
        .handler("waits", waits)
        .handler("long", long)
        .handler("fails", fails)
        .handler("held", gate.handler())
        .grace(Duration::ZERO)
        .stop_grace(Duration::ZERO)
        .build()
        .unwrap();
    let health = worker.health();
    let worker = run(worker);

    let waiting = world.enqueue("waits").await;
    let long = world.enqueue("long").await;
    let failing = world.enqueued(world.job("fails").retry(Retry::attempts(1))).await;
    let held = world.enqueue("held").await;
    world.until(&waiting, EventType::JobLeased).await;
    let cancel = Cancel::job(&waiting).reason("enough").grace(PATIENCE * 2);
    world.client.cancel_job(cancel).await.unwrap();

    assert_eq!(world.ended(&waiting).await.state(), JobState::Cancelled);
    assert_eq!(world.ended(&failing).await.state(), JobState::Dead);
    assert_eq!(result(&world.succeeded_at_once(&long).await), "done");
    let told = told.lock().unwrap().clone();
    assert!(
        matches!(&told[..], [Stop::Cancelled { reason, .. }] if reason == "enough"),
        "{told:?}"
    );
    assert!(health.is_connected());
    gate.reached().await;
    worker.stop().await;
    let held = world.job_of(&held).await;
    assert_eq!((held.state(), held.attempt), (JobState::Ready, 0));
    let asked = old.asked();
    assert_eq!(asked.iter().filter(|call| *call == "Work").count(), 1, "{asked:?}");
    assert!(asked.iter().any(|call| call == "BatchSettle"), "{asked:?}");
}

#[tokio::test]
async fn scenario_deadline_is_always_set() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let world = World {
        client: Client::builder(url).timeout(Duration::from_millis(300)).connect().unwrap(),
        queue: "q".to_owned(),
    };
    let client = &world.client;
    let name = "queues/q/jobs/j";

    let codes = [
        client.enqueue(world.job("one")).await.unwrap_err().code(),
        client.enqueue_each(vec![world.job("one")]).await.unwrap_err().code(),
        client.get_job(name).await.unwrap_err().code(),
        client.cancel_job(name).await.unwrap_err().code(),
        client.watch(WatchOptions::job(name)).await.unwrap_err().code(),
        client.list_queues().await.unwrap_err().code(),
        client.work(&lessor::WorkOptions::new(["q"])).await.unwrap_err().code(),
    ];

    assert_eq!(codes, [Code::DeadlineExceeded; 7]);
}

#[tokio::test]
async fn scenario_unavailable_is_retried() {
    let mut mortal = Mortal::unborn();
    let world = mortal.world();
    let enqueueing = world.client.enqueue(world.job("one"));
    let (enqueued, ()) = tokio::join!(enqueueing, mortal.start());
    assert_eq!(enqueued.unwrap().outcome, EnqueueOutcome::Created);

    for code in [Code::Internal, Code::ResourceExhausted, Code::Aborted] {
        let channel = broker().await.channel();
        let failing = Passing::but("GetJob", Status::new(code, "no"), channel).await;
        let client = Client::connect(failing.url()).unwrap();
        let error = client.get_job("queues/q/jobs/j").await.unwrap_err();
        assert_eq!((error.code(), failing.asked().len()), (code, 1));
    }
}

#[tokio::test]
async fn scenario_retry_after_is_honoured() {
    const PAUSE: Duration = Duration::from_millis(400);
    let world = World::new().await;
    world.enqueue("one").await;
    let update = QueueUpdate::queue(&world.queue).max_jobs(1);
    world.client.update_queue(update).await.unwrap();
    let error = world.client.enqueue(world.job("two")).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::ResourceExhausted, Some(Reason::QueueFull)));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));

    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(PAUSE));
    let away = Status::with_error_details(Code::Unavailable, "away", details);
    let passing = Passing::but("GetJob", away, broker().await.channel()).await;
    let client = Client::connect(passing.url()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "pauses are what this is about")]
    let begin = Instant::now();
    let error = client.get_job("queues/q/jobs/j").await.unwrap_err();
    assert!(begin.elapsed() >= PAUSE * 3);
    assert_eq!((error.retry_after(), passing.asked().len()), (Some(PAUSE), 4));
}

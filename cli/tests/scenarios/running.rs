//! Workers: how many jobs run, how they end, and what handlers are told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use lessor::{
    Cancel, Done, EventType, Job, JobState, Json, Nack, NewJob, Retry, Stop, WatchOptions, Worker,
    payload,
};
use tokio_util::sync::CancellationToken;

use crate::machine::pause;
use crate::program::play;
use crate::world::{
    Gate, LEASE, PATIENCE, World, broker, echo, eventually, nothing, result, run, start,
};

#[tokio::test]
async fn scenario_concurrency_is_bounded() {
    let world = World::new().await;
    let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (running, peak) = (now.clone(), most.clone());
    let busy = move |_: Job| {
        let (running, peak) = (running.clone(), peak.clone());
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            pause(Duration::from_millis(20)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, Nack>(())
        }
    };
    let jobs = (0..24).map(|_| world.job("busy")).collect();
    let jobs = world.client.enqueue_batch(jobs).await.unwrap();

    let _worker = start(world.worker().concurrency(4).default_handler(busy));

    for enqueued in jobs {
        world.succeeded_at_once(&enqueued.job.name).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn scenario_several_queues() {
    let world = World::new().await;
    let queue = |suffix: &str| format!("{}-{suffix}", world.queue);
    let made = |queue: String| world.enqueued(NewJob::new(queue));
    let before = made(queue("before")).await;
    let worker = Worker::builder(world.client.clone())
        .queue(&world.queue)
        .queue(format!("{}-*", world.queue))
        .default_handler(nothing);
    let _worker = start(worker);

    let named = world.enqueue("one").await;
    for name in [before, named, made(queue("later")).await] {
        world.succeeded_at_once(&name).await;
    }
}

/// An error as applications have them.
#[derive(Debug, thiserror::Error)]
#[error("the mail server is away")]
struct Away(#[source] std::fmt::Error);

#[tokio::test]
async fn scenario_handler_throws() {
    let world = World::new().await;
    let fails = |job: Job| async move {
        match job.attempt() {
            1 => Err(Away(std::fmt::Error)),
            2 => panic!("out of paper"),
            attempt => Ok(attempt),
        }
    };
    let coded = |_: Job| async { Err::<(), _>(Nack::retry().failure("HTTP_503", "no mail today")) };
    let _worker = start(world.worker().handler("fails", fails).handler("coded", coded));
    let at_once = Retry::attempts(3).initial_backoff(Duration::ZERO);

    let name = world.enqueued(world.job("fails").retry(at_once)).await;
    let coded = world.enqueued(world.job("coded").retry(Retry::attempts(1))).await;

    let job = world.ended(&name).await;
    assert_eq!((job.state(), result(&job)), (JobState::Succeeded, serde_json::json!(3)));
    let [_, panicked, failed] = &job.attempts[..] else { panic!("{:?}", job.attempts) };
    let failure = failed.failure.as_ref().unwrap();
    assert_eq!(
        (failure.code.as_str(), failure.message.as_str()),
        ("HANDLER_FAILED", "the mail server is away")
    );
    assert!(failure.stack.contains("Away"), "{failure:?}");
    let failure = panicked.failure.as_ref().unwrap();
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("PANIC", "out of paper"));
    let failure = world.ended(&coded).await.last_failure.unwrap();
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("HTTP_503", "no mail today"));
}

#[tokio::test]
async fn scenario_retry_delay_of_handler() {
    let world = World::new().await;
    let fails = |job: Job| async move {
        if job.attempt() == 1 {
            return Err(Nack::retry_after(Duration::from_millis(50)).failure("BUSY", "later"));
        }
        Ok(job.attempt())
    };
    let _worker = start(world.worker().default_handler(fails));
    let slow = Retry::attempts(2).initial_backoff(Duration::from_hours(1));

    let name = world.enqueued(world.job("one").retry(slow)).await;

    assert_eq!(result(&world.ended(&name).await), 2);
}

#[tokio::test]
async fn scenario_fatal_code() {
    let world = World::new().await;
    let fails = |_: Job| async { Err::<(), _>(Nack::retry().failure("NO_SUCH_USER", "gone")) };
    let _worker = start(world.worker().default_handler(fails));
    let retry = Retry::attempts(9).fatal_codes(["NO_SUCH_USER"]);

    let name = world.enqueued(world.job("one").retry(retry)).await;

    let job = world.ended(&name).await;
    assert_eq!((job.state(), job.attempt), (JobState::Dead, 1));
}

#[tokio::test]
async fn scenario_reject_to_dead() {
    let world = World::new().await;
    let rejects =
        |_: Job| async { Err::<(), _>(Nack::dead().failure("BAD_ADDRESS", "no @ in it")) };
    let reads = |Json(number): Json<u64>| async move { Ok::<_, Nack>(number) };
    let _worker = start(world.worker().handler("rejects", rejects).handler("reads", reads));

    let rejected = world.enqueue("rejects").await;
    let unreadable = world.enqueued(world.job("reads").payload_json("\"seven\"")).await;

    for (name, code) in [(rejected, "BAD_ADDRESS"), (unreadable, "INVALID_PAYLOAD")] {
        let job = world.ended(&name).await;
        assert_eq!((job.state(), job.attempt), (JobState::Dead, 1));
        assert_eq!(job.last_failure.unwrap().code, code);
    }
}

#[tokio::test]
async fn scenario_snooze() {
    let world = World::new().await;
    let snoozes = |job: Job| async move {
        if job.message().delivery_count == 1 {
            return Err(Nack::snooze(Duration::from_millis(50)));
        }
        Ok(job.attempt())
    };
    let _worker = start(world.worker().default_handler(snoozes));

    let name = world.enqueue("one").await;

    let job = world.ended(&name).await;
    assert_eq!((result(&job), job.attempt, job.delivery_count), (serde_json::json!(1), 1, 2));
}

#[tokio::test]
async fn scenario_no_handler() {
    let world = World::new().await;
    let ignorant = start(world.worker().handler("other", nothing));
    let at_once = Retry::attempts(1).initial_backoff(Duration::from_millis(50));
    let name = world.enqueued(world.job("rare").retry(at_once)).await;
    world.until(&name, EventType::JobReleased).await;
    assert_eq!(world.job_of(&name).await.last_failure.unwrap().code, "NO_HANDLER");
    ignorant.stop().await;

    let _worker = start(world.worker().handler("rare", nothing));

    let job = world.ended(&name).await;
    assert_eq!((job.state(), job.attempt), (JobState::Succeeded, 1));
}

#[tokio::test]
async fn scenario_handler_hangs() {
    let world = World::new().await;
    let told = Arc::<Mutex<Vec<Stop>>>::default();
    let notes = told.clone();
    let hangs = move |job: Job| {
        let notes = notes.clone();
        async move {
            if job.attempt() == 1 {
                let why = job.stopped().await;
                notes.lock().unwrap().push(why);
                std::future::pending::<()>().await;
            }
            Ok::<_, Nack>(job.attempt())
        }
    };
    let worker = world.brisk_worker().concurrency(1).stop_grace(Duration::from_millis(50));
    let _worker = start(worker.handler("hangs", hangs).handler("after", nothing));
    let retry = Retry::attempts(2).initial_backoff(Duration::ZERO);
    // Longer than the lease: heartbeats go on meanwhile.
    let hanging = world.job("hangs").retry(retry).attempt_timeout(LEASE * 2);

    let name = world.enqueued(hanging).await;

    let job = world.ended(&name).await;
    assert_eq!(
        (job.state(), job.attempt, result(&job)),
        (JobState::Succeeded, 2, serde_json::json!(2))
    );
    world.until(&name, EventType::JobTimedOut).await;
    eventually("the first attempt is told", async || !told.lock().unwrap().is_empty()).await;
    let told = told.lock().unwrap().clone();
    assert!(matches!(&told[..], [Stop::TimedOut | Stop::LeaseLost { .. }]), "{told:?}");
}

#[tokio::test]
async fn scenario_long_job_is_extended() {
    let world = World::new().await;
    let long = |_: Job| async {
        pause(LEASE * 3).await;
        Ok::<_, Nack>(())
    };
    let _worker = start(world.brisk_worker().default_handler(long));

    let name = world.enqueue("long").await;

    world.succeeded_at_once(&name).await;
}

/// On a runtime of one thread, which the handler blocks.
#[tokio::test(flavor = "current_thread")]
async fn scenario_event_loop_blocked() {
    let world = World::new().await;
    let began = CancellationToken::new();
    let says = began.clone();
    let blocks = move |_: Job| {
        let says = says.clone();
        async move {
            says.cancelled().await;
            thread::sleep(LEASE * 3);
            Ok::<_, Nack>(())
        }
    };
    let gate = Gate::default();
    let worker = world.brisk_worker().handler("blocks", blocks).handler("waits", gate.handler());
    let _worker = start(worker);
    let waits = world.enqueue("waits").await;
    gate.reached().await;
    let blocked = world.enqueue("blocks").await;
    world.until(&blocked, EventType::JobLeased).await;

    began.cancel();
    world.succeeded_at_once(&blocked).await;
    gate.open();

    world.succeeded_at_once(&waits).await;
}

#[tokio::test]
async fn scenario_progress_is_seen() {
    let world = World::new().await;
    let go_on = CancellationToken::new();
    let may = go_on.clone();
    let tells = move |job: Job| {
        let may = may.clone();
        async move {
            job.progress(40.0, "two of five").await?;
            may.cancelled().await;
            Ok::<_, lessor::Error>(())
        }
    };
    let name = world.enqueue("one").await;
    let options = WatchOptions::job(&name).types([EventType::JobProgress]);
    let mut watch = world.client.watch(options).await.unwrap();

    let _worker = start(world.worker().default_handler(tells));

    let told = loop {
        let page = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
        if let Some(event) = page.unwrap().unwrap().events.pop()
            && let Some(progress) = event.progress
        {
            break progress;
        }
    };
    let job = world.job_of(&name).await;
    assert_eq!(job.state(), JobState::Leased);
    for progress in [told, job.progress.unwrap()] {
        assert_eq!((progress.percent, progress.message.as_str()), (40.0, "two of five"));
    }
    go_on.cancel();
    world.succeeded_at_once(&name).await;
}

#[tokio::test]
async fn scenario_checkpoint_is_handed_on() {
    let world = World::new().await;
    let goes_on = |job: Job| async move {
        match job.saved_json::<u32>() {
            None => {
                job.checkpoint_json(&7).await?;
                Err(Nack::retry().failure("HALFWAY", "again"))
            }
            Some(7) => Err(Nack::retry().checkpoint(payload::json("8"))),
            Some(page) => Ok(page),
        }
    };
    let _worker = start(world.worker().default_handler(goes_on));
    let at_once = Retry::attempts(3).initial_backoff(Duration::ZERO);

    let name = world.enqueued(world.job("one").retry(at_once)).await;

    assert_eq!(result(&world.ended(&name).await), 8);
}

#[tokio::test]
async fn scenario_follow_up_jobs() {
    let world = World::new().await;
    let queue = world.queue.clone();
    let plans = move |Json(id): Json<String>| {
        let follower = NewJob::new(&queue).job_type("follows").job_id(id);
        async move { Ok::<_, Nack>(Done::new().result(payload::json("1")).then(follower)) }
    };
    let _worker = start(world.worker().handler("plans", plans).handler("follows", nothing));
    let named = |id: &str| {
        let text = serde_json::to_string(id).unwrap();
        world.job("plans").payload_json(text).retry(Retry::attempts(1))
    };
    let taken = world.enqueued(world.job("follows").job_id("taken")).await;
    world.ended(&taken).await;

    let good = world.enqueued(named("follower")).await;
    let bad = world.enqueued(named("taken")).await;

    assert_eq!(world.succeeded_at_once(&good).await.state(), JobState::Succeeded);
    world.succeeded_at_once(&format!("queues/{}/jobs/follower", world.queue)).await;
    let job = world.ended(&bad).await;
    assert_eq!(job.state(), JobState::Dead);
    assert_eq!(job.last_failure.unwrap().code, "JOB_EXISTS");
}

#[tokio::test]
async fn scenario_result_too_large() {
    let world = World::new().await;
    let large = |_: Job| async {
        let bytes = Bytes::from(vec![b'x'; 300 << 10]);
        Ok::<_, Nack>(Done::new().result(payload::bytes(bytes)))
    };
    let _worker = start(world.worker().default_handler(large));
    let retry = Retry::attempts(2).initial_backoff(Duration::ZERO);

    let name = world.enqueued(world.job("large").retry(retry)).await;

    let job = world.ended(&name).await;
    assert_eq!((job.state(), job.attempt), (JobState::Dead, 2));
    assert_eq!(job.last_failure.unwrap().code, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn scenario_cancel_while_running() {
    let world = World::new().await;
    let told = Arc::<Mutex<Vec<Stop>>>::default();
    let notes = told.clone();
    let heeds = move |job: Job| {
        let notes = notes.clone();
        async move {
            let why = job.stopped().await;
            notes.lock().unwrap().push(why);
            Err::<(), _>(Nack::retry().failure("STOPPED", "as told"))
        }
    };
    let ignores = |_: Job| std::future::pending::<Result<(), Nack>>();
    let worker = world.worker().handler("heeds", heeds).handler("ignores", ignores);
    let _worker = start(worker.stop_grace(Duration::from_millis(50)));

    for job_type in ["heeds", "ignores"] {
        let name = world.enqueue(job_type).await;
        world.until(&name, EventType::JobLeased).await;
        let cancel = Cancel::job(&name).reason("no longer wanted").grace(PATIENCE * 2);
        world.client.cancel_job(cancel).await.unwrap();
        let job = world.ended(&name).await;
        assert_eq!((job.state(), job.attempt), (JobState::Cancelled, 1), "{job_type}");
    }

    let told = told.lock().unwrap().clone();
    let [Stop::Cancelled { reason, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(reason, "no longer wanted");
}

#[tokio::test]
async fn scenario_lease_lost_mid_job() {
    let world = World::new().await;
    let told = Arc::<Mutex<Vec<Stop>>>::default();
    let notes = told.clone();
    let twice = move |job: Job| {
        let notes = notes.clone();
        async move {
            if job.message().delivery_count == 1 {
                let why = job.stopped().await;
                notes.lock().unwrap().push(why);
                return Ok("the first");
            }
            Ok::<_, Nack>("the second")
        }
    };
    let _worker = start(world.worker().default_handler(twice));
    let name = world.enqueue("one").await;
    world.until(&name, EventType::JobLeased).await;

    world.client.revoke_lease(name.as_str()).await.unwrap();

    let job = world.ended(&name).await;
    assert_eq!((job.delivery_count, result(&job)), (2, serde_json::json!("the second")));
    eventually("the first attempt is told", async || !told.lock().unwrap().is_empty()).await;
    let told = told.lock().unwrap().clone();
    assert!(matches!(&told[..], [Stop::LeaseLost { .. }]), "{told:?}");
}

#[tokio::test]
async fn scenario_drain_with_job_running() {
    let world = World::new().await;
    let mut program = play("slow", &broker().await.url(), &world.queue);
    let running = world.enqueue("running").await;
    program.says("at work").await;

    program.signal("TERM");
    let waiting = world.enqueue("waiting").await;

    program.says("ended well: true").await;
    assert_eq!(program.ended().await.code(), Some(0));
    let job = world.succeeded_at_once(&running).await;
    assert_eq!(result(&job), "finished");
    let waiting = world.job_of(&waiting).await;
    assert_eq!((waiting.state(), waiting.attempt), (JobState::Ready, 0));
}

#[tokio::test]
async fn scenario_drain_releases_what_is_left() {
    let world = World::new().await;
    let gate = Gate::default();
    let worker = world.worker().grace(Duration::from_millis(50));
    let stopping =
        start(worker.stop_grace(Duration::from_millis(50)).default_handler(gate.handler()));
    let name = world.enqueued(world.job("one").payload_json("17")).await;
    gate.reached().await;

    stopping.stop().await;

    let job = world.job_of(&name).await;
    assert_eq!((job.state(), job.attempt), (JobState::Ready, 0));
    let _worker = start(world.worker().default_handler(echo));
    let job = world.ended(&name).await;
    assert_eq!((job.attempt, result(&job)), (1, serde_json::json!(17)));
}

#[tokio::test]
async fn scenario_drained_by_operator() {
    let world = World::new().await;
    let gate = Gate::default();
    let worker = world.worker().default_handler(gate.handler()).build().unwrap();
    let id = worker.health().worker_id().to_owned();
    let worker = run(worker);
    let held = world.enqueue("held").await;
    gate.reached().await;

    world.client.drain_worker(&id, "for repairs").await.unwrap();
    // It says so by itself when it holds nothing any more.
    gate.open();
    worker.ended().await.unwrap();

    world.succeeded_at_once(&held).await;
    let after = world.enqueue("after").await;
    assert_eq!(world.job_of(&after).await.state(), JobState::Ready);
}

//! Producers: jobs go in, are found again, waited for, cancelled and watched.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use lessor::{
    Cancel, Client, Code, EnqueueOutcome, EventType, Job, JobState, Nack, NewJob, Reason,
    Retention, Retry, WatchOptions, payload,
};

use crate::passing::Passing;
use crate::relay::Relay;
use crate::world::{Gate, PATIENCE, World, broker, echo, nothing, result, start};

#[tokio::test]
async fn scenario_enqueue_and_run() {
    let world = World::new().await;
    let _worker = start(world.worker().handler("echo", echo).handler("other", nothing));

    let name = world.enqueued(world.job("echo").payload_json(r#"{"to": ["a", 7]}"#)).await;

    let job = world.succeeded_at_once(&name).await;
    assert_eq!(result(&job), serde_json::json!({ "to": ["a", 7] }));
}

#[tokio::test]
async fn scenario_enqueue_options_are_kept() {
    let world = World::new().await;
    let name = world
        .enqueued(
            world
                .job("report")
                .priority(-7)
                .label("team", "a")
                .owner("alice")
                .retry(Retry::attempts(9).fatal_codes(["BAD"]).multiplier(3.0))
                .lease_duration(Duration::from_secs(17))
                .attempt_timeout(Duration::from_mins(3))
                .retention(Retention::new().succeeded_for(Duration::from_mins(9)).dead_count(4)),
        )
        .await;

    let job = world.job_of(&name).await;

    let seconds = |span: Option<prost_types::Duration>| span.unwrap().seconds;
    let retry = job.retry_policy.unwrap();
    let retention = job.retention.unwrap();
    assert_eq!((job.priority, job.owner.as_str()), (-7, "alice"));
    assert_eq!(job.labels, HashMap::from([("team".to_owned(), "a".to_owned())]));
    assert_eq!((retry.max_attempts, retry.multiplier), (9, 3.0));
    assert_eq!(retry.fatal_codes, ["BAD"]);
    assert_eq!((seconds(job.lease_duration), seconds(job.attempt_timeout)), (17, 180));
    assert_eq!((seconds(retention.succeeded_ttl), retention.dead_count), (540, 4));
}

/// Within the BMP and beyond, with marks that combine.
const WORDS: &str = "Zürich 東京 🦀𝒳 e\u{301} \"\\ \u{200f}שלום";

#[tokio::test]
async fn scenario_unicode_everywhere() {
    let world = World::new().await;
    let fails = |job: Job| async move {
        job.progress(5.0, WORDS).await?;
        Err::<(), _>(Nack::dead().failure("UNICODE", WORDS))
    };
    let worker = world.worker().handler(WORDS, echo).handler(format!("{WORDS}!"), fails);
    let _worker = start(worker);
    let made = |job_type: String| {
        let text = serde_json::to_string(WORDS).unwrap();
        world.job(&job_type).payload_json(text).label("key", WORDS).owner(WORDS)
    };

    let good = world.enqueued(made(WORDS.to_owned())).await;
    let bad = world.enqueued(made(format!("{WORDS}!"))).await;
    let later = made("later".to_owned()).delay(Duration::from_hours(1));
    let later = world.enqueued(later).await;
    world.client.cancel_job(Cancel::job(&later).reason(WORDS)).await.unwrap();

    let job = world.succeeded_at_once(&good).await;
    assert_eq!((job.r#type.as_str(), job.owner.as_str()), (WORDS, WORDS));
    assert_eq!(job.labels["key"], WORDS);
    assert_eq!(result(&job), WORDS);
    let job = world.ended(&bad).await;
    assert_eq!(job.progress.unwrap().message, WORDS);
    assert_eq!(job.last_failure.unwrap().message, WORDS);
    assert_eq!(world.until(&later, EventType::JobCancelled).await.reason, WORDS);
}

#[tokio::test]
async fn scenario_binary_payload() {
    let world = World::new().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let expected = bytes.clone();
    let check = move |job: Job| {
        let is_same = job.payload() == expected;
        let content_type = job.message().payload.clone().unwrap_or_default().content_type;
        async move { Ok::<_, Nack>((is_same, content_type)) }
    };
    let _worker = start(world.worker().default_handler(check));

    let mut payload = payload::bytes(bytes);
    "image/x-own".clone_into(&mut payload.content_type);
    let name = world.enqueued(world.job("image").payload(payload)).await;

    let job = world.succeeded_at_once(&name).await;
    assert_eq!(result(&job), serde_json::json!([true, "image/x-own"]));
}

#[tokio::test]
async fn scenario_empty_payload() {
    let world = World::new().await;
    let length = |bytes: bytes::Bytes| async move { Ok::<_, Nack>(bytes.len()) };
    let _worker = start(world.worker().default_handler(length));

    let name = world.enqueue("bare").await;

    assert_eq!(result(&world.succeeded_at_once(&name).await), 0);
}

#[tokio::test]
async fn scenario_payload_1_mib() {
    const MIB: usize = 1 << 20;
    let world = World::new().await;
    let is_same = |bytes: bytes::Bytes| async move {
        Ok::<_, Nack>(bytes.len() == MIB && bytes.iter().all(|&byte| byte == 0xa5))
    };
    let _worker = start(world.worker().default_handler(is_same));

    let name = world.enqueued(world.job("large").payload_bytes(vec![0xa5; MIB])).await;
    assert_eq!(result(&world.succeeded_at_once(&name).await), true);

    let passing = Passing::all(broker().await.channel()).await;
    let client = Client::connect(passing.url()).unwrap();
    let more = world.job("large").payload_bytes(vec![0xa5; MIB + 1]);
    let error = client.enqueue(more).await.unwrap_err();
    assert_eq!(
        (error.code(), error.kind()),
        (Code::InvalidArgument, Some(Reason::PayloadTooLarge))
    );
    assert_eq!(passing.asked(), ["Enqueue"]);
}

#[tokio::test]
async fn scenario_invalid_field_is_named() {
    let passing = Passing::all(broker().await.channel()).await;
    let client = Client::connect(passing.url()).unwrap();

    let error = client.enqueue(NewJob::new("mail").priority(5000)).await.unwrap_err();

    assert_eq!((error.code(), error.kind()), (Code::InvalidArgument, Some(Reason::InvalidField)));
    assert_eq!(error.field_violations()[0].field, "priority");
    assert_eq!(passing.asked(), ["Enqueue"]);
}

#[tokio::test]
async fn scenario_request_id_makes_one_job() {
    let world = World::new().await;
    let id = uuid::Uuid::new_v4().to_string();

    let first = world.client.enqueue(world.job("one").request_id(&id)).await.unwrap();
    let second = world.client.enqueue(world.job("one").request_id(&id)).await.unwrap();

    assert_eq!(first.outcome, EnqueueOutcome::Created);
    assert_eq!(second.outcome, EnqueueOutcome::Replayed);
    assert_eq!(first.job.name, second.job.name);
}

#[tokio::test]
async fn scenario_enqueue_answer_lost() {
    let relay = Relay::to(broker().await.address).await;
    let direct = World::new().await;
    let client = Client::connect(relay.url()).unwrap();
    // The connection is open before it falls silent.
    client.list_queues().await.unwrap();
    relay.silence();

    let enqueueing = client.enqueue(direct.job("one").job_id("the-one"));
    let breaking = async {
        direct.until(&format!("queues/{}/jobs/the-one", direct.queue), EventType::JobCreated).await;
        relay.cut();
    };
    let (enqueued, ()) = tokio::join!(enqueueing, breaking);

    assert_eq!(enqueued.unwrap().outcome, EnqueueOutcome::Replayed);
    assert_eq!(relay.connections(), 2);
}

#[tokio::test]
async fn scenario_chosen_job_id() {
    let world = World::new().await;

    let name = world.enqueued(world.job("one").job_id("order-17")).await;
    let error = world.client.enqueue(world.job("one").job_id("order-17")).await.unwrap_err();

    assert_eq!(name, format!("queues/{}/jobs/order-17", world.queue));
    assert_eq!((error.code(), error.kind()), (Code::AlreadyExists, Some(Reason::JobExists)));
}

#[tokio::test]
async fn scenario_dedup_key() {
    let world = World::new().await;

    let first = world.client.enqueue(world.job("one").dedup_key("a@example.com")).await.unwrap();
    let second = world.client.enqueue(world.job("two").dedup_key("a@example.com")).await.unwrap();

    assert_eq!(second.outcome, EnqueueOutcome::Deduplicated);
    assert_eq!((second.job.name, second.job.r#type), (first.job.name, "one".to_owned()));
}

#[tokio::test]
async fn scenario_delay() {
    let world = World::new().await;
    let _worker = start(world.worker().default_handler(nothing));

    let delayed = world.job("late").delay(Duration::from_millis(700));
    let enqueued = world.client.enqueue(delayed).await.unwrap();
    assert_eq!(enqueued.job.state(), JobState::Scheduled);

    let job = world.succeeded_at_once(&enqueued.job.name).await;
    assert!(millis(job.start_time) >= millis(job.create_time) + 700, "{job:?}");
}

fn millis(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.unwrap();
    time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
}

#[tokio::test]
async fn scenario_priority() {
    let world = World::new().await;
    let mut names = Vec::new();
    for priority in [0, -5, 9] {
        names.push(world.enqueued(world.job("one").priority(priority)).await);
    }

    let _worker = start(world.worker().concurrency(1).default_handler(nothing));

    let mut started = Vec::new();
    for name in &names {
        let job = world.ended(name).await;
        started.push((millis(job.start_time), job.priority));
    }
    started.sort_unstable();
    let order: Vec<i32> = started.into_iter().map(|(_, priority)| priority).collect();
    assert_eq!(order, [9, 0, -5]);
}

#[tokio::test]
async fn scenario_concurrent_enqueues_join() {
    let passing = Passing::all(broker().await.channel()).await;
    let world = World::at(&passing.url());

    let jobs = (0..300).map(|n| world.enqueued(world.job("one").payload_json(n.to_string())));
    let names: HashSet<String> = join_all(jobs).await.into_iter().collect();

    assert_eq!(names.len(), 300);
    assert!(passing.asked().len() <= 10, "{:?}", passing.asked());
}

#[tokio::test]
async fn scenario_batch_with_one_bad_item() {
    let world = World::new().await;

    let jobs = vec![world.job("one"), world.job("two").priority(5000), world.job("three")];
    let results = world.client.enqueue_each(jobs).await.unwrap();

    let [Ok(one), Err(two), Ok(three)] = &results[..] else { panic!("{results:?}") };
    assert_eq!(two.field_violations()[0].field, "priority");
    for made in [one, three] {
        assert_eq!(world.job_of(&made.job.name).await.state(), JobState::Ready);
    }
}

#[tokio::test]
async fn scenario_batch_all_or_nothing() {
    let world = World::new().await;

    let jobs = vec![world.job("one").job_id("one"), world.job("two").priority(5000)];
    let error = world.client.enqueue_batch(jobs).await.unwrap_err();

    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("requests[1]"), "{error}");
    let missing = world.client.get_job(format!("queues/{}/jobs/one", world.queue)).await;
    assert_eq!(missing.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn scenario_wait_for_result() {
    let world = World::new().await;
    let gate = Gate::default();
    let _worker = start(world.worker().default_handler(gate.handler()));
    let name = world.enqueue("one").await;
    gate.reached().await;

    let short = world.client.wait_job(&name, &[], Duration::from_millis(50)).await.unwrap();
    assert!(!short.reached);
    let waiting = world.client.wait_job(&name, &[], PATIENCE);
    let finishing = async { gate.open() };
    let (waited, ()) = tokio::join!(waiting, finishing);

    let waited = waited.unwrap();
    let job = waited.job.unwrap();
    assert!(waited.reached);
    assert_eq!((job.state(), result(&job)), (JobState::Succeeded, serde_json::json!(1)));
}

#[tokio::test]
async fn scenario_job_not_found() {
    let world = World::new().await;
    let error = world.client.get_job(format!("queues/{}/jobs/none", world.queue)).await;
    let error = error.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::NotFound, Some(Reason::JobNotFound)));
}

#[tokio::test]
async fn scenario_cancel_pending() {
    let world = World::new().await;
    let name = world.enqueue("cancelled").await;
    let cancelled = world.client.cancel_job(name.as_str()).await.unwrap();
    assert_eq!(cancelled.state(), JobState::Cancelled);

    let ran = Arc::new(AtomicBool::new(false));
    let noted = ran.clone();
    let note = move |_: Job| {
        noted.store(true, Ordering::Relaxed);
        async { Ok::<_, Nack>(()) }
    };
    let _worker = start(world.worker().handler("cancelled", note).handler("after", nothing));
    let after = world.enqueue("after").await;
    world.succeeded_at_once(&after).await;
    assert!(!ran.load(Ordering::Relaxed));
    assert_eq!(world.job_of(&name).await.delivery_count, 0);
}

#[tokio::test]
async fn scenario_watch_one_job() {
    let world = World::new().await;
    let name = world.enqueue("one").await;
    let mut watch = world.client.watch(WatchOptions::job(&name)).await.unwrap();
    let first = watch.next().await.unwrap().unwrap();
    let mut seen: Vec<EventType> = first.events.iter().map(lessor::Event::r#type).collect();
    assert!(!seen.is_empty());

    let _worker = start(world.worker().default_handler(nothing));
    while let Some(page) = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap() {
        seen.extend(page.unwrap().events.iter().map(lessor::Event::r#type));
    }

    assert_eq!(seen, [EventType::JobReady, EventType::JobLeased, EventType::JobSucceeded]);
}

#[tokio::test]
async fn scenario_watch_resumes() {
    let relay = Relay::to(broker().await.address).await;
    let world = World::new().await;
    let client = Client::connect(relay.url()).unwrap();
    let options = WatchOptions::queues([&world.queue]).types([EventType::JobCreated]).oldest();
    let mut watch = client.watch(options).await.unwrap();

    let (mut made, mut seen) = (Vec::new(), Vec::new());
    for round in 0..3 {
        for _ in 0..3 {
            made.push(world.enqueue("one").await);
        }
        while seen.len() < made.len() {
            let page = tokio::time::timeout(PATIENCE, watch.next()).await.unwrap();
            seen.extend(page.unwrap().unwrap().events.into_iter().map(|event| event.job));
        }
        if round < 2 {
            relay.cut();
            // What happens during the break.
            made.push(world.enqueue("one").await);
        }
    }

    assert_eq!(seen, made);
    assert_eq!(relay.connections(), 3);
}

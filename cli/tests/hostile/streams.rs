//! Streams that only exist, and those whose answers nobody reads.

use futures_util::future::join_all;
use lessor::proto::work_request::{Credit, Frame, Hello};
use lessor::proto::{BatchEnqueueRequest, EnqueueRequest, WatchEventsRequest, WorkRequest, Worker};
use prost::Message;

use crate::raw::{Raw, prefix};
use crate::scene::Scene;
use crate::wire::{answer, awaited};

const WORK: &str = "/lessor.v1.JobBroker/Work";
const WATCH: &str = "/lessor.v1.JobBroker/WatchEvents";

/// Jobs that a slow worker asks for, of 256 KiB each.
const LARGE: u64 = 400;
const SIZE: usize = 256 << 10;

/// A message as gRPC frames it.
fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    [prefix(u32::try_from(bytes.len()).unwrap()), bytes].concat()
}

/// Opens the stream of a worker that takes so many jobs.
async fn work(raw: &mut Raw, worker: &str, queue: &str, jobs: u64) {
    let hello = Hello {
        worker: Some(Worker { worker_id: worker.to_owned(), ..Worker::default() }),
        queues: vec![queue.to_owned()],
        ..Hello::default()
    };
    let frames = [Frame::Hello(hello), Frame::Credit(Credit { max_delivery_seq: jobs })];
    let stream = raw.call(WORK).await;
    for frame in frames {
        let frame = WorkRequest { frame: Some(frame), ..WorkRequest::default() };
        raw.data(stream, &framed(&frame)).await;
    }
}

/// Jobs of one queue, by one call.
async fn enqueue(scene: &Scene, queue: &str, count: usize, size: usize) {
    let payload = (size > 0).then(|| lessor::payload::bytes(vec![7; size]));
    let job = EnqueueRequest { queue: queue.to_owned(), payload, ..EnqueueRequest::default() };
    let batch =
        BatchEnqueueRequest { requests: vec![job; count], ..BatchEnqueueRequest::default() };
    answer(scene.stub().batch_enqueue(batch)).await.unwrap();
}

#[tokio::test]
async fn thousands_of_idle_streams_cost_little_each() {
    let scene = Scene::start().await;
    let attack = join_all((0..10).map(async |connection| {
        let mut raw = Raw::to(scene.address()).await;
        for stream in 0..200 {
            work(&mut raw, &format!("idle-{connection}-{stream}"), "nothing", 1).await;
            raw.call(WORK).await;
        }
        raw
    }));
    scene.endures(128, awaited(attack)).await;
}

#[tokio::test]
async fn watchers_that_do_not_read_are_not_read_to() {
    let scene = Scene::start().await;
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut raw = Raw::to(scene.address()).await;
            for _ in 0..16 {
                let stream = raw.call(WATCH).await;
                raw.data(stream, &framed(&WatchEventsRequest::default())).await;
            }
            held.push(raw);
        }
        for _ in 0..5 {
            enqueue(&scene, "events", 1000, 0).await;
        }
        held
    };
    scene.endures(64, awaited(attack)).await;
}

#[tokio::test]
async fn workers_that_do_not_read_get_no_more_than_is_on_its_way() {
    let scene = Scene::start().await;
    for _ in 0..LARGE / 10 {
        enqueue(&scene, "large", 10, SIZE).await;
    }
    let attack = async {
        let mut raw = Raw::to(scene.address()).await;
        for worker in 0..2 {
            work(&mut raw, &format!("slow-{worker}"), "large", LARGE).await;
        }
        raw
    };
    // Twice 12 MiB, as jobs and as frames; all jobs were 100 MiB.
    scene.endures(80, awaited(attack)).await;
}

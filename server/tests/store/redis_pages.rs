//! What Redis alone does with the records of a batch: they share pages, and no page outlives its jobs.

use std::time::Duration;

use crate::fixture::{Queue, acked, at, nacked, payload, request, request_id, roomy, spec};
use crate::job::transition::Disposition;
use crate::job::{JobIds, Keep, Retention, Spec};
use crate::redis_server::RedisServer;
use crate::store::{Group, Insert};

async fn open() -> Queue {
    Queue::open(&RedisServer::shared().url(), None).await
}

/// How many entries a hash of the queue has.
fn entries(queue: &Queue, hash: &str) -> usize {
    let key = format!("{{{}:{}}}:{hash}", queue.namespace, queue.name);
    redis::cmd("HLEN").arg(key).query(&mut RedisServer::shared().connection()).unwrap()
}

/// Enqueues so many jobs by one request, of which nothing is kept once they succeed.
async fn add(queue: &Queue, number: u32, size: usize) {
    let ids = JobIds::of(&request_id(1));
    let spec = Spec {
        payload: Some(payload(&"x".repeat(size))),
        retention: Retention {
            succeeded: Keep { span: Duration::ZERO, count: None },
            ..Retention::default()
        },
        ..spec()
    };
    let inserts: Vec<Insert> =
        (0..number).map(|number| queue.chosen(ids.at(number).as_str(), spec.clone())).collect();
    let group = Group { request: Some(request(1, 1)), ..roomy(inserts) };
    queue.store.insert(&queue.name, vec![group], at(0)).await.unwrap();
}

#[tokio::test]
async fn a_batch_of_small_jobs_takes_an_entry_for_8_of_them() {
    let queue = open().await;
    add(&queue, 70, 256).await;
    assert_eq!((entries(&queue, "j"), entries(&queue, "h")), (9, 9));
}

#[tokio::test]
async fn large_jobs_have_entries_of_their_own() {
    let queue = open().await;
    add(&queue, 10, 2000).await;
    assert_eq!((entries(&queue, "j"), entries(&queue, "h")), (10, 0));
}

#[tokio::test]
async fn a_page_goes_with_its_last_job() {
    let queue = open().await;
    add(&queue, 24, 256).await;
    let jobs = queue.claim(24, at(0)).await;
    for (ended, job) in (1..).zip(&jobs) {
        queue.apply(acked(job, at(1)), at(1)).await;
        let pages = 3 - ended / 8;
        assert_eq!((entries(&queue, "j"), entries(&queue, "h")), (pages, pages), "{ended}");
    }
}

#[tokio::test]
async fn a_dead_job_does_not_keep_its_page() {
    let queue = open().await;
    add(&queue, 8, 256).await;
    let jobs = queue.claim(8, at(0)).await;
    queue.apply(nacked(&jobs[3], Disposition::Dead, at(1)), at(1)).await;
    assert_eq!((entries(&queue, "j"), entries(&queue, "h")), (2, 1));
    for job in [&jobs[..3], &jobs[4..]].concat() {
        queue.apply(acked(&job, at(1)), at(1)).await;
    }
    assert_eq!((entries(&queue, "j"), entries(&queue, "h")), (1, 0));
    let dead = queue.get(jobs[3].name.id.as_str()).await;
    assert_eq!(dead.spec.payload, jobs[3].spec.payload);
}

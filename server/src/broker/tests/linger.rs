//! A worker that wants several jobs at once.

use super::*;
use crate::broker::dispatch::Linger;

const SPAN: Duration = Duration::from_secs(2);

fn batch(enough: usize, wait: Duration) -> LeaseRequest {
    let linger = Some(Linger { enough, span: SPAN });
    LeaseRequest { max_jobs: 10, linger, ..request(&["a", "b"], wait) }
}

/// Waits until the worker that lingers holds the one job.
async fn held(running: &Running, job: &Job) {
    running.until(job, State::Leased).await;
    // One who looks into the same queue is served once the claim before it has come back.
    let other = WorkerId::parse("w2").unwrap();
    let look = LeaseRequest { worker: other, ..request(&["a"], Duration::ZERO) };
    assert_eq!(running.broker.lease(look).await.unwrap().jobs, []);
}

#[tokio::test]
async fn jobs_that_come_in_time_are_answered_together() {
    let running = running().await;
    let (leased, jobs) = tokio::join!(running.broker.lease(batch(3, LONG)), async {
        let first = running.enqueue("a").await;
        held(&running, &first).await;
        // What comes elsewhere is not waited for: the jobs of an answer are of one queue.
        running.enqueue("b").await;
        [first, running.enqueue("a").await, running.enqueue("a").await]
    });
    let names: Vec<_> = leased.unwrap().jobs.into_iter().map(|job| job.name).collect();
    assert_eq!(names, jobs.map(|job| job.name));
    running.stop().await;
}

#[tokio::test]
async fn a_worker_lingers_no_longer_than_it_said() {
    let running = running().await;
    let job = running.enqueue("a").await;
    // Also one that does not wait for a first job.
    for wait in [LONG, Duration::ZERO] {
        let mut asking = Box::pin(running.broker.lease(batch(2, wait)));
        assert!(asking.as_mut().now_or_never().is_none());
        held(&running, &job).await;
        running.clock.advance(SPAN);
        let leased = asking.await.unwrap();
        assert_eq!(leased.jobs.len(), 1);
        assert_eq!(leased.jobs[0].name, job.name);
        running.broker.give_back(&leased.jobs[0]);
        running.until(&job, State::Ready).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn who_leaves_while_it_lingers_keeps_no_job() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let mut asking = Box::pin(running.broker.lease(batch(2, LONG)));
    assert!(asking.as_mut().now_or_never().is_none());
    held(&running, &job).await;
    drop(asking);
    running.until(&job, State::Ready).await;
    let job = running.broker.get(&job.name).await.unwrap();
    assert_eq!((job.counters.attempts, job.counters.deliveries), (0, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_lingers_is_answered_when_the_broker_drains() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let mut asking = Box::pin(running.broker.lease(batch(2, LONG)));
    assert!(asking.as_mut().now_or_never().is_none());
    held(&running, &job).await;
    running.broker.drain();
    assert_eq!(asking.await.unwrap().jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_repeated_request_answers_all_that_was_taken_for_it() {
    let running = running().await;
    let id = RequestId::parse("6f0c8a5e-3a54-4a53-9a0a-3b1b5b5d8f10").unwrap();
    let wish = || LeaseRequest { request: Some(id), ..batch(2, LONG) };
    let (first, ()) = tokio::join!(running.broker.lease(wish()), async {
        let job = running.enqueue("a").await;
        held(&running, &job).await;
        running.enqueue("a").await;
    });
    let first = first.unwrap().jobs;
    assert_eq!(first.len(), 2);
    running.enqueue("a").await;
    assert_eq!(running.broker.lease(wish()).await.unwrap().jobs, first);
    running.stop().await;
}

#[tokio::test]
async fn queues_are_looked_into_in_the_order_asked_for() {
    let running = running().await;
    for _ in 0..8 {
        for queue in ["a", "b", "c"] {
            running.enqueue(queue).await;
        }
    }
    let strict = || LeaseRequest { order: Order::Strict, ..request(&["c", "a*", "b"], LONG) };
    let mut taken = String::new();
    for _ in 0..24 {
        let leased = running.broker.lease(strict()).await.unwrap();
        taken.push_str(leased.jobs[0].name.queue.as_str());
    }
    assert_eq!(taken, "ccccccccaaaaaaaabbbbbbbb");
    running.stop().await;
}

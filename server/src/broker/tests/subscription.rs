//! Workers whose wish stands.

use super::*;
use crate::broker::dispatch::{Subscription, Wish};
use crate::job::LeaseSecret;
use crate::store::Claim;

/// A worker that may have `credit` jobs.
pub(super) async fn subscribe(broker: &Broker, queues: &[&str], credit: usize) -> Subscription {
    subscribe_to(broker, queues, Vec::new(), credit).await
}

/// The same, for jobs of these types.
pub(super) async fn subscribe_to(
    broker: &Broker,
    queues: &[&str],
    types: Vec<String>,
    credit: usize,
) -> Subscription {
    let LeaseRequest { queues, order, worker, max_bytes, .. } = request(queues, LONG);
    let secret = LeaseSecret(1);
    let limit = credit;
    let claim =
        Claim { worker, limit, max_bytes, lease_duration: None, types, secret, request: None };
    let route = broker.resolve(&queues, order).await.unwrap();
    broker.dispatcher.subscribe(Wish { route, claim, patient: true, linger: None }).unwrap()
}

async fn next(subscription: &mut Subscription) -> Vec<Job> {
    subscription.next().await.unwrap().jobs
}

fn names(jobs: &[Job]) -> Vec<JobName> {
    jobs.iter().map(|job| job.name.clone()).collect()
}

#[tokio::test]
async fn jobs_come_as_long_as_there_is_credit() {
    let running = running().await;
    let mut subscription = subscribe(&running.broker, &["a"], 2).await;
    let jobs = [running.enqueue("a").await, running.enqueue("a").await, running.enqueue("a").await];
    let mut got = next(&mut subscription).await;
    while got.len() < 2 {
        got.extend(next(&mut subscription).await);
    }
    assert_eq!(names(&got), names(&jobs[..2]));
    assert_ne!(got[0].lease.as_ref().unwrap().secret, LeaseSecret(1), "a claim's own secret");
    // One who looks is served after all claims before.
    let last = running.lease(&["a"], Duration::ZERO).await.jobs;
    assert_eq!(names(&last), names(&jobs[2..]));
    subscription.credit(1);
    let job = running.enqueue("a").await;
    assert_eq!(names(&next(&mut subscription).await), [job.name]);
    drop(subscription);
    running.stop().await;
}

#[tokio::test]
async fn what_was_taken_and_not_received_goes_back() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let subscription = subscribe(&running.broker, &["a"], 1).await;
    running.until(&job, State::Leased).await;
    drop(subscription);
    running.until(&job, State::Ready).await;
    let job = running.broker.get(&job.name).await.unwrap();
    assert_eq!((job.counters.attempts, job.counters.deliveries), (0, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_job_taken_for_one_who_has_just_left_goes_back() {
    let (running, faulty) = on_faulty().await;
    let job = running.enqueue("a").await;
    faulty.hold(Some(Operation::Claim));
    let subscription = subscribe(&running.broker, &["a"], 1).await;
    running.until(&job, State::Leased).await;
    drop(subscription);
    faulty.hold(None);
    running.until(&job, State::Ready).await;
    running.stop().await;
}

#[tokio::test]
async fn its_queues_take_turns() {
    let running = running().await;
    for _ in 0..3 {
        for queue in ["a", "b", "c"] {
            running.enqueue(queue).await;
        }
    }
    let mut subscription = subscribe(&running.broker, &["a", "b", "c"], 0).await;
    let mut taken = Vec::new();
    for _ in 0..9 {
        subscription.credit(1);
        taken.push(next(&mut subscription).await[0].name.queue.to_string());
    }
    let mut round = taken[..3].to_vec();
    assert_eq!(taken[3..6], round);
    assert_eq!(taken[6..], round);
    round.sort_unstable();
    assert_eq!(round, ["a", "b", "c"]);
    drop(subscription);
    running.stop().await;
}

#[tokio::test]
async fn one_who_was_served_goes_behind_those_who_wait() {
    let running = running().await;
    let mut first = subscribe(&running.broker, &["a"], 32).await;
    let mut second = subscribe(&running.broker, &["a"], 32).await;
    // Both wait once a later worker, served behind them, has looked.
    running.lease(&["a"], Duration::ZERO).await;
    for _ in 0..3 {
        let job = running.enqueue("a").await;
        assert_eq!(names(&next(&mut first).await), [job.name]);
        let job = running.enqueue("a").await;
        assert_eq!(names(&next(&mut second).await), [job.name]);
    }
    drop((first, second));
    running.stop().await;
}

#[tokio::test]
async fn a_queue_that_comes_to_be_is_served_too() {
    let running = running().await;
    let mut subscription = subscribe(&running.broker, &["mail-*"], 5).await;
    for queue in ["other", "mail-eu", "mail-us"] {
        running.enqueue(queue).await;
    }
    for queue in ["mail-eu", "mail-us"] {
        assert_eq!(next(&mut subscription).await[0].name.queue.as_str(), queue);
    }
    drop(subscription);
    running.stop().await;
}

#[tokio::test]
async fn trouble_with_the_store_is_waited_out() {
    let (running, faulty) = on_faulty().await;
    faulty.fail_next(Operation::Claim, Fault::Before);
    let mut subscription = subscribe(&running.broker, &["a"], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    // No claim is made before some time has passed, or the queue rings.
    running.broker.dispatcher.rest().await.unwrap();
    assert_eq!(faulty.calls(Operation::Claim), 1);
    running.clock.advance(Duration::from_secs(1));
    faulty.until_called(Operation::Claim, 2).await;
    let job = running.enqueue("a").await;
    assert_eq!(names(&next(&mut subscription).await), [job.name]);
    drop(subscription);
    running.stop().await;
}

#[tokio::test]
async fn draining_ends_it() {
    let running = running().await;
    let mut subscription = subscribe(&running.broker, &["a"], 1).await;
    running.broker.drain();
    assert_eq!(subscription.next().await.unwrap().empty, Empty::Draining);
    assert_eq!(subscription.next().await.unwrap_err(), Error::Draining);
    drop(subscription);
    running.stop().await;
}

#[tokio::test]
async fn a_job_costs_no_look_at_other_queues_and_no_claims_for_other_workers() {
    let (running, faulty) = on_faulty().await;
    let queues: Vec<String> = (0..50).map(|number| format!("q{number}")).collect();
    let queues: Vec<&str> = queues.iter().map(String::as_str).collect();
    let mut workers = Vec::new();
    for _ in 0..50 {
        workers.push(subscribe(&running.broker, &queues, 1).await);
    }
    running.broker.dispatcher.rest().await.unwrap();
    let before = faulty.calls(Operation::Claim);
    assert!(before <= 100, "{before} claims: a queue found empty is not looked into by the next");
    running.enqueue("q7").await;
    let (mut served, _, _) =
        futures_util::future::select_all(workers.iter_mut().map(|worker| Box::pin(worker.next())))
            .await;
    assert_eq!(served.as_mut().unwrap().jobs.len(), 1);
    running.broker.dispatcher.rest().await.unwrap();
    let after = faulty.calls(Operation::Claim) - before;
    // The insert is begun, is answered, and rings: none of the three makes more than one claim.
    assert!(after <= 3, "{after} claims");
    drop(workers);
    running.stop().await;
}

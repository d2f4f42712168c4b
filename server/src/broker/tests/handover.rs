//! Enqueue meets a waiting worker.

use super::subscription::subscribe;
use super::*;
use crate::broker::enqueue::Start;

/// A broker on a store that does not ring.
async fn on_silent() -> (Running, Arc<Faulty>) {
    let faulty = Arc::new(Faulty::silent(SqliteStore::in_memory().await.unwrap()));
    (running_on(Arc::clone(&faulty) as Arc<dyn Store>), faulty)
}

#[tokio::test]
async fn a_waiting_worker_is_claimed_for_before_the_insert_is_answered() {
    let (running, faulty) = on_silent().await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    faulty.hold(Some(Operation::Insert));
    let mut enqueuing = Box::pin(running.enqueue("a"));
    let leased = tokio::select! {
        leased = worker.next() => leased.unwrap(),
        _ = &mut enqueuing => panic!("its answer is held back"),
    };
    assert_eq!(faulty.calls(Operation::Claim), 2, "one look and one claim");
    faulty.hold(None);
    assert_eq!(enqueuing.await.name, leased.jobs[0].name);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn nobody_is_claimed_for_when_nobody_waits() {
    let (running, faulty) = on_silent().await;
    running.enqueue("a").await;
    // Busy as it is, this one may have no more jobs.
    let worker = subscribe(&running.broker, &["a"], 0).await;
    running.enqueue("a").await;
    running.broker.dispatcher.rest().await.unwrap();
    assert_eq!(faulty.calls(Operation::Claim), 0);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_is_not_ready_wakes_nobody() {
    let (running, faulty) = on_silent().await;
    let worker = subscribe(&running.broker, &["a"], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    let later = NewJob { start: Start::In(LONG), ..new_job("a") };
    running.broker.enqueue(later).await.unwrap();
    running.broker.dispatcher.rest().await.unwrap();
    assert_eq!(faulty.calls(Operation::Claim), 1);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn a_claim_that_overtakes_its_insert_is_made_again_when_that_is_answered() {
    let (running, faulty) = on_silent().await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    // The insert begins to wait before the store has seen it, so the claim finds nothing.
    let seen = Arc::new(tokio::sync::Notify::new());
    let go = Arc::clone(&seen);
    faulty.before_next(Operation::Insert, async move { go.notified().await });
    let mut enqueuing = Box::pin(running.enqueue("a"));
    tokio::select! {
        () = faulty.until_called(Operation::Claim, 2) => {}
        _ = &mut enqueuing => panic!("it waits"),
    }
    running.broker.dispatcher.rest().await.unwrap();
    seen.notify_one();
    let job = enqueuing.await;
    assert_eq!(worker.next().await.unwrap().jobs[0].name, job.name);
    drop(worker);
    running.stop().await;
}

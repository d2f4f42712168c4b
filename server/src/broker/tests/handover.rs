//! Enqueue meets a waiting worker.

use tokio::sync::mpsc;

use super::subscription::{subscribe, subscribe_to};
use super::*;
use crate::broker::dispatch::DOUBT;
use crate::broker::enqueue::Start;
use crate::crew::Guests;
use crate::store::faulty::HandOver;

/// A broker on a store that does not ring.
pub(super) async fn on_silent() -> (Running, Arc<Faulty>) {
    let faulty = Arc::new(Faulty::silent(SqliteStore::in_memory().await.unwrap()));
    (running_on(Arc::clone(&faulty) as Arc<dyn Store>), faulty)
}

/// The same, where what is inserted can't be leased in the same step.
async fn on_parting(how: HandOver) -> (Running, Arc<Faulty>) {
    let (running, faulty) = on_silent().await;
    faulty.hand_over_as(how);
    (running, faulty)
}

#[tokio::test]
async fn a_waiting_worker_gets_a_job_in_the_step_that_inserts_it() {
    let (running, faulty) = on_silent().await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    running.broker.dispatcher.rest().await.unwrap();
    let job = running.enqueue("a").await;
    let leased = worker.next().await.unwrap();
    assert_eq!(leased.jobs[0].name, job.name);
    let kept = running.broker.get(&job.name).await.unwrap();
    assert_eq!((kept.state, &kept.lease), (State::Leased, &leased.jobs[0].lease));
    let calls =
        [Operation::HandOver, Operation::Insert, Operation::Claim].map(|it| faulty.calls(it));
    assert_eq!(calls, [1, 0, 1], "one look and one step");
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn a_waiting_worker_has_its_job_before_the_producer_has_the_answer() {
    let (running, _faulty) = on_silent().await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    running.broker.dispatcher.rest().await.unwrap();
    // Tasks take turns as they are woken; the test itself would come last.
    let (told, mut heard) = mpsc::unbounded_channel();
    let tasks = Guests::default();
    let (broker, telling) = (running.broker.clone(), told.clone());
    tasks.admit(async move {
        broker.enqueue(new_job("a")).await.unwrap();
        telling.send("answered").unwrap();
    });
    tasks.admit(async move {
        worker.next().await.unwrap();
        told.send("delivered").unwrap();
    });
    let order = [heard.recv().await.unwrap(), heard.recv().await.unwrap()];
    assert_eq!(order, ["delivered", "answered"]);
    running.stop().await;
}

#[tokio::test]
async fn those_who_wait_share_what_is_inserted_and_the_rest_stays_ready() {
    let (running, faulty) = on_silent().await;
    let mut first = subscribe(&running.broker, &["a"], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    let mut second = subscribe(&running.broker, &["a"], 2).await;
    running.broker.dispatcher.rest().await.unwrap();
    let new = (0..4).map(|_| new_job("a")).collect();
    let made = running.broker.enqueue_all(new, None).await.unwrap();
    let made: Vec<_> = made.into_iter().map(|it| it.unwrap().job.name).collect();
    let names = |leased: Leased| leased.jobs.into_iter().map(|job| job.name).collect::<Vec<_>>();
    assert_eq!(names(first.next().await.unwrap()), made[..1]);
    assert_eq!(names(second.next().await.unwrap()), made[1..3]);
    assert_eq!(running.broker.get(&made[3]).await.unwrap().state, State::Ready);
    first.credit(1);
    assert_eq!(names(first.next().await.unwrap()), made[3..]);
    drop((first, second));
    running.stop().await;
}

#[tokio::test]
async fn a_failed_step_is_told_to_the_producer_and_the_worker_waits_on() {
    let (running, faulty) = on_silent().await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    running.broker.dispatcher.rest().await.unwrap();
    faulty.fail_next(Operation::HandOver, Fault::Before);
    let error = running.broker.enqueue(new_job("a")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    let job = running.enqueue("a").await;
    assert_eq!(worker.next().await.unwrap().jobs[0].name, job.name);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn who_can_not_ride_is_claimed_for_behind_the_insert() {
    let (running, faulty) = on_parting(HandOver::Declined).await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    running.broker.dispatcher.rest().await.unwrap();
    let job = running.enqueue("a").await;
    assert_eq!(worker.next().await.unwrap().jobs[0].name, job.name);
    let calls = [Operation::Insert, Operation::Claim].map(|operation| faulty.calls(operation));
    assert_eq!(calls, [1, 2]);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn who_waits_for_another_type_does_not_ride() {
    let (running, faulty) = on_silent().await;
    let worker = subscribe_to(&running.broker, &["a"], vec!["other".to_owned()], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    let job = running.enqueue("a").await;
    assert_eq!(running.state(&job).await, State::Ready);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn a_waiting_worker_is_claimed_for_before_the_insert_is_answered() {
    let (running, faulty) = on_parting(HandOver::Refused).await;
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

/// Enqueues a job that comes to be later than the claim that was made for it, without a word, and
/// after `meanwhile`.
async fn overlooked(running: &Running, faulty: &Faulty, meanwhile: impl AsyncFnOnce()) -> Job {
    // The insert begins to wait before the store has seen it, so the claim finds nothing.
    let seen = Arc::new(tokio::sync::Notify::new());
    let go = Arc::clone(&seen);
    faulty.before_next(Operation::Insert, async move { go.notified().await });
    let claims = faulty.calls(Operation::Claim);
    let mut enqueuing = Box::pin(running.enqueue("a"));
    tokio::select! {
        () = faulty.until_called(Operation::Claim, claims + 1) => {}
        _ = &mut enqueuing => panic!("it waits"),
    }
    running.broker.dispatcher.rest().await.unwrap();
    meanwhile().await;
    seen.notify_one();
    enqueuing.await
}

#[tokio::test]
async fn a_job_of_which_no_word_came_is_found_by_one_look_more() {
    let (running, faulty) = on_parting(HandOver::Refused).await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    let job = overlooked(&running, &faulty, async || {}).await;
    // Nothing was told for so long only then: the job was told of after the queue was found empty.
    running.clock.advance(DOUBT);
    running.broker.dispatcher.rest().await.unwrap();
    running.clock.advance(DOUBT);
    assert_eq!(worker.next().await.unwrap().jobs[0].name, job.name);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn a_look_more_waits_until_nothing_was_told_for_a_while() {
    let (running, faulty) = on_parting(HandOver::Refused).await;
    let mut worker = subscribe(&running.broker, &["a"], 1).await;
    faulty.until_called(Operation::Claim, 1).await;
    // The first look was planned before the job was told of.
    let too_early = async || {
        running.clock.advance(DOUBT);
        running.broker.dispatcher.rest().await.unwrap();
        assert_eq!(faulty.calls(Operation::Claim), 2);
    };
    let job = overlooked(&running, &faulty, too_early).await;
    running.clock.advance(DOUBT);
    assert_eq!(worker.next().await.unwrap().jobs[0].name, job.name);
    drop(worker);
    running.stop().await;
}

#[tokio::test]
async fn an_empty_queue_is_looked_into_once_more_and_then_left_alone() {
    let (running, faulty) = on_silent().await;
    let worker = subscribe(&running.broker, &["a"], 1).await;
    let other = subscribe(&running.broker, &["a"], 1).await;
    running.broker.dispatcher.rest().await.unwrap();
    let before = faulty.calls(Operation::Claim);
    for _ in 0..5 {
        running.clock.advance(DOUBT);
        running.broker.dispatcher.rest().await.unwrap();
        assert_eq!(faulty.calls(Operation::Claim), before + 1);
    }
    drop((worker, other));
    running.stop().await;
}

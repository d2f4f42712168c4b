//! Writes that share store calls.

use super::*;
use crate::job::{LeaseSecret, Payload, transition};
use crate::store::{Commit, Guarded, Request};

fn heavy(queue: &str) -> NewJob {
    let payload = Payload { data: vec![7; 400 << 10].into(), ..Payload::default() };
    let spec = Spec { payload: Some(payload), ..Spec::default() };
    NewJob::new(name(queue), spec)
}

fn identified(digest: u64) -> Request {
    let id = RequestId::parse("6f0c8a5e-3a54-4a53-9a0a-3b1b5b5d8f10").unwrap();
    Request { id, digest }
}

fn outcomes(answers: &[Result<enqueue::Enqueued>]) -> Vec<EnqueueOutcome> {
    answers.iter().map(|answer| answer.as_ref().unwrap().outcome).collect()
}

#[tokio::test]
async fn heavy_jobs_travel_in_several_calls() {
    let (running, faulty) = on_faulty().await;
    running.enqueue("a").await;
    let before = faulty.calls(Operation::Insert);
    let made = join_all((0..12).map(|_| running.broker.enqueue(heavy("a")))).await;
    assert!(made.iter().all(Result::is_ok));
    let calls = faulty.calls(Operation::Insert) - before;
    assert!((6..12).contains(&calls), "{calls} calls: two fit into one");
    running.stop().await;
}

#[tokio::test]
async fn many_commits_are_answered_each_for_itself_and_share_a_call() {
    let (running, faulty) = on_faulty().await;
    for _ in 0..3 {
        running.enqueue("a").await;
    }
    let leased = LeaseRequest { max_jobs: 3, ..request(&["a"], Duration::ZERO) };
    let jobs = running.broker.lease(leased).await.unwrap().jobs;
    let now = running.clock.now();
    let give_back = |job: &Job| Commit::from(transition::give_back(job, now).unwrap());
    let lost = {
        let mut other = jobs[1].clone();
        other.lease.as_mut().unwrap().secret = LeaseSecret(1);
        give_back(&other)
    };
    let commits = vec![give_back(&jobs[0]), lost, give_back(&jobs[2])];
    let outcomes = running.broker.folder.commit_all(commits).await;
    assert_eq!(outcomes, [Ok(Guarded::Applied), Ok(Guarded::Lost), Ok(Guarded::Applied)]);
    assert_eq!(faulty.calls(Operation::Commit), 1);
    assert_eq!(running.broker.folder.commit_all(Vec::new()).await, []);
    running.stop().await;
}

#[tokio::test]
async fn a_call_that_fails_fails_those_in_it_and_no_others() {
    let (running, faulty) = on_faulty().await;
    running.enqueue("a").await;
    running.enqueue("b").await;
    faulty.fail_next(Operation::Insert, Fault::Before);
    let (first, other) = tokio::join!(
        join_all((0..3).map(|_| running.broker.enqueue(new_job("a")))),
        running.broker.enqueue(new_job("b"))
    );
    for failed in first {
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    }
    assert!(other.is_ok());
    assert!(running.broker.enqueue(new_job("a")).await.is_ok());
    running.stop().await;
}

#[tokio::test]
async fn a_bad_item_fails_nobody_who_shares_its_call() {
    let (running, faulty) = on_faulty().await;
    let taken = running.enqueue("a").await;
    let clash = NewJob { id: Some(taken.name.id), ..new_job("a") };
    let before = faulty.calls(Operation::Insert);
    let (refused, made) =
        tokio::join!(running.broker.enqueue(clash), running.broker.enqueue(new_job("a")));
    assert!(matches!(refused, Err(Error::Exists { .. })));
    assert!(made.is_ok());
    assert_eq!(faulty.calls(Operation::Insert) - before, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_with_a_request_is_made_once_whatever_its_queues() {
    let running = running().await;
    let jobs = || (0..).zip(["a", "b", "a"].map(new_job)).collect::<Vec<_>>();
    let first = running.broker.enqueue_each(jobs(), Some(identified(1))).await;
    assert_eq!(outcomes(&first), [EnqueueOutcome::Created; 3]);
    let again = running.broker.enqueue_each(jobs(), Some(identified(1))).await;
    assert_eq!(outcomes(&again), [EnqueueOutcome::Replayed; 3]);
    for (first, again) in first.iter().zip(&again) {
        assert_eq!(first.as_ref().unwrap().job.name, again.as_ref().unwrap().job.name);
    }
    let misused = running.broker.enqueue_each(jobs(), Some(identified(2))).await;
    assert!(misused.iter().all(|one| one.as_ref().is_err_and(|why| *why == Error::RequestReused)));
    running.stop().await;
}

#[tokio::test]
async fn what_was_refused_is_decided_anew_when_the_batch_is_repeated() {
    let running = running().await;
    let taken = running.enqueue("a").await;
    let clash = || NewJob { id: Some(taken.name.id.clone()), ..new_job("a") };
    let jobs = || vec![(0, new_job("a")), (1, clash()), (2, new_job("a"))];
    for expected in [EnqueueOutcome::Created, EnqueueOutcome::Replayed] {
        let answers = running.broker.enqueue_each(jobs(), Some(identified(1))).await;
        assert_eq!(answers[0].as_ref().unwrap().outcome, expected);
        assert!(matches!(answers[1], Err(Error::Exists { .. })));
        assert_eq!(answers[2].as_ref().unwrap().outcome, expected);
    }
    // Without the second job, the third is not taken for it.
    let fewer = vec![(0, new_job("a")), (2, new_job("a"))];
    let answers = running.broker.enqueue_each(fewer, Some(identified(1))).await;
    assert!(answers.iter().all(|one| one.as_ref().is_err_and(|why| *why == Error::RequestReused)));
    running.stop().await;
}

#[tokio::test]
async fn a_whole_batch_with_a_request_is_made_once() {
    let running = running().await;
    let jobs = || vec![new_job("a"), new_job("a")];
    let first = running.broker.enqueue_all(jobs(), Some(identified(1))).await.unwrap();
    assert_eq!(outcomes(&first), [EnqueueOutcome::Created; 2]);
    let again = running.broker.enqueue_all(jobs(), Some(identified(1))).await.unwrap();
    assert_eq!(outcomes(&again), [EnqueueOutcome::Replayed; 2]);
    running.stop().await;
}

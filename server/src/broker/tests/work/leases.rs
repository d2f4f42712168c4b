//! Leases that go over to a new stream, and those that are lost.

use super::*;

#[tokio::test]
async fn a_new_stream_takes_over_what_its_worker_holds_and_ends_the_old_one() {
    let running = running().await;
    for _ in 0..3 {
        running.enqueue("a").await;
    }
    let (mut old, mut jobs) = Worker::holding(&running, hello(), 1).await;
    old.say(Body::Credit(3));
    jobs.push(old.delivery().await.job);
    jobs.push(old.delivery().await.job);
    // It had the second one, too, but the old stream did not hear of it.
    let held = jobs[..2].iter().map(|job| job.token().unwrap()).collect();
    let (mut new, welcome) = Worker::open(&running, Hello { held, ..hello() }).await;
    assert!(old.end().await.is_none());
    let verdicts: Vec<_> = welcome.held.iter().map(|(_, remaining)| *remaining).collect();
    assert_eq!(verdicts, [Some(30 * SECOND), Some(30 * SECOND)]);
    running.until(&jobs[2], State::Ready).await;
    assert_eq!(attempts(&running, &jobs[2]).await, (State::Ready, 0, 1));
    for job in &jobs[..2] {
        let seq = new.ack(job);
        let Reply::Settled(answered, answer) = new.next().await else { panic!("not settled") };
        let Answer::Acked(settled) = *answer else { panic!("not acked") };
        assert_eq!((answered, settled.outcome), (seq, Outcome::Settled));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_lost_is_told_so_at_the_beginning() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    running.clock.advance(30 * SECOND);
    running.until(&job, State::Ready).await;
    let hello = Hello { held: vec![token.clone()], ..hello() };
    let (_worker, welcome) = Worker::open(&running, hello).await;
    assert_eq!(welcome.held, [(token, None)]);
    running.stop().await;
}

#[tokio::test]
async fn a_called_off_lease_is_told_at_once() {
    let running = running().await;
    for _ in 0..2 {
        running.enqueue("a").await;
    }
    let (mut worker, jobs) = Worker::holding(&running, hello(), 2).await;
    let request = cancel::CancelRequest {
        name: jobs[0].name.clone(),
        reason: "no longer wanted".to_owned(),
        grace: 7 * SECOND,
        etag: String::new(),
        actor: String::new(),
    };
    running.broker.cancel(request).await.unwrap();
    let Directive::Cancel(token, reason, within) = worker.directive().await else {
        panic!("no cancellation")
    };
    assert_eq!((&token.name, reason.as_str()), (&jobs[0].name, "no longer wanted"));
    assert_eq!(within, 7 * SECOND);
    running.broker.revoke_lease(&jobs[1].name, &operate::Asked::default()).await.unwrap();
    assert_eq!(lost(&worker.directive().await), jobs[1].name);
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_comes_again_tells_its_worker_that_the_last_lease_is_lost() {
    let (running, faulty) = on_faulty().await;
    running.enqueue("a").await;
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    // The stream does not get to know by asking.
    faulty.hold(Some(Operation::Extend));
    running.broker.revoke_lease(&jobs[0].name, &operate::Asked::default()).await.unwrap();
    worker.say(Body::Credit(2));
    let Directive::LeaseLost(token, _) = worker.directive().await else { panic!("no lost lease") };
    assert_eq!(Some(&*token), jobs[0].token().as_ref());
    assert_eq!(worker.delivery().await.job.name, jobs[0].name);
    faulty.hold(None);
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_runs_out_is_told() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (mut worker, _) = Worker::holding(&running, hello(), 1).await;
    worker.live(&running.clock, 10 * SECOND, 3).await;
    running.until(&job, State::Ready).await;
    worker.live(&running.clock, SECOND, 2).await;
    assert_eq!(lost(&worker.directive().await), job.name);
    running.stop().await;
}

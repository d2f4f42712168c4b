//! How streams end.

use super::*;

#[tokio::test]
async fn a_silent_worker_loses_its_stream_but_not_what_it_received() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let long = Hello { lease_duration: Some(60 * SECOND), ..hello() };
    let (mut worker, welcome) = Worker::open(&running, long).await;
    assert_eq!(welcome.ping_interval, 20 * SECOND);
    worker.say(Body::Credit(1));
    worker.delivery().await;
    worker.ping(1).await;
    worker.say(Body::Settle(Settle::Extend(
        job_token(&running, &job).await,
        Extend { lease_duration: Some(LONG * 10), ..Extend::default() },
    )));
    worker.next().await;
    running.clock.advance(60 * SECOND);
    assert!(matches!(worker.end().await, Some(End::Failed(Error::Silent))));
    assert_eq!(attempts(&running, &job).await, (State::Leased, 1, 1));
    running.stop().await;
}

#[tokio::test]
async fn an_old_stream_is_to_be_opened_anew_and_ends_in_good_order() {
    let running = running().await;
    let (mut worker, _) = Worker::open(&running, hello()).await;
    worker.say(Body::Credit(10));
    worker.live(&running.clock, 10 * SECOND, 24 * 6 - 1).await;
    assert!(worker.heard.is_empty(), "{:?}", worker.heard);
    for _ in 0..=12 * 6 {
        if worker.heard.is_empty() {
            worker.live(&running.clock, 10 * SECOND, 1).await;
        }
    }
    let Directive::Reconnect(within) = worker.directive().await else { panic!("no reconnect") };
    running.enqueue("a").await;
    worker.live(&running.clock, within / 2, 1).await;
    running.clock.advance(within / 2);
    assert!(worker.end().await.is_none());
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_says_goodbye_gets_nothing_more_from_this_broker() {
    for release in [true, false] {
        let running = running().await;
        let job = running.enqueue("a").await;
        let other = running.enqueue("a").await;
        let (mut worker, _) = Worker::holding(&running, hello(), 1).await;
        worker.say(Body::Credit(2));
        worker.delivery().await;
        let mut waiting = Box::pin(running.lease(&["b"], LONG));
        assert!(waiting.as_mut().now_or_never().is_none());
        worker.say(Body::Goodbye { release });
        assert!(worker.end().await.is_none());
        assert_eq!(waiting.await.empty, Empty::Draining);
        running.until(&other, State::Ready).await;
        let expected = if release { (State::Ready, 0, 1) } else { (State::Leased, 1, 1) };
        assert_eq!(attempts(&running, &job).await, expected);
        assert_eq!(running.lease(&["a"], LONG).await.empty, Empty::Draining);
        let (mut again, _) = Worker::open(&running, hello()).await;
        assert!(matches!(again.directive().await, Directive::Drain(_, None)));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_drained_worker_gets_no_job_and_settles_what_it_holds() {
    let running = running().await;
    running.enqueue("a").await;
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    running.broker.drain_worker(&WorkerId::parse("w1").unwrap(), "").await.unwrap();
    assert!(matches!(worker.directive().await, Directive::Drain(_, None)));
    let late = running.enqueue("a").await;
    worker.say(Body::Credit(5));
    worker.ack(&jobs[0]);
    assert!(matches!(worker.next().await, Reply::Settled(..)));
    worker.ping(1).await;
    assert_eq!(running.state(&late).await, State::Ready);
    running.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_broker_drains_and_nothing_is_held() {
    let running = running().await;
    let (first, second) = (running.enqueue("a").await, running.enqueue("a").await);
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    worker.say(Body::Credit(2));
    worker.delivery().await;
    running.broker.drain();
    let Directive::Drain(_, Some(_)) = worker.directive().await else { panic!("no drain") };
    running.until(&second, State::Ready).await;
    worker.ack(&jobs[0]);
    assert!(matches!(worker.next().await, Reply::Settled(..)));
    assert!(worker.end().await.is_none());
    assert_eq!(running.state(&first).await, State::Succeeded);
    running.stop().await;
}

/// The time that a worker has then is real time, which passes by itself when all is at rest.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_broker_in_time_whatever_is_held() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (mut worker, _) = Worker::holding(&running, hello(), 1).await;
    running.broker.drain();
    assert!(matches!(worker.directive().await, Directive::Drain(_, Some(_))));
    assert!(worker.end().await.is_none());
    assert_eq!(attempts(&running, &job).await, (State::Leased, 1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_vanishes_keeps_what_it_received_and_its_acks_are_made() {
    let running = running().await;
    for _ in 0..3 {
        running.enqueue("a").await;
    }
    let (mut worker, jobs) = Worker::holding(&running, hello(), 2).await;
    worker.say(Body::Credit(3));
    let unreceived = worker.delivery().await.job;
    worker.ack(&jobs[0]);
    worker.ping(2).await;
    drop(worker);
    running.until(&unreceived, State::Ready).await;
    running.until(&jobs[0], State::Succeeded).await;
    assert_eq!(attempts(&running, &jobs[1]).await, (State::Leased, 1, 1));
    running.stop().await;
}

#[tokio::test]
async fn what_ends_a_stream_before_its_hello_is_told() {
    let running = running().await;
    let refused = stream::iter([Err(Lost::Refused("no hello"))]);
    let mut outlet = running.broker.work::<Wrong, _>(refused);
    assert!(matches!(outlet.next().await, Some(Err(End::Refused("no hello")))));
    let mut silent = running.broker.work::<Wrong, _>(stream::pending());
    assert!(silent.next().now_or_never().is_none());
    tokio::task::yield_now().await;
    running.clock.advance(30 * SECOND);
    assert!(matches!(silent.next().await, Some(Err(End::Failed(Error::Silent)))));
    running.stop().await;
}

//! What is received, and what extends it.

use super::*;

#[tokio::test]
async fn a_delivery_that_is_not_received_in_time_goes_back_and_keeps_others_from_coming() {
    let running = running().await;
    let (first, second) = (running.enqueue("a").await, running.enqueue("a").await);
    let (mut worker, _) = Worker::open(&running, hello()).await;
    worker.say(Body::Credit(1));
    worker.delivery().await;
    running.clock.advance(5 * SECOND);
    assert_eq!(lost(&worker.directive().await), first.name);
    running.until(&first, State::Ready).await;
    assert_eq!(attempts(&running, &first).await, (State::Ready, 0, 1));
    worker.say(Body::Credit(2));
    worker.ping(0).await;
    assert!(worker.heard.is_empty(), "it seems not to read");
    worker.ping(1).await;
    assert_eq!(worker.delivery().await.job.name, first.name, "back at the front of its line");
    assert_eq!(running.state(&second).await, State::Ready);
    running.stop().await;
}

#[tokio::test]
async fn a_short_lease_that_is_not_received_does_not_count_either() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let short = Hello { lease_duration: Some(2 * SECOND), ..hello() };
    let (mut worker, _) = Worker::open(&running, short).await;
    worker.say(Body::Credit(1));
    worker.delivery().await;
    running.clock.advance(Duration::from_millis(1500));
    assert_eq!(lost(&worker.directive().await), job.name);
    running.until(&job, State::Ready).await;
    assert_eq!(attempts(&running, &job).await, (State::Ready, 0, 1));
    running.stop().await;
}

#[tokio::test]
async fn no_more_bytes_are_on_their_way_than_four_messages_have() {
    let running = running().await;
    let data = Bytes::from(vec![0; 1000]);
    for _ in 0..10 {
        let payload = Some(Payload { data: data.clone(), ..Payload::default() });
        let new = NewJob::new(name("a"), Spec { payload, ..Spec::default() });
        running.broker.enqueue(new).await.unwrap();
    }
    // One job is more than half of such a message.
    let (mut worker, _) = Worker::open(&running, Hello { max_bytes: 2000, ..hello() }).await;
    worker.say(Body::Credit(10));
    let mut sent = 0;
    while sent < 4 {
        sent = worker.delivery().await.number;
    }
    running.broker.dispatcher.rest().await.unwrap();
    worker.ping(0).await;
    sent += u64::try_from(worker.heard.drain(..).count()).unwrap();
    assert!((4..=8).contains(&sent), "{sent}");
    worker.ping(sent).await;
    assert_eq!(worker.delivery().await.number, sent + 1);
    running.stop().await;
}

#[tokio::test]
async fn any_frame_extends_what_was_received_but_not_at_every_frame() {
    let running = running().await;
    let (received, other) = (running.enqueue("a").await, running.enqueue("a").await);
    let extending = Hello { auto_extend: true, ..hello() };
    let (mut worker, _) = Worker::holding(&running, extending, 1).await;
    worker.say(Body::Credit(2));
    worker.delivery().await;
    let end = async |job: &Job| running.broker.get(&job.name).await.unwrap().at;
    let first = START.after(30 * SECOND);
    running.clock.advance(4 * SECOND);
    worker.ping(1).await;
    assert_eq!(end(&received).await, first, "most of its time is left");
    running.clock.advance(SECOND);
    assert_eq!(lost(&worker.directive().await), other.name);
    running.clock.advance(5 * SECOND);
    worker.ping(2).await;
    let mut signals = running.store.signals();
    while end(&received).await == first {
        let _any = signals.recv().now_or_never();
        worker.ping(2).await;
    }
    assert_eq!(end(&received).await, START.after(40 * SECOND));
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_shorter_than_the_pings_is_extended_when_it_is_received() {
    let running = running().await;
    let spec = Spec { lease_duration: Some(2 * SECOND), ..Spec::default() };
    let job = running.broker.enqueue(NewJob::new(name("a"), spec)).await.unwrap().job;
    let extending = Hello { auto_extend: true, ..hello() };
    let (mut worker, jobs) = Worker::holding(&running, extending, 1).await;
    assert_eq!(jobs[0].at, START.after(2 * SECOND));
    while running.broker.get(&job.name).await.unwrap().at != START.after(30 * SECOND) {
        worker.ping(1).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_heartbeat_of_one_worker_is_one_store_call() {
    let store = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
    let running = running_on(Arc::clone(&store) as Arc<dyn Store>);
    running.broker.enqueue_all((0..50).map(|_| new_job("a")).collect(), None).await.unwrap();
    let extending = Hello { auto_extend: true, ..hello() };
    let (mut worker, jobs) = Worker::holding(&running, extending, 50).await;
    running.clock.advance(10 * SECOND);
    let calls = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let calls = Arc::clone(&calls);
        store.before_next(Operation::Extend, async move {
            calls.fetch_add(1, Ordering::Relaxed);
        });
    }
    worker.ping(50).await;
    for job in &jobs {
        while running.broker.get(&job.name).await.unwrap().at != START.after(40 * SECOND) {
            tokio::task::yield_now().await;
        }
    }
    worker.ping(50).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    running.stop().await;
}

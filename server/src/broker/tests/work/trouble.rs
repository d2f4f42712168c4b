//! Workers and stores that do not do as they should.

use super::*;

#[tokio::test]
async fn a_frame_that_is_wrong_is_answered_and_the_stream_goes_on() {
    let running = running().await;
    running.enqueue("a").await;
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    let wrong = worker.say(Body::Wrong("no sense"));
    let Reply::Wrong(seq, why) = worker.next().await else { panic!("not told") };
    assert_eq!((seq, why), (wrong, "no sense"));
    worker.received_through = 2;
    let early = worker.ack(&jobs[0]);
    let Reply::Failed(seq, error) = worker.next().await else { panic!("not refused") };
    assert_eq!((seq, error), (early, Error::NotSent { told: 2, sent: 1 }));
    worker.received_through = 1;
    for expected in [Ok(()), Err(Outcome::AlreadySettled)] {
        worker.ack(&jobs[0]);
        let Reply::Settled(_, answer) = worker.next().await else { panic!("not settled") };
        let Answer::Acked(settled) = *answer else { panic!("not acked") };
        assert_eq!(settled.outcome, expected.err().unwrap_or(Outcome::Settled));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_failing_store_fails_the_settles_in_it_and_they_may_come_again() {
    let store = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
    let running = running_on(Arc::clone(&store) as Arc<dyn Store>);
    for _ in 0..2 {
        running.enqueue("a").await;
    }
    let (mut worker, jobs) = Worker::holding(&running, hello(), 2).await;
    store.fail_next(Operation::Commit, Fault::After);
    let failed = worker.ack(&jobs[0]);
    let Reply::Failed(seq, Error::Unavailable(_)) = worker.next().await else { panic!("no fault") };
    assert_eq!(seq, failed);
    let answers = [(&jobs[0], Outcome::AlreadySettled), (&jobs[1], Outcome::Settled)];
    for (job, outcome) in answers {
        worker.ack(job);
        let Reply::Settled(_, answer) = worker.next().await else { panic!("not settled") };
        let Answer::Acked(settled) = *answer else { panic!("not acked") };
        assert_eq!(settled.outcome, outcome);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_gives_no_jobs_for_a_while_is_asked_again() {
    let store = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
    let running = running_on(Arc::clone(&store) as Arc<dyn Store>);
    let job = running.enqueue("a").await;
    let (mut worker, _) = Worker::open(&running, hello()).await;
    store.fail_next(Operation::Claim, Fault::Before);
    worker.say(Body::Credit(1));
    worker.ping(0).await;
    running.broker.dispatcher.rest().await.unwrap();
    worker.ping(0).await;
    running.clock.advance(SECOND);
    assert_eq!(worker.delivery().await.job.name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_reads_no_answers_is_not_read_and_misses_none() {
    let running = running().await;
    let (mut worker, _) = Worker::open(&running, hello()).await;
    for _ in 0..5000 {
        worker.say(Body::Ping);
    }
    // Until the stream rests.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let read = worker.read.load(Ordering::Relaxed);
    assert!(read < 1500, "{read}");
    for seq in 2..=worker.seq {
        let Reply::Pong(number) = worker.next().await else { panic!("not answered") };
        assert_eq!(number, seq);
    }
    running.stop().await;
}

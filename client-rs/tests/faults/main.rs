//! How the client bears faults, against a broker that answers by a script.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod broker;
mod join;
mod stream;
mod work;

use std::time::Duration;

use broker::{Broker, page};
use lessor::proto::watch_events_request::Start;
use lessor::{Client, Code, EnqueueOutcome, JobState, LeaseOptions, NewJob, WatchOptions};
use tokio::net::TcpListener;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

#[tokio::test]
async fn a_repeated_enqueue_keeps_its_request_id() {
    let broker = Broker::start().await;
    broker.enqueue(Err(Status::unavailable("store is away")));
    broker.enqueue(Err(Status::unavailable("store is away")));
    broker.enqueue(Ok(EnqueueOutcome::Replayed));
    let client = Client::connect(broker.url()).unwrap();

    let enqueued = client.enqueue(NewJob::new("emails")).await.unwrap();

    assert_eq!(enqueued.outcome, EnqueueOutcome::Replayed);
    let ids: Vec<String> = broker.enqueued().into_iter().map(|it| it.request_id).collect();
    assert_eq!(ids.len(), 3);
    assert!(!ids[0].is_empty() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn two_enqueues_have_two_request_ids() {
    let broker = Broker::start().await;
    broker.enqueue(Ok(EnqueueOutcome::Created));
    broker.enqueue(Ok(EnqueueOutcome::Created));
    let client = Client::connect(broker.url()).unwrap();

    client.enqueue(NewJob::new("emails")).await.unwrap();
    client.enqueue(NewJob::new("emails")).await.unwrap();

    let asked = broker.enqueued();
    assert_ne!(asked[0].request_id, asked[1].request_id);
}

#[tokio::test]
async fn only_a_passing_fault_is_tried_again() {
    let broker = Broker::start().await;
    broker.enqueue(Err(Status::resource_exhausted("queue is full")));
    let client = Client::connect(broker.url()).unwrap();

    let error = client.enqueue(NewJob::new("emails")).await.unwrap_err();

    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(broker.enqueued().len(), 1);
}

#[tokio::test]
async fn a_pause_beyond_the_deadline_is_left_to_the_caller() {
    let broker = Broker::start().await;
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(Duration::from_mins(1)));
    broker.enqueue(Err(Status::with_error_details(Code::Unavailable, "draining", details)));
    let client = Client::connect(broker.url()).unwrap();

    let error = client.enqueue(NewJob::new("emails")).await.unwrap_err();

    assert!(error.is_unavailable());
    assert_eq!(error.retry_after(), Some(Duration::from_mins(1)));
    assert_eq!(broker.enqueued().len(), 1);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_unavailable() {
    let url = Broker::start().await.stop().await;
    let client = Client::builder(&url).timeout(Duration::from_millis(200)).connect().unwrap();

    let error = client.get_job("queues/emails/jobs/1").await.unwrap_err();

    assert!(error.is_unavailable(), "{error:?}");
    assert!(error.to_string().starts_with(&format!("no answer from {url}: ")), "{error}");
}

#[tokio::test]
async fn a_call_that_is_cut_off_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::connect(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let cut_once = async {
        let (connection, _) = listener.accept().await.unwrap();
        connection.readable().await.unwrap();
        drop(connection);
        let broker = Broker::serve(listener);
        broker.enqueue(Ok(EnqueueOutcome::Created));
        broker
    };

    let (enqueued, _broker) = tokio::join!(client.enqueue(NewJob::new("emails")), cut_once);

    assert_eq!(enqueued.unwrap().outcome, EnqueueOutcome::Created);
}

#[tokio::test]
async fn a_broker_that_is_silent_runs_into_the_deadline() {
    let broker = Broker::start().await;
    let client =
        Client::builder(broker.url()).timeout(Duration::from_millis(50)).connect().unwrap();

    let error = client.enqueue(NewJob::new("emails")).await.unwrap_err();

    assert_eq!(error.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_lease_may_take_as_long_as_it_waits() {
    let broker = Broker::start().await;
    let client = Client::builder(broker.url()).worker_id("w1").connect().unwrap();
    let options = LeaseOptions::new(["emails"]).wait(Duration::from_secs(30));

    let leased = client.lease(&options).await.unwrap();

    assert!(leased.jobs.is_empty() && leased.empty_reason.is_some());
    let (request, timeout) = broker.leased();
    assert_eq!(request.worker_id, "w1");
    assert!(!request.request_id.is_empty());
    assert!(timeout > Duration::from_secs(30) && timeout <= Duration::from_secs(35), "{timeout:?}");
}

#[tokio::test]
async fn a_watch_that_is_cut_goes_on_after_its_last_page() {
    let broker = Broker::start().await;
    broker.watch(vec![Ok(page("c1")), Ok(page("c2")), Err(Status::unavailable("draining"))]);
    broker.watch(vec![Ok(page("c3"))]);
    let client = Client::connect(broker.url()).unwrap();

    let mut watch = client.watch(WatchOptions::queues(["*"]).oldest()).await.unwrap();
    let mut cursors = Vec::new();
    while let Some(page) = watch.next().await {
        cursors.push(page.unwrap().cursor);
    }

    assert_eq!(cursors, ["c1", "c2", "c3"]);
    assert_eq!(watch.cursor(), Some("c3"));
    let starts: Vec<_> = broker.watched().into_iter().filter_map(|it| it.start).collect();
    assert_eq!(starts, [Start::Oldest(true), Start::Cursor("c2".to_owned())]);
}

#[tokio::test]
async fn a_watch_may_leave_the_break_to_its_caller() {
    let broker = Broker::start().await;
    broker.watch(vec![Ok(page("c1")), Err(Status::unavailable("draining"))]);
    let client = Client::connect(broker.url()).unwrap();

    let options = WatchOptions::queues(["*"]).resume(false);
    let mut watch = client.watch(options).await.unwrap();

    assert_eq!(watch.next().await.unwrap().unwrap().cursor, "c1");
    assert!(watch.next().await.unwrap().unwrap_err().is_unavailable());
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_cursor_that_is_gone_ends_the_watch() {
    let broker = Broker::start().await;
    broker.watch(vec![Err(Status::out_of_range("cursor is trimmed"))]);
    let client = Client::connect(broker.url()).unwrap();

    let mut watch = client.watch(WatchOptions::queues(["*"]).cursor("c0")).await.unwrap();

    assert_eq!(watch.next().await.unwrap().unwrap_err().code(), Code::OutOfRange);
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_wait_that_a_broker_cuts_short_goes_on() {
    let broker = Broker::start().await;
    broker.wait(false);
    broker.wait(true);
    let client = Client::connect(broker.url()).unwrap();

    let day = Duration::from_hours(24);
    let reply = client.wait_job("queues/emails/jobs/1", &[JobState::Leased], day).await.unwrap();

    assert!(reply.reached);
    let asked = broker.waited();
    assert_eq!(asked.len(), 2);
    for request in asked {
        // What is longer than one call may be is left to the next one.
        assert_eq!(lessor::span::read(request.wait), Duration::from_mins(1));
        assert_eq!(request.until, [i32::from(JobState::Leased)]);
    }
}

#[tokio::test]
async fn a_wait_that_is_over_says_so() {
    let broker = Broker::start().await;
    broker.wait(false);
    let client = Client::connect(broker.url()).unwrap();

    let reply = client.wait_job("queues/emails/jobs/1", &[], Duration::ZERO).await.unwrap();

    assert!(!reply.reached);
    assert_eq!(broker.waited().len(), 1);
}

//! Concurrent enqueues of one client ride together, and none suffers from another's fate.

#![expect(clippy::disallowed_methods, reason = "a test's callers end with its runtime")]

use std::time::Duration;

use lessor::proto::BatchEnqueueRequest;
use lessor::{Client, Code, EnqueueOutcome, Enqueued, NewJob, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::broker::Broker;

const CREATED: std::result::Result<EnqueueOutcome, Status> = Ok(EnqueueOutcome::Created);

fn job(name: &str) -> NewJob {
    NewJob::new("emails").job_type(name)
}

fn enqueue(client: &Client, job: NewJob) -> JoinHandle<Result<Enqueued>> {
    let client = client.clone();
    tokio::spawn(async move { client.enqueue(job).await })
}

fn types(batch: &BatchEnqueueRequest) -> Vec<&str> {
    batch.requests.iter().map(|job| job.r#type.as_str()).collect()
}

/// Puts two calls under way, whose answers are still to come, and lets jobs of these names wait for
/// the next one.
async fn waiting(
    broker: &Broker,
    client: &Client,
    names: &[&str],
) -> (Vec<JoinHandle<Result<Enqueued>>>, Vec<JoinHandle<Result<Enqueued>>>) {
    let mut first = Vec::new();
    for count in 1..=2 {
        first.push(enqueue(client, job("first")));
        broker.was_asked(count, 0).await;
    }
    let rest = names.iter().map(|name| enqueue(client, job(name))).collect();
    // They are polled in this order.
    tokio::task::yield_now().await;
    (first, rest)
}

async fn name(enqueue: JoinHandle<Result<Enqueued>>) -> String {
    enqueue.await.unwrap().unwrap().job.name
}

async fn error(enqueue: JoinHandle<Result<Enqueued>>) -> lessor::Error {
    enqueue.await.unwrap().unwrap_err()
}

#[tokio::test]
async fn jobs_that_come_while_two_calls_are_under_way_make_the_next_one() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let (first, rest) = waiting(&broker, &client, &["a", "b", "c"]).await;

    broker.enqueue(CREATED);
    broker.was_asked(2, 1).await;
    broker.batch(Ok(vec![CREATED; 3]));
    broker.enqueue(CREATED);

    for (enqueue, id) in rest.into_iter().zip(["a", "b", "c"]) {
        assert_eq!(name(enqueue).await, format!("queues/emails/jobs/{id}"));
    }
    for enqueue in first {
        name(enqueue).await;
    }
    let batch = &broker.batches()[0];
    assert_eq!(types(batch), ["a", "b", "c"]);
    assert!(batch.allow_partial);
    assert_eq!(broker.enqueued().len(), 2);
}

#[tokio::test]
async fn tasks_that_are_ready_together_ride_together() {
    let broker = Broker::start().await;
    broker.batch(Ok(vec![CREATED; 8]));
    let client = Client::connect(broker.url()).unwrap();

    let enqueues: Vec<_> = (0..8).map(|_| enqueue(&client, job("a"))).collect();
    for enqueue in enqueues {
        name(enqueue).await;
    }

    assert_eq!((broker.enqueued().len(), broker.batches().len()), (0, 1));
}

#[tokio::test]
async fn a_crowd_travels_in_two_calls_of_half_of_it() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let names = ["a", "b"].map(|name| [name; 8]).concat();
    let enqueues: Vec<_> = names.iter().map(|name| enqueue(&client, job(name))).collect();

    // Both are under way before the first is answered.
    broker.was_asked(0, 2).await;
    for _ in 0..2 {
        broker.batch(Ok(vec![CREATED; 8]));
    }
    for enqueue in enqueues {
        name(enqueue).await;
    }

    let batches = broker.batches();
    assert_eq!(batches.iter().map(types).collect::<Vec<_>>(), [["a"; 8], ["b"; 8]]);
}

#[tokio::test]
async fn a_job_that_is_refused_is_refused_alone() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let (_first, rest) = waiting(&broker, &client, &["a", "bad", "c"]).await;

    broker.enqueue(CREATED);
    broker.batch(Ok(vec![CREATED, Err(Status::invalid_argument("bad")), CREATED]));

    let [a, bad, c] = <[_; 3]>::try_from(rest).unwrap();
    assert_eq!(name(a).await, "queues/emails/jobs/a");
    assert_eq!(error(bad).await.code(), Code::InvalidArgument);
    assert_eq!(name(c).await, "queues/emails/jobs/c");
}

#[tokio::test]
async fn a_call_that_fails_fails_those_in_it_and_nobody_else() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let (first, rest) = waiting(&broker, &client, &["a", "b"]).await;

    broker.enqueue(CREATED);
    broker.batch(Err(Status::permission_denied("not yours")));
    broker.was_asked(2, 1).await;
    for enqueue in rest {
        assert_eq!(error(enqueue).await.code(), Code::PermissionDenied);
    }

    broker.enqueue(CREATED);
    for enqueue in first {
        name(enqueue).await;
    }
}

#[tokio::test]
async fn a_call_is_repeated_with_the_same_ids() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let (_first, rest) = waiting(&broker, &client, &["a", "b"]).await;

    broker.batch(Err(Status::unavailable("store is away")));
    broker.batch(Ok(vec![Ok(EnqueueOutcome::Replayed), CREATED]));
    broker.enqueue(CREATED);

    for enqueue in rest {
        name(enqueue).await;
    }
    let [first, second] = <[_; 2]>::try_from(broker.batches()).unwrap();
    assert_eq!(first, second);
    assert!(!first.request_id.is_empty());
    assert!(first.requests.iter().all(|job| job.request_id.is_empty()));
}

#[tokio::test]
async fn a_call_with_an_open_job_is_repeated_before_anybody_hears_of_a_refusal() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let (_first, rest) = waiting(&broker, &client, &["made", "open", "refused"]).await;

    let (away, full) = (Status::unavailable("away"), Status::resource_exhausted("full"));
    broker.batch(Ok(vec![CREATED, Err(away), Err(full.clone())]));
    broker.enqueue(CREATED);
    let [made, open, refused] = <[_; 3]>::try_from(rest).unwrap();
    assert_eq!(made.await.unwrap().unwrap().outcome, EnqueueOutcome::Created);
    broker.was_asked(2, 2).await;
    assert!(!refused.is_finished());
    // There is room by now.
    broker.batch(Ok(vec![Ok(EnqueueOutcome::Replayed), Err(full), CREATED]));

    assert_eq!(error(open).await.code(), Code::ResourceExhausted);
    assert_eq!(name(refused).await, "queues/emails/jobs/refused");
}

#[tokio::test]
async fn a_call_whose_tries_are_used_up_tells_each_the_last_word() {
    let broker = Broker::start().await;
    let client =
        Client::builder(broker.url()).timeout(Duration::from_millis(50)).connect().unwrap();
    let away = || Err(Status::unavailable("away"));
    broker.batch(Ok(vec![away(), Err(Status::resource_exhausted("full"))]));

    let (open, full) = tokio::join!(client.enqueue(job("a")), client.enqueue(job("b")));

    assert_eq!(open.unwrap_err().code(), Code::Unavailable);
    assert_eq!(full.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nobody_with_it() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let (_first, rest) = waiting(&broker, &client, &["a", "gone", "c"]).await;

    rest[1].abort();
    tokio::task::yield_now().await;
    broker.enqueue(CREATED);
    broker.was_asked(2, 1).await;
    // One more leaves while its job travels.
    rest[0].abort();
    broker.batch(Ok(vec![CREATED; 2]));

    assert_eq!(name(rest.into_iter().nth(2).unwrap()).await, "queues/emails/jobs/c");
    assert_eq!(types(&broker.batches()[0]), ["a", "c"]);
}

#[tokio::test]
async fn a_batch_that_is_cut_off_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::connect(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let cut_once = async {
        let (connection, _) = listener.accept().await.unwrap();
        connection.readable().await.unwrap();
        drop(connection);
        let broker = Broker::serve(listener);
        broker.batch(Ok(vec![CREATED; 2]));
        broker
    };

    let (a, b, _broker) =
        tokio::join!(client.enqueue(job("a")), client.enqueue(job("b")), cut_once);

    assert_eq!(a.unwrap().job.name, "queues/emails/jobs/a");
    assert_eq!(b.unwrap().job.name, "queues/emails/jobs/b");
}

#[tokio::test]
async fn an_id_of_ones_own_is_kept_and_rides_only_once_in_a_batch() {
    const ID: &str = "0197a6f0-0000-7000-8000-000000000001";
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let (_first, _rest) = waiting(&broker, &client, &["plain"]).await;
    let spellings = [ID.to_owned(), ID.to_uppercase()];
    let own = spellings.map(|id| enqueue(&client, job("own").request_id(id)));
    let named = [(); 2].map(|()| enqueue(&client, job("named").job_id("7")));
    tokio::task::yield_now().await;

    broker.enqueue(CREATED);
    for count in [2, 2, 1] {
        broker.batch(Ok(vec![CREATED; count]));
    }
    broker.enqueue(CREATED);
    broker.enqueue(CREATED);
    for enqueue in own.into_iter().chain(named) {
        name(enqueue).await;
    }

    let batches = broker.batches();
    let order: Vec<_> = batches.iter().map(types).collect();
    assert_eq!(order, [["plain", "own"], ["own", "named"]]);
    assert_eq!(batches[0].requests[1].request_id, ID);
    assert!(!batches[0].requests[0].request_id.is_empty() && batches[0].request_id.is_empty());
    let alone = broker.enqueued().pop().unwrap();
    assert_eq!((alone.r#type.as_str(), alone.job_id.as_str()), ("named", "7"));
}

#[tokio::test]
async fn a_call_carries_so_many_jobs_and_no_more() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let _enqueues: Vec<_> = (0..600).map(|_| enqueue(&client, job("a"))).collect();

    broker.was_asked(0, 2).await;
    let sizes: Vec<_> = broker.batches().iter().map(|batch| batch.requests.len()).collect();
    assert_eq!(sizes, [256, 256]);
}

#[tokio::test]
async fn a_call_carries_so_many_bytes_and_no_more() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let heavy = || job("a").payload_bytes(vec![0; 400 << 10]);
    let _enqueues = [(); 4].map(|()| enqueue(&client, heavy()));

    broker.was_asked(0, 2).await;
    let sizes: Vec<_> = broker.batches().iter().map(|batch| batch.requests.len()).collect();
    assert_eq!(sizes, [2, 2]);
}

#[tokio::test]
async fn each_caller_has_its_own_deadline() {
    let broker = Broker::start().await;
    let client =
        Client::builder(broker.url()).timeout(Duration::from_millis(300)).connect().unwrap();
    let early = enqueue(&client, job("early"));
    broker.was_asked(1, 0).await;
    assert_eq!(error(early).await.code(), Code::DeadlineExceeded);

    // A silent broker does not keep later jobs from travelling.
    let late = enqueue(&client, job("late"));
    broker.was_asked(2, 0).await;
    broker.enqueue(CREATED);
    broker.enqueue(CREATED);
    name(late).await;
}

#[tokio::test]
async fn the_last_clone_takes_its_calls_with_it() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let enqueue = enqueue(&client, job("a"));
    broker.was_asked(1, 0).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();

    enqueue.abort();
    assert!(enqueue.await.unwrap_err().is_cancelled());
    drop(client);
    // The caller, the task that carried its call, and at least one that served the connection.
    while tasks() > before - 3 {
        tokio::task::yield_now().await;
    }
}

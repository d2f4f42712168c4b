//! A caller waits for a job, or follows it, and misses nothing.

use std::time::Duration;

use lessor_proto::v1;
use lessor_proto::v1::event::Type;
use lessor_proto::v1::job::State;
use lessor_proto::v1::watch_events_request::Start;
use tonic::{Code, Request};

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, bytes_of, data, millis, request, seconds};

on_every_store! {
    a_wait_ends_with_the_job_and_brings_its_result,
    a_wait_that_runs_out_says_so_and_never_exceeds_its_deadline,
    a_wait_ends_when_the_broker_shuts_down,
    a_watch_of_one_job_tells_its_state_its_moves_and_ends,
    a_watch_of_one_job_resumes_after_its_cursor,
    a_watch_can_be_narrowed_by_labels,
    a_job_that_is_unknown_can_not_be_waited_for,
}

fn wait(name: &str) -> v1::WaitJobRequest {
    let wait = Some(seconds(60));
    v1::WaitJobRequest { name: name.to_owned(), wait, ..v1::WaitJobRequest::default() }
}

fn follow(name: &str) -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { job: name.to_owned(), ..v1::WatchEventsRequest::default() }
}

async fn waited(server: &Server, request: v1::WaitJobRequest) -> v1::WaitJobResponse {
    server.broker().wait_job(request).await.unwrap().into_inner()
}

/// All that a watch tells until it ends by itself.
async fn told(server: &Server, request: v1::WatchEventsRequest) -> (Vec<v1::Event>, Vec<String>) {
    let mut stream = server.broker().watch_events(request).await.unwrap().into_inner();
    let (mut events, mut cursors) = (Vec::new(), Vec::new());
    while let Some(page) = stream.message().await.unwrap() {
        events.extend(page.events);
        cursors.push(page.cursor);
    }
    (events, cursors)
}

fn types(events: &[v1::Event]) -> Vec<Type> {
    events.iter().map(v1::Event::r#type).collect()
}

async fn a_wait_ends_with_the_job_and_brings_its_result(server: &mut Server) {
    for _ in 0..10 {
        let name = server.enqueue("mail").await.name;
        let token = server.leased("mail").await.lease_token;
        let acked = v1::AckRequest { result: Some(data("done")), ..ack(&token) };
        let mut broker = server.broker();
        let (answer, acked) = tokio::join!(waited(server, wait(&name)), broker.ack(acked));
        acked.unwrap();
        let job = answer.job.unwrap();
        assert!(answer.reached);
        assert_eq!(job.state(), State::Succeeded);
        assert_eq!(bytes_of(job.result.as_ref()), b"done");
    }
}

async fn a_wait_that_runs_out_says_so_and_never_exceeds_its_deadline(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let now = v1::WaitJobRequest { wait: None, ..wait(&name) };
    assert!(!waited(server, now).await.reached);
    let short = v1::WaitJobRequest { wait: Some(millis(50)), ..wait(&name) };
    let answer = waited(server, short).await;
    assert_eq!((answer.reached, answer.job.unwrap().state()), (false, State::Ready));
    let ready = v1::WaitJobRequest { until: vec![State::Ready.into()], ..wait(&name) };
    assert!(waited(server, ready).await.reached);
    let mut hurried = Request::new(wait(&name));
    hurried.set_timeout(Duration::from_secs(2));
    assert!(!server.broker().wait_job(hurried).await.unwrap().into_inner().reached);
}

async fn a_wait_ends_when_the_broker_shuts_down(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let mut stream = server.broker().watch_events(follow(&name)).await.unwrap().into_inner();
    // Once the watch has begun, the call before it on the same connection has, too.
    let waiting = waited(server, wait(&name));
    let stopping = async {
        stream.message().await.unwrap();
        server.stop();
        stream.message().await.unwrap_err()
    };
    let (answer, status) = tokio::join!(waiting, stopping);
    assert!(!answer.reached);
    assert_eq!(status.code(), Code::Unavailable);
}

async fn a_watch_of_one_job_tells_its_state_its_moves_and_ends(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let other = server.enqueue("mail").await.name;
    let watch = follow(&name);
    let mut stream = server.broker().watch_events(watch.clone()).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().events;
    assert_eq!(types(&first), [Type::JobReady]);
    assert_eq!((first[0].reason.as_str(), first[0].to_state()), ("PRESENT_STATE", State::Ready));
    let token = server.leased("mail").await.lease_token;
    assert_eq!(server.leased("mail").await.job.unwrap().name, other);
    server.acked(&token).await;
    let mut rest = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        rest.extend(page.events);
    }
    assert_eq!(types(&rest), [Type::JobLeased, Type::JobSucceeded]);
    assert!(rest.iter().all(|event| event.job == name));
    // A watch that comes too late is told how it ended.
    let (late, _) = told(server, watch).await;
    assert_eq!(types(&late), [Type::JobSucceeded]);
}

async fn a_watch_of_one_job_resumes_after_its_cursor(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let mut stream = server.broker().watch_events(follow(&name)).await.unwrap().into_inner();
    let cursor = stream.message().await.unwrap().unwrap().cursor;
    drop(stream);
    let token = server.leased("mail").await.lease_token;
    server.acked(&token).await;
    let resumed =
        |cursor| v1::WatchEventsRequest { start: Some(Start::Cursor(cursor)), ..follow(&name) };
    let (events, cursors) = told(server, resumed(cursor)).await;
    assert_eq!(types(&events), [Type::JobLeased, Type::JobSucceeded]);
    let (events, _) = told(server, resumed(cursors.last().unwrap().clone())).await;
    assert_eq!(events, []);
}

async fn a_watch_can_be_narrowed_by_labels(server: &mut Server) {
    let label = |team: &str| [("team".to_owned(), team.to_owned())].into();
    let watch = v1::WatchEventsRequest {
        labels: label("blue"),
        start: Some(Start::Oldest(true)),
        ..v1::WatchEventsRequest::default()
    };
    server.enqueued(v1::EnqueueRequest { labels: label("red"), ..request("mail") }).await;
    let blue = server.enqueued(v1::EnqueueRequest { labels: label("blue"), ..request("mail") });
    let blue = blue.await.name;
    for _ in 0..2 {
        let token = server.leased("mail").await.lease_token;
        server.acked(&token).await;
    }
    let mut stream = server.broker().watch_events(watch).await.unwrap().into_inner();
    let mut events = Vec::new();
    while events.len() < 4 {
        events.extend(stream.message().await.unwrap().unwrap().events);
    }
    assert!(events.iter().all(|event| event.job == blue), "{events:?}");
}

async fn a_job_that_is_unknown_can_not_be_waited_for(server: &mut Server) {
    let name = "queues/mail/jobs/none";
    let watching = server.broker().watch_events(follow(name)).await;
    let refusals = [
        Refusal::of(server.broker().wait_job(wait(name)).await),
        Refusal::of(watching.map(|_| tonic::Response::new(()))),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "JOB_NOT_FOUND"));
    }
}

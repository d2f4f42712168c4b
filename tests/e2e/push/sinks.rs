//! Sinks: events that are sent to an HTTP endpoint.

use std::cell::Cell;

use lessor_proto::v1;
use lessor_proto::v1::event::Type;
use lessor_proto::v1::job::State;
use lessor_proto::v1::nack_request::Disposition;
use lessor_server::config::RawSink;

use super::endpoint::Endpoint;
use crate::server::{Server, lease, nack, sinking_case};

const QUEUE: &str = "lessor.sink.alerts";

fn sink(endpoint: &Endpoint, types: &[&str]) -> RawSink {
    RawSink {
        name: "alerts".to_owned(),
        types: types.iter().map(|it| (*it).to_owned()).collect(),
        uri: endpoint.push().uri,
        ..RawSink::default()
    }
}

async fn stats(server: &Server, queue: &str) -> v1::QueueStats {
    let request = v1::GetQueueStatsRequest { name: queue.to_owned() };
    server.admin().get_queue_stats(request).await.unwrap().into_inner()
}

/// Waits until a broker has begun to follow: its sink's queue has its endpoint.
async fn followed(server: &Server) {
    crate::watch::wait_for(server, |event| {
        event.queue == QUEUE && event.r#type() == Type::QueueUpdated
    })
    .await;
}

#[tokio::test]
async fn an_event_is_sent_once_however_many_brokers_there_are() {
    let mut endpoint = Endpoint::open().await;
    let sink = sink(&endpoint, &["JOB_DEAD"]);
    sinking_case(sink, async |one, other| {
        followed(one).await;
        for round in 1..=3 {
            let job = one.enqueue("work").await;
            let leased = other.leased("work").await;
            let dead = v1::NackRequest {
                disposition: Some(Disposition::Dead(())),
                ..nack(&leased.lease_token)
            };
            other.broker().nack(dead).await.unwrap();
            let call = endpoint.call().await;
            assert_eq!(call.header("lessor-type"), "JOB_DEAD");
            assert_eq!(call.header("content-type"), "application/json");
            let event: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
            assert_eq!((&event["type"], &event["job"]), (&"JOB_DEAD".into(), &job.name.into()));
            let sent = call.header("lessor-job").to_owned();
            call.answer(200, &[], "");
            one.comes_to(&sent, State::Succeeded).await;
            assert_eq!(stats(one, QUEUE).await.enqueued_total, round);
        }
    })
    .await;
}

#[tokio::test]
async fn what_becomes_of_an_event_is_no_event_for_sinks() {
    let mut endpoint = Endpoint::open().await;
    let sink = sink(&endpoint, &["JOB_CREATED", "JOB_SUCCEEDED"]);
    sinking_case(sink, async |one, _| {
        followed(one).await;
        let job = one.enqueue("work").await;
        for (told, of) in [("JOB_CREATED", &job), ("JOB_SUCCEEDED", &job)] {
            let call = endpoint.call().await;
            let event: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
            assert_eq!((&event["type"], &event["job"]), (&told.into(), &(&*of.name).into()));
            let sent = call.header("lessor-job").to_owned();
            call.answer(200, &[], "");
            one.comes_to(&sent, State::Succeeded).await;
            if told == "JOB_CREATED" {
                let leased = one.leased("work").await;
                one.acked(&leased.lease_token).await;
            }
        }
        assert_eq!(stats(one, QUEUE).await.enqueued_total, 2);
    })
    .await;
}

#[tokio::test]
async fn workers_of_any_queue_get_no_events() {
    let mut endpoint = Endpoint::open().await;
    let sink = RawSink { max_parallel: Some(1), ..sink(&endpoint, &["JOB_CREATED"]) };
    sinking_case(sink, async |one, _| {
        followed(one).await;
        let mut names = Vec::new();
        for _ in 0..2 {
            names.push(one.enqueue("work").await.name);
        }
        // One event is under way, the other one is ready.
        let call = endpoint.call().await;
        let made = Cell::new(0);
        crate::watch::wait_for(one, |event| {
            let is_made = event.queue == QUEUE && event.r#type() == Type::JobReady;
            made.set(made.get() + i32::from(is_made));
            made.get() == 2
        })
        .await;
        let any = v1::LeaseRequest { max_jobs: 10, ..lease("*") };
        let leased = one.lease_now(any).await.jobs;
        let got: Vec<String> = leased.into_iter().map(|it| it.job.unwrap().name).collect();
        assert_eq!(got, names);
        call.answer(200, &[], "");
        endpoint.call().await.answer(200, &[], "");
    })
    .await;
}

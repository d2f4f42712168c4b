//! The calls as JSON over plain HTTP, by the Connect protocol.

use std::time::Duration;

use hyper::StatusCode;
use lessor_proto::v1;
use lessor_proto::v1::job::State;
use prost::Message;
use serde_json::{Value, json};

use super::client::{Answer, Http, post};
use crate::on_every_store;
use crate::server::{Server, lease, request};

on_every_store! {
    a_job_is_enqueued_leased_acked_and_read_as_json,
    a_refusal_names_the_field_and_carries_its_details,
    jobs_of_a_reply_that_nobody_waits_for_go_back,
}

const ENQUEUE: &str = "/lessor.v1.JobBroker/Enqueue";

async fn a_job_is_enqueued_leased_acked_and_read_as_json(server: &mut Server) {
    for mut http in Http::both(server.address).await {
        let payload = json!({"json": {"to": "ada@example.com", "copies": 2}});
        let asked = json!({"queue": "emails", "type": "welcome", "payload": payload});
        let (status, enqueued) = http.json("Enqueue", asked).await;
        assert_eq!((status, &enqueued["outcome"]), (StatusCode::OK, &json!("OUTCOME_CREATED")));
        let name = enqueued["job"]["name"].as_str().unwrap().to_owned();
        let asked = json!({"queues": ["emails"], "workerId": "route-1", "wait": "60s"});
        let (status, leased) = http.json("Lease", asked).await;
        assert_eq!(status, StatusCode::OK);
        let job = &leased["jobs"][0];
        assert_eq!(job["job"]["name"], name);
        assert_eq!(job["job"]["payload"]["json"], payload["json"]);
        let settled = json!({"leaseToken": job["leaseToken"], "result": {"json": "sent"}});
        assert_eq!(http.json("Ack", settled).await.0, StatusCode::OK);
        let (status, read) = http.json("GetJob", json!({"name": name})).await;
        assert_eq!((status, &read["state"]), (StatusCode::OK, &json!("STATE_SUCCEEDED")));
        assert_eq!(read["result"]["json"], "sent");
    }
}

async fn a_refusal_names_the_field_and_carries_its_details(server: &mut Server) {
    let mut http = Http::one(server.address).await;
    for (asked, field) in [
        (json!({"queue": "no spaces"}), "queue"),
        (json!({"queue": "mail", "retryPolicy": {"jitter": 7}}), "retry_policy.jitter"),
        (json!({"queue": "mail", "colour": 1}), "colour"),
        (
            json!({"queue": "mail", "retryPolicy": {"maxAttempts": "many"}}),
            "retryPolicy.maxAttempts",
        ),
    ] {
        let (status, error) = http.json("Enqueue", asked).await;
        assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("invalid_argument")));
        assert!(error["message"].as_str().unwrap().starts_with(field), "{error}");
        let details = error["details"].as_array().unwrap();
        let debug = |kind: &str| &details.iter().find(|one| one["type"] == kind).unwrap()["debug"];
        assert_eq!(debug("google.rpc.ErrorInfo")["reason"], "INVALID_FIELD");
        assert_eq!(debug("google.rpc.BadRequest")["fieldViolations"][0]["field"], field);
    }
    let (status, error) = http.json("GetJob", json!({"name": "queues/mail/jobs/none"})).await;
    assert_eq!((status, &error["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
}

async fn jobs_of_a_reply_that_nobody_waits_for_go_back(server: &mut Server) {
    let mut http = Http::one(server.address).await;
    let name = server.enqueue("emails").await.name;
    server.leased("emails").await;
    let asked = json!({"queues": ["letters"], "workerId": "gone", "wait": "60s"});
    let waiting = post("/lessor.v1.JobBroker/Lease", "application/json", asked.to_string());
    // The connection is closed while the call waits.
    let left = tokio::time::timeout(Duration::from_millis(200), http.send(waiting)).await;
    assert!(left.is_err());
    drop(http);
    server.enqueue("letters").await;
    let leased = server.leased("letters").await;
    assert_eq!(leased.job.unwrap().attempt, 1);
    assert_eq!(server.get(&name).await.state(), State::Leased);
}

async fn sqlite(case: impl AsyncFnOnce(&mut Server)) {
    crate::server::case(crate::server::Store::Sqlite, case).await;
}

#[tokio::test]
async fn protobuf_is_taken_too() {
    sqlite(async |server| {
        let mut http = Http::two(server.address).await;
        let body = request("emails").encode_to_vec();
        let answer = http.ask(post(ENQUEUE, "application/proto", body)).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (StatusCode::OK, "application/proto")
        );
        let enqueued = v1::EnqueueResponse::decode(answer.body).unwrap();
        assert_eq!(server.get(&enqueued.job.unwrap().name).await.state(), State::Ready);
    })
    .await;
}

#[tokio::test]
async fn admin_calls_and_health_are_served_too() {
    sqlite(async |server| {
        server.enqueue("emails").await;
        crate::health::wait_for(
            server.channel(),
            "readiness",
            tonic_health::pb::health_check_response::ServingStatus::Serving,
        )
        .await;
        let mut http = Http::one(server.address).await;
        for (path, body, field, value) in [
            ("/lessor.v1.JobBrokerAdmin/GetQueue", r#"{"name":"emails"}"#, "name", "emails"),
            ("/grpc.health.v1.Health/Check", "{}", "status", "SERVING"),
        ] {
            let answer = http.ask(post(path, "application/json", body)).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            let read: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(read[field], value, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_call_is_told_so() {
    sqlite(async |server| {
        let mut http = Http::one(server.address).await;
        let nothing = "/lessor.v1.JobBroker/Nothing";
        let answer = http.ask(post(nothing, "application/json", "{}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.text().contains("unimplemented"), "{}", answer.text());
        let answer = http.get(ENQUEUE).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, "POST")
        );
        let form = http.ask(post(ENQUEUE, "application/x-www-form-urlencoded", "queue=mail")).await;
        assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(form.header("accept-post").contains("application/json"));
        // The clock of tests is known to the descriptors, but this broker has none.
        let clock = "/lessor.v1.TestClock/AdvanceClock";
        let answer = http.ask(post(clock, "application/json", r#"{"by":"1s"}"#)).await;
        assert_eq!(answer.status, StatusCode::NOT_IMPLEMENTED, "{}", answer.text());
    })
    .await;
}

#[tokio::test]
async fn a_deadline_shortens_a_wait() {
    sqlite(async |server| {
        let mut http = Http::one(server.address).await;
        let asked = json!({"queues": ["emails"], "workerId": "w", "wait": "60s"}).to_string();
        let mut waiting = post("/lessor.v1.JobBroker/Lease", "application/json", asked);
        waiting.headers_mut().insert("connect-timeout-ms", "500".parse().unwrap());
        let answer = http.ask(waiting).await;
        // An empty answer, in time: a wait never makes a deadline pass.
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let empty: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(empty["emptyReason"], "EMPTY_REASON_NO_JOBS", "{empty}");
        assert_eq!(server.lease_now(lease("emails")).await.jobs.len(), 0);
    })
    .await;
}

/// The messages of a stream: flags and JSON.
fn messages(mut body: &[u8]) -> Vec<(u8, Value)> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = body.split_at_checked(5) {
        let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        messages.push((head[0], serde_json::from_slice(&rest[..length]).unwrap()));
        body = &rest[length..];
    }
    messages
}

fn framed(message: &Value) -> Vec<u8> {
    let text = message.to_string();
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0], &length[..], text.as_bytes()].concat()
}

async fn watch(http: &mut Http, asked: &Value) -> Answer {
    let path = "/lessor.v1.JobBroker/WatchEvents";
    http.ask(post(path, "application/connect+json", framed(asked))).await
}

#[tokio::test]
async fn events_are_a_stream_of_json() {
    sqlite(async |server| {
        let name = server.enqueue("emails").await.name;
        let token = server.leased("emails").await.lease_token;
        server.acked(&token).await;
        for mut http in Http::both(server.address).await {
            let answer = watch(&mut http, &json!({"job": name})).await;
            assert_eq!(answer.header("content-type"), "application/connect+json");
            let seen = messages(&answer.body);
            let (last, seen) = seen.split_last().unwrap();
            assert_eq!(last, &(2, json!({})));
            assert_eq!(seen[0].1["events"][0]["toState"], "STATE_SUCCEEDED", "{seen:?}");
            // A stream that is refused says so in its last message.
            let answer = watch(&mut http, &json!({"cursor": "nonsense"})).await;
            assert_eq!(answer.status, StatusCode::OK);
            let [(2, end)] = &messages(&answer.body)[..] else { panic!("{answer:?}") };
            assert_eq!(end["error"]["code"], "invalid_argument");
        }
    })
    .await;
}

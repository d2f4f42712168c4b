//! Server-sent events: `GET /v1/events`.

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::Value;

use super::client::Http;
use crate::on_every_store;
use crate::server::Server;

on_every_store! {
    a_browser_that_reconnects_misses_nothing_and_sees_nothing_twice,
    the_events_of_one_job_end_and_are_not_asked_for_again,
    a_request_for_events_that_is_wrong_is_refused_by_name,
}

/// A stream of events as a browser reads it.
struct Source {
    body: Incoming,
    text: String,
    last_id: String,
}

impl Source {
    async fn open(http: &mut Http, query: &str, last_id: &str) -> Self {
        let request = Request::get(format!("/v1/events?{query}"));
        let request = request.header("last-event-id", last_id).body(Full::default()).unwrap();
        let answer = http.send(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new(), last_id: last_id.to_owned() }
    }

    /// The next event with its name; blocks without data only move the id.
    async fn next(&mut self) -> (String, Value) {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = block.lines().filter_map(|line| line.split_once(": "));
                    lines.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
                };
                if let Some(id) = field("id") {
                    self.last_id = id;
                }
                if let Some(data) = field("data") {
                    return (field("event").unwrap(), serde_json::from_str(&data).unwrap());
                }
            }
            let frame = self.body.frame().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

async fn a_browser_that_reconnects_misses_nothing_and_sees_nothing_twice(server: &mut Server) {
    for (round, mut http) in (0..).zip(Http::both(server.address).await) {
        let queue = format!("mail-{round}");
        let query = format!("queues={queue}&oldest=true&types=JOB_CREATED,JOB_READY");
        let first = server.enqueue(&queue).await.name;
        let mut source = Source::open(&mut http, &query, "").await;
        for expected in ["JOB_CREATED", "JOB_READY"] {
            let (name, event) = source.next().await;
            assert_eq!((name.as_str(), &event["type"]), (expected, &Value::from(expected)));
            assert_eq!(event["job"], first);
        }
        let last_id = source.last_id.clone();
        assert!(!last_id.is_empty());
        drop((source, http));
        let second = server.enqueue(&queue).await.name;
        let mut http = Http::one(server.address).await;
        let mut source = Source::open(&mut http, &query, &last_id).await;
        let (name, event) = source.next().await;
        assert_eq!((name.as_str(), &event["job"]), ("JOB_CREATED", &Value::from(second)));
    }
}

async fn the_events_of_one_job_end_and_are_not_asked_for_again(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let mut http = Http::one(server.address).await;
    let query = format!("job={name}");
    let mut source = Source::open(&mut http, &query, "").await;
    assert_eq!(source.next().await.1["reason"], "PRESENT_STATE");
    let token = server.leased("mail").await.lease_token;
    server.acked(&token).await;
    let (mut names, mut last) = (Vec::new(), Value::Null);
    while names.last().is_none_or(|name| name != "end") {
        let (name, event) = source.next().await;
        names.push(name);
        last = event;
    }
    assert_eq!(names, ["JOB_LEASED", "JOB_SUCCEEDED", "end"]);
    assert_eq!(last, serde_json::json!({}));
    let mut http = Http::one(server.address).await;
    let again = Request::get(format!("/v1/events?{query}")).header("last-event-id", source.last_id);
    let answer = http.ask(again.body(Full::default()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
}

async fn a_request_for_events_that_is_wrong_is_refused_by_name(server: &mut Server) {
    let mut http = Http::one(server.address).await;
    for (query, field) in
        [("colour=red", "colour"), ("types=LOST", "types"), ("cursor=nonsense", "cursor")]
    {
        let answer = http.get(&format!("/v1/events?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(error["message"].as_str().unwrap().starts_with(field), "{error}");
    }
}

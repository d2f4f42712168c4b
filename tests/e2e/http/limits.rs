//! Bounds of what is taken over HTTP.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::{Http, post};
use crate::server::{Server, Store, case};

const ENQUEUE: &str = "/lessor.v1.JobBroker/Enqueue";

fn error(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

async fn still_serves(server: &Server) {
    let mut http = Http::one(server.address).await;
    assert_eq!(http.json("Enqueue", json!({"queue": "mail"})).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_a_reason() {
    case(Store::Sqlite, async |server| {
        let long = vec![b' '; 5 << 20];
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; 64 << 20]).unwrap();
        let mut bomb = post(ENQUEUE, "application/json", encoder.finish().unwrap());
        bomb.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        for request in [post(ENQUEUE, "application/json", long), bomb] {
            let answer = Http::two(server.address).await.ask(request).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            let error = error(&answer.body);
            assert_eq!(error["details"][0]["debug"]["reason"], "PAYLOAD_TOO_LARGE", "{error}");
        }
        still_serves(server).await;
    })
    .await;
}

#[tokio::test]
async fn a_document_of_countless_values_is_refused() {
    case(Store::Sqlite, async |server| {
        let mut http = Http::one(server.address).await;
        let many =
            format!(r#"{{"queue":"mail","payload":{{"json":[{}0]}}}}"#, "0,".repeat(500_000));
        let deep = format!(r#"{{"queue":"mail","payload":{{"json":{}}}}}"#, "[".repeat(10_000));
        for body in [many, deep] {
            let answer = http.ask(post(ENQUEUE, "application/json", body)).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            assert_eq!(error(&answer.body)["code"], "invalid_argument");
        }
        still_serves(server).await;
    })
    .await;
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    case(Store::Sqlite, async |server| {
        for head in ["x-large: ".to_owned() + &"x".repeat(1 << 20), "x-many: 1\r\n".repeat(10_000)]
        {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let request = format!("POST {ENQUEUE} HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
            // The broker may hang up before it was sent all of it.
            let _cut = stream.write_all(request.as_bytes()).await;
            let mut answer = Vec::new();
            let _reset = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
        still_serves(server).await;
    })
    .await;
}

//! Heads that are huge, or become so, or do not end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw::{
    CONTINUATION, END_HEADERS, ENHANCE_YOUR_CALM, HEADERS, MOST_PAYLOAD, Raw, frame, literal,
    remembered,
};
use crate::scene::Scene;
use crate::wire::awaited;

const GET_JOB: &str = "/lessor.v1.JobBroker/GetJob";

/// The field that was remembered last, by its number 62.
const NEWEST: u8 = 0xbe;

#[tokio::test]
async fn a_head_that_is_small_on_the_wire_and_huge_behind_it_is_refused() {
    let scene = Scene::start().await;
    let attack = async {
        for _ in 0..20 {
            let mut raw = Raw::to(scene.address()).await;
            let (stream, mut head) = raw.head(GET_JOB);
            // As long as the table of known fields takes.
            head.extend(remembered("x-large", &"x".repeat(3900)));
            // Forty megabytes in ten kilobytes.
            head.extend([NEWEST; 10_000]);
            raw.write(&frame(HEADERS, END_HEADERS, stream, &head)).await;
            assert_eq!(raw.closed().await, Some(ENHANCE_YOUR_CALM));
        }
    };
    scene.endures(16, awaited(attack)).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let scene = Scene::start().await;
    let attack = async {
        let mut raw = Raw::to(scene.address()).await;
        let (stream, head) = raw.head(GET_JOB);
        raw.write(&frame(HEADERS, 0, stream, &head)).await;
        let field = literal("x-more", &"x".repeat(MOST_PAYLOAD - 100));
        let more = frame(CONTINUATION, 0, stream, &field);
        for _ in 0..4_000 {
            raw.write(&more).await;
        }
        raw.closed().await
    };
    let goodbye = scene.endures(16, awaited(attack)).await;
    assert_eq!(goodbye, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_huge_head_of_http_1_is_refused() {
    let scene = Scene::start().await;
    let attack = async {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(scene.address()).await.unwrap();
            let head =
                format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}", "x".repeat(1 << 20));
            // The broker may hang up before it was sent all of it.
            stream.write_all(head.as_bytes()).await.ok();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.ok();
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        }
    };
    scene.endures(16, awaited(attack)).await;
}

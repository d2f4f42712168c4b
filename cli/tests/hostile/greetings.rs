//! Connections that do not begin, that begin slowly, and too many of them.

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw::Raw;
use crate::scene::Scene;
use crate::wire::awaited;

const BRISK: &str = "[connections]\nhandshake_timeout = '1s'";

/// What is said at first by those who then fall silent, or go on one byte at a time.
const BEGINNINGS: [&str; 3] =
    ["", "PRI * HTTP/2.0\r\n", "POST /lessor.v1.JobBroker/Lease HTTP/1.1\r\n"];

#[tokio::test]
async fn whoever_does_not_begin_is_closed() {
    let scene = Scene::with(BRISK, "").await;
    let silent = (0..300).map(async |turn| {
        let mut stream = TcpStream::connect(scene.address()).await.unwrap();
        stream.write_all(BEGINNINGS[turn % BEGINNINGS.len()].as_bytes()).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok();
    });
    scene.endures(16, awaited(join_all(silent))).await;
}

#[tokio::test]
async fn whoever_begins_one_byte_at_a_time_is_closed() {
    let scene = Scene::with(BRISK, "").await;
    let slow = (0..100).map(async |_| {
        let mut stream = TcpStream::connect(scene.address()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let dripping = async {
            to.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: ").await.unwrap();
            while to.write_all(b"x").await.is_ok() {
                crate::machine::pause(std::time::Duration::from_millis(50)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = dripping => {}
            _closed = from.read_to_end(&mut answer) => {}
        }
    });
    scene.endures(16, awaited(join_all(slow))).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let scene = Scene::with("[connections]\nmax = 20", "").await;
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(Raw::to(scene.address()).await);
        }
        // Those that were let in are many; the others know at once.
        let closed = held.split_off(30);
        join_all(closed.into_iter().map(async |mut raw| raw.closed().await)).await;
        held
    };
    let held = scene.endures(16, awaited(attack)).await;
    assert!(scene.log().contains("connections.max"), "{}", scene.log());
    drop(held);
    // There is room again.
    let name = awaited(async {
        loop {
            let job =
                lessor::proto::EnqueueRequest { queue: "mail".to_owned(), ..Default::default() };
            if let Ok(answer) = scene.stub().enqueue(job).await {
                break answer.into_inner().job.unwrap().name;
            }
        }
    });
    assert!(name.await.starts_with("queues/mail/"));
}

#[tokio::test]
async fn a_broker_that_may_open_few_files_takes_fewer_connections() {
    let scene = Scene::with("", "ulimit -n 192;").await;
    let attack = async {
        let mut held = Vec::new();
        for _ in 0..200 {
            held.push(Raw::to(scene.address()).await);
        }
        let closed = held.split_off(100);
        join_all(closed.into_iter().map(async |mut raw| raw.closed().await)).await;
        held
    };
    scene.endures(16, awaited(attack)).await;
    let log = scene.log();
    assert!(log.contains("limit of open files") && !log.contains("can't accept"), "{log}");
}

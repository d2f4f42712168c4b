//! A broker that is told to stop says so, answers who waits, and ends in time.

use lessor_proto::v1;
use lessor_proto::v1::lease_response::EmptyReason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::Response;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::health::wait_for;
use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, Store, lease, seconds};

on_every_store! {
    waiting_leases_are_answered_with_draining,
    event_streams_end_with_draining,
    health_says_not_ready_first,
    nobody_is_served_afterwards,
}

async fn waiting_leases_are_answered_with_draining(server: &mut Server) {
    let waits = |queue| {
        let mut broker = server.broker();
        let asked = v1::LeaseRequest { wait: Some(seconds(60)), ..lease(queue) };
        async move { broker.lease(asked).await.unwrap().into_inner() }
    };
    let stops = async {
        // Calls of one connection arrive in order: then the others have arrived already.
        server.lease_now(lease("other")).await;
        server.stop();
    };
    let (first, second, ()) = tokio::join!(waits("mail"), waits("*"), stops);
    for answer in [first, second] {
        assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::Draining));
        assert_eq!(answer.retry_after, Some(seconds(1)));
    }
}

async fn event_streams_end_with_draining(server: &mut Server) {
    let watch = v1::WatchEventsRequest::default();
    let mut events = server.broker().watch_events(watch).await.unwrap().into_inner();
    // The page that every stream begins with.
    assert_eq!(events.message().await.unwrap().unwrap().events, []);
    server.stop();
    let end = events.message().await;
    let refusal = Refusal::of(end.map(Response::new));
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unavailable, "DRAINING"));
    assert!(refusal.retry_after.is_some());
}

async fn health_says_not_ready_first(server: &mut Server) {
    wait_for(server.channel(), "", ServingStatus::Serving).await;
    // The answer to the lease comes from the drain, which comes after the health check.
    let asked = v1::LeaseRequest { wait: Some(seconds(60)), ..lease("mail") };
    let mut broker = server.broker();
    let leased = async { broker.lease(asked).await.unwrap().into_inner() };
    let unready = wait_for(server.channel(), "", ServingStatus::NotServing);
    let stops = async {
        // Calls of one connection arrive in order: then the others have arrived already.
        server.lease_now(lease("other")).await;
        server.stop();
    };
    let (answer, (), ()) = tokio::join!(leased, unready, stops);
    assert_eq!(answer.empty_reason(), EmptyReason::Draining);
}

async fn nobody_is_served_afterwards(server: &mut Server) {
    server.enqueue("mail").await;
    server.stop();
    server.stopped().await;
    assert!(TcpStream::connect(server.address).await.is_err());
}

/// The beginning of HTTP/2, and the smallest settings frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn a_silent_peer_does_not_hold_up_the_end() {
    let mut server = Server::start(Store::Sqlite, "sqlite::memory:", "1s").await;
    server.enqueue("mail").await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(PREFACE).await.unwrap();
    server.stop();
    server.stopped().await;
    drop(silent);
}

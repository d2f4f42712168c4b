//! Frames that are wrong, and workers that do not do their part.

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use lessor_proto::v1::work_request::{Credit, Frame, Hello};
use lessor_proto::v1::work_response::Frame as Reply;
use tokio::sync::mpsc;
use tonic::{Code, Response};

use super::stream::{WorkStream, hello, open};
use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, lease, manual_case, request, seconds};
use crate::travel::advance;

on_every_store! {
    a_stream_begins_with_a_hello_that_names_what_is_wrong_with_it,
    a_frame_that_fails_is_told_in_full_and_the_stream_goes_on,
    thousands_of_tiny_frames_break_no_connection,
    a_vanished_client_leaves_its_jobs_to_others,
}

/// How a stream ends that begins so.
async fn refused(server: &Server, first: Option<Frame>) -> Refusal {
    let (frames, receiver) = mpsc::unbounded_channel();
    let mut replies = open(server, receiver).await;
    frames.send(v1::WorkRequest { frame: first, ..v1::WorkRequest::default() }).unwrap();
    Refusal::of(replies.message().await.map(Response::new))
}

async fn a_stream_begins_with_a_hello_that_names_what_is_wrong_with_it(server: &mut Server) {
    refused(server, None).await.assert_field("hello");
    refused(server, Some(Frame::Ping(()))).await.assert_field("hello");
    let with = |change: fn(&mut Hello)| {
        let mut hello = hello("mail");
        change(&mut hello);
        hello
    };
    server.enqueue("mail").await;
    let token = server.leased_by(v1::LeaseRequest { worker_id: "b".into(), ..lease("mail") });
    let foreign = token.await.lease_token;
    let table = [
        (with(|it| it.worker = None), "hello.worker"),
        (with(|it| it.worker = Some(v1::Worker::default())), "hello.worker.worker_id"),
        (with(|it| it.queues.clear()), "hello.queues"),
        (with(|it| it.queues.push("a b".into())), "hello.queues[1]"),
        (with(|it| it.types = vec!["\n".into()]), "hello.types[0]"),
        (with(|it| it.order = 9), "hello.order"),
        (with(|it| it.weights = [("mail".into(), 2)].into()), "hello.weights"),
        (with(|it| it.lease_duration = Some(seconds(0))), "hello.lease_duration"),
        (with(|it| it.held_lease_tokens = vec!["x".into()]), "hello.held_lease_tokens[0]"),
        (Hello { held_lease_tokens: vec![foreign], ..hello("mail") }, "hello.held_lease_tokens[0]"),
        (with(|it| it.max_message_bytes = -1), "hello.max_message_bytes"),
    ];
    for (hello, field) in table {
        refused(server, Some(Frame::Hello(hello))).await.assert_field(field);
    }
    // A client that sends nothing at all.
    let (frames, receiver) = mpsc::unbounded_channel();
    let mut replies = open(server, receiver).await;
    drop(frames);
    let refusal = Refusal::of(replies.message().await.map(Response::new));
    assert_eq!(refusal.code, Code::InvalidArgument);
}

impl WorkStream {
    /// Sends a frame that must fail, and reads why.
    async fn fails(&mut self, frame: Frame) -> Refusal {
        let seq = self.send(frame);
        let reply = self.next().await;
        assert_eq!(reply.request_seq, seq);
        let Some(Reply::Error(status)) = reply.frame else { panic!("{reply:?}") };
        Refusal::of_item(&status)
    }
}

async fn a_frame_that_fails_is_told_in_full_and_the_stream_goes_on(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let mut stream = WorkStream::open(server, hello("mail")).await;
    stream.send(Frame::Credit(Credit { max_delivery_seq: 2 }));
    let token = stream.delivery().await.leased.unwrap().lease_token;
    let malformed = stream.fails(Frame::Ack(ack("nonsense"))).await;
    assert_eq!(malformed.reason, "BAD_LEASE_TOKEN");
    malformed.assert_field("ack.lease_token");
    stream.fails(Frame::Hello(hello("mail"))).await.assert_field("hello");
    server.acked(&token).await;
    let nack = v1::NackRequest { lease_token: token, ..v1::NackRequest::default() };
    let settled = stream.fails(Frame::Nack(nack)).await;
    assert_eq!(
        (settled.reason.as_str(), settled.code),
        ("LEASE_SETTLED", Code::FailedPrecondition)
    );
    assert_eq!((&settled.precondition, settled.metadata["outcome"].as_str()), (&name, "SUCCEEDED"));
    server.enqueue("mail").await;
    assert_eq!(stream.delivery().await.delivery_seq, 2);
    stream.ping(2).await;
}

/// A worker asks more than it reads, and is sent what it does not read; another worker on the same
/// connection is served meanwhile, and the first one finds everything once it reads.
async fn thousands_of_tiny_frames_break_no_connection(server: &mut Server) {
    const FRAMES: u64 = 5000;
    const JOBS: u64 = 300;
    let mut unread = WorkStream::open(server, hello("tiny")).await;
    unread.send(Frame::Credit(Credit { max_delivery_seq: JOBS }));
    let batch = v1::BatchEnqueueRequest {
        requests: vec![request("tiny"); 100],
        ..v1::BatchEnqueueRequest::default()
    };
    for _ in 0..JOBS / 100 {
        server.broker().batch_enqueue(batch.clone()).await.unwrap();
    }
    for _ in 0..FRAMES {
        unread.send(Frame::Ping(()));
        // The connection sends what it has, so that frames stay small.
        tokio::task::yield_now().await;
    }
    let worker = v1::Worker { worker_id: "worker-2".to_owned(), ..v1::Worker::default() };
    let mut other = WorkStream::open(server, Hello { worker: Some(worker), ..hello("mail") }).await;
    other.send(Frame::Credit(Credit { max_delivery_seq: 20 }));
    for _ in 0..20 {
        let job = server.enqueue("mail").await;
        let delivery = other.delivery().await;
        let leased = delivery.leased.unwrap();
        assert_eq!(leased.job.unwrap().name, job.name);
        other.ping(delivery.delivery_seq).await;
        other.send(Frame::Ack(ack(&leased.lease_token)));
        assert!(matches!(other.next().await.frame, Some(Reply::Ack(_))));
    }
    let (mut pongs, mut jobs, mut late) = (0, 0, false);
    while pongs < FRAMES || (jobs < JOBS && !late) {
        match unread.next().await.frame {
            Some(Reply::Pong(())) => pongs += 1,
            Some(Reply::Delivery(_)) => jobs += 1,
            // On a slow machine the grace of the deliveries is over, and no others follow.
            Some(Reply::Directive(_)) => late = true,
            other => panic!("{other:?}"),
        }
    }
}

async fn a_vanished_client_leaves_its_jobs_to_others(server: &mut Server) {
    let names = [server.enqueue("mail").await.name, server.enqueue("mail").await.name];
    {
        // A connection of its own, which ends with the stream.
        let mut stream = WorkStream::on(server.connection(), hello("mail")).await;
        stream.send(Frame::Credit(Credit { max_delivery_seq: 2 }));
        stream.delivery().await;
        stream.delivery().await;
        stream.ping(1).await;
    }
    let other = v1::LeaseRequest { worker_id: "worker-2".to_owned(), ..lease("mail") };
    let job = server.leased_by(other).await.job.unwrap();
    assert_eq!((&job.name, job.attempt), (&names[1], 1));
    assert_eq!(server.get(&names[0]).await.state(), State::Leased);
}

#[tokio::test]
async fn a_worker_that_stops_reading_loses_what_was_sent_to_it_to_others() {
    manual_case(async |server| {
        let job = server.enqueue("mail").await;
        let mut stuck = WorkStream::open(server, hello("mail")).await;
        stuck.send(Frame::Credit(Credit { max_delivery_seq: 9 }));
        server.comes_to(&job.name, State::Leased).await;
        advance(server, 5).await;
        let other = v1::LeaseRequest { worker_id: "worker-2".to_owned(), ..lease("mail") };
        let leased = server.leased_by(other).await.job.unwrap();
        assert_eq!((&leased.name, leased.attempt, leased.delivery_count), (&job.name, 1, 2));
        drop(stuck);
    })
    .await;
}

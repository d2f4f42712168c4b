//! A worker's stream, against a broker whose end of it the test holds.

use std::collections::HashMap;
use std::time::Duration;

use lessor::proto::nack_request::Disposition;
use lessor::proto::work_request::{Frame, Goodbye};
use lessor::proto::work_response::directive::Kind;
use lessor::{Client, Code, Delivery, Nack, Order, WorkEvent, WorkOptions};
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::broker::Broker;
use crate::stream::WorkStream;

/// Longer than any test.
const NEVER: Duration = Duration::from_hours(1);

async fn open(broker: &Broker, options: &WorkOptions) -> (lessor::WorkStream, WorkStream) {
    let client = Client::builder(broker.url()).worker_id("w").connect().unwrap();
    open_by(broker, &client, options).await
}

async fn open_by(
    broker: &Broker,
    client: &Client,
    options: &WorkOptions,
) -> (lessor::WorkStream, WorkStream) {
    let answer = async {
        let mut stream = broker.stream().await;
        stream.hello().await;
        stream.welcome(NEVER, &[]);
        stream
    };
    let (work, stream) = tokio::join!(client.work(options), answer);
    (work.unwrap(), stream)
}

fn room_for(jobs: u32) -> WorkOptions {
    WorkOptions::new(["emails"]).concurrency(jobs)
}

async fn event(work: &mut lessor::WorkStream) -> WorkEvent {
    work.next().await.unwrap().unwrap()
}

async fn job(work: &mut lessor::WorkStream) -> Delivery {
    match event(work).await {
        WorkEvent::Job(delivery) => delivery,
        other => panic!("{other:?}"),
    }
}

fn ack(mut delivery: Delivery) -> JoinHandle<lessor::Result<lessor::AckResponse>> {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move { delivery.ack(None).await })
}

fn lost() -> Status {
    let details = ErrorDetails::with_error_info("LEASE_LOST", "lessor.dev", HashMap::new());
    Status::with_error_details(Code::FailedPrecondition, "lost", details)
}

#[tokio::test]
async fn the_first_frame_says_who_works_on_what() {
    let broker = Broker::start().await;
    let client = Client::builder(broker.url()).worker_id("w").connect().unwrap();
    let options = room_for(7)
        .types(["welcome"])
        .order(Order::Strict)
        .lease_duration(Duration::from_secs(9))
        .auto_extend(false);

    for name in ["w", "w-2"] {
        let asked = async {
            let mut stream = broker.stream().await;
            let hello = stream.hello().await;
            stream.welcome(NEVER, &[]);
            (stream, hello)
        };
        let (work, (_stream, hello)) = tokio::join!(client.work(&options), asked);
        // A broker lets a worker have one stream, so each has a name of its own.
        assert_eq!(work.unwrap().worker_id(), name);
        let worker = hello.worker.clone().unwrap();
        assert_eq!((worker.worker_id.as_str(), worker.concurrency), (name, 7));
        assert_eq!(
            (hello.queues.as_slice(), hello.order()),
            (&["emails".to_owned()][..], Order::Strict)
        );
        assert_eq!(hello.types, ["welcome"]);
        assert_eq!(hello.lease_duration.unwrap().seconds, 9);
        assert!(!hello.auto_extend);
    }
}

#[tokio::test]
async fn a_job_is_asked_for_when_another_is_settled() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(2)).await;
    assert_eq!(stream.credit().await, (2, 0));

    stream.deliver(1, "a");
    stream.deliver(2, "b");
    let (a, _b) = (job(&mut work).await, job(&mut work).await);
    assert_eq!(a.job().unwrap().name, "a");
    // The receipt does not wait for the work.
    assert_eq!(stream.credit().await, (2, 2));

    let acked = ack(a);
    let number = stream.ack("a").await;
    // Before the answer: the worker has room again.
    assert_eq!(stream.credit().await, (3, 2));
    assert!(!acked.is_finished());
    stream.acked(number);
    acked.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_settled_in_one_turn_travels_with_one_receipt_and_one_credit() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(3)).await;
    assert_eq!(stream.credit().await, (3, 0));
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    let worker = tokio::spawn(async move {
        let mut acks = Vec::new();
        while acks.len() < 3 {
            acks.push(ack(job(&mut work).await));
        }
        for ack in acks {
            ack.await.unwrap().unwrap();
        }
    });

    for (number, token) in (1..).zip(["a", "b", "c"]) {
        stream.deliver(number, token);
    }
    let mut frames = Vec::new();
    while frames.len() < 4 {
        let (request, frame) = stream.frame().await;
        assert_eq!(request.received_through, 3);
        frames.push((request.request_seq, frame));
    }

    let (acks, credit) = frames.split_at(3);
    assert!(acks.iter().all(|(_, frame)| matches!(frame, Frame::Ack(_))), "{frames:?}");
    assert!(matches!(&credit[0].1, Frame::Credit(credit) if credit.max_delivery_seq == 6));
    for (number, _) in acks {
        stream.acked(*number);
    }
    worker.await.unwrap();
}

#[tokio::test]
async fn a_settle_that_is_refused_fails_alone_and_its_job_can_be_settled_otherwise() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(2)).await;
    stream.credit().await;
    stream.deliver(1, "a");
    stream.deliver(2, "b");
    let (mut a, b) = (job(&mut work).await, job(&mut work).await);
    stream.credit().await;

    let settling = async {
        let refused = a.ack(None).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        a.nack(Nack::dead()).await.unwrap();
    };
    let answering = async {
        let number = stream.ack("a").await;
        stream.credit().await;
        stream.failed(number, &Status::invalid_argument("result is too large"));
        let (request, frame) = stream.frame().await;
        let Frame::Nack(nack) = frame else { panic!("{frame:?}") };
        assert_eq!(nack.disposition, Some(Disposition::Dead(())));
        let reply = lessor::NackResponse::default();
        stream.reply(request.request_seq, lessor::proto::work_response::Frame::Nack(reply));
    };
    tokio::join!(settling, answering);

    // The other one is as it was, and the settled one made room once.
    let acked = ack(b);
    let number = stream.ack("b").await;
    assert_eq!(stream.credit().await, (4, 2));
    stream.acked(number);
    acked.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_settle_is_repeated_while_the_fault_is_a_passing_one() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(1)).await;
    stream.credit().await;
    stream.deliver(1, "a");
    let delivery = job(&mut work).await;
    assert_eq!(stream.credit().await, (1, 1));

    let acked = ack(delivery);
    let number = stream.ack("a").await;
    stream.credit().await;
    stream.failed(number, &Status::unavailable("store is away"));
    assert_eq!(stream.ack("a").await, number);
    stream.acked(number);

    acked.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_settle_without_an_answer_runs_into_its_deadline() {
    let broker = Broker::start().await;
    let client =
        Client::builder(broker.url()).timeout(Duration::from_millis(200)).connect().unwrap();
    let (mut work, stream) = open_by(&broker, &client, &room_for(1)).await;
    stream.deliver(1, "a");

    let error = job(&mut work).await.ack(None).await.unwrap_err();

    assert_eq!(error.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_job_that_is_dropped_is_nacked() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(1)).await;
    stream.credit().await;
    stream.deliver(1, "a");

    drop(job(&mut work).await);

    let (_, frame) = stream.frame().await;
    let Frame::Nack(nack) = frame else { panic!("{frame:?}") };
    assert_eq!(
        (nack.lease_token.as_str(), nack.failure.unwrap().code.as_str()),
        ("a", "ABANDONED")
    );
    assert_eq!(stream.credit().await, (2, 1));
}

#[tokio::test]
async fn a_job_that_was_lost_is_not_nacked_after_its_settle_says_so() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(1)).await;
    stream.credit().await;
    stream.deliver(1, "a");
    let mut delivery = job(&mut work).await;
    let answering = async {
        let number = loop {
            let (request, frame) = stream.frame().await;
            if matches!(frame, Frame::Ack(_)) {
                break request.request_seq;
            }
        };
        stream.failed(number, &lost());
        stream
    };

    let (acked, mut stream) = tokio::join!(delivery.ack(None), answering);
    assert!(acked.unwrap_err().is_lease_lost());
    drop(delivery);
    let leaving = async {
        let mut frames = Vec::new();
        while let Some(request) = stream.heard().await {
            frames.extend(request.frame);
        }
        stream.end();
        frames
    };
    let ((), frames) = tokio::join!(work.close(false), leaving);
    assert!(!frames.iter().any(|frame| matches!(frame, Frame::Nack(_))), "{frames:?}");
}

#[tokio::test]
async fn a_broken_stream_is_followed_by_one_with_what_is_held_and_what_was_not_answered() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(4)).await;
    stream.credit().await;
    for (number, token) in (1..).zip(["kept", "lost", "acked"]) {
        stream.deliver(number, token);
    }
    let (kept, _lost, acked) = (job(&mut work).await, job(&mut work).await, job(&mut work).await);
    let acked = ack(acked);
    stream.fail(Status::unavailable("broker is restarting"));

    let mut stream = broker.stream().await;
    let mut held = stream.hello().await.held_lease_tokens;
    held.sort_unstable();
    assert_eq!(held, ["acked", "kept", "lost"]);
    stream.welcome(NEVER, &[("kept", true), ("lost", false), ("acked", false)]);

    // The settle is known to have been applied, or not, only by its answer.
    let number = stream.ack("acked").await;
    stream.acked(number);
    acked.await.unwrap().unwrap();
    // Deliveries are counted anew; two of four places are taken.
    assert_eq!(stream.credit().await, (2, 0));
    match event(&mut work).await {
        WorkEvent::LeaseLost { lease_token, .. } => assert_eq!(lease_token, "lost"),
        other => panic!("{other:?}"),
    }
    assert!(work.is_connected());

    let acked = ack(kept);
    let number = stream.ack("kept").await;
    stream.acked(number);
    acked.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_settle_during_a_break_travels_on_the_next_stream() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(1)).await;
    stream.credit().await;
    stream.deliver(1, "a");
    let delivery = job(&mut work).await;
    stream.fail(Status::unavailable("broker is restarting"));
    while work.is_connected() {
        tokio::task::yield_now().await;
    }
    let acked = ack(delivery);

    let mut stream = broker.stream().await;
    stream.hello().await;
    stream.welcome(NEVER, &[("a", true)]);
    let number = stream.ack("a").await;
    assert_eq!(stream.credit().await, (1, 0));
    stream.acked(number);

    acked.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_shows_signs_of_life_and_leaves_a_broker_that_shows_none() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let answer = async {
        let mut stream = broker.stream().await;
        stream.hello().await;
        stream.welcome(Duration::from_millis(40), &[]);
        stream
    };
    let options = room_for(1);
    let (work, mut stream) = tokio::join!(client.work(&options), answer);
    let _work = work.unwrap();
    stream.credit().await;

    let mut pings = 0;
    while let Some(request) = stream.heard().await {
        assert_eq!(request.frame, Some(Frame::Ping(())));
        pings += 1;
    }

    // Three intervals of 40 ms, each after 30 ms, if the machine is not too busy.
    assert!((2..=4).contains(&pings), "{pings}");
    broker.stream().await.hello().await;
}

#[tokio::test]
async fn a_broker_may_lead_to_another_stream() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(1)).await;
    stream.credit().await;
    stream.deliver(1, "a");
    let _delivery = job(&mut work).await;
    stream.direct(Kind::Reconnect, "", Some(NEVER));
    let mut next = broker.stream().await;
    assert_eq!(next.hello().await.held_lease_tokens, ["a"]);
    next.welcome(NEVER, &[("a", true)]);

    // A broker that shuts down ends the stream itself.
    next.direct(Kind::Drain, "", Some(NEVER));
    next.end();
    let mut last = broker.stream().await;
    assert_eq!(last.hello().await.held_lease_tokens, ["a"]);
}

#[tokio::test]
async fn directives_are_told() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(2)).await;
    stream.deliver(1, "a");
    stream.deliver(2, "b");
    let _jobs = (job(&mut work).await, job(&mut work).await);

    stream.direct(Kind::CancelJob, "a", Some(Duration::from_secs(30)));
    stream.direct(Kind::LeaseLost, "b", None);
    stream.direct(Kind::Drain, "", None);

    match event(&mut work).await {
        WorkEvent::Cancel { lease_token, reason, within } => {
            assert_eq!((lease_token.as_str(), reason.as_str()), ("a", "so it is"));
            assert_eq!(within, Some(Duration::from_secs(30)));
        }
        other => panic!("{other:?}"),
    }
    match event(&mut work).await {
        WorkEvent::LeaseLost { lease_token, .. } => assert_eq!(lease_token, "b"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(event(&mut work).await, WorkEvent::Drain { .. }));
    // Nothing follows on a stream that its broker ends for good.
    while stream.credit().await != (2, 2) {}
    stream.end();
    assert!(work.next().await.is_none());
    assert!(!work.is_connected());
}

#[tokio::test]
async fn a_refusal_ends_the_work() {
    let broker = Broker::start().await;
    let client = Client::connect(broker.url()).unwrap();
    let options = room_for(1);
    let refuse = async { broker.stream().await.fail(Status::permission_denied("no worker")) };
    let (work, ()) = tokio::join!(client.work(&options), refuse);
    assert_eq!(work.unwrap_err().code(), Code::PermissionDenied);

    let (mut work, stream) = open(&broker, &options).await;
    stream.fail(Status::unavailable("broker is restarting"));
    broker.stream().await.fail(Status::permission_denied("no worker"));
    let error = work.next().await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(work.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_is_closed_gives_back_what_was_not_taken_and_says_goodbye() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(3)).await;
    stream.credit().await;
    for (number, token) in (1..).zip(["acked", "held", "waiting"]) {
        stream.deliver(number, token);
    }
    let (acked, _held) = (job(&mut work).await, job(&mut work).await);
    assert_eq!(stream.credit().await, (3, 3));
    let acked = ack(acked);
    let number = stream.ack("acked").await;

    let closing = async {
        let mut frames = Vec::new();
        while let Some(request) = stream.heard().await {
            frames.extend(request.frame);
        }
        stream.acked(number);
        stream.end();
        frames
    };
    let ((), frames) = tokio::join!(work.close(true), closing);

    acked.await.unwrap().unwrap();
    let [.., Frame::Nack(nack), Frame::Goodbye(Goodbye { release_held: true })] = &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!(nack.lease_token, "waiting");
    assert_eq!(nack.disposition, Some(Disposition::Release(())));
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_over() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(1)).await;
    stream.deliver(1, "a");
    let mut delivery = job(&mut work).await;

    drop(work);

    while stream.heard().await.is_some() {}
    assert_eq!(delivery.ack(None).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_worker_that_stops_gets_no_more() {
    let broker = Broker::start().await;
    let (mut work, mut stream) = open(&broker, &room_for(2)).await;
    assert_eq!(stream.credit().await, (2, 0));
    work.stop();
    stream.deliver(1, "a");
    let delivery = job(&mut work).await;
    assert_eq!(stream.credit().await, (2, 1));
    let acked = ack(delivery);
    let number = stream.ack("a").await;
    stream.acked(number);
    acked.await.unwrap().unwrap();

    // The next frame is no credit.
    let leaving = async {
        assert!(matches!(stream.frame().await.1, Frame::Goodbye(_)));
        stream.end();
    };
    tokio::join!(work.close(false), leaving);
}

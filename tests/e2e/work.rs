//! Work delivers jobs on a stream as far as its worker's credit goes, and takes settles on it.

mod directives;
mod faults;
mod stream;

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use lessor_proto::v1::work_request::{Credit, Frame};
use lessor_proto::v1::work_response::Frame as Reply;

use self::stream::{WorkStream, hello};
use crate::on_every_store;
use crate::server::{Server, ack, bytes_of, data, lease, nack, request, seconds};

on_every_store! {
    jobs_are_delivered_as_far_as_the_credit_goes,
    a_stream_that_waits_gets_the_job_that_comes,
    settles_are_answered_by_their_number,
    what_was_not_received_goes_back_uncounted,
}

async fn jobs_are_delivered_as_far_as_the_credit_goes(server: &mut Server) {
    for text in ["a", "b", "c"] {
        server.enqueued(v1::EnqueueRequest { payload: Some(data(text)), ..request("mail") }).await;
    }
    let mut stream = WorkStream::open(server, hello("mail")).await;
    assert_eq!(stream.welcome.ping_interval, Some(seconds(10)));
    assert!(!stream.welcome.session_id.is_empty());
    stream.send(Frame::Credit(Credit { max_delivery_seq: 2 }));
    for (number, text) in [(1, "a"), (2, "b")] {
        let delivery = stream.delivery().await;
        assert_eq!(delivery.delivery_seq, number);
        let leased = delivery.leased.unwrap();
        let job = leased.job.unwrap();
        assert_eq!(bytes_of(job.payload.as_ref()), text.as_bytes());
        assert_eq!((job.state(), job.worker_id.as_str()), (State::Leased, "worker-1"));
        assert!(leased.lease_remaining.unwrap().seconds > 0);
    }
    // A pong is told after what was ready before it.
    stream.ping(2).await;
    // The same credit again allows nothing more, and less takes nothing back.
    stream.send(Frame::Credit(Credit { max_delivery_seq: 2 }));
    stream.send(Frame::Credit(Credit { max_delivery_seq: 0 }));
    stream.ping(2).await;
    stream.send(Frame::Credit(Credit { max_delivery_seq: 3 }));
    assert_eq!(stream.delivery().await.delivery_seq, 3);
}

async fn a_stream_that_waits_gets_the_job_that_comes(server: &mut Server) {
    let mut stream = WorkStream::open(server, hello("mail")).await;
    stream.send(Frame::Credit(Credit { max_delivery_seq: 100 }));
    for number in 1..=20 {
        let enqueued = server.enqueue("mail").await;
        let delivery = stream.delivery().await;
        assert_eq!(delivery.delivery_seq, number);
        assert_eq!(delivery.leased.unwrap().job.unwrap().name, enqueued.name);
    }
}

async fn settles_are_answered_by_their_number(server: &mut Server) {
    let mut stream = WorkStream::open(server, hello("mail")).await;
    stream.send(Frame::Credit(Credit { max_delivery_seq: 3 }));
    let (mut names, mut tokens) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        server.enqueue("mail").await;
        let leased = stream.delivery().await.leased.unwrap();
        names.push(leased.job.unwrap().name);
        tokens.push(leased.lease_token);
    }
    let acked = stream.send(Frame::Ack(ack(&tokens[0])));
    let nacked = stream.send(Frame::Nack(nack(&tokens[1])));
    let extended = stream.send(Frame::Extend(crate::server::extend(&tokens[2])));
    let mut answers = [stream.next().await, stream.next().await, stream.next().await];
    answers.sort_by_key(|answer| answer.request_seq);
    let [first, second, third] = answers;
    assert_eq!(
        [first.request_seq, second.request_seq, third.request_seq],
        [acked, nacked, extended]
    );
    let Some(Reply::Ack(first)) = first.frame else { panic!("{first:?}") };
    assert_eq!(first.outcome(), v1::SettleOutcome::Settled);
    let Some(Reply::Nack(second)) = second.frame else { panic!("{second:?}") };
    assert_eq!(second.job.unwrap().state(), State::Retrying);
    let Some(Reply::Extend(third)) = third.frame else { panic!("{third:?}") };
    assert!(third.lease_remaining.unwrap().seconds > 0);
    assert_eq!(server.get(&names[0]).await.state(), State::Succeeded);
    assert_eq!(server.get(&names[1]).await.state(), State::Retrying);
    assert_eq!(server.get(&names[2]).await.state(), State::Leased);
}

async fn what_was_not_received_goes_back_uncounted(server: &mut Server) {
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(server.enqueue("mail").await.name);
    }
    let mut stream = WorkStream::open(server, hello("mail")).await;
    stream.send(Frame::Credit(Credit { max_delivery_seq: 3 }));
    for _ in 0..3 {
        stream.delivery().await;
    }
    stream.ping(1).await;
    drop(stream);
    for name in &jobs[1..] {
        let leased = server.leased_by(v1::LeaseRequest { worker_id: "b".into(), ..lease("mail") });
        let job = leased.await.job.unwrap();
        assert_eq!((&job.name, job.attempt, job.delivery_count), (name, 1, 2));
    }
    let kept = server.get(&jobs[0]).await;
    assert_eq!((kept.state(), kept.worker_id.as_str()), (State::Leased, "worker-1"));
}

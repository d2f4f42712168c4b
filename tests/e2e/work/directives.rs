//! What a worker is told about its jobs, and how streams begin anew and end.

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use lessor_proto::v1::lease_response::EmptyReason;
use lessor_proto::v1::work_request::{Credit, Frame, Goodbye, Hello};
use lessor_proto::v1::work_response::directive::Kind;
use lessor_proto::v1::work_response::{Directive, Frame as Reply};
use tonic::Code;

use super::stream::{WorkStream, hello};
use crate::on_every_store;
use crate::server::{Server, ack, lease, manual_case, seconds, shared_case};
use crate::travel::advance;

on_every_store! {
    a_cancellation_reaches_the_worker,
    a_revoked_lease_is_told,
    a_reconnected_worker_keeps_what_it_holds,
    a_newer_stream_of_the_same_worker_ends_the_older_one,
    goodbye_gives_back_what_is_held_and_closes_the_door,
    a_stream_ends_with_its_broker_once_nothing_is_held,
    an_operator_drains_a_worker_on_a_stream,
    a_worker_on_a_stream_is_listed,
}

impl WorkStream {
    async fn directive(&mut self) -> Directive {
        let reply = self.next().await;
        let Some(Reply::Directive(directive)) = reply.frame else { panic!("{reply:?}") };
        assert_eq!(reply.request_seq, 0);
        directive
    }

    /// Gets one job and says that it has it.
    async fn receives(&mut self) -> v1::LeasedJob {
        self.send(Frame::Credit(Credit { max_delivery_seq: 1 }));
        let leased = self.delivery().await.leased.unwrap();
        self.ping(1).await;
        leased
    }

    /// Settles, and demands that it works.
    async fn settles(&mut self, token: &str) {
        let seq = self.send(Frame::Ack(ack(token)));
        let reply = self.next().await;
        assert_eq!(reply.request_seq, seq);
        let Some(Reply::Ack(answer)) = reply.frame else { panic!("{reply:?}") };
        assert_eq!(answer.outcome(), v1::SettleOutcome::Settled);
    }
}

async fn cancelled(told: &mut Server, serving: &mut Server) {
    let job = serving.enqueue("mail").await;
    let mut stream = WorkStream::open(serving, hello("mail")).await;
    let leased = stream.receives().await;
    let cancel = v1::CancelJobRequest {
        name: job.name.clone(),
        reason: "no longer wanted".to_owned(),
        grace: Some(seconds(20)),
        ..v1::CancelJobRequest::default()
    };
    told.broker().cancel_job(cancel).await.unwrap();
    let directive = stream.directive().await;
    assert_eq!((directive.kind(), &directive.lease_token), (Kind::CancelJob, &leased.lease_token));
    assert_eq!(directive.reason, "no longer wanted");
    assert!((1..=20).contains(&directive.within.unwrap().seconds), "{directive:?}");
    let nack = v1::NackRequest { lease_token: leased.lease_token, ..v1::NackRequest::default() };
    stream.send(Frame::Nack(nack));
    stream.next().await;
    assert_eq!(told.get(&job.name).await.state(), State::Cancelled);
}

async fn a_cancellation_reaches_the_worker(server: &mut Server) {
    let job = server.enqueue("mail").await;
    let mut stream = WorkStream::open(server, hello("mail")).await;
    stream.receives().await;
    let cancel = v1::CancelJobRequest { name: job.name, ..v1::CancelJobRequest::default() };
    server.broker().cancel_job(cancel).await.unwrap();
    assert_eq!(stream.directive().await.kind(), Kind::CancelJob);
}

#[tokio::test]
async fn a_cancellation_reaches_the_worker_of_another_broker() {
    shared_case(async |one, other| {
        cancelled(one, other).await;
        cancelled(other, one).await;
    })
    .await;
}

async fn a_revoked_lease_is_told(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let mut stream = WorkStream::open(server, hello("mail")).await;
    let leased = stream.receives().await;
    let revoke = v1::JobActionRequest { name, ..v1::JobActionRequest::default() };
    server.admin().revoke_lease(revoke).await.unwrap();
    let directive = stream.directive().await;
    assert_eq!((directive.kind(), directive.lease_token), (Kind::LeaseLost, leased.lease_token));
}

async fn a_reconnected_worker_keeps_what_it_holds(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let mut stream = WorkStream::open(server, hello("mail")).await;
    let leased = stream.receives().await;
    drop(stream);
    server.enqueue("other").await;
    let lost = server.leased("other").await.lease_token;
    server.acked(&lost).await;
    let held_lease_tokens = vec![leased.lease_token.clone(), lost];
    let again = Hello { held_lease_tokens, ..hello("mail") };
    let mut stream = WorkStream::open(server, again).await;
    let held: Vec<bool> = stream.welcome.held.iter().map(|held| held.kept).collect();
    assert_eq!(held, [true, false]);
    assert!(stream.welcome.held[0].lease_remaining.unwrap().seconds > 0);
    assert_eq!(server.get(&name).await.state(), State::Leased);
    stream.settles(&leased.lease_token).await;
}

async fn a_newer_stream_of_the_same_worker_ends_the_older_one(server: &mut Server) {
    server.enqueue("mail").await;
    let mut older = WorkStream::open(server, hello("mail")).await;
    let leased = older.receives().await;
    let held_lease_tokens = vec![leased.lease_token.clone()];
    let mut newer = WorkStream::open(server, Hello { held_lease_tokens, ..hello("mail") }).await;
    assert!(newer.welcome.held[0].kept);
    assert_eq!(older.try_next().await.unwrap(), None);
    newer.settles(&leased.lease_token).await;
}

async fn goodbye_gives_back_what_is_held_and_closes_the_door(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let mut stream = WorkStream::open(server, hello("mail")).await;
    stream.receives().await;
    stream.send(Frame::Goodbye(Goodbye { release_held: true }));
    assert_eq!(stream.try_next().await.unwrap(), None);
    let job = server.get(&name).await;
    assert_eq!((job.state(), job.attempt, job.delivery_count), (State::Ready, 0, 1));
    let answer = server.lease_now(lease("mail")).await;
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::Draining));
    let other = v1::LeaseRequest { worker_id: "worker-2".to_owned(), ..lease("mail") };
    assert_eq!(server.lease_now(other).await.jobs.len(), 1);
}

async fn a_stream_ends_with_its_broker_once_nothing_is_held(server: &mut Server) {
    server.enqueue("mail").await;
    let mut idle = WorkStream::open(server, hello_of("worker-2", "mail")).await;
    let mut busy = WorkStream::open(server, hello("mail")).await;
    let leased = busy.receives().await;
    server.stop();
    for stream in [&mut idle, &mut busy] {
        let directive = stream.directive().await;
        assert_eq!(directive.kind(), Kind::Drain);
        assert!(directive.within.is_some());
    }
    assert_eq!(idle.try_next().await.unwrap(), None);
    busy.settles(&leased.lease_token).await;
    assert_eq!(busy.try_next().await.unwrap(), None);
}

fn hello_of(worker: &str, queue: &str) -> Hello {
    let worker = v1::Worker { worker_id: worker.to_owned(), ..v1::Worker::default() };
    Hello { worker: Some(worker), ..hello(queue) }
}

async fn an_operator_drains_a_worker_on_a_stream(server: &mut Server) {
    server.enqueue("mail").await;
    let mut stream = WorkStream::open(server, hello("mail")).await;
    let leased = stream.receives().await;
    let worker_id = "worker-1".to_owned();
    let drain = v1::DrainWorkerRequest { worker_id, ..v1::DrainWorkerRequest::default() };
    server.admin().drain_worker(drain).await.unwrap();
    let directive = stream.directive().await;
    assert_eq!((directive.kind(), directive.within), (Kind::Drain, None));
    stream.settles(&leased.lease_token).await;
    let late = server.enqueue("mail").await;
    stream.send(Frame::Credit(Credit { max_delivery_seq: 9 }));
    stream.ping(1).await;
    assert_eq!(server.get(&late.name).await.state(), State::Ready);
}

async fn a_worker_on_a_stream_is_listed(server: &mut Server) {
    let worker = v1::Worker {
        worker_id: "worker-1".to_owned(),
        sdk: "test/1".to_owned(),
        concurrency: 7,
        ..v1::Worker::default()
    };
    let hello = Hello { worker: Some(worker.clone()), ..hello("mail") };
    let _stream = WorkStream::open(server, hello).await;
    let list = v1::ListWorkersRequest::default();
    let workers = server.admin().list_workers(list).await.unwrap().into_inner().workers;
    let mut told = workers.into_iter().next().unwrap();
    assert!(told.last_seen_time.take().is_some());
    assert_eq!(told, v1::Worker { queues: vec!["mail".to_owned()], ..worker });
}

#[tokio::test]
async fn a_silent_worker_is_given_up() {
    manual_case(async |server| {
        let mut stream = WorkStream::open(server, hello("mail")).await;
        advance(server, 30).await;
        let end = stream.try_next().await.unwrap_err();
        assert_eq!(end.code(), Code::Unavailable);
    })
    .await;
}

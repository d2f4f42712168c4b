//! Cancel: a job that waits ends at once, a leased one through its worker.

use lessor_proto::v1;
use lessor_proto::v1::attempt::Outcome;
use lessor_proto::v1::enqueue_request::Start;
use lessor_proto::v1::event::Type;
use lessor_proto::v1::job::State;
use lessor_proto::v1::nack_request::Disposition;
use tonic::{Code, Response, Status};

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, bytes_of, data, extend, lease, nack, request, seconds};
use crate::watch::wait_for;

on_every_store! {
    a_ready_job_is_cancelled_at_once,
    a_scheduled_and_a_retrying_job_are_cancelled_at_once,
    the_worker_of_a_leased_job_is_told_why,
    a_worker_that_does_not_listen_loses_the_job,
    a_silent_worker_loses_the_job_after_the_grace,
    an_ack_that_comes_first_wins,
    a_nack_of_any_kind_gives_in,
    a_repeated_cancel_answers_the_same,
    the_grace_that_ends_sooner_holds,
    a_finished_job_is_not_cancelled,
    an_etag_of_something_older_is_refused,
    an_unknown_job_is_not_cancelled,
}

fn cancel(name: &str) -> v1::CancelJobRequest {
    let (name, reason) = (name.to_owned(), "not wanted".to_owned());
    v1::CancelJobRequest { name, reason, ..v1::CancelJobRequest::default() }
}

async fn try_cancel(
    server: &Server,
    request: v1::CancelJobRequest,
) -> Result<Response<v1::Job>, Status> {
    server.broker().cancel_job(request).await
}

async fn cancelled(server: &Server, request: v1::CancelJobRequest) -> v1::Job {
    try_cancel(server, request).await.unwrap().into_inner()
}

async fn a_ready_job_is_cancelled_at_once(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let told = cancelled(server, cancel(&name)).await;
    let job = server.get(&name).await;
    assert_eq!((told.state(), job.state()), (State::Cancelled, State::Cancelled));
    assert_eq!((told.etag, told.end_time), (job.etag, job.end_time));
    assert!(job.end_time.is_some() && job.purge_time.is_some() && !job.cancel_requested);
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
    wait_for(server, |event| {
        event.r#type() == Type::JobCancelled && event.job == name && event.reason == "not wanted"
    })
    .await;
}

async fn a_scheduled_and_a_retrying_job_are_cancelled_at_once(server: &mut Server) {
    let start = Some(Start::Delay(seconds(3600)));
    let scheduled = server.enqueued(v1::EnqueueRequest { start, ..request("mail") }).await.name;
    let retrying = server.enqueue("mail").await.name;
    let leased = server.leased("mail").await;
    server.broker().nack(nack(&leased.lease_token)).await.unwrap();
    for name in [scheduled, retrying] {
        assert_eq!(cancelled(server, cancel(&name)).await.state(), State::Cancelled);
    }
}

async fn the_worker_of_a_leased_job_is_told_why(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let leased = server.leased("mail").await;
    let beat = server.broker().extend_lease(extend(&leased.lease_token)).await.unwrap();
    assert!(!beat.into_inner().cancel_requested);
    let job = cancelled(server, cancel(&name)).await;
    assert_eq!((job.state(), job.cancel_requested), (State::Leased, true));
    let long = v1::ExtendLeaseRequest {
        lease_duration: Some(seconds(3600)),
        ..extend(&leased.lease_token)
    };
    let beat = server.broker().extend_lease(long).await.unwrap().into_inner();
    assert!(beat.cancel_requested);
    assert_eq!(beat.cancel_reason, "not wanted");
    // No heartbeat outlasts the grace.
    assert!(beat.lease_remaining.unwrap().seconds <= 30);
    wait_for(server, |event| {
        event.r#type() == Type::JobCancelRequested
            && event.job == name
            && event.worker_id == "worker-1"
            && event.reason == "not wanted"
    })
    .await;
}

fn with_grace(name: &str, grace: i64) -> v1::CancelJobRequest {
    v1::CancelJobRequest { grace: Some(seconds(grace)), ..cancel(name) }
}

async fn assert_lost(server: &Server, token: &str) {
    let refusals = [
        Refusal::of(server.broker().ack(ack(token)).await),
        Refusal::of(server.broker().nack(nack(token)).await),
        Refusal::of(server.broker().extend_lease(extend(token)).await),
    ];
    for refusal in refusals {
        let expected = (Code::FailedPrecondition, "LEASE_LOST");
        assert_eq!((refusal.code, refusal.reason.as_str()), expected);
        assert_eq!(refusal.metadata["state"], "CANCELLED");
    }
}

async fn a_worker_that_does_not_listen_loses_the_job(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let token = server.leased("mail").await.lease_token;
    cancelled(server, with_grace(&name, 1)).await;
    while let Ok(beat) = server.broker().extend_lease(extend(&token)).await {
        assert!(beat.into_inner().cancel_requested);
    }
    server.comes_to(&name, State::Cancelled).await;
    assert_lost(server, &token).await;
}

async fn a_silent_worker_loses_the_job_after_the_grace(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let token = server.leased("mail").await.lease_token;
    cancelled(server, with_grace(&name, 0)).await;
    let job = server.comes_to(&name, State::Cancelled).await;
    assert_eq!((job.state(), job.lease_expired_count), (State::Cancelled, 0));
    assert_eq!(job.attempts[0].outcome(), Outcome::Cancelled);
    assert!(!job.cancel_requested);
    assert_lost(server, &token).await;
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
}

async fn an_ack_that_comes_first_wins(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let token = server.leased("mail").await.lease_token;
    cancelled(server, cancel(&name)).await;
    let done = v1::AckRequest { result: Some(data("done")), ..ack(&token) };
    let answer = server.broker().ack(done).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), v1::SettleOutcome::Settled);
    let job = server.get(&name).await;
    assert_eq!((job.state(), job.cancel_requested), (State::Succeeded, false));
    assert_eq!(bytes_of(job.result.as_ref()), b"done");
}

async fn a_nack_of_any_kind_gives_in(server: &mut Server) {
    let snooze = v1::nack_request::Snooze { delay: Some(seconds(60)) };
    let dispositions = [
        None,
        Some(Disposition::Release(())),
        Some(Disposition::Snooze(snooze)),
        Some(Disposition::Dead(())),
    ];
    for disposition in dispositions {
        let name = server.enqueue("mail").await.name;
        let token = server.leased("mail").await.lease_token;
        cancelled(server, cancel(&name)).await;
        let given_in = v1::NackRequest { disposition, ..nack(&token) };
        let answer = server.broker().nack(given_in).await.unwrap().into_inner();
        assert_eq!(answer.outcome(), v1::SettleOutcome::Settled);
        let job = server.get(&name).await;
        assert_eq!(
            (job.state(), answer.job.unwrap().state()),
            (State::Cancelled, State::Cancelled)
        );
        assert_eq!(job.attempts[0].outcome(), Outcome::Cancelled);
    }
}

async fn a_repeated_cancel_answers_the_same(server: &mut Server) {
    let waits = server.enqueue("mail").await.name;
    let first = cancelled(server, cancel(&waits)).await;
    let again = cancelled(server, cancel(&waits)).await;
    assert_eq!((again.etag, again.end_time), (first.etag, first.end_time));
    let runs = server.enqueue("mail").await.name;
    server.leased("mail").await;
    let first = cancelled(server, cancel(&runs)).await;
    let again = cancelled(server, cancel(&runs)).await;
    assert_eq!((again.etag, again.lease_expire_time), (first.etag, first.lease_expire_time));
}

async fn the_grace_that_ends_sooner_holds(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    server.leased("mail").await;
    let first = cancelled(server, with_grace(&name, 20)).await;
    let longer = cancelled(server, with_grace(&name, 3600)).await;
    assert_eq!(longer.lease_expire_time, first.lease_expire_time);
    cancelled(server, with_grace(&name, 1)).await;
    let job = server.comes_to(&name, State::Cancelled).await;
    assert_eq!(job.state(), State::Cancelled);
    let (ended, first) = (job.end_time.unwrap(), first.lease_expire_time.unwrap());
    assert!(ended.seconds < first.seconds, "{ended} {first}");
}

async fn a_finished_job_is_not_cancelled(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    server.acked(&server.leased("mail").await.lease_token).await;
    let refusal = Refusal::of(try_cancel(server, cancel(&name)).await);
    let expected = (Code::FailedPrecondition, "JOB_TERMINAL");
    assert_eq!((refusal.code, refusal.reason.as_str()), expected);
    assert_eq!((refusal.metadata["state"].as_str(), &refusal.precondition), ("SUCCEEDED", &name));
}

async fn an_etag_of_something_older_is_refused(server: &mut Server) {
    let job = server.enqueue("mail").await;
    let leased = server.leased("mail").await.job.unwrap();
    let with_etag = |etag| v1::CancelJobRequest { etag, ..cancel(&job.name) };
    let refusal = Refusal::of(try_cancel(server, with_etag(job.etag.clone())).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert!(!server.get(&job.name).await.cancel_requested);
    assert!(cancelled(server, with_etag(leased.etag)).await.cancel_requested);
}

async fn an_unknown_job_is_not_cancelled(server: &mut Server) {
    let refusal = Refusal::of(try_cancel(server, cancel("queues/mail/jobs/nothing")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "JOB_NOT_FOUND"));
}

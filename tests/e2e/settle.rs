//! Ack, nack and extend count once, and only for the worker whose lease it is.

use lessor_proto::v1;
use lessor_proto::v1::attempt::Outcome;
use lessor_proto::v1::job::State;
use lessor_proto::v1::nack_request::{Disposition, Retry, Snooze};
use lessor_proto::v1::{SettleOutcome, event};
use tonic::Code;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, bytes_of, data, extend, lease, nack, request, seconds};
use crate::watch::wait_for;

on_every_store! {
    an_acked_job_keeps_its_result,
    a_job_that_keeps_nothing_is_gone_after_its_ack,
    a_repeated_settle_is_told_so,
    another_verb_after_a_settle_is_refused,
    a_nacked_job_is_retried_by_its_policy,
    a_worker_may_choose_the_delay,
    a_snoozed_job_has_not_used_an_attempt,
    a_released_job_is_ready_at_once_and_has_not_used_an_attempt,
    a_job_nacked_dead_is_a_dead_letter,
    a_job_without_attempts_left_is_a_dead_letter,
    a_fatal_code_ends_a_job_at_once,
    a_checkpoint_reaches_the_next_attempt,
    an_extended_lease_ends_later_and_tells_progress,
    an_extension_may_shorten_a_lease,
    an_ack_after_the_lease_ran_out_counts_when_nobody_else_had_the_job,
    a_settle_after_somebody_else_had_the_job_is_lost,
    a_third_lost_lease_is_a_crash_loop,
}

async fn an_acked_job_keeps_its_result(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let leased = server.leased("mail").await;
    let acked = v1::AckRequest { result: Some(data("done")), ..ack(&leased.lease_token) };
    let answer = server.broker().ack(acked).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), SettleOutcome::Settled);
    let told = answer.job.unwrap();
    let job = server.get(&name).await;
    assert_eq!((told.name.as_str(), told.state()), (name.as_str(), State::Succeeded));
    assert_eq!((told.etag.as_str(), told.end_time), (job.etag.as_str(), job.end_time));
    assert_eq!((told.purge_time, told.attempt), (job.purge_time, 1));
    assert_eq!(bytes_of(job.result.as_ref()), b"done");
    assert_eq!((job.worker_id.as_str(), job.lease_expire_time), ("", None));
    let attempt = &job.attempts[0];
    assert_eq!((attempt.number, attempt.outcome()), (1, Outcome::Succeeded));
    assert_eq!(attempt.worker_id, "worker-1");
}

async fn a_job_that_keeps_nothing_is_gone_after_its_ack(server: &mut Server) {
    let retention = v1::Retention { succeeded_ttl: Some(seconds(0)), ..v1::Retention::default() };
    let asked = v1::EnqueueRequest { retention: Some(retention), ..request("mail") };
    let name = server.enqueued(asked).await.name;
    let token = server.leased("mail").await.lease_token;
    assert_eq!(server.acked(&token).await.outcome(), SettleOutcome::Settled);
    let read = v1::GetJobRequest { name, ..v1::GetJobRequest::default() };
    assert_eq!(Refusal::of(server.broker().get_job(read).await).reason, "JOB_NOT_FOUND");
}

async fn a_repeated_settle_is_told_so(server: &mut Server) {
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    assert_eq!(server.acked(&token).await.outcome(), SettleOutcome::Settled);
    assert_eq!(server.acked(&token).await.outcome(), SettleOutcome::AlreadySettled);
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    for expected in [SettleOutcome::Settled, SettleOutcome::AlreadySettled] {
        let answer = server.broker().nack(nack(&token)).await.unwrap().into_inner();
        assert_eq!(answer.outcome(), expected);
        assert_eq!(answer.job.unwrap().attempt, 1);
    }
}

async fn another_verb_after_a_settle_is_refused(server: &mut Server) {
    let job = server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    server.acked(&token).await;
    let refusal = Refusal::of(server.broker().nack(nack(&token)).await);
    assert_eq!(
        (refusal.code, refusal.reason.as_str()),
        (Code::FailedPrecondition, "LEASE_SETTLED")
    );
    assert_eq!(refusal.metadata["outcome"], "SUCCEEDED");
    assert_eq!(refusal.precondition, job.name);
    let refusal = Refusal::of(server.broker().extend_lease(extend(&token)).await);
    assert_eq!(refusal.reason, "LEASE_LOST");
}

async fn a_nacked_job_is_retried_by_its_policy(server: &mut Server) {
    let policy = v1::RetryPolicy {
        initial_backoff: Some(seconds(3600)),
        jitter: Some(0.0),
        ..v1::RetryPolicy::default()
    };
    let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
    let name = server.enqueued(asked).await.name;
    let leased = server.leased("mail").await;
    let failure = v1::Failure {
        code: "HTTP_503".to_owned(),
        message: "try later".to_owned(),
        stack: "at line 1".to_owned(),
        details: None,
    };
    let failed = v1::NackRequest { failure: Some(failure.clone()), ..nack(&leased.lease_token) };
    let answer = server.broker().nack(failed).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), SettleOutcome::Settled);
    let job = server.get(&name).await;
    assert_eq!((job.state(), job.attempt), (State::Retrying, 1));
    assert_eq!(job.last_failure, Some(failure.clone()));
    let attempt = &job.attempts[0];
    assert_eq!((attempt.outcome(), attempt.failure.clone()), (Outcome::Failed, Some(failure)));
    let (due, ended) = (job.schedule_time.unwrap(), attempt.end_time.unwrap());
    assert_eq!((due.seconds - ended.seconds, due.nanos), (3600, ended.nanos));
    assert_eq!(answer.job.unwrap().etag, job.etag);
}

async fn disposed(server: &Server, disposition: Disposition) -> v1::Job {
    let leased = server.leased("mail").await;
    let disposition = Some(disposition);
    let asked = v1::NackRequest { disposition, ..nack(&leased.lease_token) };
    *server.broker().nack(asked).await.unwrap().into_inner().job.unwrap()
}

async fn a_worker_may_choose_the_delay(server: &mut Server) {
    server.enqueue("mail").await;
    let later = disposed(server, Disposition::Retry(Retry { delay: Some(seconds(0)) })).await;
    assert_eq!((later.state(), later.attempt), (State::Ready, 1));
    let later = disposed(server, Disposition::Retry(Retry { delay: Some(seconds(3600)) })).await;
    assert_eq!((later.state(), later.attempt), (State::Retrying, 2));
}

async fn a_snoozed_job_has_not_used_an_attempt(server: &mut Server) {
    server.enqueue("mail").await;
    let snooze = Disposition::Snooze(Snooze { delay: Some(seconds(3600)) });
    let snoozed = disposed(server, snooze).await;
    assert_eq!((snoozed.state(), snoozed.attempt), (State::Scheduled, 0));
    assert_eq!(snoozed.delivery_count, 1);
}

async fn a_released_job_is_ready_at_once_and_has_not_used_an_attempt(server: &mut Server) {
    let first = server.enqueue("mail").await;
    server.enqueue("mail").await;
    let released = disposed(server, Disposition::Release(())).await;
    assert_eq!((released.state(), released.attempt), (State::Ready, 0));
    let again = server.leased("mail").await.job.unwrap();
    assert_eq!((again.name, again.attempt, again.delivery_count), (first.name, 1, 2));
}

async fn a_job_nacked_dead_is_a_dead_letter(server: &mut Server) {
    server.enqueue("mail").await;
    let dead = disposed(server, Disposition::Dead(())).await;
    assert_eq!((dead.state(), dead.attempt), (State::Dead, 1));
    assert!(dead.end_time.is_some() && dead.purge_time.is_some());
}

async fn a_job_without_attempts_left_is_a_dead_letter(server: &mut Server) {
    let policy = v1::RetryPolicy { max_attempts: 2, ..v1::RetryPolicy::default() };
    let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
    server.enqueued(asked).await;
    let at_once = Disposition::Retry(Retry { delay: Some(seconds(0)) });
    assert_eq!(disposed(server, at_once).await.state(), State::Ready);
    assert_eq!(disposed(server, at_once).await.state(), State::Dead);
}

async fn a_fatal_code_ends_a_job_at_once(server: &mut Server) {
    let fatal_codes = vec!["HTTP_404".to_owned()];
    let policy = v1::RetryPolicy { fatal_codes, ..v1::RetryPolicy::default() };
    let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
    server.enqueued(asked).await;
    let token = server.leased("mail").await.lease_token;
    let failure = v1::Failure { code: "HTTP_404".to_owned(), ..v1::Failure::default() };
    let failed = v1::NackRequest { failure: Some(failure), ..nack(&token) };
    let job = server.broker().nack(failed).await.unwrap().into_inner().job.unwrap();
    assert_eq!((job.state(), job.attempt), (State::Dead, 1));
}

async fn a_checkpoint_reaches_the_next_attempt(server: &mut Server) {
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    let saved = v1::ExtendLeaseRequest { checkpoint: Some(data("page 1")), ..extend(&token) };
    server.broker().extend_lease(saved).await.unwrap();
    let release = Some(Disposition::Release(()));
    let released = v1::NackRequest { disposition: release, ..nack(&token) };
    server.broker().nack(released).await.unwrap();
    let leased = server.leased("mail").await;
    assert_eq!(bytes_of(leased.job.unwrap().checkpoint.as_ref()), b"page 1");
    let saved = v1::NackRequest {
        checkpoint: Some(data("page 2")),
        disposition: release,
        ..nack(&leased.lease_token)
    };
    server.broker().nack(saved).await.unwrap();
    let leased = server.leased("mail").await;
    assert_eq!(bytes_of(leased.job.unwrap().checkpoint.as_ref()), b"page 2");
}

async fn an_extended_lease_ends_later_and_tells_progress(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let leased = server.leased("mail").await;
    let progress = v1::Progress { percent: 12.5, message: "half".to_owned(), done: 1, total: 8 };
    let beat = v1::ExtendLeaseRequest {
        lease_duration: Some(seconds(600)),
        progress: Some(progress.clone()),
        ..extend(&leased.lease_token)
    };
    let answer = server.broker().extend_lease(beat).await.unwrap().into_inner();
    assert_eq!(answer.lease_remaining, Some(seconds(600)));
    assert!(!answer.cancel_requested && !answer.drain);
    let job = server.get(&name).await;
    assert_eq!((job.lease_expire_time, job.progress), (answer.lease_expire_time, Some(progress)));
    let usual = server.broker().extend_lease(extend(&leased.lease_token)).await.unwrap();
    assert_eq!(usual.into_inner().lease_remaining, Some(seconds(30)));
    assert_eq!(server.acked(&leased.lease_token).await.outcome(), SettleOutcome::Settled);
}

async fn an_extension_may_shorten_a_lease(server: &mut Server) {
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    let short = v1::ExtendLeaseRequest { lease_duration: Some(seconds(1)), ..extend(&token) };
    server.broker().extend_lease(short).await.unwrap();
    // The job comes back when the second has passed, not after the 30 of the lease.
    let leased = server.leased("mail").await.job.unwrap();
    assert_eq!((leased.attempt, leased.lease_expired_count), (2, 1));
}

/// Leases the one job of `mail` for a second, and waits until that lease has run out.
async fn lost(server: &Server) -> v1::LeasedJob {
    let short = v1::LeaseRequest { lease_duration: Some(seconds(1)), ..lease("mail") };
    let leased = server.leased_by(short).await;
    let number = leased.job.as_ref().unwrap().attempt;
    wait_for(server, |event| {
        event.r#type() == event::Type::JobLeaseExpired && event.attempt == number
    })
    .await;
    leased
}

async fn an_ack_after_the_lease_ran_out_counts_when_nobody_else_had_the_job(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let late = lost(server).await;
    assert_eq!(server.get(&name).await.state(), State::Ready);
    let acked = v1::AckRequest { result: Some(data("late")), ..ack(&late.lease_token) };
    let answer = server.broker().ack(acked).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), SettleOutcome::SettledLate);
    let job = server.get(&name).await;
    assert_eq!((job.state(), job.lease_expired_count), (State::Succeeded, 1));
    assert_eq!(bytes_of(job.result.as_ref()), b"late");
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
}

async fn a_settle_after_somebody_else_had_the_job_is_lost(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let late = lost(server).await;
    let other = server.leased("mail").await;
    let token = &late.lease_token;
    let refusals = [
        Refusal::of(server.broker().ack(ack(token)).await),
        Refusal::of(server.broker().nack(nack(token)).await),
        Refusal::of(server.broker().extend_lease(extend(token)).await),
    ];
    for refusal in refusals {
        assert_eq!(
            (refusal.code, refusal.reason.as_str()),
            (Code::FailedPrecondition, "LEASE_LOST")
        );
        assert_eq!(refusal.metadata["state"], "LEASED");
        assert_eq!(refusal.metadata["currentAttempt"], "2");
        assert_eq!(refusal.precondition, name);
    }
    assert_eq!(server.acked(&other.lease_token).await.outcome(), SettleOutcome::Settled);
}

async fn a_third_lost_lease_is_a_crash_loop(server: &mut Server) {
    let policy = v1::RetryPolicy { max_attempts: -1, ..v1::RetryPolicy::default() };
    let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
    let name = server.enqueued(asked).await.name;
    for _ in 0..3 {
        lost(server).await;
    }
    let job = server.get(&name).await;
    assert_eq!((job.state(), job.lease_expired_count), (State::Dead, 3));
    assert_eq!(job.last_failure.unwrap().code, "CRASH_LOOP");
}

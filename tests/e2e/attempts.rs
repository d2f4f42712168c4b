//! Attempts: how long one may take, when the next one begins, and what comes of the last.

use lessor_proto::v1;
use lessor_proto::v1::SettleOutcome;
use lessor_proto::v1::attempt::Outcome;
use lessor_proto::v1::job::State;
use lessor_proto::v1::nack_request::Disposition;
use tonic::Code;

use crate::on_every_store;
use crate::queues::named;
use crate::refusal::Refusal;
use crate::server::{
    Server, ack, bytes_of, data, extend, lease, millis_between, nack, request, seconds,
};

on_every_store! {
    heartbeats_do_not_outlast_the_attempt_timeout,
    a_timeout_may_be_fatal,
    a_timeout_may_be_the_last_attempt,
    a_job_that_nobody_can_handle_waits_and_burns_no_attempt,
    a_job_that_nobody_can_handle_may_be_a_dead_letter_at_once,
    follow_ups_come_to_be_with_the_ack,
    a_refused_follow_up_keeps_the_ack_from_being_made,
    bad_follow_ups_are_named,
    a_repeated_ack_adds_no_follow_ups,
    follow_ups_fit_into_a_full_queue,
    a_multiplier_of_one_keeps_the_backoff_fixed,
    listed_backoffs_are_taken_one_by_one,
    no_retry_begins_after_the_longest_time_for_all,
}

fn timed(policy: v1::RetryPolicy) -> v1::EnqueueRequest {
    v1::EnqueueRequest {
        attempt_timeout: Some(seconds(1)),
        retry_policy: Some(policy),
        ..request("mail")
    }
}

/// A policy whose first backoff is longer than any case.
fn slow() -> v1::RetryPolicy {
    v1::RetryPolicy {
        initial_backoff: Some(seconds(3600)),
        max_backoff: Some(seconds(7200)),
        jitter: Some(0.0),
        ..v1::RetryPolicy::default()
    }
}

async fn heartbeats_do_not_outlast_the_attempt_timeout(server: &mut Server) {
    let name = server.enqueued(timed(slow())).await.name;
    let token = server.leased("mail").await.lease_token;
    let beat = v1::ExtendLeaseRequest { lease_duration: Some(seconds(60)), ..extend(&token) };
    let mut beats = 0;
    let refusal = loop {
        let answer = server.broker().extend_lease(beat.clone()).await;
        let Ok(held) = &answer else { break Refusal::of(answer) };
        assert!(held.get_ref().lease_remaining.unwrap().seconds <= 1);
        beats += 1;
    };
    assert!(beats > 0);
    assert_eq!(refusal.reason, "LEASE_LOST");
    let job = server.comes_to(&name, State::Retrying).await;
    assert_eq!((job.state(), job.attempt, job.lease_expired_count), (State::Retrying, 1, 0));
    let attempt = &job.attempts[0];
    assert_eq!(attempt.outcome(), Outcome::TimedOut);
    assert_eq!(attempt.failure.as_ref().unwrap().code, "ATTEMPT_TIMEOUT");
    assert!(millis_between(attempt.start_time, attempt.end_time) >= 1000);
    // It was told to stop, so what it did does not count.
    let refusal = Refusal::of(server.broker().ack(ack(&token)).await);
    assert_eq!(refusal.reason, "LEASE_LOST");
}

async fn a_timeout_may_be_fatal(server: &mut Server) {
    let fatal_codes = vec!["ATTEMPT_TIMEOUT".to_owned()];
    let name = server.enqueued(timed(v1::RetryPolicy { fatal_codes, ..slow() })).await.name;
    server.leased("mail").await;
    let job = server.comes_to(&name, State::Dead).await;
    assert_eq!((job.state(), job.attempt), (State::Dead, 1));
    assert_eq!(job.last_failure.unwrap().code, "ATTEMPT_TIMEOUT");
}

async fn a_timeout_may_be_the_last_attempt(server: &mut Server) {
    let once = v1::RetryPolicy { max_attempts: 1, ..slow() };
    let name = server.enqueued(timed(once)).await.name;
    server.leased("mail").await;
    let job = server.comes_to(&name, State::Dead).await;
    assert_eq!(job.attempts[0].outcome(), Outcome::TimedOut);
}

async fn promote(server: &Server, name: &str) {
    let action = v1::JobActionRequest { name: name.to_owned(), ..v1::JobActionRequest::default() };
    server.admin().promote_job(action).await.unwrap();
}

fn unhandled(token: &str, disposition: Option<Disposition>) -> v1::NackRequest {
    let failure = Some(v1::Failure { code: "NO_HANDLER".to_owned(), ..v1::Failure::default() });
    v1::NackRequest { failure, disposition, ..nack(token) }
}

async fn a_job_that_nobody_can_handle_waits_and_burns_no_attempt(server: &mut Server) {
    let policy = v1::RetryPolicy {
        max_attempts: 1,
        initial_backoff: Some(seconds(0)),
        ..v1::RetryPolicy::default()
    };
    let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
    let name = server.enqueued(asked).await.name;
    let ways = [None, Some(Disposition::Release(())), None, None];
    for (deliveries, disposition) in (1..).zip(ways) {
        let leased = server.leased("mail").await;
        assert_eq!(leased.job.unwrap().attempt, 1);
        server.broker().nack(unhandled(&leased.lease_token, disposition)).await.unwrap();
        let job = server.get(&name).await;
        assert_eq!((job.state(), job.attempt), (State::Retrying, 0));
        assert_eq!(job.delivery_count, deliveries);
        assert_eq!(job.last_failure.unwrap().code, "NO_HANDLER");
        // A lone worker is not handed the job at once, even without any backoff.
        assert!(millis_between(job.attempts[0].end_time, job.schedule_time) >= 1000);
        promote(server, &name).await;
    }
}

async fn a_job_that_nobody_can_handle_may_be_a_dead_letter_at_once(server: &mut Server) {
    let fatal_codes = vec!["NO_HANDLER".to_owned()];
    let policy = v1::RetryPolicy { fatal_codes, ..v1::RetryPolicy::default() };
    let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
    server.enqueued(asked).await;
    let token = server.leased("mail").await.lease_token;
    let answer = server.broker().nack(unhandled(&token, None)).await.unwrap().into_inner();
    assert_eq!(answer.job.unwrap().state(), State::Dead);
}

fn follow_up(id: &str) -> v1::EnqueueRequest {
    v1::EnqueueRequest { job_id: id.to_owned(), payload: Some(data(id)), ..request("mail") }
}

fn acked_with(token: &str, then: Vec<v1::EnqueueRequest>) -> v1::AckRequest {
    v1::AckRequest { then, ..ack(token) }
}

/// Leases all there is of `mail`, and tells the ids.
async fn all(server: &Server) -> Vec<String> {
    let wish = v1::LeaseRequest { max_jobs: 100, ..lease("mail") };
    let jobs = server.lease_now(wish).await.jobs;
    let mut ids: Vec<String> = jobs
        .into_iter()
        .map(|leased| crate::server::id_of(&leased.job.unwrap()).to_owned())
        .collect();
    ids.sort();
    ids
}

async fn follow_ups_come_to_be_with_the_ack(server: &mut Server) {
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    let then = vec![follow_up("one"), follow_up("two")];
    let (woken, answer) = tokio::join!(server.leased("mail"), async {
        server.broker().ack(acked_with(&token, then)).await.unwrap().into_inner()
    });
    assert_eq!(answer.outcome(), SettleOutcome::Settled);
    let first = woken.job.unwrap();
    assert_eq!(bytes_of(first.payload.as_ref()), b"one");
    assert_eq!(all(server).await, ["two"]);
}

async fn a_refused_follow_up_keeps_the_ack_from_being_made(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let token = server.leased("mail").await.lease_token;
    server.enqueued(follow_up("taken")).await;
    let then = vec![follow_up("one"), follow_up("taken")];
    let refusal = Refusal::of(server.broker().ack(acked_with(&token, then)).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "JOB_EXISTS"));
    assert!(refusal.message.contains("then[1]"), "{}", refusal.message);
    assert_eq!(refusal.resource, "queues/mail/jobs/taken");
    assert_eq!(server.get(&name).await.state(), State::Leased);
    assert_eq!(all(server).await, ["taken"]);
    // The lease is as good as before.
    let then = vec![follow_up("one")];
    let answer = server.broker().ack(acked_with(&token, then)).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), SettleOutcome::Settled);
    assert_eq!(all(server).await, ["one"]);
}

async fn bad_follow_ups_are_named(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let token = server.leased("mail").await.lease_token;
    let cases = [
        (vec![follow_up("not an id")], "then[0].job_id"),
        (vec![follow_up("a"), follow_up("a")], "then[1].job_id"),
        (vec![request("other")], "then[0].queue"),
        (vec![request("mail"); 17], "then"),
    ];
    for (then, field) in cases {
        Refusal::of(server.broker().ack(acked_with(&token, then)).await).assert_field(field);
    }
    assert_eq!(server.get(&name).await.state(), State::Leased);
    assert_eq!(all(server).await, Vec::<String>::new());
}

async fn a_repeated_ack_adds_no_follow_ups(server: &mut Server) {
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    for expected in [SettleOutcome::Settled, SettleOutcome::AlreadySettled] {
        let asked = acked_with(&token, vec![request("mail")]);
        let answer = server.broker().ack(asked).await.unwrap().into_inner();
        assert_eq!(answer.outcome(), expected);
    }
    assert_eq!(all(server).await.len(), 1);
}

async fn follow_ups_fit_into_a_full_queue(server: &mut Server) {
    server.set(v1::Queue { max_jobs: 1, ..named("mail") }, &["max_jobs"]).await;
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    let then = vec![follow_up("one"), follow_up("two")];
    server.broker().ack(acked_with(&token, then)).await.unwrap();
    assert_eq!(all(server).await, ["one", "two"]);
}

/// Fails a job of this policy so many times; the backoffs in seconds.
async fn backoffs(server: &Server, policy: v1::RetryPolicy, times: usize) -> Vec<i64> {
    let policy = v1::RetryPolicy { max_attempts: -1, jitter: Some(0.0), ..policy };
    let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
    let name = server.enqueued(asked).await.name;
    let mut backoffs = Vec::new();
    for _ in 0..times {
        let token = server.leased("mail").await.lease_token;
        server.broker().nack(nack(&token)).await.unwrap();
        let job = server.get(&name).await;
        assert_eq!(job.state(), State::Retrying);
        backoffs.push(millis_between(job.attempts[0].end_time, job.schedule_time) / 1000);
        promote(server, &name).await;
    }
    backoffs
}

async fn a_multiplier_of_one_keeps_the_backoff_fixed(server: &mut Server) {
    let fixed = v1::RetryPolicy { multiplier: 1.0, ..slow() };
    assert_eq!(backoffs(server, fixed, 3).await, [3600, 3600, 3600]);
}

async fn listed_backoffs_are_taken_one_by_one(server: &mut Server) {
    let backoff_list = vec![seconds(60), seconds(600), seconds(120)];
    let listed = v1::RetryPolicy { backoff_list, ..v1::RetryPolicy::default() };
    assert_eq!(backoffs(server, listed, 4).await, [60, 600, 120, 120]);
}

async fn no_retry_begins_after_the_longest_time_for_all(server: &mut Server) {
    for (longest, state) in [(4000, State::Retrying), (3000, State::Dead)] {
        let policy = v1::RetryPolicy { max_retry_duration: Some(seconds(longest)), ..slow() };
        let asked = v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") };
        server.enqueued(asked).await;
        let token = server.leased("mail").await.lease_token;
        let job = server.broker().nack(nack(&token)).await.unwrap().into_inner().job.unwrap();
        assert_eq!((job.state(), job.attempt), (state, 1));
    }
}

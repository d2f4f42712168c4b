//! What a producer may ask for beside the work: an end, an owner, limits of time; and what the queue
//! asks of its producers.

use lessor_proto::v1;
use lessor_proto::v1::enqueue_request::{Expiry, Start};
use lessor_proto::v1::job::State;
use lessor_proto::v1::lease_response::EmptyReason;
use prost_types::Timestamp;
use tonic::Code;

use crate::on_every_store;
use crate::queues::named;
use crate::refusal::Refusal;
use crate::server::{Server, lease, millis_between, nack, request, seconds};

on_every_store! {
    a_job_past_its_ttl_is_expired_and_never_leased,
    an_expire_time_that_has_passed_expires_the_job_at_once,
    a_retry_does_not_outlive_the_expire_time,
    an_attempt_under_way_may_outlive_the_ttl,
    owner_and_labels_come_back,
    an_attempt_has_half_an_hour_unless_told_otherwise,
    a_queue_decides_what_its_producers_leave_open,
    a_later_change_of_the_queue_leaves_its_jobs_alone,
    a_validated_request_stores_nothing,
    a_validated_request_meets_a_taken_id_and_a_full_queue,
    a_full_queue_takes_jobs_again_once_one_has_ended,
    a_batch_that_does_not_fit_is_refused_as_a_whole,
    a_queue_keeps_as_many_finished_jobs_as_the_last_one_says,
    a_finished_job_is_forgotten_after_its_time,
}

fn living(seconds_to_live: i64) -> v1::EnqueueRequest {
    let expiry = Some(Expiry::Ttl(seconds(seconds_to_live)));
    v1::EnqueueRequest { expiry, ..request("mail") }
}

async fn a_job_past_its_ttl_is_expired_and_never_leased(server: &mut Server) {
    let made = server.enqueued(living(1)).await;
    assert_eq!(millis_between(made.create_time, made.expire_time), 1000);
    let job = server.comes_to(&made.name, State::Expired).await;
    assert_eq!((job.state(), job.delivery_count), (State::Expired, 0));
    assert!(millis_between(job.expire_time, job.end_time) >= 0);
    assert!(job.purge_time.is_some());
    let answer = server.lease_now(lease("mail")).await;
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::NoJobs));
}

async fn an_expire_time_that_has_passed_expires_the_job_at_once(server: &mut Server) {
    let expiry = Some(Expiry::ExpireTime(Timestamp { seconds: 1, nanos: 0 }));
    let made = server.enqueued(v1::EnqueueRequest { expiry, ..request("mail") }).await;
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
    let job = server.comes_to(&made.name, State::Expired).await;
    assert_eq!(job.state(), State::Expired);
}

async fn a_retry_does_not_outlive_the_expire_time(server: &mut Server) {
    let hour =
        v1::RetryPolicy { initial_backoff: Some(seconds(3600)), ..v1::RetryPolicy::default() };
    let asked = v1::EnqueueRequest { retry_policy: Some(hour), ..living(2) };
    let name = server.enqueued(asked).await.name;
    let leased = server.leased("mail").await;
    server.broker().nack(nack(&leased.lease_token)).await.unwrap();
    let job = server.comes_to(&name, State::Expired).await;
    assert_eq!((job.state(), job.attempt), (State::Expired, 1));
}

async fn an_attempt_under_way_may_outlive_the_ttl(server: &mut Server) {
    let name = server.enqueued(living(2)).await.name;
    let leased = server.leased("mail").await;
    let waits = server.enqueued(living(2)).await.name;
    server.comes_to(&waits, State::Expired).await;
    assert_eq!(server.get(&name).await.state(), State::Leased);
    assert_eq!(server.acked(&leased.lease_token).await.outcome(), v1::SettleOutcome::Settled);
}

async fn owner_and_labels_come_back(server: &mut Server) {
    let asked = v1::EnqueueRequest {
        owner: "team-a".to_owned(),
        labels: [("kind".to_owned(), "welcome".to_owned())].into(),
        ..request("mail")
    };
    let made = server.enqueued(asked.clone()).await;
    let read = server.get(&made.name).await;
    let leased = server.leased("mail").await.job.unwrap();
    for job in [made, read, *leased] {
        assert_eq!((&job.owner, &job.labels), (&asked.owner, &asked.labels));
    }
}

async fn an_attempt_has_half_an_hour_unless_told_otherwise(server: &mut Server) {
    let usual = server.enqueue("mail").await;
    assert_eq!(usual.attempt_timeout, Some(seconds(1800)));
    let left = server.leased("mail").await.attempt_remaining.unwrap();
    assert!((1700..=1800).contains(&left.seconds), "{left}");
    let short = v1::EnqueueRequest { attempt_timeout: Some(seconds(20)), ..request("mail") };
    let job = server.enqueued(short).await;
    assert_eq!(job.attempt_timeout, Some(seconds(20)));
    let leased = server.leased("mail").await;
    let left = leased.attempt_remaining.unwrap();
    assert!((1..=20).contains(&left.seconds), "{left}");
    // No lease lasts longer than its attempt may.
    assert!(leased.lease_remaining.unwrap().seconds <= 20);
}

/// A queue with defaults of its own.
fn opinionated() -> v1::Queue {
    v1::Queue {
        retry_policy: Some(v1::RetryPolicy {
            max_attempts: 7,
            fatal_codes: vec!["HTTP_404".to_owned()],
            ..v1::RetryPolicy::default()
        }),
        lease_duration: Some(seconds(90)),
        attempt_timeout: Some(seconds(600)),
        retention: Some(v1::Retention {
            succeeded_ttl: Some(seconds(60)),
            dead_count: 3,
            ..v1::Retention::default()
        }),
        ..named("mail")
    }
}

const OPINIONS: [&str; 4] = ["retry_policy", "lease_duration", "attempt_timeout", "retention"];

async fn a_queue_decides_what_its_producers_leave_open(server: &mut Server) {
    server.set(opinionated(), &OPINIONS).await;
    let job = server.enqueue("mail").await;
    let retry = job.retry_policy.unwrap();
    assert_eq!((retry.max_attempts, retry.fatal_codes), (7, vec!["HTTP_404".to_owned()]));
    assert_eq!(job.lease_duration, Some(seconds(90)));
    assert_eq!(job.attempt_timeout, Some(seconds(600)));
    let kept = job.retention.unwrap();
    assert_eq!((kept.succeeded_ttl, kept.dead_count), (Some(seconds(60)), 3));
    let own = v1::EnqueueRequest {
        retry_policy: Some(v1::RetryPolicy { max_attempts: 2, ..v1::RetryPolicy::default() }),
        lease_duration: Some(seconds(5)),
        attempt_timeout: Some(seconds(50)),
        retention: Some(v1::Retention { dead_count: 9, ..v1::Retention::default() }),
        ..request("mail")
    };
    let job = server.enqueued(own).await;
    let retry = job.retry_policy.unwrap();
    assert_eq!((retry.max_attempts, retry.fatal_codes), (2, Vec::new()));
    assert_eq!(job.lease_duration, Some(seconds(5)));
    assert_eq!(job.attempt_timeout, Some(seconds(50)));
    let kept = job.retention.unwrap();
    assert_eq!((kept.succeeded_ttl, kept.dead_count), (Some(seconds(3600)), 9));
}

async fn a_later_change_of_the_queue_leaves_its_jobs_alone(server: &mut Server) {
    let before = server.enqueue("mail").await;
    server.set(opinionated(), &OPINIONS).await;
    let after = server.get(&before.name).await;
    assert_eq!(after.retry_policy, before.retry_policy);
    assert_eq!(after.attempt_timeout, before.attempt_timeout);
    assert_eq!(after.retention, before.retention);
}

fn validated(request: v1::EnqueueRequest) -> v1::EnqueueRequest {
    v1::EnqueueRequest { validate_only: true, ..request }
}

async fn a_validated_request_stores_nothing(server: &mut Server) {
    let start = Some(Start::Delay(seconds(60)));
    let job_id = "one".to_owned();
    let asked = v1::EnqueueRequest { start, job_id, priority: 4, ..request("mail") };
    let answer = server.broker().enqueue(validated(asked.clone())).await.unwrap().into_inner();
    let would_be = answer.job.unwrap();
    assert_eq!((would_be.name.as_str(), would_be.priority), ("queues/mail/jobs/one", 4));
    assert_eq!(would_be.state(), State::Scheduled);
    let read = v1::GetJobRequest { name: would_be.name, ..v1::GetJobRequest::default() };
    assert_eq!(Refusal::of(server.broker().get_job(read).await).reason, "JOB_NOT_FOUND");
    let list = v1::ListQueuesRequest::default();
    assert_eq!(server.admin().list_queues(list).await.unwrap().into_inner().queues, []);
    server.enqueued(asked).await;
}

async fn a_validated_request_meets_a_taken_id_and_a_full_queue(server: &mut Server) {
    let taken = v1::EnqueueRequest { job_id: "one".to_owned(), ..request("mail") };
    server.enqueued(taken.clone()).await;
    let refusal = Refusal::of(server.broker().enqueue(validated(taken)).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "JOB_EXISTS"));
    assert_eq!(refusal.metadata["state"], "READY");
    server.set(v1::Queue { max_jobs: 1, ..named("mail") }, &["max_jobs"]).await;
    let refusal = Refusal::of(server.broker().enqueue(validated(request("mail"))).await);
    assert_eq!(refusal.reason, "QUEUE_FULL");
}

async fn a_full_queue_takes_jobs_again_once_one_has_ended(server: &mut Server) {
    server.set(v1::Queue { max_jobs: 2, ..named("mail") }, &["max_jobs"]).await;
    server.enqueue("mail").await;
    server.enqueue("mail").await;
    let leased = server.leased("mail").await;
    // A leased job is not finished.
    let refusal = Refusal::of(server.broker().enqueue(request("mail")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
    let told = (refusal.metadata["limit"].as_str(), refusal.metadata["unit"].as_str());
    assert_eq!(told, ("2", "jobs"));
    assert!(refusal.retry_after.is_some());
    server.enqueue("other").await;
    server.acked(&leased.lease_token).await;
    server.enqueue("mail").await;
}

async fn a_batch_that_does_not_fit_is_refused_as_a_whole(server: &mut Server) {
    server.set(v1::Queue { max_jobs: 2, ..named("mail") }, &["max_jobs"]).await;
    server.enqueue("mail").await;
    let whole = v1::BatchEnqueueRequest {
        requests: vec![request("mail"); 2],
        ..v1::BatchEnqueueRequest::default()
    };
    let refusal = Refusal::of(server.broker().batch_enqueue(whole.clone()).await);
    assert_eq!(refusal.reason, "QUEUE_FULL");
    let partial = v1::BatchEnqueueRequest { allow_partial: true, ..whole };
    let results = server.broker().batch_enqueue(partial).await.unwrap().into_inner().results;
    assert!(results[0].response.is_some() && results[1].response.is_none());
    let all = v1::LeaseRequest { max_jobs: 10, ..lease("mail") };
    assert_eq!(server.lease_now(all).await.jobs.len(), 2);
}

async fn is_gone(server: &Server, name: &str) -> bool {
    let read = v1::GetJobRequest { name: name.to_owned(), ..v1::GetJobRequest::default() };
    match server.broker().get_job(read).await {
        Ok(_) => false,
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound);
            true
        }
    }
}

async fn a_queue_keeps_as_many_finished_jobs_as_the_last_one_says(server: &mut Server) {
    let retention = Some(v1::Retention { succeeded_count: 2, ..v1::Retention::default() });
    let mut names = Vec::new();
    for _ in 0..4 {
        let asked = v1::EnqueueRequest { retention, ..request("mail") };
        names.push(server.enqueued(asked).await.name);
        server.acked(&server.leased("mail").await.lease_token).await;
    }
    let mut gone = Vec::new();
    for name in &names {
        gone.push(is_gone(server, name).await);
    }
    assert_eq!(gone, [true, true, false, false]);
}

async fn a_finished_job_is_forgotten_after_its_time(server: &mut Server) {
    let retention = v1::Retention { succeeded_ttl: Some(seconds(1)), ..v1::Retention::default() };
    let asked = v1::EnqueueRequest { retention: Some(retention), ..request("mail") };
    let name = server.enqueued(asked).await.name;
    server.acked(&server.leased("mail").await.lease_token).await;
    let job = server.get(&name).await;
    assert_eq!(millis_between(job.end_time, job.purge_time), 1000);
    // Nothing tells the end of a job's keeping, so it is asked for.
    while !is_gone(server, &name).await {}
}

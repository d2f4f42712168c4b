//! Enqueue makes one job, once, as asked.

use std::collections::BTreeMap;

use lessor_proto::v1;
use lessor_proto::v1::dedup::{OnDuplicate, Scope};
use lessor_proto::v1::enqueue_request::Start;
use lessor_proto::v1::enqueue_response::Outcome;
use lessor_proto::v1::job::State;
use lessor_proto::v1::payload::Body;
use prost_types::value::Kind;
use prost_types::{Struct, Timestamp, Value};
use tonic::{Code, Request};
use uuid::Uuid;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, data, id_of, lease, millis, request, seconds};

on_every_store! {
    a_plain_job_is_ready_with_the_defaults,
    a_job_is_kept_as_it_was_asked_for,
    json_comes_back_as_json,
    the_trace_context_of_the_call_stays_with_the_job,
    a_delayed_job_is_scheduled_and_runs_when_its_time_has_come,
    a_past_schedule_time_means_now,
    a_taken_job_id_is_refused_with_its_state,
    a_repeated_request_makes_one_job,
    a_request_id_with_another_request_is_refused,
    a_duplicate_answers_the_job_that_holds_the_key,
    a_finished_job_gives_its_dedup_key_free,
    a_window_holds_its_key_beyond_the_end_of_the_job,
    an_unknown_job_is_not_found,
}

async fn a_plain_job_is_ready_with_the_defaults(server: &mut Server) {
    let enqueued = server.broker().enqueue(request("mail")).await.unwrap().into_inner();
    assert_eq!(enqueued.outcome(), Outcome::Created);
    let job = enqueued.job.unwrap();
    assert_eq!(job.name, format!("queues/mail/jobs/{}", id_of(&job)));
    assert_eq!(id_of(&job).len(), 26);
    assert_eq!((job.state(), job.attempt, job.delivery_count), (State::Ready, 0, 0));
    assert_eq!(job.lease_duration, Some(seconds(30)));
    let retry = job.retry_policy.as_ref().unwrap();
    assert_eq!((retry.max_attempts, retry.multiplier, retry.jitter), (3, 2.0, Some(0.2)));
    assert_eq!((retry.initial_backoff, retry.max_backoff), (Some(seconds(2)), Some(seconds(3600))));
    let kept = job.retention.unwrap();
    assert_eq!((kept.succeeded_ttl, kept.succeeded_count), (Some(seconds(3600)), 1000));
    assert_eq!((kept.dead_ttl, kept.dead_count), (Some(seconds(7 * 24 * 3600)), 500));
    assert!(job.create_time.is_some() && job.schedule_time.is_none() && job.payload.is_none());
    assert!(!job.etag.is_empty());
}

async fn a_job_is_kept_as_it_was_asked_for(server: &mut Server) {
    let payload = v1::Payload {
        content_type: "text/plain".to_owned(),
        encoding: "gzip".to_owned(),
        ..data(b"\x00\xffhello")
    };
    let asked = v1::EnqueueRequest {
        r#type: "send-email".to_owned(),
        payload: Some(payload.clone()),
        job_id: "order-17~a".to_owned(),
        priority: -1000,
        labels: [("team".to_owned(), "blue".to_owned()), ("x".to_owned(), String::new())].into(),
        lease_duration: Some(millis(1500)),
        retry_policy: Some(v1::RetryPolicy {
            max_attempts: -1,
            initial_backoff: Some(seconds(0)),
            multiplier: 1.5,
            max_backoff: Some(seconds(60)),
            jitter: Some(0.0),
            backoff_list: vec![seconds(1), millis(2500)],
            fatal_codes: vec!["HTTP_404".to_owned()],
            max_retry_duration: Some(seconds(86_400)),
        }),
        retention: Some(v1::Retention {
            succeeded_ttl: Some(seconds(0)),
            succeeded_count: -1,
            dead_ttl: Some(seconds(60)),
            dead_count: 7,
        }),
        dedup: Some(v1::Dedup {
            key: "order 17".to_owned(),
            scope: Scope::Window.into(),
            window: Some(seconds(600)),
            on_duplicate: OnDuplicate::Keep.into(),
        }),
        ..request("mail")
    };
    let basic = server.enqueued(asked.clone()).await;
    assert_eq!(basic.payload, None);
    assert_eq!(basic.name, "queues/mail/jobs/order-17~a");
    let job = server.get(&basic.name).await;
    assert_eq!(job.payload, Some(payload));
    assert_eq!((job.r#type.as_str(), job.priority), ("send-email", -1000));
    assert_eq!(job.labels, asked.labels);
    assert_eq!((job.lease_duration, job.dedup.clone()), (asked.lease_duration, asked.dedup));
    assert_eq!((job.retry_policy.clone(), job.retention), (asked.retry_policy, asked.retention));
    assert_eq!(v1::Job { payload: None, ..job }, basic);
}

async fn json_comes_back_as_json(server: &mut Server) {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = BTreeMap::from([("to".to_owned(), text("a@b.c"))]);
    let json = Value { kind: Some(Kind::StructValue(Struct { fields })) };
    let payload = v1::Payload { body: Some(Body::Json(json.clone())), ..v1::Payload::default() };
    server.enqueued(v1::EnqueueRequest { payload: Some(payload), ..request("mail") }).await;
    let leased = server.leased("mail").await;
    let payload = leased.job.unwrap().payload.unwrap();
    assert_eq!(payload.body, Some(Body::Json(json)));
    assert_eq!(payload.content_type, "application/json");
}

async fn the_trace_context_of_the_call_stays_with_the_job(server: &mut Server) {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut call = Request::new(request("mail"));
    call.metadata_mut().insert("traceparent", parent.parse().unwrap());
    call.metadata_mut().insert("baggage", "user=7".parse().unwrap());
    server.broker().enqueue(call).await.unwrap();
    let context = server.leased("mail").await.job.unwrap().trace_context;
    let expected = [("traceparent", parent), ("baggage", "user=7")];
    assert_eq!(context, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

async fn a_delayed_job_is_scheduled_and_runs_when_its_time_has_come(server: &mut Server) {
    let start = Some(Start::Delay(millis(300)));
    let job = server.enqueued(v1::EnqueueRequest { start, ..request("mail") }).await;
    assert_eq!(job.state(), State::Scheduled);
    let due = job.schedule_time.unwrap();
    let leased = server.leased("mail").await.job.unwrap();
    assert_eq!(leased.name, job.name);
    let started = leased.start_time.unwrap();
    assert!((started.seconds, started.nanos) >= (due.seconds, due.nanos), "{started} {due}");
}

async fn a_past_schedule_time_means_now(server: &mut Server) {
    for seconds in [1, -1] {
        let start = Some(Start::ScheduleTime(Timestamp { seconds, nanos: 0 }));
        let job = server.enqueued(v1::EnqueueRequest { start, ..request("mail") }).await;
        assert_eq!(job.state(), State::Ready);
    }
}

async fn a_taken_job_id_is_refused_with_its_state(server: &mut Server) {
    let named = v1::EnqueueRequest { job_id: "one".to_owned(), ..request("mail") };
    server.enqueued(named.clone()).await;
    let refusal = Refusal::of(server.broker().enqueue(named.clone()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "JOB_EXISTS"));
    assert_eq!(refusal.metadata["state"], "READY");
    assert_eq!(refusal.resource, "queues/mail/jobs/one");
    // Ids are unique in their queue only.
    server.enqueued(v1::EnqueueRequest { queue: "sms".to_owned(), ..named }).await;
}

async fn a_repeated_request_makes_one_job(server: &mut Server) {
    let asked = v1::EnqueueRequest {
        request_id: Uuid::new_v4().to_string(),
        labels: (0..20).map(|n| (format!("label-{n}"), n.to_string())).collect(),
        payload: Some(data("hello")),
        ..request("mail")
    };
    let first = server.broker().enqueue(asked.clone()).await.unwrap().into_inner();
    assert_eq!(first.outcome(), Outcome::Created);
    for _ in 0..3 {
        let again = server.broker().enqueue(asked.clone()).await.unwrap().into_inner();
        assert_eq!(again.outcome(), Outcome::Replayed);
        assert_eq!(again.job, first.job);
    }
    let all = v1::LeaseRequest { max_jobs: 10, ..lease("mail") };
    assert_eq!(server.lease_now(all).await.jobs.len(), 1);
}

async fn a_request_id_with_another_request_is_refused(server: &mut Server) {
    let request_id = Uuid::new_v4().to_string();
    let asked = v1::EnqueueRequest { request_id, ..request("mail") };
    server.enqueued(asked.clone()).await;
    let other = v1::EnqueueRequest { priority: 1, ..asked };
    let refusal = Refusal::of(server.broker().enqueue(other).await);
    let expected = (Code::FailedPrecondition, "REQUEST_ID_REUSED");
    assert_eq!((refusal.code, refusal.reason.as_str()), expected);
}

fn deduplicated(scope: Scope, window: Option<prost_types::Duration>) -> v1::EnqueueRequest {
    let dedup = v1::Dedup {
        key: "order-17".to_owned(),
        scope: scope.into(),
        window,
        ..v1::Dedup::default()
    };
    v1::EnqueueRequest { dedup: Some(dedup), ..request("mail") }
}

async fn a_duplicate_answers_the_job_that_holds_the_key(server: &mut Server) {
    let asked = deduplicated(Scope::Unspecified, None);
    let first = server.enqueued(asked.clone()).await;
    let second = v1::EnqueueRequest { priority: 9, ..asked };
    let answer = server.broker().enqueue(second).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Deduplicated);
    assert_eq!(*answer.job.unwrap(), first);
}

async fn a_finished_job_gives_its_dedup_key_free(server: &mut Server) {
    let asked = deduplicated(Scope::UntilFinished, None);
    let first = server.enqueued(asked.clone()).await;
    let leased = server.leased("mail").await;
    let held = server.broker().enqueue(asked.clone()).await.unwrap().into_inner();
    assert_eq!(held.outcome(), Outcome::Deduplicated);
    server.broker().ack(ack(&leased.lease_token)).await.unwrap();
    let next = server.broker().enqueue(asked).await.unwrap().into_inner();
    assert_eq!(next.outcome(), Outcome::Created);
    assert_ne!(next.job.unwrap().name, first.name);
}

async fn a_window_holds_its_key_beyond_the_end_of_the_job(server: &mut Server) {
    let asked = deduplicated(Scope::Window, Some(seconds(600)));
    let first = server.enqueued(asked.clone()).await;
    server.acked(&server.leased("mail").await.lease_token).await;
    let answer = server.broker().enqueue(asked).await.unwrap().into_inner();
    assert_eq!(answer.outcome(), Outcome::Deduplicated);
    let holder = answer.job.unwrap();
    assert_eq!((holder.name.as_str(), holder.state()), (first.name.as_str(), State::Succeeded));
}

async fn an_unknown_job_is_not_found(server: &mut Server) {
    let name = "queues/mail/jobs/nothing";
    let request = v1::GetJobRequest { name: name.to_owned(), ..v1::GetJobRequest::default() };
    let refusal = Refusal::of(server.broker().get_job(request).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "JOB_NOT_FOUND"));
    assert_eq!(refusal.resource, name);
}

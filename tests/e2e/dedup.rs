//! Dedup: how long a key is held, and what becomes of those who come while it is.

use lessor_proto::v1;
use lessor_proto::v1::dedup::{OnDuplicate, Scope};
use lessor_proto::v1::enqueue_request::Start;
use lessor_proto::v1::enqueue_response::Outcome;
use lessor_proto::v1::job::State;
use lessor_proto::v1::nack_request::Disposition;
use tonic::Code;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, bytes_of, data, lease, millis_between, nack, request, seconds};

on_every_store! {
    a_replaced_job_does_what_was_asked_for_last,
    a_replacement_moves_the_time_of_the_job,
    a_leased_job_is_not_replaced,
    a_job_runs_once_more_after_the_one_that_is_leased,
    a_job_runs_once_more_however_the_leased_one_ends,
    a_job_that_waits_is_replaced_at_its_own_time,
    a_duplicate_is_rejected_with_the_state_of_the_other,
    a_rejected_duplicate_refuses_its_batch,
    a_started_job_gives_its_key_free,
    a_window_ends,
    a_window_caps_the_other_scopes,
    a_cancelled_job_gives_its_key_free,
    a_cancelled_job_behind_another_makes_room_for_the_next,
}

fn keyed(scope: Scope, on_duplicate: OnDuplicate, payload: &str) -> v1::EnqueueRequest {
    let dedup = v1::Dedup {
        key: "order-17".to_owned(),
        scope: scope.into(),
        on_duplicate: on_duplicate.into(),
        window: None,
    };
    v1::EnqueueRequest { dedup: Some(dedup), payload: Some(data(payload)), ..request("mail") }
}

fn finished(on_duplicate: OnDuplicate, payload: &str) -> v1::EnqueueRequest {
    keyed(Scope::UntilFinished, on_duplicate, payload)
}

async fn enqueue(server: &Server, asked: v1::EnqueueRequest) -> (Outcome, v1::Job) {
    let answer = server.broker().enqueue(asked).await.unwrap().into_inner();
    (answer.outcome(), *answer.job.unwrap())
}

/// Leases the job of `mail` that is there, and tells its name, payload and token.
async fn taken(server: &Server) -> (String, Vec<u8>, String) {
    let leased = server.leased("mail").await;
    let job = leased.job.unwrap();
    (job.name, bytes_of(job.payload.as_ref()).to_vec(), leased.lease_token)
}

async fn a_replaced_job_does_what_was_asked_for_last(server: &mut Server) {
    let (_, first) = enqueue(server, finished(OnDuplicate::Replace, "one")).await;
    let again = v1::EnqueueRequest {
        priority: 5,
        labels: [("team".to_owned(), "a".to_owned())].into(),
        ..finished(OnDuplicate::Replace, "two")
    };
    let (outcome, job) = enqueue(server, again.clone()).await;
    assert_eq!(outcome, Outcome::Replaced);
    assert_eq!((&job.name, job.create_time), (&first.name, first.create_time));
    assert_eq!((job.priority, &job.labels), (5, &again.labels));
    assert_ne!(job.etag, first.etag);
    let (name, payload, _) = taken(server).await;
    assert_eq!((name, payload.as_slice()), (first.name, &b"two"[..]));
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
}

async fn a_replacement_moves_the_time_of_the_job(server: &mut Server) {
    let after = |span| Some(Start::Delay(seconds(span)));
    let asked = finished(OnDuplicate::Replace, "one");
    enqueue(server, v1::EnqueueRequest { start: after(60), ..asked.clone() }).await;
    let later = v1::EnqueueRequest { start: after(3600), ..asked.clone() };
    let (outcome, job) = enqueue(server, later).await;
    assert_eq!((outcome, job.state()), (Outcome::Replaced, State::Scheduled));
    assert!(millis_between(job.create_time, job.schedule_time) >= 3_600_000);
    let (outcome, job) = enqueue(server, asked).await;
    assert_eq!((outcome, job.state()), (Outcome::Replaced, State::Ready));
    assert_eq!(server.leased("mail").await.job.unwrap().name, job.name);
}

async fn a_leased_job_is_not_replaced(server: &mut Server) {
    let (_, first) = enqueue(server, finished(OnDuplicate::Replace, "one")).await;
    let (_, _, token) = taken(server).await;
    let (outcome, job) = enqueue(server, finished(OnDuplicate::Replace, "two")).await;
    assert_eq!((outcome, &job.name), (Outcome::Deduplicated, &first.name));
    server.acked(&token).await;
    assert_eq!(bytes_of(server.get(&first.name).await.payload.as_ref()), b"one");
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
}

async fn a_job_runs_once_more_after_the_one_that_is_leased(server: &mut Server) {
    let (_, first) = enqueue(server, finished(OnDuplicate::RunAfter, "one")).await;
    let (_, _, token) = taken(server).await;
    let (outcome, second) = enqueue(server, finished(OnDuplicate::RunAfter, "two")).await;
    assert_eq!((outcome, second.state()), (Outcome::Created, State::Blocked));
    assert_ne!(second.name, first.name);
    let (outcome, third) = enqueue(server, finished(OnDuplicate::RunAfter, "three")).await;
    assert_eq!((outcome, third.state()), (Outcome::Replaced, State::Blocked));
    assert_eq!(third.name, second.name);
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
    let (next, _) = tokio::join!(taken(server), server.acked(&token));
    let (name, payload, token) = next;
    assert_eq!((name, payload.as_slice()), (second.name, &b"three"[..]));
    // It holds the key now.
    let (outcome, fourth) = enqueue(server, finished(OnDuplicate::RunAfter, "four")).await;
    assert_eq!((outcome, fourth.state()), (Outcome::Created, State::Blocked));
    server.acked(&token).await;
    assert_eq!(taken(server).await.0, fourth.name);
}

async fn a_job_runs_once_more_however_the_leased_one_ends(server: &mut Server) {
    enqueue(server, finished(OnDuplicate::RunAfter, "one")).await;
    let (_, _, token) = taken(server).await;
    let (_, second) = enqueue(server, finished(OnDuplicate::RunAfter, "two")).await;
    let disposition = Some(Disposition::Dead(()));
    server.broker().nack(v1::NackRequest { disposition, ..nack(&token) }).await.unwrap();
    let (name, _, _) = taken(server).await;
    assert_eq!(name, second.name);
}

async fn a_job_that_waits_is_replaced_at_its_own_time(server: &mut Server) {
    let start = Some(Start::Delay(seconds(3600)));
    let asked = v1::EnqueueRequest { start, ..finished(OnDuplicate::RunAfter, "one") };
    let (_, first) = enqueue(server, asked).await;
    let (outcome, job) = enqueue(server, finished(OnDuplicate::RunAfter, "two")).await;
    assert_eq!((outcome, job.state()), (Outcome::Replaced, State::Scheduled));
    assert_eq!((&job.name, job.schedule_time), (&first.name, first.schedule_time));
    assert_eq!(bytes_of(server.get(&job.name).await.payload.as_ref()), b"two");
}

async fn a_duplicate_is_rejected_with_the_state_of_the_other(server: &mut Server) {
    let (_, first) = enqueue(server, finished(OnDuplicate::Reject, "one")).await;
    for state in ["READY", "LEASED"] {
        let refused = server.broker().enqueue(finished(OnDuplicate::Reject, "two")).await;
        let refusal = Refusal::of(refused);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "DUPLICATE"));
        assert_eq!((refusal.metadata["state"].as_str(), &refusal.resource), (state, &first.name));
        if state == "READY" {
            taken(server).await;
        }
    }
}

async fn a_rejected_duplicate_refuses_its_batch(server: &mut Server) {
    enqueue(server, finished(OnDuplicate::Reject, "one")).await;
    let requests = vec![request("mail"), finished(OnDuplicate::Reject, "two")];
    let whole = v1::BatchEnqueueRequest { requests, ..v1::BatchEnqueueRequest::default() };
    let refusal = Refusal::of(server.broker().batch_enqueue(whole).await);
    assert_eq!(refusal.reason, "DUPLICATE");
    let all = v1::LeaseRequest { max_jobs: 10, ..lease("mail") };
    assert_eq!(server.lease_now(all).await.jobs.len(), 1);
}

async fn a_started_job_gives_its_key_free(server: &mut Server) {
    let asked = keyed(Scope::UntilStarted, OnDuplicate::Keep, "one");
    let (_, first) = enqueue(server, asked.clone()).await;
    let (outcome, held) = enqueue(server, asked.clone()).await;
    assert_eq!((outcome, held.name), (Outcome::Deduplicated, first.name));
    let (_, _, token) = taken(server).await;
    let (outcome, second) = enqueue(server, asked.clone()).await;
    assert_eq!(outcome, Outcome::Created);
    // The first one, back in the queue, does not take the key again.
    let release = Some(Disposition::Release(()));
    let released = v1::NackRequest { disposition: release, ..nack(&token) };
    server.broker().nack(released).await.unwrap();
    let (outcome, held) = enqueue(server, asked).await;
    assert_eq!((outcome, held.name), (Outcome::Deduplicated, second.name));
}

/// Enqueues until the key of a job is free again, which is after about a second.
async fn assert_held_for_a_second(server: &Server, asked: v1::EnqueueRequest) {
    let (outcome, first) = enqueue(server, asked.clone()).await;
    assert_eq!(outcome, Outcome::Created);
    loop {
        let (outcome, next) = enqueue(server, asked.clone()).await;
        if outcome == Outcome::Created {
            let held = millis_between(first.create_time, next.create_time);
            // Both times were noted a little before the store had the jobs, under load not equally.
            assert!(held >= 500, "{held}");
            return;
        }
    }
}

fn capped(scope: Scope) -> v1::EnqueueRequest {
    let mut asked = keyed(scope, OnDuplicate::Keep, "one");
    asked.dedup.as_mut().unwrap().window = Some(seconds(1));
    asked
}

async fn a_window_ends(server: &mut Server) {
    assert_held_for_a_second(server, capped(Scope::Window)).await;
}

async fn a_window_caps_the_other_scopes(server: &mut Server) {
    for scope in [Scope::UntilFinished, Scope::UntilStarted] {
        assert_held_for_a_second(server, capped(scope)).await;
        // So that the next scope begins with a free key.
        let all = v1::LeaseRequest { max_jobs: 10, ..lease("mail") };
        for leased in server.lease_now(all).await.jobs {
            server.acked(&leased.lease_token).await;
        }
    }
}

async fn a_cancelled_job_gives_its_key_free(server: &mut Server) {
    let asked = finished(OnDuplicate::Keep, "one");
    let (_, first) = enqueue(server, asked.clone()).await;
    let cancel = v1::CancelJobRequest { name: first.name, ..v1::CancelJobRequest::default() };
    server.broker().cancel_job(cancel).await.unwrap();
    assert_eq!(enqueue(server, asked).await.0, Outcome::Created);
}

async fn a_cancelled_job_behind_another_makes_room_for_the_next(server: &mut Server) {
    enqueue(server, finished(OnDuplicate::RunAfter, "one")).await;
    let (_, _, token) = taken(server).await;
    let (_, second) = enqueue(server, finished(OnDuplicate::RunAfter, "two")).await;
    let cancel = v1::CancelJobRequest { name: second.name, ..v1::CancelJobRequest::default() };
    let cancelled = server.broker().cancel_job(cancel).await.unwrap().into_inner();
    assert_eq!(cancelled.state(), State::Cancelled);
    let (outcome, third) = enqueue(server, finished(OnDuplicate::RunAfter, "three")).await;
    assert_eq!((outcome, third.state()), (Outcome::Created, State::Blocked));
    server.acked(&token).await;
    let (name, payload, _) = taken(server).await;
    assert_eq!((name, payload.as_slice()), (third.name, &b"three"[..]));
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
}

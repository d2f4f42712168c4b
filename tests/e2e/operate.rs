//! What operators do to one job: change it, run it again or at once, forget it, take it back.

use lessor_proto::v1;
use lessor_proto::v1::enqueue_request::Start;
use lessor_proto::v1::job::State;
use lessor_proto::v1::nack_request::Disposition;
use prost_types::FieldMask;
use tonic::Code;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, bytes_of, data, nack, request, seconds};

on_every_store! {
    a_waiting_job_is_changed_as_far_as_the_mask_says,
    a_changed_schedule_time_moves_the_job,
    a_new_priority_is_obeyed,
    an_update_names_what_it_can_not_change,
    a_dead_job_gets_another_life,
    a_job_that_waits_for_its_time_is_promoted,
    a_deleted_job_is_gone,
    a_revoked_lease_is_worthless_and_not_counted,
    what_the_state_does_not_allow_is_refused,
    an_etag_keeps_off_who_has_read_something_older,
    the_reason_is_told_in_the_event,
}

/// The action on this job, with nothing else.
pub(crate) fn action(name: &str) -> v1::JobActionRequest {
    v1::JobActionRequest { name: name.to_owned(), ..v1::JobActionRequest::default() }
}

fn update(job: v1::Job, paths: &[&str]) -> v1::UpdateJobRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    v1::UpdateJobRequest { job: Some(job), update_mask: Some(FieldMask { paths }) }
}

/// A job of `queue` that waits for an hour.
pub(crate) fn later(queue: &str) -> v1::EnqueueRequest {
    v1::EnqueueRequest { start: Some(Start::Delay(seconds(3600))), ..request(queue) }
}

impl Server {
    /// Enqueues a job of `queue` and makes it a dead letter.
    pub(crate) async fn dead(&self, queue: &str) -> v1::Job {
        self.enqueue(queue).await;
        let leased = self.leased(queue).await;
        let failure = Some(v1::Failure { code: "HTTP_503".to_owned(), ..v1::Failure::default() });
        let disposition = Some(Disposition::Dead(()));
        let dead = v1::NackRequest { disposition, failure, ..nack(&leased.lease_token) };
        *self.broker().nack(dead).await.unwrap().into_inner().job.unwrap()
    }
}

async fn a_waiting_job_is_changed_as_far_as_the_mask_says(server: &mut Server) {
    let name = server.enqueued(v1::EnqueueRequest { priority: 3, ..request("mail") }).await.name;
    let wanted = v1::Job {
        name: name.clone(),
        payload: Some(data("new")),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        retry_policy: Some(v1::RetryPolicy { max_attempts: 9, ..v1::RetryPolicy::default() }),
        priority: 7,
        ..v1::Job::default()
    };
    let paths = ["payload", "labels", "retry_policy"];
    let told = server.admin().update_job(update(wanted.clone(), &paths)).await.unwrap();
    let told = told.into_inner();
    let read = server.get(&name).await;
    for job in [&told, &read] {
        assert_eq!(bytes_of(job.payload.as_ref()), b"new");
        assert_eq!(job.labels, wanted.labels);
        assert_eq!(job.retry_policy.as_ref().unwrap().max_attempts, 9);
        assert_eq!((job.priority, job.state()), (3, State::Ready));
    }
    assert_eq!(told.etag, read.etag);
    assert_eq!(bytes_of(server.leased("mail").await.job.unwrap().payload.as_ref()), b"new");
}

async fn a_changed_schedule_time_moves_the_job(server: &mut Server) {
    let job = server.enqueued(later("mail")).await;
    let at_once = v1::Job { schedule_time: None, ..job.clone() };
    let etagless = v1::Job { etag: String::new(), ..at_once };
    let ready = server.admin().update_job(update(etagless.clone(), &["schedule_time"])).await;
    assert_eq!(ready.unwrap().into_inner().state(), State::Ready);
    let put_off = v1::Job { schedule_time: job.schedule_time, ..etagless };
    let waits = server.admin().update_job(update(put_off, &["schedule_time"])).await;
    let waits = waits.unwrap().into_inner();
    assert_eq!((waits.state(), waits.schedule_time), (State::Scheduled, job.schedule_time));
}

async fn a_new_priority_is_obeyed(server: &mut Server) {
    let (first, second) = (server.enqueue("mail").await, server.enqueue("mail").await);
    let wanted = v1::Job { name: second.name.clone(), priority: 10, ..v1::Job::default() };
    server.admin().update_job(update(wanted, &["priority"])).await.unwrap();
    assert_eq!(server.leased("mail").await.job.unwrap().name, second.name);
    assert_eq!(server.leased("mail").await.job.unwrap().name, first.name);
}

async fn an_update_names_what_it_can_not_change(server: &mut Server) {
    let job = v1::Job { name: server.enqueue("mail").await.name, ..v1::Job::default() };
    let table = [
        (update(job.clone(), &[]), "update_mask"),
        (update(job.clone(), &["priority", "state"]), "update_mask.paths[1]"),
        (update(job.clone(), &["labels.team"]), "update_mask.paths[0]"),
        (update(v1::Job { priority: 1001, ..job.clone() }, &["priority"]), "job.priority"),
        (update(v1::Job { name: "x".to_owned(), ..job.clone() }, &["priority"]), "job.name"),
        (v1::UpdateJobRequest { job: None, ..update(job, &["priority"]) }, "job"),
    ];
    for (request, field) in table {
        Refusal::of(server.admin().update_job(request).await).assert_field(field);
    }
}

async fn a_dead_job_gets_another_life(server: &mut Server) {
    let dead = server.dead("mail").await;
    let ready = server.admin().retry_job(action(&dead.name)).await.unwrap().into_inner();
    assert_eq!((ready.state(), ready.attempt, ready.end_time), (State::Ready, 0, None));
    let again = server.leased("mail").await;
    let job = again.job.unwrap();
    assert_eq!((job.attempt, job.delivery_count), (1, 2));
    server.acked(&again.lease_token).await;
    assert_eq!(server.get(&dead.name).await.state(), State::Succeeded);
}

async fn a_job_that_waits_for_its_time_is_promoted(server: &mut Server) {
    let job = server.enqueued(later("mail")).await;
    let ready = server.admin().promote_job(action(&job.name)).await.unwrap().into_inner();
    assert_eq!(ready.state(), State::Ready);
    let leased = server.leased("mail").await;
    server.broker().nack(nack(&leased.lease_token)).await.unwrap();
    let retrying = server.admin().promote_job(action(&job.name)).await.unwrap().into_inner();
    assert_eq!((retrying.state(), retrying.attempt), (State::Ready, 1));
    assert_eq!(server.leased("mail").await.job.unwrap().name, job.name);
}

async fn a_deleted_job_is_gone(server: &mut Server) {
    let dedup = Some(v1::Dedup { key: "once".to_owned(), ..v1::Dedup::default() });
    let unique = v1::EnqueueRequest { dedup, ..request("mail") };
    let waiting = server.enqueued(unique.clone()).await.name;
    let dead = server.dead("other").await.name;
    for name in [&waiting, &dead] {
        server.admin().delete_job(action(name)).await.unwrap();
        let read = v1::GetJobRequest { name: name.clone(), ..v1::GetJobRequest::default() };
        assert_eq!(Refusal::of(server.broker().get_job(read).await).reason, "JOB_NOT_FOUND");
        let refusal = Refusal::of(server.admin().delete_job(action(name)).await);
        assert_eq!((refusal.code, refusal.resource), (Code::NotFound, name.clone()));
    }
    // Its dedup key is free.
    let next = server.enqueued(unique).await.name;
    assert_ne!(next, waiting);
    assert_eq!(server.leased("mail").await.job.unwrap().name, next);
}

async fn a_revoked_lease_is_worthless_and_not_counted(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let held = server.leased("mail").await;
    let ready = server.admin().revoke_lease(action(&name)).await.unwrap().into_inner();
    assert_eq!((ready.state(), ready.attempt), (State::Ready, 0));
    let refusal = Refusal::of(server.broker().ack(ack(&held.lease_token)).await);
    assert_eq!(refusal.reason, "LEASE_LOST");
    let next = server.leased("mail").await;
    assert_eq!(next.job.unwrap().attempt, 1);
    server.acked(&next.lease_token).await;
}

async fn what_the_state_does_not_allow_is_refused(server: &mut Server) {
    let (ready, leased, done) = ("ready", "leased", "done");
    let ready = server.enqueue(ready).await.name;
    server.enqueue(leased).await;
    let leased = server.leased(leased).await.job.unwrap().name;
    server.enqueue(done).await;
    let held = server.leased(done).await;
    server.acked(&held.lease_token).await;
    let done = held.job.unwrap().name;
    let mut admin = server.admin();
    let priority =
        |name: &str| update(v1::Job { name: name.to_owned(), ..v1::Job::default() }, &["priority"]);
    let refusals = [
        (Refusal::of(admin.retry_job(action(&ready)).await), "WRONG_STATE", "READY", &ready),
        (Refusal::of(admin.retry_job(action(&done)).await), "WRONG_STATE", "SUCCEEDED", &done),
        (Refusal::of(admin.retry_job(action(&leased)).await), "JOB_LEASED", "LEASED", &leased),
        (Refusal::of(admin.promote_job(action(&ready)).await), "WRONG_STATE", "READY", &ready),
        (Refusal::of(admin.promote_job(action(&done)).await), "JOB_TERMINAL", "SUCCEEDED", &done),
        (Refusal::of(admin.delete_job(action(&leased)).await), "JOB_LEASED", "LEASED", &leased),
        (Refusal::of(admin.revoke_lease(action(&ready)).await), "WRONG_STATE", "READY", &ready),
        (Refusal::of(admin.revoke_lease(action(&done)).await), "JOB_TERMINAL", "SUCCEEDED", &done),
        (Refusal::of(admin.update_job(priority(&leased)).await), "JOB_LEASED", "LEASED", &leased),
        (Refusal::of(admin.update_job(priority(&done)).await), "JOB_TERMINAL", "SUCCEEDED", &done),
    ];
    for (refusal, reason, state, name) in refusals {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, reason));
        assert_eq!((refusal.metadata["state"].as_str(), &refusal.precondition), (state, name));
    }
}

async fn an_etag_keeps_off_who_has_read_something_older(server: &mut Server) {
    let old = server.enqueue("mail").await;
    let changed = v1::Job { priority: 1, ..old.clone() };
    let new = server.admin().update_job(update(changed.clone(), &["priority"])).await.unwrap();
    let new = new.into_inner();
    assert_ne!(new.etag, old.etag);
    let refusal = Refusal::of(server.admin().update_job(update(changed, &["priority"])).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let stale = v1::JobActionRequest { etag: old.etag, ..action(&old.name) };
    assert_eq!(Refusal::of(server.admin().delete_job(stale).await).reason, "ETAG_MISMATCH");
    let fresh = v1::JobActionRequest { etag: new.etag, ..action(&old.name) };
    server.admin().delete_job(fresh).await.unwrap();
}

async fn the_reason_is_told_in_the_event(server: &mut Server) {
    let job = server.enqueued(later("mail")).await;
    let watch =
        v1::WatchEventsRequest { bookmark_interval: Some(seconds(1)), ..Default::default() };
    let mut events = server.broker().watch_events(watch).await.unwrap().into_inner();
    events.message().await.unwrap();
    let why = v1::JobActionRequest { reason: "it is urgent".to_owned(), ..action(&job.name) };
    server.admin().promote_job(why).await.unwrap();
    let told = loop {
        let page = events.message().await.unwrap().unwrap();
        if let Some(event) = page.events.into_iter().next() {
            break event;
        }
    };
    assert_eq!((told.r#type(), told.job), (v1::event::Type::JobReady, job.name.clone()));
    assert_eq!(told.reason, "PROMOTED: it is urgent");
    let control = v1::JobActionRequest { reason: "a\nb".to_owned(), ..action(&job.name) };
    Refusal::of(server.admin().delete_job(control).await).assert_field("reason");
}

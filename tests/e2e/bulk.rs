//! Many jobs at once: retried, cancelled, promoted, purged, moved.

use lessor_proto::v1;
use lessor_proto::v1::bulk_jobs_request::Action;
use lessor_proto::v1::job::State;
use uuid::Uuid;

use crate::on_every_store;
use crate::operate::later;
use crate::refusal::Refusal;
use crate::server::{Server, data, id_of, lease, request, seconds};

on_every_store! {
    dead_letters_are_retried_by_filter,
    pending_and_leased_jobs_are_cancelled,
    waiting_jobs_are_promoted,
    ready_jobs_are_purged_step_by_step,
    jobs_are_moved_with_what_they_are,
    a_moved_job_stays_where_its_id_is_taken,
    a_dry_run_counts_and_changes_nothing,
    a_step_goes_on_where_the_one_before_ended,
    the_same_request_is_answered_alike,
    finished_jobs_are_purged_by_state_and_age,
    bad_bulk_calls_name_their_fields,
}

fn bulk(action: Action, filter: &str) -> v1::BulkJobsRequest {
    v1::BulkJobsRequest {
        queue: "mail".to_owned(),
        action: action.into(),
        filter: filter.to_owned(),
        ..v1::BulkJobsRequest::default()
    }
}

impl Server {
    async fn bulk(&self, request: v1::BulkJobsRequest) -> v1::BulkJobsResponse {
        self.admin().bulk_jobs(request).await.unwrap().into_inner()
    }

    /// How many jobs of `queue` are in this state.
    async fn count(&self, queue: &str, state: &str) -> usize {
        let list = v1::ListJobsRequest {
            queue: queue.to_owned(),
            filter: format!("state={state}"),
            page_size: 1000,
            ..v1::ListJobsRequest::default()
        };
        self.list(list).await.jobs.len()
    }

    async fn many(&self, queue: &str, count: usize) {
        let requests = vec![request(queue); count];
        let batch = v1::BatchEnqueueRequest { requests, ..v1::BatchEnqueueRequest::default() };
        self.broker().batch_enqueue(batch).await.unwrap();
    }
}

fn done(matched: i64, changed: i64) -> v1::BulkJobsResponse {
    v1::BulkJobsResponse { matched, changed, ..v1::BulkJobsResponse::default() }
}

async fn dead_letters_are_retried_by_filter(server: &mut Server) {
    for _ in 0..3 {
        server.dead("mail").await;
    }
    let none = bulk(Action::Retry, "state=DEAD AND last_failure.code=OTHER");
    assert_eq!(server.bulk(none).await, done(0, 0));
    let some = bulk(Action::Retry, "state=DEAD AND last_failure.code=HTTP_503");
    assert_eq!(server.bulk(some.clone()).await, done(3, 3));
    assert_eq!((server.count("mail", "READY").await, server.count("mail", "DEAD").await), (3, 0));
    assert_eq!(server.bulk(some).await, done(0, 0));
}

async fn pending_and_leased_jobs_are_cancelled(server: &mut Server) {
    server.many("mail", 3).await;
    server.enqueued(later("mail")).await;
    let held = server.leased("mail").await;
    assert_eq!(server.bulk(bulk(Action::Cancel, "")).await, done(4, 4));
    assert_eq!(server.count("mail", "CANCELLED").await, 3);
    let leased = server.get(&held.job.unwrap().name).await;
    assert_eq!((leased.state(), leased.cancel_requested), (State::Leased, true));
}

async fn waiting_jobs_are_promoted(server: &mut Server) {
    for _ in 0..3 {
        server.enqueued(later("mail")).await;
    }
    assert_eq!(server.bulk(bulk(Action::Promote, "state=SCHEDULED")).await, done(3, 3));
    assert_eq!(server.count("mail", "READY").await, 3);
}

async fn ready_jobs_are_purged_step_by_step(server: &mut Server) {
    server.many("mail", 350).await;
    server.leased("mail").await;
    let mut step = v1::BulkJobsRequest { max_jobs: 120, ..bulk(Action::Purge, "state=READY") };
    let mut changed = 0;
    loop {
        let told = server.bulk(step.clone()).await;
        assert!(told.changed <= 120);
        changed += told.changed;
        step.continuation_token = told.continuation_token;
        if step.continuation_token.is_empty() {
            break;
        }
    }
    assert_eq!(changed, 349);
    assert_eq!((server.count("mail", "READY").await, server.count("mail", "LEASED").await), (0, 1));
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
}

async fn jobs_are_moved_with_what_they_are(server: &mut Server) {
    let typed = v1::EnqueueRequest {
        r#type: "welcome".to_owned(),
        payload: Some(data("hello")),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        priority: 4,
        ..request("mail")
    };
    let dead = server.dead("mail").await;
    let job = server.enqueued(typed).await;
    let waits = server.enqueued(later("mail")).await;
    server.enqueue("mail").await;
    let held = server.leased("mail").await;
    // The greater priority was leased: it stays.
    assert_eq!(held.job.as_ref().unwrap().name, job.name);
    let to_other =
        v1::BulkJobsRequest { destination_queue: "other".to_owned(), ..bulk(Action::Move, "") };
    assert_eq!(server.bulk(to_other.clone()).await, done(3, 3));
    let there = server.get(&format!("queues/other/jobs/{}", id_of(&waits))).await;
    assert_eq!((there.state(), there.schedule_time), (State::Scheduled, waits.schedule_time));
    let there = server.get(&format!("queues/other/jobs/{}", id_of(&dead))).await;
    assert_eq!((there.state(), there.attempt), (State::Ready, 0));
    let read = v1::GetJobRequest { name: waits.name, ..v1::GetJobRequest::default() };
    assert_eq!(Refusal::of(server.broker().get_job(read).await).reason, "JOB_NOT_FOUND");
    server.broker().nack(crate::server::nack(&held.lease_token)).await.unwrap();
    assert_eq!(server.bulk(to_other).await.changed, 1);
    let there = server.get(&format!("queues/other/jobs/{}", id_of(&job))).await;
    assert_eq!((there.r#type.as_str(), there.priority, &there.labels), ("welcome", 4, &job.labels));
    assert_eq!(crate::server::bytes_of(there.payload.as_ref()), b"hello");
}

async fn a_moved_job_stays_where_its_id_is_taken(server: &mut Server) {
    let of = |queue: &str| v1::EnqueueRequest { job_id: "same".to_owned(), ..request(queue) };
    let job = server.enqueued(of("mail")).await;
    server.enqueued(of("other")).await;
    let to_other = v1::BulkJobsRequest {
        destination_queue: "other".to_owned(),
        ..bulk(Action::Move, "state=READY")
    };
    assert_eq!(server.bulk(to_other).await, done(1, 0));
    assert_eq!(server.get(&job.name).await.state(), State::Ready);
}

async fn a_dry_run_counts_and_changes_nothing(server: &mut Server) {
    server.many("mail", 5).await;
    let dry = v1::BulkJobsRequest { validate_only: true, ..bulk(Action::Purge, "state=READY") };
    assert_eq!(server.bulk(dry).await, done(5, 0));
    assert_eq!(server.count("mail", "READY").await, 5);
}

async fn a_step_goes_on_where_the_one_before_ended(server: &mut Server) {
    server.many("mail", 5).await;
    let first = v1::BulkJobsRequest { max_jobs: 2, ..bulk(Action::Cancel, "state=READY") };
    let told = server.bulk(first.clone()).await;
    assert_eq!((told.matched, told.changed), (2, 2));
    let token = told.continuation_token;
    let other = v1::BulkJobsRequest {
        continuation_token: token.clone(),
        ..bulk(Action::Purge, "state=READY")
    };
    Refusal::of(server.admin().bulk_jobs(other).await).assert_field("continuation_token");
    let rest = v1::BulkJobsRequest { continuation_token: token, max_jobs: 0, ..first };
    assert_eq!(server.bulk(rest).await, done(3, 3));
    assert_eq!(server.count("mail", "CANCELLED").await, 5);
}

async fn the_same_request_is_answered_alike(server: &mut Server) {
    server.many("mail", 3).await;
    let request = v1::BulkJobsRequest {
        request_id: Uuid::new_v4().to_string(),
        max_jobs: 2,
        ..bulk(Action::Purge, "state=READY")
    };
    let told = server.bulk(request.clone()).await;
    assert_eq!((told.matched, told.changed), (2, 2));
    assert_eq!(server.bulk(request.clone()).await, told);
    assert_eq!(server.count("mail", "READY").await, 1);
    let misused = v1::BulkJobsRequest { max_jobs: 1, ..request };
    let refusal = Refusal::of(server.admin().bulk_jobs(misused).await);
    assert_eq!(refusal.reason, "REQUEST_ID_REUSED");
}

async fn finished_jobs_are_purged_by_state_and_age(server: &mut Server) {
    for _ in 0..3 {
        server.dead("mail").await;
    }
    let purge = v1::PurgeJobsRequest {
        queue: "mail".to_owned(),
        state: State::Dead.into(),
        ..v1::PurgeJobsRequest::default()
    };
    let purged = async |request: v1::PurgeJobsRequest| {
        server.admin().purge_jobs(request).await.unwrap().into_inner().purged
    };
    assert_eq!(
        purged(v1::PurgeJobsRequest { older_than: Some(seconds(3600)), ..purge.clone() }).await,
        0
    );
    assert_eq!(purged(v1::PurgeJobsRequest { validate_only: true, ..purge.clone() }).await, 3);
    assert_eq!(purged(v1::PurgeJobsRequest { max_jobs: 1, ..purge.clone() }).await, 1);
    assert_eq!(purged(purge.clone()).await, 2);
    assert_eq!(server.count("mail", "DEAD").await, 0);
    for state in [0, State::Leased.into(), 99] {
        let bad = v1::PurgeJobsRequest { state, ..purge.clone() };
        Refusal::of(server.admin().purge_jobs(bad).await).assert_field("state");
    }
}

async fn bad_bulk_calls_name_their_fields(server: &mut Server) {
    server.enqueue("mail").await;
    let table = [
        (bulk(Action::Unspecified, ""), "action"),
        (bulk(Action::Retry, "state=READY"), "filter"),
        (bulk(Action::Move, ""), "destination_queue"),
        (v1::BulkJobsRequest { per_second: -1.0, ..bulk(Action::Purge, "") }, "per_second"),
        (v1::BulkJobsRequest { max_jobs: -1, ..bulk(Action::Purge, "") }, "max_jobs"),
    ];
    for (request, field) in table {
        Refusal::of(server.admin().bulk_jobs(request).await).assert_field(field);
    }
    assert_eq!(server.count("mail", "READY").await, 1);
}

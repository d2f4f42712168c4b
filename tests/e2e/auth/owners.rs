//! Owners: whose a job is, and who may touch it.

use std::path::Path;

use lessor_proto::v1;
use lessor_proto::v1::dedup::OnDuplicate;
use lessor_proto::v1::event::Type;
use tonic::Code;

use super::{admin, broker, enqueued, guarded, identities, read};
use crate::refusal::Refusal;
use crate::server::{Server, Store, guarded_case, request};

const NOT_OWNER: (Code, &str) = (Code::PermissionDenied, "NOT_OWNER");

fn refused(refusal: &Refusal) -> (Code, &str) {
    (refusal.code, refusal.reason.as_str())
}

#[tokio::test]
async fn a_job_belongs_to_whoever_enqueued_it() {
    guarded(async |server| {
        assert_eq!(enqueued(server, "web", request("mail")).await.owner, "web");
        let named = |owner: &str| v1::EnqueueRequest { owner: owner.into(), ..request("mail") };
        assert_eq!(enqueued(server, "web", named("web")).await.owner, "web");
        let refusal = Refusal::of(broker(server, "web").enqueue(named("ann")).await);
        assert_eq!(refused(&refusal), (Code::PermissionDenied, "ROLE"));
        assert_eq!(refusal.metadata["role"], "act-as");
        assert_eq!(enqueued(server, "backend", named("ann")).await.owner, "ann");
    })
    .await;
}

#[tokio::test]
async fn a_job_of_another_is_refused_and_so_is_one_that_there_is_not() {
    guarded(async |server| {
        let job = enqueued(server, "web", request("mail")).await;
        let mut shop = broker(server, "shop");
        for name in [job.name.as_str(), "queues/mail/jobs/none", "queues/mail-2/jobs/none"] {
            let wait = v1::WaitJobRequest { name: name.to_owned(), ..Default::default() };
            let cancel = v1::CancelJobRequest { name: name.to_owned(), ..Default::default() };
            let watch = v1::WatchEventsRequest { job: name.to_owned(), ..Default::default() };
            let refusals = [
                Refusal::of(shop.get_job(read(name)).await),
                Refusal::of(shop.wait_job(wait).await),
                Refusal::of(shop.cancel_job(cancel).await),
                Refusal::of(shop.watch_events(watch).await),
            ];
            for refusal in refusals {
                assert_eq!(refused(&refusal), NOT_OWNER, "{name}");
            }
        }
        let mut web = broker(server, "web");
        assert!(web.get_job(read(&job.name)).await.is_ok());
        let watch = v1::WatchEventsRequest { job: job.name.clone(), ..Default::default() };
        assert!(web.watch_events(watch).await.is_ok());
        let cancel = v1::CancelJobRequest { name: job.name.clone(), ..Default::default() };
        assert!(web.cancel_job(cancel).await.is_ok());
        // Who may see all jobs learns that there is none.
        let none = read("queues/mail/jobs/none");
        let told = Refusal::of(broker(server, "viewer").get_job(none).await);
        assert_eq!(told.code, Code::NotFound);
        assert!(broker(server, "backend").get_job(read(&job.name)).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn whoever_is_limited_to_its_own_jobs_lists_and_changes_no_others() {
    guarded(async |server| {
        let of_web = enqueued(server, "web", request("mail")).await;
        let own = enqueued(server, "self", request("mail")).await;
        let mut limited = admin(server, "self");
        let list = v1::ListJobsRequest { queue: "mail".to_owned(), ..Default::default() };
        let jobs = limited.list_jobs(list.clone()).await.unwrap().into_inner().jobs;
        assert_eq!(jobs.iter().map(|job| &job.name).collect::<Vec<_>>(), [&own.name]);
        let of_others = v1::ListJobsRequest { filter: "owner=web".to_owned(), ..list };
        Refusal::of(limited.list_jobs(of_others).await).assert_field("filter");
        let delete = |name: &str| v1::JobActionRequest { name: name.into(), ..Default::default() };
        let refusal = Refusal::of(limited.delete_job(delete(&of_web.name)).await);
        assert_eq!(refused(&refusal), NOT_OWNER);
        let bulk = v1::BulkJobsRequest {
            queue: "mail".to_owned(),
            action: v1::bulk_jobs_request::Action::Purge.into(),
            ..Default::default()
        };
        assert_eq!(limited.bulk_jobs(bulk).await.unwrap().into_inner().changed, 1);
        assert!(broker(server, "web").get_job(read(&of_web.name)).await.is_ok());
        let stats = v1::GetQueueStatsRequest { name: "queues/mail".to_owned() };
        let refusal = Refusal::of(limited.get_queue_stats(stats).await);
        assert_eq!(refused(&refusal), (Code::PermissionDenied, "ROLE"));
    })
    .await;
}

#[tokio::test]
async fn of_another_job_with_the_same_dedup_key_no_more_is_told_than_that_it_is_there() {
    guarded(async |server| {
        let same = || v1::EnqueueRequest {
            dedup: Some(v1::Dedup {
                key: "k".to_owned(),
                on_duplicate: OnDuplicate::Keep.into(),
                ..Default::default()
            }),
            labels: [("secret".to_owned(), "yes".to_owned())].into(),
            ..request("mail")
        };
        let first = enqueued(server, "web", same()).await;
        let met = enqueued(server, "shop", same()).await;
        assert_eq!((met.name.as_str(), met.state()), (first.name.as_str(), first.state()));
        assert!(met.labels.is_empty() && met.owner.is_empty(), "{met:?}");
        assert!(!enqueued(server, "web", same()).await.labels.is_empty());
    })
    .await;
}

#[tokio::test]
async fn events_tell_who_did_it_on_redis() {
    guarded_case(Store::Redis, &identities(&[]), async |server, _: &Path| {
        events_tell_who_did_it(server).await;
    })
    .await;
}

#[tokio::test]
async fn events_tell_who_did_it_on_sqlite() {
    guarded(async |server| events_tell_who_did_it(server).await).await;
}

async fn events_tell_who_did_it(server: &mut Server) {
    let job = enqueued(server, "web", request("mail")).await;
    let watch = v1::WatchEventsRequest { queues: vec!["mail".to_owned()], ..Default::default() };
    let mut events = broker(server, "viewer").watch_events(watch).await.unwrap().into_inner();
    // The first answer is a bookmark: from here on all is told.
    assert!(events.message().await.unwrap().is_some());
    let cancel = v1::CancelJobRequest { name: job.name.clone(), ..Default::default() };
    broker(server, "web").cancel_job(cancel).await.unwrap();
    let action = || v1::JobActionRequest { name: job.name.clone(), ..Default::default() };
    admin(server, "operator").retry_job(action()).await.unwrap();
    let pause = v1::QueueActionRequest { name: "queues/mail".to_owned(), ..Default::default() };
    admin(server, "admin").pause_queue(pause).await.unwrap();
    let purge = v1::BulkJobsRequest {
        queue: "mail".to_owned(),
        action: v1::bulk_jobs_request::Action::Purge.into(),
        ..Default::default()
    };
    admin(server, "operator").bulk_jobs(purge).await.unwrap();
    let expected = [
        (Type::JobCancelled, "web"),
        (Type::JobReady, "operator"),
        (Type::QueuePaused, "admin"),
        (Type::JobPurged, "operator"),
    ];
    let mut told = Vec::new();
    while told.len() < expected.len() {
        let page = events.message().await.unwrap().unwrap().events;
        told.extend(page.into_iter().map(|event| (event.r#type(), event.actor)));
    }
    assert_eq!(told, expected.map(|(kind, who)| (kind, who.to_owned())));
}

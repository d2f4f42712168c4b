//! Queues: which there are, their settings, pauses and limits, their end; and how the store is.

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use prost_types::FieldMask;
use tonic::Code;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, lease, millis, request, seconds};

on_every_store! {
    queues_are_listed_page_by_page,
    queues_are_filtered_and_sorted,
    a_queue_has_the_usual_settings_until_they_are_changed,
    settings_decide_what_a_job_leaves_open,
    a_paused_queue_takes_jobs_and_settles_but_leases_nothing,
    no_more_jobs_are_leased_than_the_limit_allows,
    a_full_queue_takes_no_more_jobs,
    an_etag_guards_the_settings,
    a_queue_that_holds_jobs_is_deleted_by_force_only,
    a_queue_that_there_is_not_is_told_so,
    settings_that_make_no_sense_are_named,
    the_store_tells_what_it_is,
}

fn action(name: &str) -> v1::QueueActionRequest {
    v1::QueueActionRequest { name: name.to_owned(), ..v1::QueueActionRequest::default() }
}

fn update(queue: v1::Queue, paths: &[&str]) -> v1::UpdateQueueRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let update_mask = Some(FieldMask { paths });
    v1::UpdateQueueRequest { queue: Some(queue), update_mask, ..v1::UpdateQueueRequest::default() }
}

/// The settings of a queue, without any.
pub(crate) fn named(name: &str) -> v1::Queue {
    v1::Queue { name: name.to_owned(), ..v1::Queue::default() }
}

impl Server {
    /// Changes settings of a queue, or makes it with them.
    pub(crate) async fn set(&self, queue: v1::Queue, paths: &[&str]) -> v1::Queue {
        self.admin().update_queue(update(queue, paths)).await.unwrap().into_inner()
    }

    pub(crate) async fn pause(&self, name: &str) -> v1::Queue {
        self.admin().pause_queue(action(name)).await.unwrap().into_inner()
    }

    pub(crate) async fn resume(&self, name: &str) -> v1::Queue {
        self.admin().resume_queue(action(name)).await.unwrap().into_inner()
    }

    async fn queue(&self, name: &str) -> v1::Queue {
        let request = v1::GetQueueRequest { name: name.to_owned() };
        self.admin().get_queue(request).await.unwrap().into_inner()
    }
}

async fn page(server: &Server, page_size: i32, page_token: &str) -> v1::ListQueuesResponse {
    let page_token = page_token.to_owned();
    let list = v1::ListQueuesRequest { page_size, page_token, ..v1::ListQueuesRequest::default() };
    server.admin().list_queues(list).await.unwrap().into_inner()
}

async fn queues_are_listed_page_by_page(server: &mut Server) {
    assert_eq!(page(server, 0, "").await, v1::ListQueuesResponse::default());
    for queue in ["b", "a", "d", "c", "e"] {
        server.enqueue(queue).await;
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(server, 2, &token).await;
        assert!(page.queues.len() <= 2);
        names.extend(page.queues.into_iter().map(|queue| queue.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

async fn queues_are_filtered_and_sorted(server: &mut Server) {
    for queue in ["mail-a", "mail-b", "mail-c", "other"] {
        server.enqueue(queue).await;
    }
    server.pause("mail-b").await;
    server.pause("other").await;
    let list = async |filter: &str, order_by: &str, page_size: i32| {
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let (filter, order_by) = (filter.to_owned(), order_by.to_owned());
            let request = v1::ListQueuesRequest { page_size, page_token, filter, order_by };
            let page = server.admin().list_queues(request).await.unwrap().into_inner();
            names.extend(page.queues.into_iter().map(|queue| queue.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return names.join(" ");
            }
        }
    };
    assert_eq!(list("name = \"mail-*\"", "", 1).await, "mail-a mail-b mail-c");
    assert_eq!(list("name = mail-*", "name desc", 2).await, "mail-c mail-b mail-a");
    assert_eq!(list("paused = true", "", 1).await, "mail-b other");
    assert_eq!(list("name=mail-* AND paused=true", "", 0).await, "mail-b");
    assert_eq!(list("name=other AND paused=false", "", 0).await, "");
    let request = |filter: &str, page_token: &str| v1::ListQueuesRequest {
        page_size: 1,
        filter: filter.to_owned(),
        page_token: page_token.to_owned(),
        ..v1::ListQueuesRequest::default()
    };
    let page = server.admin().list_queues(request("name=mail-*", "")).await.unwrap().into_inner();
    let other = request("paused=true", &page.next_page_token);
    Refusal::of(server.admin().list_queues(other).await).assert_field("page_token");
}

async fn a_queue_has_the_usual_settings_until_they_are_changed(server: &mut Server) {
    server.enqueue("mail").await;
    let usual = server.queue("mail").await;
    assert_eq!(usual, server.queue("queues/mail").await);
    assert_eq!((usual.max_leased, usual.max_jobs, usual.max_lease_losses), (0, 1_000_000, 3));
    assert_eq!(usual.lease_duration, Some(seconds(30)));
    assert_eq!(usual.attempt_timeout, Some(seconds(1800)));
    assert_eq!(usual.health.unwrap().max_ready, 1000);
    let rate_limit = v1::RateLimit { permits: 5, period: Some(seconds(60)), burst: 2 };
    let wanted = v1::Queue {
        max_leased: 7,
        rate_limit: Some(rate_limit),
        max_jobs: 9,
        lease_duration: Some(seconds(5)),
        ..named("new")
    };
    // The queue is made by it; what the mask does not name stays.
    let made = server.set(wanted, &["max_leased", "rate_limit", "max_jobs"]).await;
    assert_eq!((made.max_leased, made.rate_limit, made.max_jobs), (7, Some(rate_limit), 9));
    assert_eq!(made.lease_duration, Some(seconds(30)));
    assert_eq!(server.queue("new").await, made);
    let reset = server.set(named("new"), &["rate_limit", "max_jobs"]).await;
    assert_eq!((reset.max_leased, reset.rate_limit, reset.max_jobs), (7, None, 1_000_000));
    assert_ne!(reset.etag, made.etag);
}

async fn settings_decide_what_a_job_leaves_open(server: &mut Server) {
    let retry = v1::RetryPolicy { max_attempts: 8, ..v1::RetryPolicy::default() };
    let wanted = v1::Queue {
        retry_policy: Some(retry),
        lease_duration: Some(seconds(77)),
        attempt_timeout: Some(seconds(99)),
        ..named("mail")
    };
    let before = server.enqueue("mail").await;
    server.set(wanted, &["retry_policy", "lease_duration", "attempt_timeout"]).await;
    let job = server.enqueue("mail").await;
    assert_eq!(job.retry_policy.as_ref().unwrap().max_attempts, 8);
    assert_eq!(job.lease_duration, Some(seconds(77)));
    assert_eq!(job.attempt_timeout, Some(seconds(99)));
    // A change is for later jobs.
    assert_eq!(server.get(&before.name).await.retry_policy.unwrap().max_attempts, 3);
    let own = v1::EnqueueRequest { lease_duration: Some(seconds(5)), ..request("mail") };
    assert_eq!(server.enqueued(own).await.lease_duration, Some(seconds(5)));
}

async fn a_paused_queue_takes_jobs_and_settles_but_leases_nothing(server: &mut Server) {
    server.enqueue("mail").await;
    let held = server.leased("mail").await;
    let why = v1::QueueActionRequest { reason: "the server is down".to_owned(), ..action("mail") };
    assert!(server.admin().pause_queue(why).await.unwrap().into_inner().paused);
    // Once more changes nothing.
    assert_eq!(server.pause("mail").await.etag, server.queue("mail").await.etag);
    let job = server.enqueue("mail").await;
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
    server.acked(&held.lease_token).await;
    let waiting = server.leased("mail");
    let resume = async {
        assert!(!server.resume("mail").await.paused);
    };
    // A worker that waits gets the job as soon as the pause ends.
    let (leased, ()) = tokio::join!(waiting, resume);
    assert_eq!(leased.job.unwrap().name, job.name);
    let watch = v1::WatchEventsRequest {
        start: Some(v1::watch_events_request::Start::Oldest(true)),
        types: vec![v1::event::Type::QueuePaused.into(), v1::event::Type::QueueResumed.into()],
        ..v1::WatchEventsRequest::default()
    };
    let mut stream = server.broker().watch_events(watch).await.unwrap().into_inner();
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(stream.message().await.unwrap().unwrap().events);
    }
    assert_eq!(
        (told[0].r#type(), told[0].reason.as_str()),
        (v1::event::Type::QueuePaused, "the server is down")
    );
    assert_eq!(told[1].r#type(), v1::event::Type::QueueResumed);
    assert_eq!((told[0].queue.as_str(), told[0].job.as_str()), ("mail", ""));
}

async fn no_more_jobs_are_leased_than_the_limit_allows(server: &mut Server) {
    server.set(v1::Queue { max_leased: 2, ..named("mail") }, &["max_leased"]).await;
    for _ in 0..3 {
        server.enqueue("mail").await;
    }
    let many = v1::LeaseRequest { max_jobs: 10, ..lease("mail") };
    let held = server.lease_now(many.clone()).await.jobs;
    assert_eq!(held.len(), 2);
    assert_eq!(server.lease_now(many).await.jobs, []);
    let waiting = server.leased("mail");
    let settle = async { server.broker().ack(ack(&held[0].lease_token)).await.unwrap() };
    let (leased, _) = tokio::join!(waiting, settle);
    assert_eq!(leased.job.unwrap().state(), State::Leased);
    // A greater limit holds at once.
    server.enqueue("mail").await;
    let waiting = server.leased("mail");
    let raise = server.set(v1::Queue { max_leased: 3, ..named("mail") }, &["max_leased"]);
    tokio::join!(waiting, raise);
}

async fn a_full_queue_takes_no_more_jobs(server: &mut Server) {
    server.set(v1::Queue { max_jobs: 1, ..named("mail") }, &["max_jobs"]).await;
    server.enqueue("mail").await;
    let refusal = Refusal::of(server.broker().enqueue(request("mail")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::ResourceExhausted, "QUEUE_FULL"));
    server.acked(&server.leased("mail").await.lease_token).await;
    server.enqueue("mail").await;
}

async fn an_etag_guards_the_settings(server: &mut Server) {
    let old = server.set(v1::Queue { max_leased: 1, ..named("mail") }, &["max_leased"]).await;
    let new = server.set(v1::Queue { max_leased: 2, ..named("mail") }, &["max_leased"]).await;
    let stale = || v1::QueueActionRequest { etag: old.etag.clone(), ..action("mail") };
    let refusals = [
        Refusal::of(server.admin().update_queue(update(old.clone(), &["max_leased"])).await),
        Refusal::of(server.admin().pause_queue(stale()).await),
        Refusal::of(server.admin().resume_queue(stale()).await),
        Refusal::of(
            server
                .admin()
                .delete_queue(v1::DeleteQueueRequest {
                    name: "mail".to_owned(),
                    etag: old.etag.clone(),
                    ..v1::DeleteQueueRequest::default()
                })
                .await,
        ),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    }
    let fresh = v1::QueueActionRequest { etag: new.etag, ..action("mail") };
    assert!(server.admin().pause_queue(fresh).await.unwrap().into_inner().paused);
}

async fn a_queue_that_holds_jobs_is_deleted_by_force_only(server: &mut Server) {
    let delete =
        |force| v1::DeleteQueueRequest { name: "mail".to_owned(), force, ..Default::default() };
    server.set(v1::Queue { max_leased: 1, ..named("mail") }, &["max_leased"]).await;
    server.enqueue("mail").await;
    let waiting = server.enqueue("mail").await;
    let held = server.leased("mail").await;
    let refusal = Refusal::of(server.admin().delete_queue(delete(false)).await);
    let expected = (Code::FailedPrecondition, "QUEUE_NOT_EMPTY", "queues/mail");
    assert_eq!((refusal.code, refusal.reason.as_str(), refusal.precondition.as_str()), expected);
    assert_eq!(server.get(&waiting.name).await.state(), State::Ready);
    server.admin().delete_queue(delete(true)).await.unwrap();
    let refusal = Refusal::of(server.broker().ack(ack(&held.lease_token)).await);
    assert_eq!(refusal.reason, "LEASE_LOST");
    assert_eq!(page(server, 0, "").await.queues, []);
    // What is enqueued now begins a new queue, without the old settings.
    let fresh = server.enqueue("mail").await;
    let queue = server.queue("mail").await;
    assert_eq!((queue.paused, queue.max_leased), (false, 0));
    assert_eq!(server.leased("mail").await.job.unwrap().name, fresh.name);
    // An empty one goes without force.
    server.set(named("empty"), &["max_leased"]).await;
    let empty = v1::DeleteQueueRequest { name: "empty".to_owned(), ..delete(false) };
    server.admin().delete_queue(empty).await.unwrap();
    assert_eq!(page(server, 0, "").await.queues.len(), 1);
}

async fn a_queue_that_there_is_not_is_told_so(server: &mut Server) {
    let name = "nothing".to_owned();
    let refusals = [
        Refusal::of(server.admin().get_queue(v1::GetQueueRequest { name: name.clone() }).await),
        Refusal::of(server.admin().pause_queue(action(&name)).await),
        Refusal::of(server.admin().resume_queue(action(&name)).await),
        Refusal::of(
            server
                .admin()
                .delete_queue(v1::DeleteQueueRequest { name, force: true, ..Default::default() })
                .await,
        ),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "QUEUE_NOT_FOUND"));
        assert_eq!(refusal.resource, "queues/nothing");
    }
}

async fn settings_that_make_no_sense_are_named(server: &mut Server) {
    let rate = |permits, period| v1::Queue {
        rate_limit: Some(v1::RateLimit { permits, period: Some(period), burst: 0 }),
        ..named("mail")
    };
    let table = [
        (
            update(v1::Queue { max_leased: -1, ..named("mail") }, &["max_leased"]),
            "queue.max_leased",
        ),
        (update(rate(0, seconds(1)), &["rate_limit"]), "queue.rate_limit.permits"),
        (update(rate(1, millis(1)), &["rate_limit"]), "queue.rate_limit.period"),
        (update(named("?"), &["max_leased"]), "queue.name"),
        (update(named("mail"), &["paused"]), "update_mask.paths[0]"),
        (v1::UpdateQueueRequest::default(), "queue"),
    ];
    for (request, field) in table {
        Refusal::of(server.admin().update_queue(request).await).assert_field(field);
    }
    // Nothing was stored.
    assert_eq!(page(server, 0, "").await.queues, []);
}

async fn the_store_tells_what_it_is(server: &mut Server) {
    let asked = v1::GetStoreStatusRequest {};
    let status = server.admin().get_store_status(asked).await.unwrap().into_inner();
    assert_eq!(status.store, format!("{:?}", server.store).to_lowercase());
    assert!(status.ready && status.ping.is_some() && status.store_time.is_some());
    assert!(!status.store_version.is_empty() && !status.epoch.is_empty());
    assert!(!status.broker_version.is_empty() && !status.features.is_empty());
    let again = server.admin().get_store_status(asked).await.unwrap().into_inner();
    assert_eq!(again.epoch, status.epoch);
}

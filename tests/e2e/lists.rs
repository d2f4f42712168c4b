//! Lists of jobs: found by an index, filtered, in order, page by page.

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use tonic::Code;

use crate::on_every_store;
use crate::operate::{action, later};
use crate::refusal::Refusal;
use crate::server::{Server, data, id_of, request};

on_every_store! {
    every_state_is_listed_in_its_order,
    a_filter_finds_by_label_owner_type_time_and_failure,
    pages_follow_one_another_without_gap_or_repeat,
    a_page_token_holds_for_the_same_request_only,
    a_page_is_never_larger_than_a_reply_may_be,
    a_list_shows_as_much_as_is_asked_for,
    a_watch_goes_on_where_a_list_was_read,
    what_no_index_serves_is_refused,
}

fn all(filter: &str) -> v1::ListJobsRequest {
    v1::ListJobsRequest {
        queue: "mail".to_owned(),
        filter: filter.to_owned(),
        ..v1::ListJobsRequest::default()
    }
}

impl Server {
    pub(crate) async fn list(&self, request: v1::ListJobsRequest) -> v1::ListJobsResponse {
        self.admin().list_jobs(request).await.unwrap().into_inner()
    }

    /// The ids of all jobs of the list, page after page.
    async fn ids(&self, mut request: v1::ListJobsRequest) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let page = self.list(request.clone()).await;
            ids.extend(page.jobs.iter().map(|job| id_of(job).to_owned()));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return ids;
            }
        }
    }
}

fn job(id: &str, change: impl FnOnce(&mut v1::EnqueueRequest)) -> v1::EnqueueRequest {
    let mut request = v1::EnqueueRequest { job_id: id.to_owned(), ..request("mail") };
    change(&mut request);
    request
}

fn labelled(id: &str, key: &str, value: &str) -> v1::EnqueueRequest {
    job(id, |it| drop(it.labels.insert(key.to_owned(), value.to_owned())))
}

async fn every_state_is_listed_in_its_order(server: &mut Server) {
    let dead = [server.dead("mail").await, server.dead("mail").await];
    for (id, priority) in [("low", -5), ("first", 0), ("second", 0), ("high", 5)] {
        server.enqueued(job(id, |it| it.priority = priority)).await;
    }
    for id in ["s1", "s2"] {
        server.enqueued(v1::EnqueueRequest { job_id: id.to_owned(), ..later("mail") }).await;
    }
    assert_eq!(server.leased("mail").await.job.unwrap().name, "queues/mail/jobs/high");
    assert_eq!(server.ids(all("state=READY")).await, ["first", "second", "low"]);
    assert_eq!(server.ids(all("state=SCHEDULED")).await, ["s1", "s2"]);
    let descending =
        v1::ListJobsRequest { order_by: "schedule_time desc".to_owned(), ..all("state=SCHEDULED") };
    assert_eq!(server.ids(descending).await, ["s2", "s1"]);
    assert_eq!(server.ids(all("state=LEASED")).await, ["high"]);
    // What ended last comes first.
    let newest: Vec<&str> = dead.iter().rev().map(id_of).collect();
    let mut found = server.ids(all("state=DEAD")).await;
    assert_eq!(found.len(), 2);
    if dead[0].purge_time == dead[1].purge_time {
        found.sort_unstable_by(|a, b| b.cmp(a));
    }
    assert_eq!(found, newest);
    let everything = server.ids(v1::ListJobsRequest { page_size: 2, ..all("") }).await;
    assert_eq!(everything[..4], ["high", "first", "second", "low"]);
    assert_eq!(everything.len(), 8);
}

async fn a_filter_finds_by_label_owner_type_time_and_failure(server: &mut Server) {
    server.enqueued(labelled("a1", "team", "a")).await;
    let typed = job("a2", |it| {
        it.labels =
            [("team".to_owned(), "a".to_owned()), ("x y".to_owned(), "\"q\"".to_owned())].into();
        it.r#type = "welcome".into();
    });
    let second = server.enqueued(typed).await;
    server.enqueued(labelled("b1", "team", "b")).await;
    let ids = async |filter: &str| {
        let mut ids = server.ids(all(filter)).await;
        ids.sort_unstable();
        ids.join(" ")
    };
    assert_eq!(ids("labels.team=a").await, "a1 a2");
    assert_eq!(ids("labels.team = \"a\" AND type=welcome").await, "a2");
    assert_eq!(ids(r#"labels."x y" = "\"q\"""#).await, "a2");
    assert_eq!(ids("labels.team=c").await, "");
    assert_eq!(ids("state=READY AND type=welcome").await, "a2");
    assert_eq!(ids("state=READY AND create_time > 2999-01-01T00:00:00Z").await, "");
    let created = second.create_time.unwrap().to_string();
    let exact = format!("state=READY AND create_time={created} AND type=welcome");
    assert_eq!(ids(&exact).await, "a2");
    let dead = server.dead("mail").await;
    // It was the job that stood first: its label goes with it.
    assert_eq!(ids("state=DEAD AND last_failure.code=HTTP_503").await, id_of(&dead));
    assert_eq!(ids("state=DEAD AND last_failure.code=HTTP_500").await, "");
    assert_eq!(ids("labels.team=a AND state=DEAD").await, id_of(&dead));
    server.admin().delete_job(action("queues/mail/jobs/a2")).await.unwrap();
    assert_eq!(ids("labels.team=a AND state=READY").await, "");
}

async fn pages_follow_one_another_without_gap_or_repeat(server: &mut Server) {
    let requests = (0..250).map(|n| labelled(&format!("j{n:03}"), "team", "a")).collect();
    let batch = v1::BatchEnqueueRequest { requests, ..v1::BatchEnqueueRequest::default() };
    server.broker().batch_enqueue(batch).await.unwrap();
    let expected: Vec<String> = (0..250).map(|n| format!("j{n:03}")).collect();
    for (filter, page_size) in [
        ("state=READY", 7),
        ("", 100),
        ("labels.team=a", 33),
        ("state=READY AND labels.team=a", 60),
    ] {
        let mut ids = server.ids(v1::ListJobsRequest { page_size, ..all(filter) }).await;
        if filter.contains("labels") {
            ids.sort_unstable();
        }
        assert_eq!(ids, expected, "{filter}");
    }
    let usual = server.list(all("state=READY")).await;
    assert_eq!((usual.jobs.len(), usual.next_page_token.is_empty()), (50, false));
}

async fn a_page_token_holds_for_the_same_request_only(server: &mut Server) {
    for _ in 0..3 {
        server.enqueue("mail").await;
    }
    server.enqueue("other").await;
    let first = v1::ListJobsRequest { page_size: 1, ..all("state=READY") };
    let page_token = server.list(first.clone()).await.next_page_token;
    // The size of a page may change.
    let rest = v1::ListJobsRequest { page_token: page_token.clone(), page_size: 9, ..first };
    assert_eq!(server.list(rest.clone()).await.jobs.len(), 2);
    let others = [
        v1::ListJobsRequest { filter: "state=DEAD".to_owned(), ..rest.clone() },
        v1::ListJobsRequest { queue: "other".to_owned(), ..rest.clone() },
        v1::ListJobsRequest { page_token: "nonsense".to_owned(), ..rest.clone() },
    ];
    for other in others {
        Refusal::of(server.admin().list_jobs(other).await).assert_field("page_token");
    }
    // Another store, as after a reset.
    let elsewhere = Server::start(server.store, "sqlite::memory:", "10s").await;
    elsewhere.enqueue("mail").await;
    Refusal::of(elsewhere.admin().list_jobs(rest).await).assert_field("page_token");
}

async fn a_page_is_never_larger_than_a_reply_may_be(server: &mut Server) {
    let payload = Some(data(vec![7; 700_000]));
    for _ in 0..9 {
        server.enqueued(v1::EnqueueRequest { payload: payload.clone(), ..request("mail") }).await;
    }
    let mut full = v1::ListJobsRequest { view: v1::JobView::Full.into(), ..all("state=READY") };
    let (mut names, mut pages) = (Vec::new(), 0);
    loop {
        let page = server.list(full.clone()).await;
        assert!(prost::Message::encoded_len(&page) <= 3 << 20);
        assert!(!page.jobs.is_empty());
        names.extend(page.jobs.into_iter().map(|job| job.name));
        pages += 1;
        full.page_token = page.next_page_token;
        if full.page_token.is_empty() {
            break;
        }
    }
    names.dedup();
    assert_eq!((names.len(), pages), (9, 3));
}

async fn a_list_shows_as_much_as_is_asked_for(server: &mut Server) {
    server.enqueued(v1::EnqueueRequest { payload: Some(data("x")), ..request("mail") }).await;
    let basic = server.list(all("")).await.jobs;
    assert!(basic[0].payload.is_none());
    let full = v1::ListJobsRequest { view: v1::JobView::Full.into(), ..all("") };
    let full = server.list(full).await.jobs;
    assert_eq!((full[0].payload.is_some(), &full[0].etag), (true, &basic[0].etag));
    assert_eq!(full[0].state(), State::Ready);
}

async fn a_watch_goes_on_where_a_list_was_read(server: &mut Server) {
    server.enqueue("mail").await;
    let cursor = server.list(all("")).await.event_cursor;
    let later = server.enqueue("mail").await;
    let watch = v1::WatchEventsRequest {
        queues: vec!["mail".to_owned()],
        start: Some(v1::watch_events_request::Start::Cursor(cursor)),
        ..v1::WatchEventsRequest::default()
    };
    let mut stream = server.broker().watch_events(watch).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().events.remove(0);
    assert_eq!((first.r#type(), first.job), (v1::event::Type::JobCreated, later.name));
}

async fn what_no_index_serves_is_refused(server: &mut Server) {
    server.enqueue("mail").await;
    let table = [
        ("type=welcome", "filter", "state, owner or labels.KEY"),
        ("create_time > 2026-01-01T00:00:00Z", "filter", "state, owner or labels.KEY"),
        ("attempt=3", "filter", "what can be named is state, type, labels.KEY"),
        ("state=READY OR state=DEAD", "filter", "AND"),
        ("state!=READY", "filter", "needs one of"),
    ];
    for (filter, field, told) in table {
        let refusal = Refusal::of(server.admin().list_jobs(all(filter)).await);
        refusal.assert_field(field);
        assert!(refusal.message.contains(told), "{}", refusal.message);
    }
    let order = v1::ListJobsRequest { order_by: "priority".to_owned(), ..all("state=READY") };
    Refusal::of(server.admin().list_jobs(order).await).assert_field("order_by");
    let size = v1::ListJobsRequest { page_size: -1, ..all("") };
    Refusal::of(server.admin().list_jobs(size).await).assert_field("page_size");
    let unknown = v1::ListJobsRequest { queue: "nothing".to_owned(), ..all("") };
    let refusal = Refusal::of(server.admin().list_jobs(unknown).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "QUEUE_NOT_FOUND"));
}

//! `WatchEvents` tells all that happened, in order per queue, from any cursor.

use lessor_proto::v1;
use lessor_proto::v1::event::Type;
use lessor_proto::v1::job::State;
use lessor_proto::v1::watch_events_request::Start;
use tonic::{Code, Streaming};

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, data, request, seconds};

on_every_store! {
    a_life_is_told_in_order,
    a_watch_begins_now_unless_told_otherwise,
    a_cursor_resumes_strictly_after_it,
    a_start_time_begins_with_what_came_after,
    types_and_queues_narrow_a_watch,
    results_come_when_asked_for,
    silence_is_filled_with_bookmarks,
    a_type_that_nothing_sends_yet_matches_nothing,
    a_cursor_of_another_store_is_told_so,
    a_malformed_cursor_is_refused,
    a_new_queue_joins_a_watch,
}

type Events = Streaming<v1::WatchEventsResponse>;

fn oldest() -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { start: Some(Start::Oldest(true)), ..v1::WatchEventsRequest::default() }
}

fn after(cursor: &str) -> v1::WatchEventsRequest {
    let start = Some(Start::Cursor(cursor.to_owned()));
    v1::WatchEventsRequest { start, ..v1::WatchEventsRequest::default() }
}

async fn watch(server: &Server, request: v1::WatchEventsRequest) -> Events {
    server.broker().watch_events(request).await.unwrap().into_inner()
}

/// Events until `count` of them have come, and the cursor after the last page.
async fn take(events: &mut Events, count: usize) -> (Vec<v1::Event>, String) {
    let (mut taken, mut cursor) = (Vec::new(), String::new());
    while taken.len() < count {
        let page = events.message().await.unwrap().unwrap();
        taken.extend(page.events);
        cursor = page.cursor;
    }
    assert_eq!(taken.len(), count, "{taken:?}");
    (taken, cursor)
}

/// Waits for an event, from the oldest one on.
pub(crate) async fn wait_for(server: &Server, wanted: impl Fn(&v1::Event) -> bool) {
    let mut events = watch(server, oldest()).await;
    loop {
        let page = events.message().await.unwrap().unwrap();
        if page.events.iter().any(&wanted) {
            return;
        }
    }
}

fn types(events: &[v1::Event]) -> Vec<Type> {
    events.iter().map(v1::Event::r#type).collect()
}

/// Enqueues a job of `queue`, and sees it through.
async fn live(server: &Server, queue: &str) -> v1::Job {
    let job = server.enqueue(queue).await;
    let leased = server.leased(queue).await;
    server.acked(&leased.lease_token).await;
    job
}

const LIFE: [Type; 4] = [Type::JobCreated, Type::JobReady, Type::JobLeased, Type::JobSucceeded];

async fn a_life_is_told_in_order(server: &mut Server) {
    let mut live_events = watch(server, v1::WatchEventsRequest::default()).await;
    let asked = v1::EnqueueRequest {
        r#type: "send".to_owned(),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        ..request("mail")
    };
    let job = server.enqueued(asked).await;
    let leased = server.leased("mail").await;
    server.acked(&leased.lease_token).await;
    let (told, _) = take(&mut live_events, 4).await;
    assert_eq!(types(&told), LIFE);
    for event in &told {
        assert_eq!((event.queue.as_str(), event.job.as_str()), ("mail", job.name.as_str()));
        assert!(event.time.is_some() && !event.id.is_empty());
    }
    assert_eq!((told[0].from_state(), told[0].to_state()), (State::Unspecified, State::Ready));
    assert_eq!((told[0].job_type.as_str(), told[0].labels.len()), ("send", 1));
    assert_eq!((told[2].worker_id.as_str(), told[2].attempt), ("worker-1", 1));
    assert_eq!((told[3].from_state(), told[3].to_state()), (State::Leased, State::Succeeded));
    assert!(told[3].run_duration.is_some());
    let (again, _) = take(&mut watch(server, oldest()).await, 4).await;
    assert_eq!(again, told);
}

async fn a_watch_begins_now_unless_told_otherwise(server: &mut Server) {
    live(server, "mail").await;
    let mut events = watch(server, v1::WatchEventsRequest::default()).await;
    let job = server.enqueue("mail").await;
    let (told, _) = take(&mut events, 2).await;
    assert_eq!(told[0].job, job.name);
}

async fn a_cursor_resumes_strictly_after_it(server: &mut Server) {
    live(server, "mail").await;
    live(server, "sms").await;
    let (first, cursor) = take(&mut watch(server, oldest()).await, 8).await;
    let mail = live(server, "mail").await;
    let (next, _) = take(&mut watch(server, after(&cursor)).await, 4).await;
    assert_eq!(types(&next), LIFE);
    assert!(next.iter().all(|event| event.job == mail.name));
    assert!(next.iter().all(|event| first.iter().all(|before| before.id != event.id)));
}

async fn a_start_time_begins_with_what_came_after(server: &mut Server) {
    live(server, "mail").await;
    // The store's time moves on by itself; what it shows next is later than all before.
    let then = loop {
        let before = server.lease_now(crate::server::lease("none")).await.server_time.unwrap();
        let next = server.lease_now(crate::server::lease("none")).await.server_time.unwrap();
        if (next.seconds, next.nanos) > (before.seconds, before.nanos) {
            break next;
        }
    };
    let job = server.enqueue("mail").await;
    let start = Some(Start::StartTime(then));
    let request = v1::WatchEventsRequest { start, ..v1::WatchEventsRequest::default() };
    let (told, _) = take(&mut watch(server, request).await, 2).await;
    assert!(told.iter().all(|event| event.job == job.name), "{told:?}");
}

async fn types_and_queues_narrow_a_watch(server: &mut Server) {
    let request = v1::WatchEventsRequest {
        queues: vec!["mail-*".to_owned(), "sms".to_owned()],
        types: vec![Type::JobSucceeded.into(), Type::JobPurged.into()],
        ..oldest()
    };
    let mut jobs = Vec::new();
    for queue in ["mail", "mail-a", "sms", "other"] {
        jobs.push(live(server, queue).await.name);
    }
    let (mut told, _) = take(&mut watch(server, request).await, 2).await;
    told.sort_by(|a, b| a.queue.cmp(&b.queue));
    assert_eq!(types(&told), [Type::JobSucceeded, Type::JobSucceeded]);
    assert_eq!((&told[0].job, &told[1].job), (&jobs[1], &jobs[2]));
}

async fn results_come_when_asked_for(server: &mut Server) {
    server.enqueue("mail").await;
    let leased = server.leased("mail").await;
    let acked = v1::AckRequest { result: Some(data("done")), ..ack(&leased.lease_token) };
    server.broker().ack(acked).await.unwrap();
    for include_result in [false, true] {
        let request = v1::WatchEventsRequest { include_result, ..oldest() };
        let (told, _) = take(&mut watch(server, request).await, 4).await;
        let results: Vec<bool> = told.iter().map(|event| event.result.is_some()).collect();
        assert_eq!(results, [false, false, false, include_result]);
    }
}

async fn silence_is_filled_with_bookmarks(server: &mut Server) {
    let job = server.enqueue("mail").await;
    let request = v1::WatchEventsRequest {
        bookmark_interval: Some(seconds(1)),
        ..v1::WatchEventsRequest::default()
    };
    let mut events = watch(server, request).await;
    let bookmark = events.message().await.unwrap().unwrap();
    assert_eq!(bookmark.events, []);
    let leased = server.leased("mail").await;
    assert_eq!(leased.job.unwrap().name, job.name);
    let (told, _) = take(&mut watch(server, after(&bookmark.cursor)).await, 1).await;
    assert_eq!(types(&told), [Type::JobLeased]);
}

async fn a_type_that_nothing_sends_yet_matches_nothing(server: &mut Server) {
    live(server, "mail").await;
    let request = v1::WatchEventsRequest {
        types: vec![Type::QueuePaused.into()],
        bookmark_interval: Some(seconds(1)),
        ..oldest()
    };
    let mut events = watch(server, request).await;
    for _ in 0..2 {
        assert_eq!(events.message().await.unwrap().unwrap().events, []);
    }
}

async fn a_cursor_of_another_store_is_told_so(server: &mut Server) {
    let mut cursor = String::new();
    crate::server::case(server.store, async |other| {
        live(other, "mail").await;
        cursor = take(&mut watch(other, oldest()).await, 4).await.1;
    })
    .await;
    let refusal = Refusal::of(server.broker().watch_events(after(&cursor)).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::OutOfRange, "STORE_RESET"));
}

async fn a_malformed_cursor_is_refused(server: &mut Server) {
    let refusal = Refusal::of(server.broker().watch_events(after("not a cursor")).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    assert_eq!(refusal.fields, ["cursor"]);
}

async fn a_new_queue_joins_a_watch(server: &mut Server) {
    let mut events = watch(server, v1::WatchEventsRequest::default()).await;
    let job = live(server, "brand-new").await;
    let (told, _) = take(&mut events, 4).await;
    assert_eq!(types(&told), LIFE);
    assert!(told.iter().all(|event| event.job == job.name));
}

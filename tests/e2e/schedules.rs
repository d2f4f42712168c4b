//! Schedules: made, changed and deleted by operators; each tick makes one job.

use lessor_proto::v1;
use lessor_proto::v1::schedule::Overlap;
use prost_types::FieldMask;
use tonic::Code;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, data, request, seconds};

on_every_store! {
    a_schedule_fires_again_and_again,
    a_schedule_is_what_operators_make_of_it,
    a_trigger_fires_now_and_answers_the_job,
    what_is_wrong_with_a_schedule_is_told_before_it_is_stored,
    schedules_that_are_not_there_and_names_that_are_taken_have_reasons,
    an_older_etag_is_refused,
    schedules_are_listed_page_by_page,
}

const NAME: &str = "schedules/nightly";

/// What enqueues a job of the queue `reports` at these times.
fn cron(line: &str) -> v1::Schedule {
    let job = v1::EnqueueRequest { r#type: "weekly".to_owned(), ..request("reports") };
    v1::Schedule { cron: line.to_owned(), job: Some(job), ..v1::Schedule::default() }
}

fn creation(id: &str, schedule: v1::Schedule) -> v1::CreateScheduleRequest {
    v1::CreateScheduleRequest { schedule: Some(schedule), schedule_id: id.to_owned() }
}

fn action() -> v1::ScheduleActionRequest {
    v1::ScheduleActionRequest { name: NAME.to_owned(), ..v1::ScheduleActionRequest::default() }
}

async fn created(server: &Server, schedule: v1::Schedule) -> v1::Schedule {
    server.admin().create_schedule(creation("nightly", schedule)).await.unwrap().into_inner()
}

async fn read(server: &Server) -> v1::Schedule {
    let request = v1::GetScheduleRequest { name: NAME.to_owned() };
    server.admin().get_schedule(request).await.unwrap().into_inner()
}

async fn a_schedule_fires_again_and_again(server: &mut Server) {
    let every_second = v1::Schedule { interval: Some(seconds(1)), ..cron("") };
    let schedule = created(server, every_second).await;
    let mut last = None;
    for _ in 0..2 {
        let job = server.leased("reports").await.job.unwrap();
        assert_eq!(job.r#type, "weekly");
        assert_ne!(last.replace(job.name.clone()), Some(job.name));
    }
    let first = schedule.next_fire_time.unwrap();
    let fired = read(server).await.last_fire_time.unwrap();
    assert_eq!(fired.nanos, first.nanos, "it fires at whole seconds after its creation");
    assert!(fired.seconds > first.seconds, "{fired:?} after {first:?}");
    server.admin().delete_schedule(action()).await.unwrap();
}

#[tokio::test]
async fn two_brokers_fire_each_tick_once() {
    crate::server::shared_case(async |one, other| {
        let every_second = v1::Schedule { interval: Some(seconds(1)), ..cron("") };
        let first = created(one, every_second).await.next_fire_time.unwrap();
        for _ in 0..3 {
            other.leased("reports").await;
        }
        let paused = other.admin().pause_schedule(action()).await.unwrap().into_inner();
        let ticks = paused.last_fire_time.unwrap().seconds - first.seconds + 1;
        let request = v1::GetQueueStatsRequest { name: "reports".to_owned() };
        let stats = one.admin().get_queue_stats(request).await.unwrap().into_inner();
        assert_eq!(stats.ready + stats.leased, ticks);
    })
    .await;
}

async fn a_schedule_is_what_operators_make_of_it(server: &mut Server) {
    let asked = v1::Schedule {
        time_zone: "Europe/Berlin".to_owned(),
        overlap: Overlap::Skip.into(),
        catch_up: Some(seconds(60)),
        ..cron("0 6 * * MON")
    };
    let made = created(server, asked.clone()).await;
    let expected = v1::Schedule {
        name: NAME.to_owned(),
        next_fire_time: made.next_fire_time,
        etag: made.etag.clone(),
        ..asked
    };
    assert_eq!(made, expected);
    assert!(made.next_fire_time.is_some() && !made.etag.is_empty());
    assert_eq!(read(server).await, made);

    let paused = server.admin().pause_schedule(action()).await.unwrap().into_inner();
    assert!(paused.paused && paused.next_fire_time.is_none());
    let resumed = server.admin().resume_schedule(action()).await.unwrap().into_inner();
    assert!(!resumed.paused);
    assert_eq!(resumed.next_fire_time, made.next_fire_time);

    let payload = Some(data("the new one"));
    let job = v1::EnqueueRequest { payload, ..request("letters") };
    let update = v1::UpdateScheduleRequest {
        schedule: Some(v1::Schedule {
            name: NAME.to_owned(),
            etag: resumed.etag,
            job: Some(job),
            interval: Some(seconds(3600)),
            // Not named, so not taken.
            overlap: Overlap::Allow.into(),
            ..v1::Schedule::default()
        }),
        update_mask: Some(FieldMask { paths: vec!["interval".to_owned(), "job".to_owned()] }),
        reason: "a letter a day".to_owned(),
    };
    let updated = server.admin().update_schedule(update).await.unwrap().into_inner();
    assert_eq!(updated, read(server).await);
    assert_eq!((updated.cron.as_str(), updated.interval), ("", Some(seconds(3600))));
    assert_eq!(updated.overlap, i32::from(Overlap::Skip));
    assert_eq!(updated.job.unwrap().queue, "letters");

    server.admin().delete_schedule(action()).await.unwrap();
    let refusal = Refusal::of(server.admin().delete_schedule(action()).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "SCHEDULE_NOT_FOUND"));
}

async fn a_trigger_fires_now_and_answers_the_job(server: &mut Server) {
    created(server, cron("@yearly")).await;
    let job = server.admin().trigger_schedule(action()).await.unwrap().into_inner();
    assert!(job.name.starts_with("queues/reports/jobs/") && job.r#type == "weekly", "{job:?}");
    assert_eq!(server.leased("reports").await.job.unwrap().name, job.name);
    assert_eq!(read(server).await.last_fire_time, job.create_time);
}

async fn what_is_wrong_with_a_schedule_is_told_before_it_is_stored(server: &mut Server) {
    let job = |change: fn(&mut v1::EnqueueRequest)| {
        let mut schedule = cron("@daily");
        change(schedule.job.as_mut().unwrap());
        schedule
    };
    let table = [
        (cron("0 0 30 2 *"), "schedule.cron"),
        (cron("every day"), "schedule.cron"),
        (cron(""), "schedule.cron"),
        (v1::Schedule { time_zone: "Mars/Olympus".into(), ..cron("@daily") }, "schedule.time_zone"),
        (v1::Schedule { interval: Some(seconds(0)), ..cron("") }, "schedule.interval"),
        (v1::Schedule { interval: Some(seconds(9)), ..cron("@daily") }, "schedule.interval"),
        (v1::Schedule { catch_up: Some(seconds(-1)), ..cron("@daily") }, "schedule.catch_up"),
        (v1::Schedule { overlap: 9, ..cron("@daily") }, "schedule.overlap"),
        (v1::Schedule { job: None, ..cron("@daily") }, "schedule.job"),
        (job(|job| job.queue.push(' ')), "schedule.job.queue"),
        (job(|job| job.priority = 1001), "schedule.job.priority"),
        (job(|job| job.job_id.push('x')), "schedule.job.job_id"),
    ];
    for (schedule, field) in table {
        let refusal = Refusal::of(server.admin().create_schedule(creation("x", schedule)).await);
        refusal.assert_field(field);
    }
    let nameless = server.admin().create_schedule(creation("", cron("@daily"))).await;
    Refusal::of(nameless).assert_field("schedule_id");
    let list = v1::ListSchedulesRequest::default();
    let stored = server.admin().list_schedules(list).await.unwrap().into_inner();
    assert_eq!(stored, v1::ListSchedulesResponse::default());
}

async fn schedules_that_are_not_there_and_names_that_are_taken_have_reasons(server: &mut Server) {
    let mut admin = server.admin();
    let named = v1::GetScheduleRequest { name: NAME.to_owned() };
    let update = v1::UpdateScheduleRequest {
        schedule: Some(v1::Schedule { name: NAME.to_owned(), ..cron("@daily") }),
        update_mask: Some(FieldMask { paths: vec!["cron".to_owned()] }),
        reason: String::new(),
    };
    let refusals = [
        Refusal::of(admin.get_schedule(named).await),
        Refusal::of(admin.update_schedule(update).await),
        Refusal::of(admin.pause_schedule(action()).await),
        Refusal::of(admin.resume_schedule(action()).await),
        Refusal::of(admin.trigger_schedule(action()).await),
        Refusal::of(admin.delete_schedule(action()).await),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::NotFound, "SCHEDULE_NOT_FOUND"));
        assert_eq!(refusal.resource, NAME);
    }
    created(server, cron("@daily")).await;
    let taken = admin.create_schedule(creation("nightly", cron("@hourly"))).await;
    let refusal = Refusal::of(taken);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "SCHEDULE_EXISTS"));
    assert_eq!(read(server).await.cron, "@daily");
}

async fn an_older_etag_is_refused(server: &mut Server) {
    let made = created(server, cron("@daily")).await;
    server.admin().pause_schedule(action()).await.unwrap();
    let stale = || v1::ScheduleActionRequest { etag: made.etag.clone(), ..action() };
    let update = v1::UpdateScheduleRequest {
        schedule: Some(v1::Schedule { etag: made.etag.clone(), ..made.clone() }),
        update_mask: Some(FieldMask { paths: vec!["catch_up".to_owned()] }),
        reason: String::new(),
    };
    let mut admin = server.admin();
    let refusals = [
        Refusal::of(admin.update_schedule(update).await),
        Refusal::of(admin.resume_schedule(stale()).await),
        Refusal::of(admin.trigger_schedule(stale()).await),
        Refusal::of(admin.delete_schedule(stale()).await),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    }
    let now = read(server).await;
    assert!(now.paused && now.last_fire_time.is_none());
    admin.resume_schedule(v1::ScheduleActionRequest { etag: now.etag, ..action() }).await.unwrap();
}

async fn schedules_are_listed_page_by_page(server: &mut Server) {
    for id in ["b", "a", "d", "c", "e"] {
        server.admin().create_schedule(creation(id, cron("@daily"))).await.unwrap();
    }
    let (mut names, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = v1::ListSchedulesRequest {
            page_size: 2,
            page_token,
            ..v1::ListSchedulesRequest::default()
        };
        let page = server.admin().list_schedules(list).await.unwrap().into_inner();
        assert!(page.schedules.len() <= 2);
        names.extend(page.schedules.into_iter().map(|schedule| schedule.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"].map(|id| format!("schedules/{id}")));
    let list =
        v1::ListSchedulesRequest { page_token: "?".into(), ..v1::ListSchedulesRequest::default() };
    Refusal::of(server.admin().list_schedules(list).await).assert_field("page_token");
}

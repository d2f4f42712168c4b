use std::time::Duration;

use lessor_proto::v1::Schedule as Proto;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn job() -> v1::EnqueueRequest {
    v1::EnqueueRequest { queue: "reports".to_owned(), ..v1::EnqueueRequest::default() }
}

fn cron(line: &str) -> Proto {
    Proto { cron: line.to_owned(), job: Some(job()), ..Proto::default() }
}

fn every(seconds: i64) -> Proto {
    let interval = Some(prost_types::Duration { seconds, nanos: 0 });
    Proto { interval, job: Some(job()), ..Proto::default() }
}

fn create(schedule: Proto) -> Result<Schedule, Violations> {
    let schedule_id = "nightly".to_owned();
    let request = v1::CreateScheduleRequest { schedule: Some(schedule), schedule_id };
    new_schedule(request, NOW).map(|(id, settings)| Schedule::new(id, settings, NOW))
}

/// The fields that are wrong, each with why.
fn refusal(schedule: Proto) -> Vec<String> {
    create(schedule).unwrap_err().list().iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_wrong_is_told_by_name() {
    let with_job = |change: fn(&mut v1::EnqueueRequest)| {
        let mut job = job();
        change(&mut job);
        Proto { job: Some(job), ..cron("@daily") }
    };
    let time = prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 };
    let table = vec![
        (Proto { cron: String::new(), ..cron("") }, "schedule.cron or interval must be set"),
        (
            Proto { cron: "@daily".to_owned(), ..every(5) },
            "schedule.interval must not be set together with cron",
        ),
        (cron("0 0 30 2 *"), "schedule.cron never fires: no date matches \"0 0 30 2 *\""),
        (cron("0 0 * *"), "schedule.cron is not a cron line: "),
        (cron("60 * * * *"), "schedule.cron is not a cron line: "),
        (
            Proto { time_zone: "Mars/Olympus".to_owned(), ..cron("@daily") },
            "schedule.time_zone is no IANA time zone",
        ),
        (
            Proto { time_zone: "UTC".to_owned(), ..every(5) },
            "schedule.time_zone is for cron and must be unset with interval",
        ),
        (every(0), "schedule.interval must be from 1 s to 366 days"),
        (every(-1), "schedule.interval must not be negative"),
        (every(367 * 24 * 3600), "schedule.interval must be from 1 s to 366 days"),
        (Proto { overlap: 7, ..cron("@daily") }, "schedule.overlap is an unknown value"),
        (
            Proto { catch_up: Some(prost_types::Duration { seconds: -1, nanos: 0 }), ..every(5) },
            "schedule.catch_up must not be negative",
        ),
        (Proto { job: None, ..cron("@daily") }, "schedule.job must be set"),
        (with_job(|job| job.queue.clear()), "schedule.job.queue must be 1 to 128 characters"),
        (with_job(|job| job.priority = 2000), "schedule.job.priority must be from -1000 to 1000"),
        (with_job(|job| job.job_id = "a".to_owned()), "schedule.job.job_id must be unset"),
        (with_job(|job| job.request_id = "a".to_owned()), "schedule.job.request_id must be unset"),
        (with_job(|job| job.validate_only = true), "schedule.job.validate_only must be unset"),
        (Proto { name: "schedules/x".to_owned(), ..every(5) }, "schedule.name must be empty or"),
        (Proto { paused: true, ..every(5) }, "schedule.paused is the broker's to set"),
        (
            Proto { next_fire_time: Some(time), ..every(5) },
            "schedule.next_fire_time is the broker's",
        ),
    ];
    for (schedule, expected) in table {
        let told = refusal(schedule);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?} for {expected:?}");
    }
    let mut timed = job();
    timed.start = Some(ProtoStart::ScheduleTime(time));
    let told = refusal(Proto { job: Some(timed), ..every(5) });
    assert!(told[0].starts_with("schedule.job.schedule_time must be unset"), "{told:?}");
}

#[test]
fn a_job_of_a_schedule_has_a_limit_of_its_own() {
    let mut large = job();
    let body = Some(v1::payload::Body::Data(vec![0; JOB_LIMIT].into()));
    large.payload = Some(v1::Payload { body, ..v1::Payload::default() });
    let told = refusal(Proto { job: Some(large), ..every(5) });
    assert!(told[0].starts_with("schedule.job has 262"), "{told:?}");
}

#[test]
fn a_schedule_comes_back_as_it_was_asked_for() {
    let asked = Proto {
        time_zone: "europe/berlin".to_owned(),
        overlap: ProtoOverlap::Skip.into(),
        catch_up: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        job: Some(v1::EnqueueRequest {
            r#type: "weekly".to_owned(),
            priority: 3,
            start: Some(ProtoStart::Delay(proto_span(Duration::from_secs(2)))),
            lease_duration: Some(proto_span(Duration::from_secs(90))),
            labels: [("team".to_owned(), "red".to_owned())].into(),
            ..job()
        }),
        ..cron("0 6 * * MON")
    };
    let schedule = create(asked.clone()).unwrap();
    let expected = Proto {
        name: "schedules/nightly".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        next_fire_time: schedule.next.map(proto_moment),
        etag: schedule.etag(),
        ..asked
    };
    assert_eq!(proto_schedule(&schedule), expected);
    assert!(expected.next_fire_time.is_some());
}

#[test]
fn what_is_left_to_the_queue_stays_open_and_what_is_not_is_told() {
    let settings = create(every(5)).unwrap().settings;
    assert!(settings.job.open.retry && settings.job.open.retention);
    let mut strict = job();
    strict.retry_policy = Some(v1::RetryPolicy { max_attempts: 7, ..v1::RetryPolicy::default() });
    let schedule = create(Proto { job: Some(strict), ..every(5) }).unwrap();
    assert!(!schedule.settings.job.open.retry);
    let told = proto_schedule(&schedule).job.unwrap();
    assert_eq!(told.retry_policy.unwrap().max_attempts, 7);
    assert_eq!(told.retention, None);
}

/// What an update makes of a schedule that fires at six in Berlin.
fn updated(paths: &[&str], schedule: Proto) -> Result<Schedule, Violations> {
    let present = Proto { time_zone: "Europe/Berlin".to_owned(), ..cron("0 6 * * *") };
    let mut present = create(present).unwrap();
    let schedule = Proto { name: "schedules/nightly".to_owned(), ..schedule };
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let request = v1::UpdateScheduleRequest {
        schedule: Some(schedule),
        update_mask: Some(prost_types::FieldMask { paths }),
        reason: String::new(),
    };
    let settings = update(request)?.settings(&present, NOW)?;
    present.change(settings, NOW);
    Ok(present)
}

#[test]
fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let other = Proto { time_zone: "Asia/Tokyo".to_owned(), overlap: 2, ..cron("0 7 * * *") };
    let shown = |paths: &[&str]| {
        let shown = proto_schedule(&updated(paths, other.clone()).unwrap());
        (shown.cron, shown.time_zone, shown.overlap)
    };
    let text = str::to_owned;
    assert_eq!(shown(&["cron"]), (text("0 7 * * *"), text("Europe/Berlin"), 1));
    assert_eq!(shown(&["time_zone"]), (text("0 6 * * *"), text("Asia/Tokyo"), 1));
    assert_eq!(shown(&["overlap"]), (text("0 6 * * *"), text("Europe/Berlin"), 2));
    let all = shown(&["cron", "time_zone", "overlap"]);
    assert_eq!(all, (text("0 7 * * *"), text("Asia/Tokyo"), 2));
}

#[test]
fn an_update_of_one_kind_of_times_takes_the_place_of_the_other() {
    let schedule = updated(&["interval"], every(5)).unwrap();
    assert_eq!(schedule.settings.recurrence, Recurrence::Every(Duration::from_secs(5)));
    let told = proto_schedule(&schedule);
    assert_eq!((told.cron.as_str(), told.time_zone.as_str()), ("", ""));
}

#[test]
fn an_update_that_is_wrong_says_what() {
    let why = |paths: &[&str], schedule: Proto| updated(paths, schedule).unwrap_err().to_string();
    assert!(why(&[], every(5)).starts_with("update_mask must name what to change, of cron"));
    assert!(why(&["paused"], every(5)).starts_with("update_mask.paths[0] is \"paused\"; what can"));
    assert!(why(&["cron"], cron("0 0 30 2 *")).starts_with("schedule.cron never fires"));
    assert!(why(&["cron"], every(5)).starts_with("schedule.cron or interval must be set"));
    let jobless = Proto { job: None, ..every(5) };
    assert!(why(&["job"], jobless).starts_with("schedule.job must be set"));
    let mut nameless = v1::UpdateScheduleRequest::default();
    nameless.update_mask.get_or_insert_default().paths.push("cron".to_owned());
    let told = update(nameless).unwrap_err().to_string();
    assert!(told.starts_with("schedule.name must be schedules/{schedule}"), "{told}");
}

#[test]
fn names_are_full_names() {
    assert_eq!(schedule_id("schedules/nightly").unwrap().as_str(), "nightly");
    for bad in ["nightly", "schedules/", "schedules/a b", "queues/nightly"] {
        let told = schedule_id(bad).unwrap_err().to_string();
        assert_eq!(told, "name must be schedules/{schedule}", "{bad}");
    }
}

#[test]
fn what_a_list_of_schedules_cannot_serve_is_refused() {
    let list = |filter: &str, order_by: &str| {
        query(v1::ListSchedulesRequest {
            filter: filter.to_owned(),
            order_by: order_by.to_owned(),
            ..v1::ListSchedulesRequest::default()
        })
    };
    assert!(list("", "name desc").unwrap().backward && !list("", "").unwrap().backward);
    assert!(list("paused=true", "").unwrap_err().to_string().starts_with("filter must be empty"));
    assert!(list("", "cron").unwrap_err().to_string().starts_with("order_by is \"cron\""));
}

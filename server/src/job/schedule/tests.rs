use super::*;

fn at(text: &str) -> Timestamp {
    let moment: jiff::Timestamp = text.parse().unwrap();
    Timestamp::from_millis(u64::try_from(moment.as_millisecond()).unwrap())
}

fn told(moment: Timestamp) -> String {
    let millis = i64::try_from(moment.as_millis()).unwrap();
    jiff::Timestamp::from_millisecond(millis).unwrap().to_string()
}

fn cron(line: &str, zone: &str) -> Recurrence {
    Recurrence::Cron { line: CronLine::parse(line).unwrap(), zone: Zone::parse(zone).unwrap() }
}

/// The ticks of `line` that follow `from`, as many as are expected.
#[track_caller]
fn assert_ticks(line: &str, zone: &str, from: &str, expected: &[&str]) {
    let recurrence = cron(line, zone);
    let mut moment = at(from);
    let mut ticks = Vec::new();
    for _ in expected {
        moment = recurrence.next_after(moment, Timestamp::default()).unwrap();
        ticks.push(told(moment));
    }
    assert_eq!(ticks, expected, "{line:?} in {zone} after {from}");
}

fn settings(recurrence: Recurrence) -> Settings {
    Settings {
        recurrence,
        overlap: Overlap::default(),
        catch_up: Duration::ZERO,
        queue: QueueName::parse("reports").unwrap(),
        job: Template::default(),
    }
}

fn schedule(recurrence: Recurrence, created: &str) -> Schedule {
    Schedule::new(ScheduleId::parse("nightly").unwrap(), settings(recurrence), at(created))
}

#[test]
fn every_form_of_a_cron_line_is_understood() {
    let from = "2026-01-01T00:00:30Z";
    for (line, next) in [
        ("5 4 * * *", "2026-01-01T04:05:00Z"),
        ("*/15 * * * *", "2026-01-01T00:15:00Z"),
        ("40 5 4 * * *", "2026-01-01T04:05:40Z"),
        ("*/10 * * * * *", "2026-01-01T00:00:40Z"),
        ("@hourly", "2026-01-01T01:00:00Z"),
        ("@daily", "2026-01-02T00:00:00Z"),
        ("@weekly", "2026-01-04T00:00:00Z"),
        ("@monthly", "2026-02-01T00:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
        ("0 9 * * MON-FRI", "2026-01-01T09:00:00Z"),
        ("0 9 * jul 1", "2026-07-06T09:00:00Z"),
        ("0 0 L * *", "2026-01-31T00:00:00Z"),
        ("0 0 L 2 *", "2026-02-28T00:00:00Z"),
        ("0 0 * * 5L", "2026-01-30T00:00:00Z"),
        // The 15th is a Sunday in February and March, the nearest weekday is the 16th.
        ("0 0 15W 2 *", "2026-02-16T00:00:00Z"),
        ("0 0 * * 1#2", "2026-01-12T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 * * 7", "2026-01-04T00:00:00Z"),
    ] {
        assert_ticks(line, "UTC", from, &[next]);
    }
}

#[test]
fn a_cron_line_that_is_none_says_why() {
    for line in ["", "* * * *", "* * * * * * *", "61 * * * *", "0 25 * * *", "a b c d e", "@often"]
    {
        let wrong = CronLine::parse(line).unwrap_err();
        assert!(matches!(wrong, Error::Cron(_)), "{line:?}: {wrong}");
        assert!(wrong.to_string().starts_with("is not a cron line: "), "{wrong}");
    }
    let endless = "0,".repeat(200) + "0 * * * *";
    assert!(matches!(CronLine::parse(&endless), Err(Error::Cron(_))));
}

#[test]
fn a_cron_line_that_never_fires_is_refused() {
    for line in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 0 30 2 *", "0 0 31 6 *"] {
        assert_eq!(CronLine::parse(line), Err(Error::Never(line.to_owned())));
    }
}

#[test]
fn an_unknown_time_zone_is_refused_and_a_known_one_gets_its_proper_name() {
    for name in ["Mars/Olympus", "", "UTC+2", "Etc/Unknown", "EST5EDT,M3.2.0,M11.1.0"] {
        assert_eq!(Zone::parse(name), Err(Error::Zone(name.to_owned())), "{name:?}");
    }
    assert_eq!(Zone::parse("europe/BERLIN").unwrap().as_str(), "Europe/Berlin");
    assert_eq!(Zone::parse("UTC").unwrap(), Zone::utc());
}

#[test]
fn an_interval_out_of_bounds_is_refused() {
    for millis in [0, 1, 999] {
        assert_eq!(Recurrence::every(Duration::from_millis(millis)), Err(Error::Interval));
    }
    assert!(Recurrence::every(SHORTEST_INTERVAL).is_ok());
    assert!(Recurrence::every(LONGEST_INTERVAL).is_ok());
    assert!(Recurrence::every(LONGEST_INTERVAL + SHORTEST_INTERVAL).is_err());
}

#[test]
fn a_named_time_that_clocks_skip_fires_once_when_they_have_skipped_it() {
    // Berlin goes from 2:00 to 3:00 at 1:00 UTC.
    let night = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_ticks("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &night);
    // New York goes from 2:00 to 3:00 at 7:00 UTC; two of its times become one.
    let night = ["2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z", "2026-03-09T06:45:00Z"];
    assert_ticks("0,45 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", &night);
    // The end of the gap is a time of its own here, and still fires once.
    let night = ["2026-03-08T07:00:00Z", "2026-03-09T06:00:00Z", "2026-03-09T07:00:00Z"];
    assert_ticks("0 2,3 * * *", "America/New_York", "2026-03-08T00:00:00Z", &night);
    // Lord Howe Island goes from 2:00 to 2:30 at 15:30 UTC of the day before.
    let night = ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"];
    assert_ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &night);
    let night = ["2026-10-03T15:45:00Z", "2026-10-04T15:45:00Z"];
    assert_ticks("45 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &night);
}

#[test]
fn a_named_time_that_clocks_show_twice_fires_the_first_time() {
    // Berlin goes from 3:00 back to 2:00 at 1:00 UTC.
    let night = ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
    assert_ticks("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &night);
    assert_ticks("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", &night[1..]);
    assert_ticks("30 2 * * *", "Europe/Berlin", "2026-10-25T01:15:00Z", &night[1..]);
    // New York goes from 2:00 back to 1:00 at 6:00 UTC.
    let night = ["2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z", "2026-11-01T18:00:00Z"];
    assert_ticks("0,30 1,13 * * *", "America/New_York", "2026-11-01T00:00:00Z", &night);
    // Lord Howe Island goes from 2:00 back to 1:30 at 15:00 UTC of the day before.
    let night = ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"];
    assert_ticks("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", &night);
    let night = ["2026-04-04T14:15:00Z", "2026-04-05T14:45:00Z"];
    assert_ticks("15 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", &night);
}

#[test]
fn a_line_with_a_wildcard_follows_the_time_that_passes() {
    let spring = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
    assert_ticks("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &spring);
    let autumn = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"];
    assert_ticks("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", &autumn);
    let autumn = ["2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "2026-04-04T16:15:00Z"];
    assert_ticks("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", &autumn);
    let spring = ["2026-10-03T15:15:00Z", "2026-10-03T15:30:00Z", "2026-10-03T15:45:00Z"];
    assert_ticks("*/15 * * * *", "Australia/Lord_Howe", "2026-10-03T15:00:00Z", &spring);
    // Every half hour between two and three: there is no such hour that day.
    let next_day = ["2026-03-30T00:00:00Z"];
    assert_ticks("*/30 2 * * *", "Europe/Berlin", "2026-03-28T23:00:00Z", &next_day);
}

#[test]
fn a_zone_whose_clocks_never_change_fires_at_the_same_time_all_year() {
    let recurrence = cron("30 2 * * *", "Asia/Kolkata");
    let mut moment = at("2026-01-01T00:00:00Z");
    for _ in 0..365 {
        moment = recurrence.next_after(moment, Timestamp::default()).unwrap();
        assert!(told(moment).ends_with("T21:00:00Z"), "{}", told(moment));
    }
    assert_eq!(told(moment), "2026-12-31T21:00:00Z");
}

#[test]
fn the_next_tick_is_later_than_the_moment_even_by_a_part_of_a_second() {
    let ticks = ["2026-01-01T00:00:01Z"];
    assert_ticks("* * * * * *", "UTC", "2026-01-01T00:00:00Z", &ticks);
    assert_ticks("* * * * * *", "UTC", "2026-01-01T00:00:00.999Z", &ticks);
    let recurrence = cron("* * * * * *", "UTC");
    let just_before = at("2026-01-01T00:00:01Z").before(MOMENT);
    let next = recurrence.next_after(just_before, Timestamp::default()).unwrap();
    assert_eq!(told(next), "2026-01-01T00:00:01Z");
}

#[test]
fn intervals_are_counted_from_the_creation() {
    let every = Recurrence::every(Duration::from_mins(7)).unwrap();
    let created = at("2026-01-01T00:00:13Z");
    for (moment, next) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:07:13Z"),
        ("2026-01-01T00:00:13Z", "2026-01-01T00:07:13Z"),
        ("2026-01-01T00:07:12.999Z", "2026-01-01T00:07:13Z"),
        ("2026-01-01T00:07:13Z", "2026-01-01T00:14:13Z"),
        ("2026-01-02T00:00:00Z", "2026-01-02T00:02:13Z"),
    ] {
        assert_eq!(told(every.next_after(at(moment), created).unwrap()), next, "{moment}");
    }
}

#[test]
fn a_tick_fires_when_its_time_has_come_and_not_before() {
    let schedule = schedule(cron("0 * * * *", "UTC"), "2026-01-01T00:30:00Z");
    let tick = at("2026-01-01T01:00:00Z");
    assert_eq!(schedule.due(tick.before(MOMENT)), Due { fire: vec![], next: Some(tick) });
    let next = Some(at("2026-01-01T02:00:00Z"));
    assert_eq!(schedule.due(tick), Due { fire: vec![tick], next });
}

#[test]
fn missed_ticks_are_dropped_but_for_one_that_is_only_just_late() {
    let schedule = schedule(cron("0 * * * *", "UTC"), "2026-01-01T00:30:00Z");
    let four = at("2026-01-01T04:00:00Z");
    let next = Some(at("2026-01-01T05:00:00Z"));
    let in_time = four.after(SLACK).before(MOMENT);
    assert_eq!(schedule.due(in_time), Due { fire: vec![four], next });
    assert_eq!(schedule.due(four.after(SLACK)), Due { fire: vec![], next });
}

#[test]
fn of_close_ticks_that_were_missed_only_the_latest_fires() {
    let schedule = schedule(Recurrence::every(SHORTEST_INTERVAL).unwrap(), "2026-01-01T00:00:00Z");
    let due = schedule.due(at("2026-01-01T00:00:10.500Z"));
    assert_eq!(due.fire, [at("2026-01-01T00:00:10Z")]);
    assert_eq!(due.next, Some(at("2026-01-01T00:00:11Z")));
}

#[test]
fn missed_ticks_younger_than_catch_up_all_fire() {
    let mut schedule = schedule(cron("0 * * * *", "UTC"), "2026-01-01T00:30:00Z");
    schedule.settings.catch_up = Duration::from_hours(2);
    let due = schedule.due(at("2026-01-01T04:10:00Z"));
    assert_eq!(due.fire, [at("2026-01-01T03:00:00Z"), at("2026-01-01T04:00:00Z")]);
    assert_eq!(due.next, Some(at("2026-01-01T05:00:00Z")));
    // One that is exactly as old as catch_up is not younger.
    assert_eq!(schedule.due(at("2026-01-01T05:00:00Z")).fire.len(), 2);
}

#[test]
fn many_missed_ticks_are_made_up_for_bit_by_bit() {
    let mut schedule = schedule(cron("* * * * *", "UTC"), "2026-01-01T00:00:00Z");
    schedule.settings.catch_up = Duration::from_hours(24);
    let now = at("2026-01-01T05:00:00Z");
    let mut fired = Vec::new();
    while schedule.next.is_some_and(|next| next <= now) {
        let due = schedule.due(now);
        assert!(due.fire.len() <= MOST_TICKS);
        fired.extend(due.fire);
        schedule.next = due.next;
    }
    assert_eq!(fired.len(), 300);
    assert!(fired.is_sorted());
}

#[test]
fn a_rest_of_years_is_leapt_over() {
    let schedule = schedule(cron("* * * * * *", "UTC"), "1990-01-01T00:00:00Z");
    let now = at("2026-01-01T00:00:00Z");
    assert_eq!(
        schedule.due(now),
        Due { fire: vec![now], next: Some(now.after(SHORTEST_INTERVAL)) }
    );
}

#[test]
fn a_paused_schedule_is_never_due_and_goes_on_with_the_tick_after_its_pause() {
    let mut schedule = schedule(cron("0 * * * *", "UTC"), "2026-01-01T00:30:00Z");
    schedule.settings.catch_up = Duration::from_hours(24);
    schedule.pause();
    assert_eq!(schedule.due(at("2026-01-01T08:00:00Z")), Due { fire: vec![], next: None });
    schedule.resume(at("2026-01-01T08:00:00Z"));
    assert_eq!(schedule.next, Some(at("2026-01-01T09:00:00Z")));
}

#[test]
fn other_times_begin_anew_and_other_settings_leave_the_next_tick_alone() {
    let mut schedule = schedule(cron("0 * * * *", "UTC"), "2026-01-01T00:30:00Z");
    let now = at("2026-01-01T00:40:00Z");
    let skipping = Settings { overlap: Overlap::Skip, ..settings(cron("0 * * * *", "UTC")) };
    schedule.change(skipping, now);
    assert_eq!(schedule.next, Some(at("2026-01-01T01:00:00Z")));
    schedule.change(settings(cron("45 * * * *", "UTC")), now);
    assert_eq!(schedule.next, Some(at("2026-01-01T00:45:00Z")));
    schedule.pause();
    schedule.change(settings(cron("50 * * * *", "UTC")), now);
    assert_eq!(schedule.next, None);
}

#[test]
fn a_tick_is_one_request_whoever_makes_it_and_another_tick_another() {
    use crate::job::RequestId;
    let id = |text| ScheduleId::parse(text).unwrap();
    let (made, tick) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
    let request = RequestId::of_tick(&id("a"), made, tick);
    assert_eq!(request, RequestId::of_tick(&id("a"), made, tick));
    assert_ne!(request, RequestId::of_tick(&id("b"), made, tick));
    assert_ne!(request, RequestId::of_tick(&id("a"), made.after(MOMENT), tick));
    assert_ne!(request, RequestId::of_tick(&id("a"), made, tick.after(MOMENT)));
}

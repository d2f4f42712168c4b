//! Schedules: what is enqueued again and again.

use crate::shell::{Broker, text};

#[test]
fn a_schedule_lives_its_life() {
    let broker = Broker::start();
    let when = ["--cron", "0 6 * * MON", "--time-zone", "Europe/Berlin", "--overlap", "skip"];
    let job = ["--type", "weekly", "--json", "[1]", "--max-attempts", "5", "--label", "team=a"];
    let created = ["schedule", "create", "report", "reports"];
    let created = broker.run(&[&created, &when[..], &job].concat()).json();
    assert_eq!(
        (&created["name"], &created["overlap"]),
        (&"schedules/report".into(), &"OVERLAP_SKIP".into())
    );
    assert!(!text(&created["nextFireTime"]).is_empty());
    broker.run(&["schedule", "create", "report", "q", "--every", "1h"]).said(4, &["report"]);

    let change = ["--every", "2h", "--priority", "3", "--queue", "slow"];
    broker.run(&[&["schedule", "update", "report"], &change[..]].concat()).json();
    let changed = broker.run(&["schedule", "get", "schedules/report"]).json();
    assert!(changed["cron"].is_null(), "{changed}");
    assert_eq!(changed["interval"], "7200s");
    let job = &changed["job"];
    assert_eq!(
        (&job["queue"], &job["type"], &job["priority"]),
        (&"slow".into(), &"weekly".into(), &3.into())
    );
    assert_eq!(job["retryPolicy"]["maxAttempts"], 5);
    broker.run(&["schedule", "update", "report"]).failed(2, &["say what to change"]);

    assert_eq!(broker.run(&["schedule", "pause", "report"]).json()[0]["paused"], true);
    let listed = broker.run(&["schedules", "-o", "table"]).stdout;
    let line = listed.lines().find(|line| line.starts_with("schedules/report")).unwrap();
    assert!(line.contains("every 2h") && line.contains("paused"), "{listed}");
    let fired = broker.run(&["schedule", "trigger", "report"]).json();
    assert!(text(&fired[0]["name"]).starts_with("queues/slow/jobs/"), "{fired}");
    assert!(broker.run(&["schedule", "resume", "report"]).json()[0]["paused"].is_null());

    assert_eq!(
        broker.run(&["schedule", "delete", "report"]).json()[0]["deleted"],
        "schedules/report"
    );
    broker.run(&["schedule", "get", "report"]).failed(3, &["SCHEDULE_NOT_FOUND"]);
    assert_eq!(broker.run(&["schedules"]).json().as_array().unwrap().len(), 0);
}

#[test]
fn what_can_not_fire_is_refused() {
    let broker = Broker::start();
    let create = ["schedule", "create", "s", "q"];
    let refused = |args: &[&str], field: &str| {
        broker.run(&[&create, args].concat()).failed(2, &[field]);
    };
    refused(&["--cron", "0 0 30 2 *"], "cron");
    refused(&["--cron", "@daily", "--time-zone", "Mars/Olympus"], "time_zone");
    refused(&["--every", "10ms"], "interval");
    refused(&["--every", "1h", "--priority", "5000"], "priority");
}

#[test]
fn bad_schedules_are_refused_before_a_broker_is_asked() {
    let broker = Broker::start();
    for args in [
        &["schedule", "create", "s", "q"][..],
        &["schedule", "create", "s", "q", "--cron", "@daily", "--every", "1h"],
        &["schedule", "create", "s", "q", "--every", "often"],
        &["schedule", "create", "s", "q", "--every", "1h", "--overlap", "queue"],
        &["schedule", "trigger"],
    ] {
        broker.run(args).failed(2, &["error: "]);
    }
}

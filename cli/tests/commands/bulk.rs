//! The same for many jobs.

use std::process::{Command, Stdio};

use crate::shell::{Broker, run, text};

/// So many jobs, all of them called off.
fn cancelled(broker: &Broker, count: usize) {
    // More of them are kept than a queue would by itself.
    let job = r#"{"queue": "q", "type": "t", "retention": {"deadCount": -1}}"#;
    let jobs = job.repeat(count);
    run(broker.url(), &["enqueue-batch"], &jobs).json();
    let done = broker.run(&["bulk", "cancel", "q", "--state", "ready"]).json();
    assert_eq!(text(&done["changed"]), count.to_string());
}

fn count(broker: &Broker, queue: &str, state: &str) -> i64 {
    let numbers = broker.run(&["queue", "stats", queue]).json();
    numbers[state].as_str().map_or(0, |count| count.parse().unwrap())
}

#[test]
fn all_jobs_that_match_are_changed_however_many() {
    let broker = Broker::start();
    cancelled(&broker, 2500);
    let dry = broker.run(&["bulk", "retry", "q", "--state", "cancelled", "--dry-run"]).json();
    assert_eq!((text(&dry["matched"]), &dry["changed"]), ("2500".into(), &serde_json::Value::Null));
    assert_eq!(count(&broker, "q", "cancelled"), 2500);

    let done = broker.run(&["bulk", "retry", "q", "--state", "cancelled"]);
    assert_eq!(text(&done.json()["changed"]), "2500");
    assert_eq!((done.stderr.as_str(), count(&broker, "q", "ready")), ("", 2500));

    let moved = ["bulk", "move", "q", "--filter", "state=READY AND type=t", "--to", "other"];
    assert_eq!(text(&broker.run(&moved).json()["changed"]), "2500");
    assert_eq!((count(&broker, "q", "ready"), count(&broker, "other", "ready")), (0, 2500));
}

#[test]
fn a_part_can_be_done_now_and_the_rest_later() {
    let broker = Broker::start();
    cancelled(&broker, 30);
    let retry = ["bulk", "retry", "q", "--state", "cancelled"];
    let first = broker.run(&[&retry, &["--max", "10"][..]].concat());
    assert_eq!(text(&first.json()["changed"]), "10");
    let token = text(&first.json()["continuationToken"]);
    first.said(0, &["--continue", &token]);
    let rest = broker.run(&[&retry, &["--continue", &token][..]].concat()).json();
    assert_eq!((text(&rest["changed"]), count(&broker, "q", "ready")), ("20".into(), 30));
}

#[test]
fn an_interrupted_command_says_how_to_go_on() {
    let broker = Broker::start();
    cancelled(&broker, 30);
    let mut process = Command::new(env!("CARGO_BIN_EXE_lessor"))
        .args(["--server", broker.url(), "bulk", "retry", "q", "--state", "cancelled"])
        .args(["--per-second", "10"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first step is ten jobs, after which there is a token.
    while count(&broker, "q", "ready") < 12 {
        assert!(process.try_wait().unwrap().is_none());
    }
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    let (_, token) = said.trim_end().split_once("--continue ").unwrap_or_else(|| panic!("{said}"));
    let rest = broker.run(&["bulk", "retry", "q", "--state", "cancelled", "--continue", token]);
    assert_eq!(rest.code, 0, "{}", rest.stderr);
    assert_eq!((count(&broker, "q", "cancelled"), count(&broker, "q", "ready")), (0, 30));
}

#[test]
fn jobs_are_purged_by_state_and_age() {
    let broker = Broker::start();
    cancelled(&broker, 20);
    broker.run(&["enqueue", "q"]).json();
    let purge = ["purge", "q", "--state", "cancelled"];
    let dry = broker.run(&[&purge, &["--dry-run"][..]].concat()).json();
    assert_eq!(text(&dry["purged"]), "20");
    let none = broker.run(&[&purge, &["--older-than", "1h"][..]].concat()).json();
    assert!(none["purged"].is_null(), "{none}");
    let some = broker.run(&[&purge, &["--max", "5"][..]].concat()).json();
    assert_eq!(text(&some["purged"]), "5");
    assert_eq!(text(&broker.run(&purge).json()["purged"]), "15");
    assert_eq!((count(&broker, "q", "cancelled"), count(&broker, "q", "ready")), (0, 1));

    let all = broker.run(&["bulk", "purge", "q", "--all"]).json();
    assert_eq!((text(&all["changed"]), count(&broker, "q", "ready")), ("1".into(), 0));
}

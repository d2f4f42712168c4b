//! `lessor bench`: every workload, small.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::shell::{Broker, Done};

/// The lines that it prints, each a JSON object.
fn lines(done: &Done) -> Vec<Value> {
    assert_eq!(done.code, 0, "{}", done.stderr);
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The figures of a run of so many jobs make sense.
fn sane(line: &Value, workload: &str, role: &str, jobs: u64) {
    assert_eq!(line["workload"], workload);
    assert_eq!(line["role"], role);
    assert_eq!(line["jobs"], jobs);
    let span = line["end_ns"].as_u64().unwrap() - line["start_ns"].as_u64().unwrap();
    let number = |name: &str| line[name].as_f64().unwrap();
    let seconds = f64::from(u32::try_from(span / 1000).unwrap()) / 1e6;
    let jobs = f64::from(u32::try_from(jobs).unwrap());
    assert!((number("rate") * seconds / jobs - 1.0).abs() < 0.01, "{line}");
    assert!(number("p50_ms") > 0.0 && number("p50_ms") <= number("p99_ms"), "{line}");
    assert!(number("p99_ms") <= number("max_ms"), "{line}");
    assert!(number("cpu_s") > 0.0, "{line}");
}

#[test]
fn every_workload_is_measured_on_queues_that_are_gone_afterwards() {
    let broker = Broker::start();
    for way in [None, Some("--unary"), Some("--handlers")] {
        let workloads = ["W1", "w1b", "W2", "W3", "W4"];
        let mut args = vec!["bench", "-o", "json", "--jobs", "250", "--rate", "500"];
        args.extend(workloads.into_iter().chain(way));
        let lines = lines(&broker.run(&args));
        assert_eq!(lines.len(), workloads.len());
        for (line, workload) in lines.iter().zip(["W1", "W1b", "W2", "W3", "W4"]) {
            sane(line, workload, "all", 250);
        }
        // Paced: the last of 250 jobs begins half a second after the first.
        assert!(lines[4]["rate"].as_f64().unwrap() < 502.0, "{}", lines[4]);
    }
    assert_eq!(broker.run(&["queues"]).json().as_array().unwrap().len(), 0);
}

#[test]
fn a_drain_leaves_what_else_is_in_the_queue() {
    let broker = Broker::start();
    let args = ["--backlog", "30", "--delayed", "20", "--priorities", "3", "--queue", "load"];
    let done =
        broker.run(&[&["bench", "W6", "--jobs", "50", "-o", "json"][..], &args[..]].concat());

    let lines = lines(&done);
    assert_eq!(lines.len(), 1);
    sane(&lines[0], "W6", "all", 50);
    assert_eq!(lines[0]["backlog"], 30);
    let stats = broker.run(&["queue", "stats", "load"]).json();
    assert_eq!((&stats["ready"], &stats["scheduled"]), (&"30".into(), &"20".into()), "{stats}");
}

#[test]
fn producer_and_worker_may_be_two_processes() {
    let broker = Broker::start();
    let worker = Command::new(env!("CARGO_BIN_EXE_lessor"))
        .env("LESSOR_SERVER", broker.url())
        .args(["bench", "W3", "--role", "worker", "--queue", "load", "--queues", "3"])
        .args(["--jobs", "120", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let side = ["--role", "producer", "--queue", "load", "--queues", "3", "--jobs", "120"];
    let producer = broker.run(&[&["bench", "W3", "-o", "json"][..], &side[..]].concat());
    let worker = worker.wait_with_output().unwrap();

    let text = |bytes| String::from_utf8(bytes).unwrap();
    let worker = Done {
        code: worker.status.code().unwrap(),
        stdout: text(worker.stdout),
        stderr: text(worker.stderr),
    };
    assert_eq!(worker.stderr, "ready\n");
    sane(&lines(&producer)[0], "W3", "producer", 120);
    sane(&lines(&worker)[0], "W3", "worker", 120);
    assert_eq!(broker.run(&["queues"]).json().as_array().unwrap().len(), 3);
}

#[test]
fn one_side_alone_needs_a_queue_that_both_know() {
    let broker = Broker::start();
    broker.run(&["bench", "W1", "--role", "producer"]).failed(2, &["--queue"]);
}

#[test]
fn people_get_a_table() {
    let broker = Broker::start();
    let done = broker.run(&["bench", "W1", "--jobs", "50", "-o", "table"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let rows: Vec<Vec<&str>> =
        done.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2, "{}", done.stdout);
    assert_eq!(rows[0][..4], ["WORKLOAD", "ROLE", "JOBS", "JOBS/S"]);
    assert_eq!(rows[1][..3], ["W1", "all", "50"]);
}

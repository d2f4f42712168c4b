//! Single jobs in the hands of an operator.

use crate::shell::{Broker, run, text};

fn enqueue(broker: &Broker, args: &[&str]) -> String {
    let enqueued = broker.run(&[&["enqueue", "q"], args].concat()).json();
    text(&enqueued["job"]["name"])
}

#[test]
fn a_worker_hears_that_its_job_is_called_off() {
    let broker = Broker::start();
    let job = enqueue(&broker, &[]);
    let (_, token) = broker.lease("q");
    let cancelled = broker.run(&["cancel", &job, "--reason", "too late", "--grace", "1h"]).json();
    assert_eq!(
        (&cancelled[0]["state"], &cancelled[0]["cancelRequested"]),
        (&"STATE_LEASED".into(), &true.into())
    );
    let extended = broker.run(&["extend", &token]).json();
    assert_eq!(
        (&extended["cancelRequested"], &extended["cancelReason"]),
        (&true.into(), &"too late".into())
    );
    assert!(broker.run(&["extend", &token, "-o", "table"]).stdout.contains("too late"));
    broker.run(&["nack", &token]).json();
    assert_eq!(broker.state(&job), "STATE_CANCELLED");
}

#[test]
fn of_several_jobs_each_may_fail_alone() {
    let broker = Broker::start();
    let (first, last) = (enqueue(&broker, &[]), enqueue(&broker, &[]));
    let done = broker.run(&["cancel", &first, "q/nothing", &last, "-o", "jsonl"]);
    done.said(3, &["queues/q/jobs/nothing: ", "JOB_NOT_FOUND"]);
    assert_eq!(done.stdout.lines().count(), 2);
    for job in [&first, &last] {
        assert_eq!(broker.state(job), "STATE_CANCELLED");
    }
    let done = broker.run(&["delete", &first, &last, "-o", "table"]);
    assert_eq!(done.stdout, format!("deleted {first}\ndeleted {last}\n"));
    broker.run(&["get", &first]).failed(3, &["JOB_NOT_FOUND"]);
}

#[test]
fn a_job_that_waits_can_be_changed_in_parts() {
    let broker = Broker::start();
    let job = enqueue(&broker, &["--label", "team=a", "--label", "hot=1", "--backoff", "5s"]);
    let change = ["--label", "team=b", "--remove-label", "hot", "--max-attempts", "9"];
    let more = ["--priority", "7", "--json", "[1]", "--delay", "1h"];
    let changed = broker.run(&[&["update", &job], &change[..], &more].concat()).json();
    assert_eq!((&changed["state"], &changed["priority"]), (&"STATE_SCHEDULED".into(), &7.into()));
    assert_eq!(changed["labels"], serde_json::json!({"team": "b"}));
    assert_eq!(changed["retryPolicy"]["maxAttempts"], 9);
    assert_eq!(changed["retryPolicy"]["initialBackoff"], "5s");
    assert_eq!(broker.run(&["get", &job]).json()["payload"]["data"], "WzFd");

    let old = text(&changed["etag"]);
    assert_eq!(broker.run(&["promote", &job]).json()[0]["state"], "STATE_READY");
    broker.run(&["update", &job, "--priority", "1", "--etag", &old]).failed(4, &["ETAG_MISMATCH"]);
    broker.run(&["update", &job]).failed(2, &["say what to change"]);
}

#[test]
fn a_job_can_be_taken_from_its_worker() {
    let broker = Broker::start();
    let job = enqueue(&broker, &[]);
    let (_, token) = broker.lease("q");
    broker.run(&["delete", &job]).failed(4, &["JOB_LEASED", "revoke"]);
    let revoked = broker.run(&["revoke", &job, "--reason", "it hangs"]).json();
    assert_eq!(revoked[0]["state"], "STATE_READY");
    broker.run(&["ack", &token]).failed(4, &["LEASE_LOST"]);
}

#[test]
fn an_ack_may_bring_jobs_with_it() {
    let broker = Broker::start();
    enqueue(&broker, &[]);
    let (_, token) = broker.lease("q");
    let then = r#"[{"queue": "q", "jobId": "next-1"}, {"queue": "q", "jobId": "next-2"}]"#;
    run(broker.url(), &["ack", &token, "--then", "-"], then).json();
    assert_eq!(broker.state("q/next-1"), "STATE_READY");
    assert_eq!(broker.state("q/next-2"), "STATE_READY");

    let (_, token) = broker.lease("q");
    let elsewhere = r#"{"queue": "other"}"#;
    broker.run(&["ack", &token, "--then", elsewhere]).failed(2, &["then[0]"]);
}

#[test]
fn a_producer_says_for_how_long_a_job_is_worth_it() {
    let broker = Broker::start();
    let args = ["--ttl", "1h", "--attempt-timeout", "7m", "--owner", "ann", "--retain-dead", "1h"];
    let job = broker.run(&["get", &enqueue(&broker, &args)]).json();
    assert!(!text(&job["expireTime"]).is_empty());
    assert_eq!((&job["attemptTimeout"], &job["owner"]), (&"420s".into(), &"ann".into()));
    assert_eq!(job["retention"]["deadTtl"], "3600s");

    let args = ["enqueue", "q", "--id", "never", "--validate-only"];
    broker.run(&args).json();
    broker.run(&["get", "q/never"]).failed(3, &["JOB_NOT_FOUND"]);
}

#[test]
fn bad_input_is_refused_before_a_broker_is_asked() {
    let broker = Broker::start();
    for args in [
        &["cancel"][..],
        &["cancel", "q/1", "--grace", "soon"],
        &["retry"],
        &["jobs"],
        &["jobs", "q", "--state", "gone"],
        &["jobs", "q", "--label", "team"],
        &["wait", "q/1", "--until", "gone"],
        &["bulk", "retry", "q"],
        &["bulk", "retry", "q", "--all", "--state", "dead"],
        &["bulk", "move", "q", "--all"],
        &["bulk", "purge", "q", "--all", "--max", "0"],
        &["purge", "q"],
        &["update", "q/1", "--delay", "1s", "--at", "2030-01-01T00:00:00Z"],
    ] {
        broker.run(args).failed(2, &["error: "]);
    }
}

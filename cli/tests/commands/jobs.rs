//! Single jobs in the hands of an operator.

use crate::shell::{Broker, run, text};

fn enqueue(broker: &Broker, args: &[&str]) -> String {
    let enqueued = broker.run(&[&["enqueue", "q"], args].concat()).json();
    text(&enqueued["job"]["name"])
}

#[test]
fn a_job_that_was_called_off_can_be_run_after_all() {
    let broker = Broker::start();
    let job = enqueue(&broker, &[]);
    let cancelled = broker.run(&["cancel", &job, "--reason", "not needed"]).json();
    assert_eq!(cancelled[0]["state"], "STATE_CANCELLED");
    let waited = broker.run(&["wait", &job]);
    waited.said(1, &["the job is cancelled"]);
    let ended = broker.run(&["wait", &job, "--until", "cancelled,dead"]).json();
    assert_eq!(ended["reached"], true);

    let retried = broker.run(&["retry", &job]).json();
    assert_eq!(retried[0]["state"], "STATE_READY");
    let (leased, token) = broker.lease("q");
    assert_eq!(leased, job);
    broker.run(&["ack", &token, "--result-json", "{}"]).json();
    assert_eq!(broker.run(&["wait", &job]).json()["job"]["state"], "STATE_SUCCEEDED");
    broker.run(&["cancel", &job]).failed(4, &["JOB_TERMINAL"]);
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
fn a_wait_may_end_before_its_job() {
    let broker = Broker::start();
    let job = enqueue(&broker, &["--delay", "1h"]);
    let waited = broker.run(&["wait", &job, "--within", "10ms"]);
    waited.said(6, &["the job is scheduled"]);
    assert!(waited.stdout.contains(&job), "{}", waited.stdout);
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
fn jobs_are_found_by_what_they_are() {
    let broker = Broker::start();
    for number in 0..5 {
        let team = if number % 2 == 0 { "team=a b\"c" } else { "team=d" };
        enqueue(&broker, &["--id", &number.to_string(), "--type", "t", "--label", team]);
    }
    broker.run(&["cancel", "q/4"]).json();
    let names = |args: &[&str]| -> Vec<String> {
        let found = broker.run(&[&["jobs", "q"], args].concat()).json();
        let names = found.as_array().unwrap().iter().map(|job| text(&job["name"]));
        names.map(|name| name.replace("queues/q/jobs/", "")).collect()
    };
    assert_eq!(names(&["--state", "ready"]), ["0", "1", "2", "3"]);
    assert_eq!(names(&["--state", "cancelled"]), ["4"]);
    assert_eq!(names(&["--label", "team=a b\"c", "--state", "READY"]), ["2", "0"]);
    assert_eq!(names(&["--filter", "state=READY AND type=t", "--label", "team=d"]), ["3", "1"]);
    assert_eq!(names(&[]).len(), 5);
    broker.run(&["jobs", "q", "--filter", "color=red"]).failed(2, &["filter", "color"]);

    let some = broker.run(&["jobs", "q", "--state", "ready", "--limit", "3", "-o", "jsonl"]);
    assert_eq!(some.stdout.lines().count(), 3);
    some.said(0, &["there are more"]);
    let all = broker.run(&["jobs", "q", "--state", "ready", "--limit", "4", "-o", "table"]);
    assert_eq!((all.stdout.lines().count(), all.stderr.as_str()), (5, ""));
}

#[test]
fn what_holds_a_job_back_is_told() {
    let broker = Broker::start();
    let job = enqueue(&broker, &["--delay", "1h"]);
    let told = broker.run(&["explain", &job]).json();
    let cause = &told["causes"][0];
    assert!(!text(&cause["code"]).is_empty() && !text(&cause["clearsAt"]).is_empty());
    let table = broker.run(&["explain", &job, "-o", "table"]).stdout;
    assert!(table.contains(&text(&cause["code"])) && table.contains("Jobs ahead"), "{table}");
}

#[test]
fn a_watched_job_is_seen_to_its_end() {
    let broker = Broker::start();
    let job = enqueue(&broker, &[]);
    let (_, token) = broker.lease("q");
    broker.run(&["ack", &token, "--result-json", "{}"]).json();
    let watched = broker.run(&["watch", "--job", &job, "-o", "jsonl"]);
    assert_eq!(watched.code, 0, "{}", watched.stderr);
    assert!(watched.stdout.contains("STATE_SUCCEEDED"), "{}", watched.stdout);
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
fn a_producer_says_what_a_duplicate_becomes() {
    let broker = Broker::start();
    let first = enqueue(&broker, &["--dedup-key", "k", "--json", "1"]);
    let replace = ["enqueue", "q", "--dedup-key", "k", "--on-duplicate", "replace", "--json", "2"];
    let replaced = broker.run(&replace).json();
    assert_eq!(
        (&replaced["outcome"], text(&replaced["job"]["name"])),
        (&"OUTCOME_REPLACED".into(), first.clone())
    );
    assert_eq!(broker.run(&["get", &first]).json()["payload"]["data"], "Mg==");
    let reject = ["enqueue", "q", "--dedup-key", "k", "--on-duplicate", "reject"];
    broker.run(&reject).failed(4, &["DUPLICATE"]);

    enqueue(&broker, &["--dedup-key", "s", "--dedup-scope", "until-started", "--priority", "9"]);
    broker.lease("q");
    let again = broker.run(&["enqueue", "q", "--dedup-key", "s"]).json();
    assert_eq!(again["outcome"], "OUTCOME_CREATED");
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
fn a_worker_may_take_only_what_it_knows() {
    let broker = Broker::start();
    enqueue(&broker, &["--type", "a"]);
    enqueue(&broker, &["--type", "b"]);
    let leased = broker.run(&["lease", "q", "--type", "b", "--type", "c", "--max", "9"]).json();
    let jobs = leased["jobs"].as_array().unwrap();
    assert_eq!((jobs.len(), &jobs[0]["job"]["type"]), (1, &"b".into()));
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

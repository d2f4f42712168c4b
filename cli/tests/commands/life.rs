//! Producers and workers: the commands on a job's way from `enqueue` to `ack`.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{self, Child, ChildStdout, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::shell::{Broker, run, seconds, text};

#[test]
fn a_job_lives_its_life() {
    let broker = Broker::start();
    let args = ["enqueue", "emails", "--type", "welcome", "--label", "team=a", "--json", "-"];
    let enqueued = run(broker.url(), &args, r#"{"to": "a"}"#).json();
    assert_eq!(enqueued["outcome"], "OUTCOME_CREATED");
    let job = text(&enqueued["job"]["name"]);
    let short = job.replace("queues/emails/jobs/", "emails/");
    assert_eq!(broker.run(&["get", &short]).json()["name"], job.as_str());

    let waiting = broker.run(&["get", &job]).json();
    assert_eq!(waiting["state"], "STATE_READY");
    assert_eq!(waiting["type"], "welcome");
    assert_eq!(waiting["labels"]["team"], "a");
    // Base64 of the bytes as they were typed.
    assert_eq!(waiting["payload"]["data"], "eyJ0byI6ICJhIn0=");
    assert_eq!(waiting["payload"]["contentType"], "application/json");

    let leased = broker.run(&["lease", "emails", "--worker-id", "w1", "--lease", "5m"]).json();
    assert_eq!(leased["jobs"][0]["job"]["name"], job.as_str());
    assert_eq!(leased["jobs"][0]["job"]["workerId"], "w1");
    let left = seconds(&leased["jobs"][0]["leaseRemaining"]);
    assert!(left > 200.0 && left <= 300.0, "{left}");
    let token = text(&leased["jobs"][0]["leaseToken"]);
    assert_eq!(broker.state(&job), "STATE_LEASED");

    let extended = broker.run(&["extend", &token, "--lease", "10m", "--percent", "40"]).json();
    let left = seconds(&extended["leaseRemaining"]);
    assert!(left > 500.0 && left <= 600.0, "{left}");
    assert_eq!(broker.run(&["get", &job]).json()["progress"]["percent"], 40.0);

    let acked = broker.run(&["ack", &token, "--result-json", "{}"]).json();
    assert_eq!(acked["outcome"], "SETTLE_OUTCOME_SETTLED");
    assert_eq!(broker.run(&["get", &job]).json()["result"]["data"], "e30=");
    assert_eq!(broker.state(&job), "STATE_SUCCEEDED");

    let again = broker.run(&["ack", &token]).json();
    assert_eq!(again["outcome"], "SETTLE_OUTCOME_ALREADY_SETTLED");
    broker.run(&["nack", &token]).failed(4, &["LEASE_SETTLED"]);
}

#[test]
fn a_job_that_is_not_done_goes_where_it_is_sent() {
    let broker = Broker::start();
    let job = text(&broker.run(&["enqueue", "q", "--max-attempts", "2"]).json()["job"]["name"]);

    let (leased, token) = broker.lease("q");
    assert_eq!(leased, job);
    let progress = ["--done", "3", "--total", "4"];
    broker.run(&[&["extend", &token], &progress[..]].concat()).json();
    assert_eq!(broker.run(&["get", &job]).json()["progress"]["total"], "4");
    broker.run(&["nack", &token, "--release", "--checkpoint-json", "{}"]).json();
    assert_eq!(broker.state(&job), "STATE_READY");
    assert_eq!(broker.run(&["get", &job]).json()["checkpoint"]["data"], "e30=");

    let (_, token) = broker.lease("q");
    broker.run(&["nack", &token, "--delay", "0s", "--code", "HTTP_503"]).json();
    let failed = broker.run(&["get", &job]).json();
    assert_eq!(failed["lastFailure"]["code"], "HTTP_503");
    assert_eq!(failed["attempt"], 1);

    let (_, token) = broker.lease("q");
    broker.run(&["nack", &token, "--dead", "--message", "no such user"]).json();
    let dead = broker.run(&["get", &job]).json();
    assert_eq!(dead["state"], "STATE_DEAD");
    assert_eq!(dead["lastFailure"]["message"], "no such user");
}

#[test]
fn a_job_may_wait_for_its_time() {
    let broker = Broker::start();
    let delayed = broker.run(&["enqueue", "q", "--delay", "1h30m"]).json();
    assert_eq!(delayed["job"]["state"], "STATE_SCHEDULED");
    let tomorrow = humantime::format_rfc3339_seconds(tomorrow()).to_string();
    let dated = broker.run(&["enqueue", "q", "--at", &tomorrow]).json();
    assert_eq!(dated["job"]["scheduleTime"], tomorrow.as_str());

    broker.run(&["enqueue", "q"]).json();
    let (job, token) = broker.lease("q");
    broker.run(&["nack", &token, "--snooze", "1h"]).json();
    assert_eq!(broker.state(&job), "STATE_SCHEDULED");
}

#[expect(clippy::disallowed_methods, reason = "brokers refuse a time that is years away")]
fn tomorrow() -> SystemTime {
    SystemTime::now() + Duration::from_hours(24)
}

#[test]
fn the_same_work_is_done_once() {
    let broker = Broker::start();
    let first = broker.run(&["enqueue", "q", "--dedup-key", "k"]).json();
    let second = broker.run(&["enqueue", "q", "--dedup-key", "k"]).json();
    assert_eq!(second["outcome"], "OUTCOME_DEDUPLICATED");
    assert_eq!(second["job"]["name"], first["job"]["name"]);

    let id = "5ab62a7c-9b0d-4f0a-9a52-0d1f4f7b5b0e";
    let first = broker.run(&["enqueue", "q", "--request-id", id]).json();
    let second = broker.run(&["enqueue", "q", "--request-id", id]).json();
    assert_eq!(second["outcome"], "OUTCOME_REPLAYED");
    assert_eq!(second["job"]["name"], first["job"]["name"]);

    broker.run(&["enqueue", "q", "--id", "17"]).json();
    broker.run(&["enqueue", "q", "--id", "17"]).failed(4, &["JOB_EXISTS"]);
}

#[test]
fn a_payload_may_be_any_bytes_from_a_file() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo");
    std::fs::write(&path, [0, 159, 146, 150]).unwrap();

    let source = format!("@{}", path.display());
    let job = text(&broker.run(&["enqueue", "q", "--data", &source]).json()["job"]["name"]);

    let payload = &broker.run(&["get", &job]).json()["payload"];
    assert_eq!(payload["data"], "AJ+Slg==");
    assert_eq!(payload["contentType"], "application/octet-stream");
    let table = broker.run(&["get", &job, "-o", "table"]).stdout;
    assert!(table.contains("(4 bytes)"), "{table}");
}

#[test]
fn many_jobs_may_come_from_stdin() {
    let broker = Broker::start();
    let jobs = r#"{"queue": "a", "jobId": "1"} {"jobId": "2"} {"jobId": "3", "priority": 5000}"#;
    let done = run(broker.url(), &["enqueue-batch", "--queue", "b", "-o", "jsonl"], jobs);
    done.said(2, &["job 3", "priority"]);
    assert_eq!(done.stdout.lines().count(), 2);
    assert_eq!(broker.state("a/1"), "STATE_READY");
    assert_eq!(broker.state("b/2"), "STATE_READY");

    let args = ["enqueue-batch", "--queue", "c", "--atomic"];
    run(broker.url(), &args, jobs).failed(2, &["requests[2].priority"]);
    run(broker.url(), &["enqueue-batch"], r#"{"queue": "c"} {"#).failed(2, &["job 2", "not JSON"]);
    broker.run(&["get", "c/2"]).failed(3, &["JOB_NOT_FOUND"]);
}

#[test]
fn nothing_to_lease_is_no_failure() {
    let broker = Broker::start();
    let empty = broker.run(&["lease", "q"]);
    assert_eq!(empty.json()["emptyReason"], "EMPTY_REASON_NO_JOBS");
    assert_eq!(empty.stderr, "lessor: no jobs\n");
    let lines = broker.run(&["lease", "q", "-o", "jsonl"]);
    assert_eq!((lines.code, lines.stdout.as_str()), (0, ""));
}

#[test]
fn people_get_tables() {
    let broker = Broker::start();
    broker.run(&["enqueue", "emails", "--type", "welcome", "--json", r#"{"to":"a"}"#]).json();

    let queues = broker.run(&["queues", "-o", "table"]).stdout;
    let lines: Vec<Vec<&str>> = queues.lines().map(|it| it.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..3], ["QUEUE", "READY", "LEASED"]);
    assert_eq!(lines[1][..3], ["emails", "1", "0"]);

    let leased = broker.run(&["lease", "emails", "-o", "table"]).stdout;
    assert!(leased.contains("welcome") && leased.contains(r#"{"to":"a"}"#), "{leased}");
}

#[test]
fn programs_get_every_queue_with_its_numbers() {
    let broker = Broker::start();
    broker.run(&["enqueue", "a"]).json();
    broker.run(&["enqueue", "b"]).json();

    let queues = broker.run(&["queues"]).json();
    assert_eq!(queues.as_array().unwrap().len(), 2);
    assert_eq!(queues[0]["queue"]["name"], "a");
    assert_eq!(queues[0]["stats"]["ready"], "1");

    let lines = broker.run(&["queues", "b", "-o", "jsonl"]);
    assert_eq!(lines.json()["queue"]["name"], "b");
}

#[test]
fn bad_input_is_told_from_other_failures() {
    let broker = Broker::start();
    for args in [
        &["enqueue"][..],
        &["enqueue", "q", "--delay", "soon"],
        &["enqueue", "q", "--json", "1", "--data", "1"],
        &["enqueue", "q", "--label", "team"],
        &["enqueue", "q", "--dedup-key", "k", "--dedup-scope", "window"],
        &["enqueue", "q", "--on-duplicate", "reject"],
        &["enqueue", "q", "--ttl", "1m", "--expire-time", "2030-01-01T00:00:00Z"],
        &["enqueue", "q", "--backoff-list", "1s,soon"],
        &["nack", "t", "--dead", "--release"],
        &["watch", "--type", "JOB_VANISHED"],
        &["watch", "q", "--job", "q/1"],
        &["get", "j", "-o", "xml"],
    ] {
        broker.run(args).failed(2, &["error: "]);
    }
    broker.run(&["enqueue", "q", "--json", "{"]).failed(2, &["this is not JSON"]);
    broker.run(&["ack", "t", "--then", "{"]).failed(2, &["this is not JSON"]);
    broker.run(&["ack", "t", "--then", r#"{"que": "q"}"#]).failed(2, &["EnqueueRequest", "que"]);
    broker.run(&["get", "j", "--server", "ftp://x"]).failed(2, &["http://"]);
    broker.run(&["enqueue", "q", "--data", "@/no/such/file"]).failed(1, &["/no/such/file"]);
    // What only the broker can know.
    broker.run(&["enqueue", "q", "--priority", "5000"]).failed(2, &["INVALID_FIELD", "priority"]);
    broker.run(&["ack", "not-a-token"]).failed(2, &["BAD_LEASE_TOKEN"]);
}

#[test]
fn an_unknown_job_is_not_found() {
    let broker = Broker::start();
    broker.run(&["get", "queues/q/jobs/nothing"]).failed(3, &["JOB_NOT_FOUND", "check the name"]);
}

#[test]
fn a_broker_that_is_not_there_is_unavailable() {
    // The port is free again when the listener is gone.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = format!("http://{address}");
    let done = run(&server, &["get", "queues/q/jobs/j", "--timeout", "1s"], "");
    done.failed(6, &[&server, "check that a broker runs there"]);
}

#[test]
fn a_broker_says_how_it_is() {
    let broker = Broker::start();
    let status = broker.run(&["status"]).json();
    assert_eq!((&status["store"], &status["ready"]), (&"sqlite".into(), &true.into()));
    let table = broker.run(&["status", "-o", "table"]).stdout;
    assert!(table.contains("sqlite") && table.contains("Ready"), "{table}");
}

#[test]
fn a_shell_can_complete_the_commands() {
    let script = run("http://127.0.0.1:1", &["completions", "bash"], "");
    assert_eq!(script.code, 0);
    assert!(script.stdout.contains("enqueue") && script.stdout.contains("queues"));
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run("http://127.0.0.1:1", &["completions", shell], "").stdout;
        // Also what stands below a noun, and its flags.
        assert!(script.contains("trigger") && script.contains("max-leased"), "{shell}");
    }
}

/// `lessor watch`, running.
struct Watching {
    process: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Watching {
    fn start(broker: &Broker, args: &[&str]) -> Self {
        let mut process = process::Command::new(env!("CARGO_BIN_EXE_lessor"))
            .args(["--server", broker.url(), "watch"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Some(BufReader::new(process.stdout.take().unwrap()).lines());
        Self { process, lines }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.as_mut().unwrap().next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn events_are_printed_as_they_come() {
    let broker = Broker::start();
    let args =
        ["emails", "--oldest", "-o", "jsonl", "--type", "JOB_CREATED", "--type", "job_succeeded"];
    let mut watching = Watching::start(&broker, &args);
    let job = text(&broker.run(&["enqueue", "emails"]).json()["job"]["name"]);

    let created = watching.next();
    assert_eq!((&created["type"], &created["job"]), (&"JOB_CREATED".into(), &job.as_str().into()));

    let (_, token) = broker.lease("emails");
    broker.run(&["ack", &token]).json();
    assert_eq!(watching.next()["type"], "JOB_SUCCEEDED");
}

#[test]
fn an_interrupted_watch_can_be_resumed() {
    let broker = Broker::start();
    broker.run(&["enqueue", "q", "--id", "1"]).json();
    let created = ["--type", "JOB_CREATED"];
    let mut watching =
        Watching::start(&broker, &[&["--oldest", "-o", "json"], &created[..]].concat());
    let page = loop {
        let page = watching.next();
        if page["events"].is_array() {
            break page;
        }
    };
    assert_eq!(page["events"][0]["job"], "queues/q/jobs/1");

    let id = watching.process.id().to_string();
    assert!(process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let status = watching.process.wait().unwrap();
    assert_eq!(status.code(), Some(130));

    broker.run(&["enqueue", "q", "--id", "2"]).json();
    let cursor = text(&page["cursor"]);
    let mut resumed =
        Watching::start(&broker, &[&["--cursor", &cursor, "-o", "jsonl"], &created[..]].concat());
    assert_eq!(resumed.next()["job"], "queues/q/jobs/2");
}

#[test]
fn a_reader_that_has_read_enough_ends_a_watch_quietly() {
    let broker = Broker::start();
    let mut watching =
        Watching::start(&broker, &["--oldest", "-o", "jsonl", "--type", "JOB_CREATED"]);
    broker.run(&["enqueue", "q"]).json();
    watching.next();

    // `head -1` is gone; the next event finds no reader.
    watching.lines = None;
    broker.run(&["enqueue", "q"]).json();
    let mut stderr = watching.process.stderr.take().unwrap();
    assert_eq!(std::io::read_to_string(&mut stderr).unwrap(), "");
    assert_eq!(watching.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_trial_puts_one_job_through_its_life_and_leaves_nothing() {
    let broker = Broker::start();
    let job = text(&broker.run(&["try"]).json()["job"]);
    assert!(job.starts_with("queues/lessor-try/jobs/"), "{job}");
    broker.run(&["get", &job]).failed(3, &[]);
    broker.run(&["try", "held"]).json();
    broker.run(&["queue", "pause", "held"]).json();
    broker.run(&["try", "held", "--wait", "0s"]).failed(1, &["is held paused"]);
}

#[test]
fn a_token_in_a_file_lets_in_and_none_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name).to_str().unwrap().to_owned();
    let (identities, token) = (path("tokens.toml"), path("token"));
    let made = run("http://127.0.0.1:1", &["token", "new", "-o", "json"], "").json();
    let identity = format!(
        "[[identity]]\nname = 'try'\nroles = ['producer', 'worker']\nqueues = ['lessor-try']\n\
         tokens = [{}]\n",
        made["digest"]
    );
    std::fs::write(&identities, identity).unwrap();
    std::fs::write(&token, format!("{}\n", text(&made["token"]))).unwrap();
    let broker = Broker::start_with(&["--auth-tokens", &identities]);
    broker.run(&["try"]).failed(5, &["NO_CREDENTIAL"]);
    broker.run(&["try", "--token-file", &token]).json();
    broker.run(&["try", "other", "--token-file", &token]).failed(5, &[]);
    broker.run(&["try", "--token-file", &path("missing")]).failed(1, &["can't read"]);
}

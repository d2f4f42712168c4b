//! Imports from a SQLite table; those from other queues are in tests/import.

use std::net::TcpListener;
use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::shell::{Broker, Done, run, text};

/// A database of an application, with these statements done.
struct App {
    folder: TempDir,
}

impl App {
    fn new(sql: &str) -> Self {
        let app = Self { folder: tempfile::tempdir().unwrap() };
        Connection::open(app.path()).unwrap().execute_batch(sql).unwrap();
        app
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.db")
    }

    fn import(&self, broker: &Broker, table: &str, flags: &[&str]) -> Done {
        let path = self.path();
        let from = ["import", "sqlite", "--from", path.to_str().unwrap(), "--table", table];
        broker.run(&[&from, flags].concat())
    }
}

impl Done {
    /// The report of an import that ended with this code.
    fn report(&self, code: i32) -> Value {
        self.said(code, &[]);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const JOBS: &str = r#"
    CREATE TABLE llm_jobs (
        id TEXT PRIMARY KEY, job_type TEXT, data TEXT, status TEXT, priority INTEGER,
        attempts INTEGER, max_attempts INTEGER, scheduled_for INTEGER, created_at TEXT,
        user_id TEXT, parent_job_id TEXT, dependency_count INTEGER
    );
    INSERT INTO llm_jobs VALUES
        ('a', 'chat', '{"n":1}', 'pending', 0, 0, 3, NULL, 't1', 'ann', NULL, 0),
        ('b', 'chat', '{"n":2}', 'pending', 10, 1, 3, NULL, 't2', NULL, 'a', 0),
        ('c', 'embed', 'no JSON', 'scheduled', 5000, 0, 1, 33000000000000, 't3', NULL, NULL, 0),
        ('d d', 'chat', '[]', 'pending', 0, 0, 1, 1600000000, 't4', NULL, NULL, NULL),
        ('e', 'chat', '[]', 'pending', 0, 0, 1, NULL, 't5', NULL, NULL, 2),
        ('f', 'chat', '[]', 'processing', 0, 1, 1, NULL, 't6', NULL, NULL, 0),
        ('g', 'chat', '[]', 'completed', 0, 1, 1, NULL, 't7', NULL, NULL, 0),
        ('h', 'chat', zeroblob(4000000), 'pending', 0, 0, 1, NULL, 't8', NULL, NULL, 0);
"#;

#[test]
fn rows_that_wait_become_jobs_and_the_table_stays() {
    let (app, broker) = (App::new(JOBS), Broker::start());
    let before = std::fs::read(app.path()).unwrap();

    // The time of c is beyond what a job may have here.
    let dry = app.import(&broker, "llm_jobs", &["--to-queue", "llm"]).report(2);
    let queue = &dry["queues"][0];
    assert_eq!((&queue["waiting"], &queue["delayed"]), (&3.into(), &2.into()), "{dry}");
    assert_eq!((&queue["created"], &queue["refused"]), (&3.into(), &2.into()), "{dry}");
    assert_eq!(broker.run(&["queues"]).json(), serde_json::json!([]));

    let report = app.import(&broker, "llm_jobs", &["--to-queue", "llm", "--execute"]).report(2);
    let queue = &report["queues"][0];
    assert_eq!((&queue["created"], &queue["refused"]), (&3.into(), &2.into()), "{report}");
    assert!(text(&queue["refusals"][0]).starts_with("h: its 4000"), "{report}");
    assert!(text(&queue["refusals"][1]).starts_with("c: schedule_time"), "{report}");
    let left = &queue["leftOut"];
    assert_eq!(left["they wait for other jobs"]["jobs"], 1, "{left}");
    assert_eq!(left["active: the old workers finish them"]["jobs"], 1, "{left}");
    assert_eq!(left[r#"status "completed""#]["jobs"], 1, "{left}");
    assert_eq!(queue["warnings"]["with a parent, which is not taken over"]["examples"][0], "b");
    assert_eq!(std::fs::read(app.path()).unwrap(), before);

    let a = broker.run(&["get", "llm/a"]).json();
    assert_eq!((&a["type"], &a["owner"]), (&"chat".into(), &"ann".into()));
    assert_eq!(a["payload"]["contentType"], "application/json");
    assert_eq!(a["retryPolicy"]["maxAttempts"], 3);
    assert!(text(&a["labels"]["imported-from"]).starts_with("sqlite/llm_jobs/a#"), "{a}");
    let b = broker.run(&["get", "llm/b"]).json();
    assert_eq!((&b["priority"], &b["retryPolicy"]["maxAttempts"]), (&10.into(), &2.into()));

    for flags in [&["--to-queue", "llm"][..], &["--to-queue", "llm", "--execute"]] {
        let again = app.import(&broker, "llm_jobs", flags).report(2);
        let queue = &again["queues"][0];
        assert_eq!((&queue["created"], &queue["alreadyThere"]), (&0.into(), &3.into()), "{again}");
    }
}

#[test]
fn a_dry_run_does_without_a_broker_and_an_import_does_not() {
    let app = App::new(JOBS);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let path = app.path();
    let command = ["import", "sqlite", "--from", path.to_str().unwrap(), "--table", "llm_jobs"];
    let dry = run(&nobody, &[&command[..], &["--timeout", "1s"]].concat(), "").report(2);
    assert_eq!((&dry["asked"], &dry["queues"][0]["waiting"]), (&false.into(), &3.into()), "{dry}");
    run(&nobody, &[&command[..], &["--timeout", "1s", "--execute"]].concat(), "")
        .failed(6, &["to go on, repeat the command"]);
}

#[test]
fn columns_and_states_can_be_named() {
    let app = App::new(
        r#"
        CREATE TABLE "my ""work""" (key INTEGER PRIMARY KEY, "on" TEXT, body BLOB, st INTEGER, p INTEGER);
        INSERT INTO "my ""work""" VALUES (1, 'mail', x'00ff', 1, 7), (2, 'files', x'7b7d', 2, 1),
            (3, 'mail', NULL, 0, 3);
        "#,
    );
    let broker = Broker::start();
    let table = r#"my "work""#;
    app.import(&broker, table, &[]).failed(2, &["--map id=COLUMN", "key, on, body"]);
    app.import(&broker, "work", &[]).failed(2, &["no table work"]);
    let map = ["--map", "id=key,status=st", "--map", "queue=on,payload=body,priority=p"];
    let report = app.import(&broker, table, &[&map[..], &["--queue", "mial"]].concat()).json();
    let warnings = &report["queues"][0]["warnings"];
    assert!(!warnings["nothing of it was found: look at its name"].is_null(), "{report}");
    app.import(&broker, table, &["--map", "id=nothing"]).failed(2, &["no column nothing"]);
    app.import(&broker, table, &["--map", "what=p"]).failed(2, &["no field what", "run-at"]);

    let flags = ["--where-status", "0,1", "--lower-first", "--execute"];
    let report = app.import(&broker, table, &[&map[..], &flags].concat()).json();
    let names: Vec<_> =
        report["queues"].as_array().unwrap().iter().map(|it| &it["queue"]).collect();
    assert_eq!(names, ["files", "mail"]);
    assert_eq!(report["queues"][0]["leftOut"][r#"status "2""#]["jobs"], 1, "{report}");
    let jobs = broker.run(&["jobs", "mail", "--full", "-o", "jsonl"]).stdout;
    let jobs: Vec<Value> = jobs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = jobs.iter().map(|it| (text(&it["name"]), it["priority"].clone())).collect();
    let wanted = [("queues/mail/jobs/3", -3), ("queues/mail/jobs/1", -7)];
    assert_eq!(told, wanted.map(|(name, priority)| (name.to_owned(), priority.into())));
    assert_eq!(jobs[1]["payload"]["data"], "AP8=");
}

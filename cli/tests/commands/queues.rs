//! Queues: settings, numbers, pauses.

use crate::shell::{Broker, text};

#[test]
fn settings_are_changed_in_parts_and_taken_back() {
    let broker = Broker::start();
    let limits = ["--max-leased", "2", "--rate", "100/1m", "--burst", "5", "--max-bytes", "1MiB"];
    let jobs = ["--lease", "1m", "--max-attempts", "7", "--retain-dead", "1h"];
    let health = ["--unhealthy-ready", "10", "--unhealthy-age", "5m"];
    let queue =
        broker.run(&[&["queue", "update", "q"], &limits[..], &jobs, &health].concat()).json();
    assert_eq!((&queue["maxLeased"], &queue["maxBytes"]), (&2.into(), &"1048576".into()));
    let rate = &queue["rateLimit"];
    assert_eq!(
        (&rate["permits"], &rate["burst"], &rate["period"]),
        (&100.into(), &5.into(), &"60s".into())
    );

    // What a part is made of stays, but for what is named.
    broker.run(&["queue", "update", "q", "--burst", "6", "--backoff", "3s"]).json();
    broker.run(&["queue", "update", "q", "--unhealthy-dead-ratio", "0.5"]).json();
    let queue = broker.run(&["queue", "get", "q"]).json();
    assert_eq!(
        (&queue["rateLimit"]["permits"], &queue["rateLimit"]["burst"]),
        (&100.into(), &6.into())
    );
    assert_eq!(queue["retryPolicy"]["maxAttempts"], 7);
    assert_eq!(queue["retryPolicy"]["initialBackoff"], "3s");
    assert_eq!(
        (&queue["health"]["maxReady"], &queue["health"]["maxDeadRatio"]),
        (&"10".into(), &0.5.into())
    );

    let reset = ["queue", "update", "q", "--reset", "rate-limit", "--reset", "max-leased"];
    let queue = broker.run(&reset).json();
    assert!(queue["rateLimit"].is_null() && queue["maxLeased"].is_null(), "{queue}");
    let table = broker.run(&["queue", "get", "q", "-o", "table"]).stdout;
    assert!(table.contains("1048576") && table.contains("5m"), "{table}");

    broker.run(&["queue", "update", "q"]).failed(2, &["say what to change"]);
    broker.run(&["queue", "update", "q", "--burst", "1"]).failed(2, &["--rate"]);
    broker.run(&["queue", "get", "nothing"]).failed(3, &["QUEUE_NOT_FOUND"]);
}

#[test]
fn a_paused_queue_gives_nothing_until_it_is_resumed() {
    let broker = Broker::start();
    broker.run(&["enqueue", "q"]).json();
    let paused = broker.run(&["queue", "pause", "q", "--reason", "repairs"]).json();
    assert_eq!(paused[0]["paused"], true);
    let empty = broker.run(&["lease", "q"]);
    assert_eq!(empty.json()["emptyReason"], "EMPTY_REASON_PAUSED");
    assert!(broker.run(&["queues", "-o", "table"]).stdout.contains("paused"));
    broker.run(&["queue", "resume", "q"]).json();
    broker.lease("q");
}

#[test]
fn a_queue_with_jobs_is_deleted_only_by_force() {
    let broker = Broker::start();
    broker.run(&["enqueue", "q"]).json();
    broker.run(&["queue", "delete", "q"]).failed(4, &["QUEUE_NOT_EMPTY", "--force"]);
    let deleted = broker.run(&["queue", "delete", "q", "--force"]).json();
    assert_eq!(deleted[0]["deleted"], "q");
    assert_eq!(broker.run(&["queues"]).json().as_array().unwrap().len(), 0);
}

#[test]
fn a_queue_that_is_not_well_is_told_by_the_exit_code() {
    let broker = Broker::start();
    broker.run(&["enqueue", "well"]).json();
    broker.run(&["enqueue", "sick"]).json();
    broker.run(&["enqueue", "sick"]).json();
    broker.run(&["queue", "update", "sick", "--unhealthy-ready", "1"]).json();
    // The other thresholds are what they were before there was the queue.
    assert_eq!(broker.run(&["queue", "get", "new"]).code, 3);
    let new = broker.run(&["queue", "update", "new", "--unhealthy-ready", "1"]).json();
    let old = broker.run(&["queue", "get", "well"]).json();
    assert_eq!(new["health"]["maxDeadRatio"], old["health"]["maxDeadRatio"]);

    let health = broker.run(&["health", "-o", "table"]);
    assert_eq!((health.code, health.stderr.as_str()), (1, ""));
    let sick = health.stdout.lines().find(|line| line.starts_with("sick")).unwrap();
    assert!(sick.contains("unhealthy") && sick.split_whitespace().count() > 2, "{sick}");
    assert_eq!(broker.run(&["health", "well"]).code, 0);
    broker.run(&["health", "well", "nothing"]).failed(3, &["QUEUE_NOT_FOUND"]);
}

#[test]
fn the_numbers_of_a_queue_are_printed() {
    let broker = Broker::start();
    broker.run(&["enqueue", "q"]).json();
    broker.run(&["enqueue", "q", "--delay", "1h"]).json();
    let (_, token) = broker.lease("q");
    broker.run(&["ack", &token]).json();
    let stats = broker.run(&["queue", "stats", "q"]).json();
    assert_eq!((text(&stats["scheduled"]), text(&stats["succeeded"])), ("1".into(), "1".into()));
    assert_eq!(text(&stats["enqueuedTotal"]), "2");
    let table = broker.run(&["queue", "stats", "q", "-o", "table"]).stdout;
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("Succeeded").ends_with('1') && line("Ever enqueued").ends_with('2'), "{table}");
}

#[test]
fn bad_settings_are_refused_before_a_broker_is_asked() {
    let broker = Broker::start();
    for args in [
        &["queue"][..],
        &["queue", "pause"],
        &["queue", "update", "q", "--rate", "100"],
        &["queue", "update", "q", "--rate", "many/1s"],
        &["queue", "update", "q", "--max-bytes", "5MB"],
        &["queue", "update", "q", "--reset", "color"],
    ] {
        broker.run(args).failed(2, &["error: "]);
    }
}

#[test]
fn a_queue_gets_an_endpoint_whose_secrets_are_not_shown() {
    let broker = Broker::start();
    let made = broker.run(&["token", "secret"]).json();
    let (secret, fingerprint) = (text(&made["secret"]), text(&made["fingerprint"]));
    let update = ["queue", "update", "hooks"];
    let endpoint = [
        "--push",
        "https://shop.example/jobs",
        "--push-secret",
        &secret,
        "--push-timeout",
        "5s",
        "--push-header",
        "Authorization: Bearer hidden",
    ];
    let queue = broker.run(&[&update, &endpoint[..]].concat()).json();
    let push = &queue["push"];
    assert_eq!(push["uri"], "https://shop.example/jobs");
    assert_eq!(push["secretFingerprints"][0], fingerprint);
    assert_eq!(push["headers"]["authorization"], "***");
    assert!(!queue.to_string().contains("hidden") && !queue.to_string().contains(&secret));
    // The rest stays as it was.
    let queue = broker.run(&[&update, &["--push-parallel", "3"][..]].concat()).json();
    let push = &queue["push"];
    assert_eq!((&push["maxParallel"], &push["timeout"]), (&3.into(), &"5s".into()));
    assert_eq!(push["secretFingerprints"][0], fingerprint);
    let told = broker.run(&["queue", "get", "hooks", "-o", "table"]).stdout;
    assert!(told.contains("https://shop.example/jobs") && told.contains(&fingerprint), "{told}");
    let reset = broker.run(&[&update, &["--reset", "push"][..]].concat()).json();
    assert!(reset["push"].is_null(), "{reset}");
    broker.run(&["queue", "update", "mail", "--push-parallel", "3"]).failed(2, &["--push"]);
}

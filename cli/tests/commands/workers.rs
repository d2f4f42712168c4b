//! The workers seen lately.

use crate::shell::Broker;

#[test]
fn a_worker_that_leased_is_seen_and_can_be_drained() {
    let broker = Broker::start();
    broker.run(&["enqueue", "q"]).json();
    let leased = broker.run(&["lease", "q", "--worker-id", "w1", "--lease", "1h"]).json();
    let token = leased["jobs"][0]["leaseToken"].as_str().unwrap().to_owned();
    let listed = broker.run(&["workers"]).json();
    assert_eq!(listed[0]["workerId"], "w1");
    assert!(broker.run(&["workers", "-o", "table"]).stdout.contains("w1"));

    let drained = broker.run(&["worker", "drain", "w1", "--reason", "its host restarts"]).json();
    assert_eq!(drained[0]["workerId"], "w1");
    assert_eq!(broker.run(&["extend", &token]).json()["drain"], true);
    broker.run(&["enqueue", "q"]).json();
    let empty = broker.run(&["lease", "q", "--worker-id", "w1"]).json();
    assert!(empty["jobs"].is_null(), "{empty}");
}

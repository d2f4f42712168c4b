//! Time for tests.

use crate::shell::{Broker, text};

#[test]
fn hours_pass_in_a_moment() {
    let broker = Broker::start_with(&["--manual-clock"]);
    let before = text(&broker.run(&["status"]).json()["storeTime"]);
    broker.run(&["enqueue", "q", "--delay", "24h"]).json();
    broker.run(&["lease", "q"]).said(0, &["no jobs"]);
    let after = text(&broker.run(&["advance", "24h"]).json()["now"]);
    let time = |text: &str| humantime::parse_rfc3339(text).unwrap();
    let passed = time(&after).duration_since(time(&before)).unwrap();
    assert_eq!(passed, std::time::Duration::from_hours(24));
    broker.lease("q");
}

#[test]
fn a_clock_of_its_own_can_not_be_moved() {
    let broker = Broker::start();
    broker.run(&["advance", "1h"]).failed(1, &["--manual-clock"]);
}

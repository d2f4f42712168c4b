//! `lessor top` where there is no terminal. How it looks on one is tested where it is drawn.

use crate::shell::Broker;

#[test]
fn without_a_terminal_the_queues_are_printed_once() {
    let broker = Broker::start();
    broker.run(&["enqueue", "emails"]).json();
    let table = broker.run(&["top", "-o", "table"]);
    assert_eq!(table.code, 0, "{}", table.stderr);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("QUEUE") && lines[1].starts_with("emails"), "{lines:?}");
    assert_eq!(lines.len(), 2);
    assert_eq!(broker.run(&["top"]).json()[0]["queue"]["name"], "emails");
}

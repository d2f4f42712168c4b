//! `lessor top` where there is no terminal. How it looks on one is tested where it is drawn.

use crate::shell::Broker;

#[test]
fn without_a_terminal_the_queues_are_printed_once() {
    let broker = Broker::start();
    broker.run(&["enqueue", "emails"]).json();
    let table = broker.run(&["top", "-o", "table"]);
    assert_eq!(table.code, 0, "{}", table.stderr);
    assert_eq!(table.stdout, broker.run(&["queues", "-o", "table"]).stdout);
    assert_eq!(broker.run(&["top"]).json()[0]["queue"]["name"], "emails");
}

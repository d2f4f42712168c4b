//! Single jobs in the hands of an operator.

use crate::shell::Broker;

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
    let job = broker.run(&["enqueue", "q", "--id", "1"]).json();
    assert_eq!(job["job"]["name"], "queues/q/jobs/1");
    broker.run(&["update", "q/1"]).failed(2, &["say what to change"]);
}

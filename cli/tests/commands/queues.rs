//! Queues: settings, numbers, pauses.

use crate::shell::Broker;

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

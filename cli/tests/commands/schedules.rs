//! Schedules: what is enqueued again and again.

use crate::shell::Broker;

#[test]
fn bad_schedules_are_refused_before_a_broker_is_asked() {
    let broker = Broker::start();
    for args in [
        &["schedule", "create", "s", "q"][..],
        &["schedule", "create", "s", "q", "--cron", "@daily", "--every", "1h"],
        &["schedule", "create", "s", "q", "--every", "often"],
        &["schedule", "create", "s", "q", "--every", "1h", "--overlap", "queue"],
        &["schedule", "trigger"],
    ] {
        broker.run(args).failed(2, &["error: "]);
    }
}

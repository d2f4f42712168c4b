//! This machine: brokers and Redis servers of the tests' own, and the means to end them badly.

pub(crate) mod broker;
pub(crate) mod process;

use std::net::TcpListener;
use std::time::Duration;

/// A port that nothing uses now and that no outgoing connection takes, so that what listened there
/// once can do so again.
pub(crate) fn free_port() -> u16 {
    const TRIES: u32 = 1_000;
    // Systems choose the ports of outgoing connections above these.
    let ports = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(TRIES as usize);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a machine has a free port")
}

/// Waits until `look` finds something, looking again and again, and gives up in the end.
pub(crate) async fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    const LOOKS: u32 = 6_000;
    for _ in 0..LOOKS {
        if let Some(thing) = look() {
            return thing;
        }
        pause(Duration::from_millis(10)).await;
    }
    panic!("waited too long for {what}");
}

/// Lets time pass, where time itself is what a test is about.
#[expect(clippy::disallowed_methods, reason = "the one place where these tests sleep")]
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

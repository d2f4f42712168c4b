//! Spans of time, between Rust's form and the wire's.

use std::time::Duration;

/// The longest span that protobuf allows: about ten thousand years.
const LONGEST: prost_types::Duration = prost_types::Duration { seconds: 315_576_000_000, nanos: 0 };

pub(crate) fn to_wire(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span)
        .ok()
        .filter(|span| span.seconds < LONGEST.seconds)
        .unwrap_or(LONGEST)
}

/// A span of a reply, such as `lease_remaining`. Zero when it is absent or negative.
pub fn read(span: Option<prost_types::Duration>) -> Duration {
    span.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default()
}

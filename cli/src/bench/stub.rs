//! The bare stub of the protocol, and what the payloads carry.

use std::fmt::Write;

use bytes::Bytes;
use lessor::Payload;
use lessor::proto::job_broker_client::JobBrokerClient;

use super::figures::now;
use crate::client::Bare;

/// Digits of the time at the front of a payload.
const STAMP: usize = 20;

pub(super) type Stub = JobBrokerClient<Bare>;

/// So many bytes that begin with the time.
pub(super) fn stamped(length: u32) -> Bytes {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut text = String::with_capacity(length);
    // Writing to a string cannot fail.
    write!(text, "{:0STAMP$}", now()).ok();
    let mut bytes = text.into_bytes();
    bytes.resize(length, b'x');
    bytes.into()
}

/// Nanoseconds since the payload was made.
pub(super) fn age(payload: Option<&Payload>) -> u64 {
    let data = payload.map(lessor::payload::read).unwrap_or_default();
    let stamp = data.get(..STAMP).and_then(|stamp| std::str::from_utf8(stamp).ok());
    let stamp: Option<u64> = stamp.and_then(|stamp| stamp.parse().ok());
    stamp.map_or(0, |stamp| now().saturating_sub(stamp))
}

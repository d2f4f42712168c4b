//! Protobuf ↔ domain, one file per noun. All input is checked here, and only here: what a
//! converter lets through is trusted from then on, and what it refuses is named field by field.

pub(super) mod admin;
pub(super) mod bulk;
pub(super) mod cancel;
mod digest;
pub(super) mod enqueue;
pub(super) mod explain;
pub(super) mod field;
mod filter;
pub(super) mod job;
pub(super) mod lease;
pub(super) mod list;
mod mask;
pub(super) mod operate;
mod payload;
mod policy;
pub(super) mod push;
pub(super) mod queue;
pub(super) mod schedule;
pub(super) mod settle;
pub(super) mod stats;
mod text;
pub(super) mod time;
pub(super) mod trace;
pub(super) mod watch;
pub(super) mod work;
pub(super) mod worker;
pub(super) mod written;

use std::ops::RangeInclusive;
use std::time::Duration;

/// The visibility timeouts that may be asked for.
const LEASE_DURATION: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(12);

//! Lists, statistics and the state of the store.

use std::time::Duration;

use lessor_proto::v1;

use super::field::Violations;
use super::time::{proto_moment, proto_span};
use crate::clock::Timestamp;
use crate::job::JobName;
use crate::store::Status;

/// What this broker has beyond the calls that every version has.
const FEATURES: [&str; 12] = [
    "batch",
    "bulk",
    "cancel",
    "dedup",
    "events",
    "expiry",
    "follow-ups",
    "retention",
    "schedules",
    "stats",
    "wait",
    "workers",
];

/// Reads the name of a job.
pub(in crate::rpc) fn job_name(name: &str) -> Result<JobName, Violations> {
    let mut wrong = Violations::default();
    let name = wrong.at("name", JobName::parse(name));
    wrong.finish(name)
}

/// Reads how much of a job is wanted; unset means all of it.
pub(in crate::rpc) fn view(number: i32) -> Result<v1::JobView, Violations> {
    let mut wrong = Violations::default();
    let view = wrong.at("view", v1::JobView::try_from(number).map_err(|_| "is an unknown value"));
    wrong.finish(view)
}

/// Writes how the store is; `status` tells why when it does not answer.
pub(in crate::rpc) fn status_response(
    status: Result<Status, String>,
    ping: Duration,
    now: Timestamp,
) -> v1::StoreStatus {
    let proto = v1::StoreStatus {
        store_time: Some(proto_moment(now)),
        broker_version: env!("CARGO_PKG_VERSION").to_owned(),
        features: FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
        ..v1::StoreStatus::default()
    };
    match status {
        Ok(status) => {
            let (store, version) = status.version.split_once(' ').unwrap_or((&status.version, ""));
            v1::StoreStatus {
                store: store.to_ascii_lowercase(),
                store_version: version.to_owned(),
                ready: true,
                ping: Some(proto_span(ping)),
                epoch: status.epoch,
                warnings: status.warnings,
                ..proto
            }
        }
        Err(why) => v1::StoreStatus { warnings: vec![why], ..proto },
    }
}

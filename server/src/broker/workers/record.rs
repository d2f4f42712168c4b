//! The stored form of what is known of workers.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::{Profile, Worker};
use crate::broker::lease::QueuePattern;
use crate::clock::Timestamp;
use crate::job::WorkerId;
use crate::store::Document;

#[derive(Clone, PartialEq, Message)]
struct WorkerRecord {
    #[prost(string, tag = "1")]
    display_name: String,
    #[prost(btree_map = "string, string", tag = "2")]
    labels: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    sdk: String,
    #[prost(uint32, tag = "4")]
    concurrency: u32,
    #[prost(string, repeated, tag = "5")]
    queues: Vec<String>,
    #[prost(uint64, tag = "6")]
    last_seen: u64,
}

#[derive(Clone, PartialEq, Message)]
struct DrainRecord {
    #[prost(uint64, tag = "1")]
    since: u64,
    #[prost(string, tag = "2")]
    reason: String,
}

/// A worker's drain.
pub(super) struct Drain {
    pub since: Timestamp,
    pub reason: String,
}

pub(super) fn encode_worker(worker: &Worker) -> Bytes {
    let Profile { display_name, labels, sdk, concurrency } = worker.profile.clone();
    let record = WorkerRecord {
        display_name,
        labels,
        sdk,
        concurrency,
        queues: worker.queues.iter().map(ToString::to_string).collect(),
        last_seen: worker.last_seen.as_millis(),
    };
    record.encode_to_vec().into()
}

/// `None` for what no broker of this version wrote: better not listed than not answered.
pub(super) fn decode_worker(document: &Document) -> Option<Worker> {
    let id = WorkerId::parse(&document.key).ok()?;
    let record = WorkerRecord::decode(document.body.clone()).ok()?;
    let WorkerRecord { display_name, labels, sdk, concurrency, queues, last_seen } = record;
    Some(Worker {
        id,
        profile: Profile { display_name, labels, sdk, concurrency },
        queues: queues.iter().filter_map(|text| QueuePattern::parse(text)).collect(),
        last_seen: Timestamp::from_millis(last_seen),
        draining: false,
    })
}

pub(super) fn encode_drain(since: Timestamp, reason: &str) -> Bytes {
    let record = DrainRecord { since: since.as_millis(), reason: reason.to_owned() };
    record.encode_to_vec().into()
}

pub(super) fn decode_drain(document: &Document) -> Option<(WorkerId, Drain)> {
    let id = WorkerId::parse(&document.key).ok()?;
    let DrainRecord { since, reason } = DrainRecord::decode(document.body.clone()).ok()?;
    Some((id, Drain { since: Timestamp::from_millis(since), reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_reads_back_as_it_was_written() {
        let worker = Worker {
            id: WorkerId::parse("w-1").unwrap(),
            profile: Profile {
                display_name: "one".to_owned(),
                labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
                sdk: "rust/1".to_owned(),
                concurrency: 8,
            },
            queues: ["mail", "mail-*", "*"].map(|text| QueuePattern::parse(text).unwrap()).to_vec(),
            last_seen: Timestamp::from_millis(7),
            draining: false,
        };
        let body = encode_worker(&worker);
        let document = Document { key: "w-1".to_owned(), revision: 1, body };
        assert_eq!(decode_worker(&document), Some(worker));
    }
}

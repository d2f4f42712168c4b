//! Lists, statistics and the state of the store.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lessor_proto::v1;

use super::field::Violations;
use super::policy::{number, proto_retention, proto_retry};
use super::time::{proto_moment, proto_span};
use crate::clock::Timestamp;
use crate::job::{
    DEFAULT_LEASE_DURATION, JobName, MAX_LEASE_LOSSES, QueueName, Retention, RetryPolicy,
};
use crate::store::{Counts, Status};

const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;

/// Begins every page token of a list of queues, so that no other list's token is taken for one.
const QUEUES_TOKEN: &str = "queues\n";

/// What this broker has beyond the calls that every version has.
const FEATURES: [&str; 5] = ["batch", "dedup", "events", "retention", "stats"];

/// One page of a list, asked for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rpc) struct Page {
    /// How many entries at most.
    pub(in crate::rpc) size: usize,
    /// Only what comes after this one.
    pub(in crate::rpc) after: Option<QueueName>,
}

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

/// Reads the name of a queue, alone or as `queues/{queue}`.
pub(in crate::rpc) fn queue_name(name: &str) -> Result<QueueName, Violations> {
    let mut wrong = Violations::default();
    let queue = QueueName::parse(name.strip_prefix("queues/").unwrap_or(name));
    let queue = wrong.at("name", queue);
    wrong.finish(queue)
}

/// Reads which page of the queues is wanted.
pub(in crate::rpc) fn page(proto: &v1::ListQueuesRequest) -> Result<Page, Violations> {
    let mut wrong = Violations::default();
    let size = match usize::try_from(proto.page_size) {
        Ok(0) => Some(USUAL_PAGE),
        Ok(size) => Some(size.min(LARGEST_PAGE)),
        Err(_) => {
            wrong.add("page_size", "must not be negative");
            None
        }
    };
    let after = wrong.at("page_token", page_token(&proto.page_token));
    wrong.not_built("filter", !proto.filter.is_empty());
    wrong.not_built("order_by", !proto.order_by.is_empty());
    let read = size.zip(after).map(|(size, after)| Page { size, after });
    wrong.finish(read)
}

fn page_token(token: &str) -> Result<Option<QueueName>, &'static str> {
    if token.is_empty() {
        return Ok(None);
    }
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        QueueName::parse(text.strip_prefix(QUEUES_TOKEN)?).ok()
    };
    read().map(Some).ok_or("is not a page token of this list")
}

/// Writes one page of `queues`, which are sorted by name.
pub(in crate::rpc) fn queues_response(queues: &[QueueName], page: &Page) -> v1::ListQueuesResponse {
    let start = match &page.after {
        Some(after) => queues.partition_point(|queue| queue <= after),
        None => 0,
    };
    let rest = &queues[start..];
    let shown = &rest[..rest.len().min(page.size)];
    let next = shown.last().filter(|_| shown.len() < rest.len());
    v1::ListQueuesResponse {
        queues: shown.iter().map(proto_queue).collect(),
        next_page_token: next.map_or_else(String::new, |last| {
            URL_SAFE_NO_PAD.encode(format!("{QUEUES_TOKEN}{last}"))
        }),
    }
}

/// Writes a queue with the settings that apply, which are the defaults.
fn proto_queue(name: &QueueName) -> v1::Queue {
    v1::Queue {
        name: name.to_string(),
        retry_policy: Some(proto_retry(&RetryPolicy::default())),
        lease_duration: Some(proto_span(DEFAULT_LEASE_DURATION)),
        retention: Some(proto_retention(&Retention::default())),
        max_lease_losses: number(MAX_LEASE_LOSSES),
        ..v1::Queue::default()
    }
}

/// Writes how a queue fares.
pub(in crate::rpc) fn stats_response(queue: &QueueName, counts: &Counts) -> v1::QueueStats {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    v1::QueueStats {
        queue: queue.to_string(),
        scheduled: count(counts.scheduled),
        ready: count(counts.ready),
        leased: count(counts.leased),
        retrying: count(counts.retrying),
        succeeded: count(counts.succeeded),
        dead: count(counts.dead),
        cancelled: count(counts.cancelled),
        expired: count(counts.expired),
        ..v1::QueueStats::default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(page_size: i32, page_token: &str) -> v1::ListQueuesRequest {
        let page_token = page_token.to_owned();
        v1::ListQueuesRequest { page_size, page_token, ..v1::ListQueuesRequest::default() }
    }

    fn names(texts: &[&str]) -> Vec<QueueName> {
        texts.iter().map(|text| QueueName::parse(text).unwrap()).collect()
    }

    fn shown(response: &v1::ListQueuesResponse) -> Vec<&str> {
        response.queues.iter().map(|queue| queue.name.as_str()).collect()
    }

    #[test]
    fn pages_go_on_after_the_last_name_even_when_it_is_gone() {
        let all = names(&["a", "b", "c"]);
        let first = queues_response(&all, &page(&request(2, "")).unwrap());
        assert_eq!(shown(&first), ["a", "b"]);
        let next = page(&request(2, &first.next_page_token)).unwrap();
        let second = queues_response(&names(&["a", "aa", "c"]), &next);
        assert_eq!(shown(&second), ["c"]);
        assert_eq!(second.next_page_token, "");
    }

    #[test]
    fn sizes_have_a_default_and_a_cap() {
        let size = |size| page(&request(size, "")).map(|page| page.size);
        assert_eq!((size(0), size(7), size(5000)), (Ok(50), Ok(7), Ok(1000)));
        assert!(size(-1).is_err());
    }

    #[test]
    fn a_foreign_page_token_is_refused() {
        for bad in ["x", "AAAA", &URL_SAFE_NO_PAD.encode("mail")] {
            assert!(page(&request(0, bad)).is_err(), "{bad}");
        }
    }
}

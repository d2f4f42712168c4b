//! Requests to lease, and the queues that they and watchers name.

use std::collections::HashMap;
use std::time::Duration;

use lessor_proto::v1;

use super::enqueue::{TYPE_LIMIT, labels, lease_duration, optional};
use super::field::Violations;
use super::text;
use super::time::span_opt;
use crate::broker::dispatch::Linger;
use crate::broker::lease::{LeaseRequest, Order, QueuePattern};
use crate::broker::workers::Profile;
use crate::job::{QueueName, RequestId, WorkerId};

/// The most bytes that any reply may have.
pub(in crate::rpc) const REPLY_LIMIT: usize = 3 << 20;

const MOST_JOBS: usize = 256;
const MOST_QUEUES: usize = 256;
/// Bytes of a worker's display name, and of its library.
const PROFILE_LIMIT: usize = 128;
const MOST_TYPES: usize = 64;
const GREATEST_WEIGHT: i32 = 1000;
const LONGEST_LINGER: Duration = Duration::from_secs(10);
pub(super) const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Reads a request to lease. The wait is as asked for; the call's deadline may shorten it.
pub(in crate::rpc) fn lease(proto: &v1::LeaseRequest) -> Result<LeaseRequest, Violations> {
    let mut wrong = Violations::default();
    let queues = wrong.at("queues", patterns(&proto.queues));
    if proto.queues.is_empty() {
        wrong.add("queues", "must not be empty");
    }
    let worker = wrong.at("worker_id", WorkerId::parse(&proto.worker_id));
    let max_jobs = wrong.at("max_jobs", bounded(proto.max_jobs.into(), 1, MOST_JOBS));
    let max_bytes = wrong.at("max_bytes", bounded(proto.max_bytes, REPLY_LIMIT, REPLY_LIMIT));
    let lease_duration = wrong.at("lease_duration", lease_duration(proto.lease_duration.as_ref()));
    let wait = wrong.at("wait", span_opt(proto.wait.as_ref(), Duration::ZERO, LONGEST_WAIT));
    let request = wrong.at("request_id", optional(&proto.request_id, RequestId::parse));
    let types = wrong.at("types", types(&proto.types));
    let order = order(proto.order, &proto.queues, &proto.weights, &mut wrong);
    let linger = linger(proto, max_jobs, &mut wrong);
    let profile = proto.worker.as_ref().map(|it| described(it, &proto.worker_id)).transpose();
    let profile = wrong.at("worker", profile);
    let read = || {
        Some(LeaseRequest {
            queues: queues?,
            order: order?,
            types: types?,
            linger,
            worker: worker?,
            max_jobs: max_jobs?,
            max_bytes: max_bytes?,
            lease_duration: lease_duration?,
            wait: wait?.unwrap_or_default(),
            request: request?,
            profile: profile?,
        })
    };
    wrong.finish(read())
}

/// Reads what the worker of a request says about itself.
fn described(worker: &v1::Worker, id: &str) -> Result<Profile, Violations> {
    let mut wrong = Violations::default();
    if !worker.worker_id.is_empty() && worker.worker_id != id {
        wrong.add("worker_id", "must be that of the request, or empty");
    }
    let profile = wrong.at("", profile(worker));
    wrong.finish(profile)
}

/// Reads what a worker says about itself.
pub(super) fn profile(worker: &v1::Worker) -> Result<Profile, Violations> {
    let mut wrong = Violations::default();
    wrong.at("display_name", text::printable(&worker.display_name, PROFILE_LIMIT));
    let labels = wrong.at("labels", labels(worker.labels.clone()));
    wrong.at("sdk", text::printable(&worker.sdk, PROFILE_LIMIT));
    let concurrency = wrong
        .at("concurrency", u32::try_from(worker.concurrency).map_err(|_| "must not be negative"));
    let read = || {
        Some(Profile {
            display_name: worker.display_name.clone(),
            labels: labels?,
            sdk: worker.sdk.clone(),
            concurrency: concurrency?,
        })
    };
    wrong.finish(read())
}

/// Reads which types of jobs are wanted.
pub(super) fn types(types: &[String]) -> Result<Vec<String>, Violations> {
    if types.len() > MOST_TYPES {
        return Err(format!("has {} entries, more than {MOST_TYPES}", types.len()).into());
    }
    let mut wrong = Violations::default();
    for (index, one) in types.iter().enumerate() {
        wrong.at_index("", index, text::printable(one, TYPE_LIMIT));
    }
    wrong.finish(Some(types.to_vec()))
}

/// Reads how to choose between queues.
pub(super) fn order(
    order: i32,
    queues: &[String],
    weights: &HashMap<String, i32>,
    wrong: &mut Violations,
) -> Option<Order> {
    let order = match v1::Order::try_from(order) {
        Ok(v1::Order::Unspecified | v1::Order::Fair) => Order::Fair,
        Ok(v1::Order::Strict) => Order::Strict,
        Ok(v1::Order::Weighted) => Order::Weighted(weights_of(queues, weights, wrong)),
        Err(_) => {
            wrong.add("order", "is an unknown value");
            return None;
        }
    };
    if !matches!(order, Order::Weighted(_)) && !weights.is_empty() {
        wrong.add("weights", "must be unset without ORDER_WEIGHTED");
    }
    Some(order)
}

/// Reads the weights of the entries of `queues`; one that is not named has the weight 1.
fn weights_of(
    queues: &[String],
    weights: &HashMap<String, i32>,
    wrong: &mut Violations,
) -> Vec<u32> {
    let mut named: Vec<_> = weights.iter().collect();
    named.sort_unstable();
    for (entry, weight) in named {
        if !queues.contains(entry) {
            wrong.add(format!("weights[{entry:?}]"), "must be an entry of queues");
        } else if !(1..=GREATEST_WEIGHT).contains(weight) {
            wrong
                .add(format!("weights[{entry:?}]"), format!("must be from 1 to {GREATEST_WEIGHT}"));
        }
    }
    let weight = |entry| weights.get(entry).copied().unwrap_or(1).unsigned_abs();
    queues.iter().map(weight).collect()
}

/// Reads for how many jobs the worker waits, and how long; `None` when it does not, or what it asks
/// was noted as wrong.
fn linger(
    proto: &v1::LeaseRequest,
    max_jobs: Option<usize>,
    wrong: &mut Violations,
) -> Option<Linger> {
    let enough = wrong.at("min_jobs", bounded(proto.min_jobs.into(), 0, MOST_JOBS))?;
    let span = span_opt(proto.linger.as_ref(), Duration::ZERO, LONGEST_LINGER);
    let Some(span) = wrong.at("linger", span)? else {
        if enough > 0 {
            wrong.add("linger", "must be set with min_jobs");
        }
        return None;
    };
    if enough == 0 {
        wrong.add("min_jobs", "must be set with linger");
    } else if max_jobs.is_some_and(|most| enough > most) {
        wrong.add("min_jobs", "must not be more than max_jobs");
    }
    // What was taken first is leased while it waits for the rest.
    if let Some(Ok(duration)) = proto.lease_duration.map(Duration::try_from)
        && span >= duration
    {
        wrong.add("linger", "must be less than lease_duration");
    }
    Some(Linger { enough, span })
}

/// Reads a number from 1 to `most`; 0 means `usual`.
pub(super) fn bounded(number: i64, usual: usize, most: usize) -> Result<usize, Violations> {
    match usize::try_from(number) {
        Ok(0) => Ok(usual),
        Ok(number) if number <= most => Ok(number),
        _ => Err(format!("must be from 0 to {most}").into()),
    }
}

/// Reads names of queues, prefixes such as `mail-*`, and `*`.
pub(in crate::rpc) fn patterns(texts: &[String]) -> Result<Vec<QueuePattern>, Violations> {
    if texts.len() > MOST_QUEUES {
        return Err(format!("has {} entries, more than {MOST_QUEUES}", texts.len()).into());
    }
    let mut wrong = Violations::default();
    let patterns = texts
        .iter()
        .enumerate()
        .filter_map(|(index, text)| wrong.at_index("", index, pattern(text)))
        .collect();
    wrong.finish(Some(patterns))
}

fn pattern(text: &str) -> Result<QueuePattern, Violations> {
    if !text.ends_with('*') {
        return Ok(QueuePattern::Name(QueueName::parse(text)?));
    }
    QueuePattern::parse(text).ok_or_else(|| {
        "must be the name of a queue, the beginning of one followed by *, or *".into()
    })
}

/// The time that a call may wait whose client gives up after `deadline`: a margin is left for the
/// way back, so that waiting is never what makes a call late.
pub(in crate::rpc) fn patience(wait: Duration, deadline: Option<Duration>) -> Duration {
    let Some(deadline) = deadline else { return wait };
    let margin = (deadline / 20).max(Duration::from_millis(200));
    wait.min(deadline.saturating_sub(margin))
}

/// The deadline of a call as the header `grpc-timeout` tells it: up to 8 digits and a unit. What
/// does not have this form is ignored, as the transport does.
pub(in crate::rpc) fn deadline(header: &str) -> Option<Duration> {
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::LeaseRequest {
        v1::LeaseRequest {
            queues: vec!["mail".to_owned()],
            worker_id: "w".to_owned(),
            ..v1::LeaseRequest::default()
        }
    }

    #[test]
    fn what_is_unset_takes_the_default() {
        let lease = lease(&request()).unwrap();
        assert_eq!((lease.max_jobs, lease.max_bytes), (1, REPLY_LIMIT));
        assert_eq!((lease.wait, lease.lease_duration), (Duration::ZERO, None));
    }

    #[test]
    fn queues_are_names_prefixes_or_all() {
        let name = QueueName::parse("mail").unwrap();
        assert_eq!(pattern("mail"), Ok(QueuePattern::Name(name)));
        assert_eq!(pattern("mail-*"), Ok(QueuePattern::Prefix("mail-".to_owned())));
        assert_eq!(pattern("*"), Ok(QueuePattern::Prefix(String::new())));
        for bad in ["", "**", "-*", "a*b", "a b*", "é"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wait_ends_before_the_deadline_of_its_call() {
        let seconds = Duration::from_secs;
        assert_eq!(patience(seconds(30), None), seconds(30));
        assert_eq!(patience(seconds(30), Some(seconds(60))), seconds(30));
        assert_eq!(patience(seconds(60), Some(seconds(60))), seconds(57));
        assert_eq!(patience(seconds(60), Some(seconds(1))), Duration::from_millis(800));
        assert_eq!(patience(seconds(60), Some(Duration::from_millis(150))), Duration::ZERO);
    }

    #[test]
    fn deadlines_have_a_number_and_a_unit() {
        assert_eq!(deadline("5S"), Some(Duration::from_secs(5)));
        assert_eq!(deadline("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(deadline("99999999H"), Some(Duration::from_hours(99_999_999)));
        for bad in ["", "S", "5", "5s", "123456789S", "-1S", "5é"] {
            assert_eq!(deadline(bad), None, "{bad}");
        }
    }
}

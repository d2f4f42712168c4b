//! Requests to enqueue, one or many.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use lessor_proto::v1;
use lessor_proto::v1::enqueue_request::{Expiry as ProtoExpiry, Start as ProtoStart};
use lessor_proto::v1::enqueue_response::Outcome as ProtoOutcome;
use prost::Message;

use super::field::Violations;
use super::payload::PAYLOAD_LIMIT;
use super::time::{FARTHEST, moment, span, span_opt};
use super::{LEASE_DURATION, digest, payload, policy, text};
use crate::broker::enqueue::{Expiry, NewJob, Outcome, Start};
use crate::clock::Timestamp;
use crate::job::queue::Open;
use crate::job::{JobId, QueueName, RequestId, Retention, RetryPolicy, Spec};
use crate::store::Request;

pub(super) const TYPE_LIMIT: usize = 128;
const MOST_LABELS: usize = 64;
const LABEL_KEY_LIMIT: usize = 63;
const LABEL_VALUE_LIMIT: usize = 255;
const OWNER_LIMIT: usize = 255;
const SHORTEST_TTL: Duration = Duration::from_secs(1);
const SHORTEST_ATTEMPT: Duration = Duration::from_secs(1);
const LONGEST_ATTEMPT: Duration = Duration::from_hours(30 * 24);
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;
const MOST_REQUESTS: usize = 1000;
const BATCH_LIMIT: usize = 3 << 20;

/// The trace context of a call, for the jobs that it makes.
pub(in crate::rpc) type TraceContext = BTreeMap<String, String>;

/// Reads one request. `now` is what a schedule time is compared with.
pub(in crate::rpc) fn new_job(
    mut request: v1::EnqueueRequest,
    trace: &TraceContext,
    now: Timestamp,
) -> Result<NewJob, Violations> {
    let mut wrong = Violations::default();
    not_built(&request, &mut wrong);
    let queue = wrong.at("queue", QueueName::parse(&request.queue));
    let id = wrong.at("job_id", optional(&request.job_id, JobId::parse));
    let labels = wrong.at("labels", labels(std::mem::take(&mut request.labels)));
    let request_id = std::mem::take(&mut request.request_id);
    let request_id = wrong.at("request_id", optional(&request_id, RequestId::parse));
    let digest = match (request_id, &labels) {
        (Some(Some(_)), Some(labels)) => digest::enqueue(&request, labels),
        // Not asked for.
        _ => 0,
    };
    let start = start(request.start.as_ref(), now, &mut wrong);
    wrong.at("type", text::printable(&request.r#type, TYPE_LIMIT));
    let payload = wrong.at("payload", payload::payload_opt(request.payload, PAYLOAD_LIMIT));
    let priority = wrong.at("priority", priority(request.priority));
    let open =
        Open { retry: request.retry_policy.is_none(), retention: request.retention.is_none() };
    let retry = wrong
        .at("retry_policy", request.retry_policy.map_or(Ok(RetryPolicy::default()), policy::retry));
    let lease_duration =
        wrong.at("lease_duration", lease_duration(request.lease_duration.as_ref()));
    let attempt_timeout =
        wrong.at("attempt_timeout", attempt_timeout(request.attempt_timeout.as_ref()));
    let expiry = expiry(request.expiry.as_ref(), start, now, &mut wrong);
    wrong.at("owner", text::printable(&request.owner, OWNER_LIMIT));
    let dedup = wrong.at("dedup", request.dedup.as_ref().map(policy::dedup).transpose());
    let retention = wrong.at(
        "retention",
        request.retention.as_ref().map_or(Ok(Retention::default()), policy::retention),
    );
    let validate_only = request.validate_only;
    let read = || {
        let spec = Spec {
            job_type: request.r#type,
            payload: payload?,
            priority: priority?,
            labels: labels?,
            retry: retry?,
            owner: request.owner,
            lease_duration: lease_duration?,
            attempt_timeout: attempt_timeout?,
            dedup: dedup?,
            retention: retention?,
            trace_context: trace.clone(),
            ..Spec::default()
        };
        let request = request_id?.map(|id| Request { id, digest });
        let (start, expiry) = (start?, expiry?);
        Some(NewJob {
            id: id?,
            request,
            start,
            expiry,
            open,
            validate_only,
            ..NewJob::new(queue?, spec)
        })
    };
    let read = read();
    wrong.finish(read)
}

fn not_built(request: &v1::EnqueueRequest, wrong: &mut Violations) {
    wrong.not_built("order_key", !request.order_key.is_empty());
    wrong.not_built("fairness_key", !request.fairness_key.is_empty());
    // A NaN counts as set.
    wrong.not_built("fairness_weight", request.fairness_weight.to_bits() != 0);
    wrong.not_built("limits", !request.limits.is_empty());
    wrong.not_built("depends_on", !request.depends_on.is_empty());
}

/// Reads text that may be empty for "none".
pub(super) fn optional<T, E>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, E> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

fn start(proto: Option<&ProtoStart>, now: Timestamp, wrong: &mut Violations) -> Option<Start> {
    match proto {
        None => Some(Start::Now),
        Some(ProtoStart::Delay(delay)) => {
            wrong.at("delay", span(delay, Duration::ZERO, FARTHEST)).map(Start::In)
        }
        Some(ProtoStart::ScheduleTime(time)) => {
            let at = wrong.at("schedule_time", moment(time))?;
            if at.since(now) > FARTHEST {
                wrong.add("schedule_time", "must be at most 10 years ahead");
            }
            Some(Start::At(at))
        }
    }
}

/// Reads when the job is no longer worth starting: after the moment from which it may run.
fn expiry(
    proto: Option<&ProtoExpiry>,
    start: Option<Start>,
    now: Timestamp,
    wrong: &mut Violations,
) -> Option<Expiry> {
    let due = match start? {
        Start::Now => now,
        Start::In(delay) => now.after(delay),
        Start::At(moment) => moment.max(now),
    };
    match proto {
        None => Some(Expiry::Never),
        Some(ProtoExpiry::Ttl(ttl)) => {
            let ttl = wrong.at("ttl", span(ttl, SHORTEST_TTL, FARTHEST))?;
            if now.after(ttl) <= due {
                wrong.add("ttl", "must end after the job may run");
            }
            Some(Expiry::In(ttl))
        }
        Some(ProtoExpiry::ExpireTime(time)) => {
            let at = wrong.at("expire_time", moment(time))?;
            if at.since(now) > FARTHEST {
                wrong.add("expire_time", "must be at most 10 years ahead");
            } else if due > now && at <= due {
                wrong.add("expire_time", "must be after the job may run");
            }
            Some(Expiry::At(at))
        }
    }
}

pub(super) fn priority(number: i32) -> Result<i16, Violations> {
    match i16::try_from(number) {
        Ok(priority) if PRIORITIES.contains(&number) => Ok(priority),
        _ => Err("must be from -1000 to 1000".into()),
    }
}

pub(super) fn lease_duration(
    proto: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Violations> {
    span_opt(proto, *LEASE_DURATION.start(), *LEASE_DURATION.end())
}

/// Reads how long one attempt may take.
pub(super) fn attempt_timeout(
    proto: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Violations> {
    span_opt(proto, SHORTEST_ATTEMPT, LONGEST_ATTEMPT)
}

pub(super) fn labels(
    proto: HashMap<String, String>,
) -> Result<BTreeMap<String, String>, Violations> {
    if proto.len() > MOST_LABELS {
        return Err(format!("has {} entries, more than {MOST_LABELS}", proto.len()).into());
    }
    let labels: BTreeMap<String, String> = proto.into_iter().collect();
    let mut wrong = Violations::default();
    for (key, value) in &labels {
        if key.is_empty() {
            wrong.add("", "must not have an empty key");
        } else if let Err(why) = text::printable(key, LABEL_KEY_LIMIT) {
            // Such a key is not fit to be part of a path.
            wrong.add("", format!("has a wrong key, which {why}"));
        } else if let Err(why) = text::printable(value, LABEL_VALUE_LIMIT) {
            wrong.add(format!("[{key:?}]"), why);
        }
    }
    wrong.finish(Some(labels))
}

/// A batch, read.
#[derive(Debug)]
pub(in crate::rpc) struct Batch {
    /// What is asked for.
    pub jobs: BatchJobs,
    /// The request for all of it, if it may come twice.
    pub request: Option<Request>,
}

/// What a batch asks for and how.
#[derive(Debug)]
pub(in crate::rpc) enum BatchJobs {
    /// All of one queue, all or nothing.
    Whole(Vec<NewJob>),
    /// Each for itself; the refused ones are in their places.
    Partial(Vec<Result<NewJob, Violations>>),
}

/// Reads a batch.
pub(in crate::rpc) fn batch(
    mut proto: v1::BatchEnqueueRequest,
    trace: &TraceContext,
    now: Timestamp,
) -> Result<Batch, Violations> {
    let mut wrong = Violations::default();
    let count = proto.requests.len();
    if count == 0 || count > MOST_REQUESTS {
        let why = format!("must have from 1 to {MOST_REQUESTS} entries, not {count}");
        wrong.add("requests", why);
        return Err(wrong);
    }
    let actual = proto.encoded_len();
    if actual > BATCH_LIMIT {
        wrong.absorb("requests", Violations::too_large(BATCH_LIMIT, actual));
        return Err(wrong);
    }
    let id = wrong.at("request_id", optional(&proto.request_id, RequestId::parse));
    if !proto.request_id.is_empty() {
        for (index, request) in proto.requests.iter().enumerate() {
            if !request.request_id.is_empty() {
                wrong.add(
                    format!("requests[{index}].request_id"),
                    "must be empty in a batch with one",
                );
            }
        }
    }
    let id = std::mem::take(&mut wrong).finish(id)?;
    let request = id.map(|id| Request { id, digest: digest::batch(&mut proto.requests) });
    let repeated = repeated_ids(&proto.requests);
    let jobs = proto.requests.into_iter().map(|request| new_job(request, trace, now));
    if proto.allow_partial {
        let mut jobs: Vec<_> = jobs.collect();
        for (index, field) in repeated {
            let mut wrong = Violations::default();
            wrong.add(field, REPEATED);
            jobs[index] = Err(wrong);
        }
        return Ok(Batch { jobs: BatchJobs::Partial(jobs), request });
    }
    for (index, field) in repeated {
        wrong.add(format!("requests[{index}].{field}"), REPEATED);
    }
    let mut whole = Vec::with_capacity(count);
    for (index, job) in jobs.enumerate() {
        whole.extend(wrong.at_index("requests", index, job));
    }
    // After a refusal the indexes no longer fit; then that refusal is enough to tell.
    if whole.len() == count {
        const SAME: &str = "must be the same in all requests without allow_partial";
        for (index, job) in whole.iter().enumerate() {
            if job.queue != whole[0].queue {
                wrong.add(format!("requests[{index}].queue"), SAME);
            }
            if job.validate_only != whole[0].validate_only {
                wrong.add(format!("requests[{index}].validate_only"), SAME);
            }
        }
    }
    wrong.finish(Some(Batch { jobs: BatchJobs::Whole(whole), request }))
}

pub(super) const REPEATED: &str = "is used twice in this batch";

/// The requests that use an id of an earlier one, with the field: nobody could guess what is meant.
pub(super) fn repeated_ids(requests: &[v1::EnqueueRequest]) -> Vec<(usize, &'static str)> {
    let mut jobs = HashSet::new();
    let mut calls = HashSet::new();
    let mut repeated = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        if !request.job_id.is_empty() && !jobs.insert((&request.queue, &request.job_id)) {
            repeated.push((index, "job_id"));
        }
        // Parsed, because two spellings of one UUID are the same id.
        let call = RequestId::parse(&request.request_id).ok();
        if call.is_some_and(|call| !calls.insert((&request.queue, call))) {
            repeated.push((index, "request_id"));
        }
    }
    repeated
}

/// What became of a request, as the protocol names it.
pub(super) fn proto_outcome(outcome: Outcome) -> ProtoOutcome {
    match outcome {
        Outcome::Created => ProtoOutcome::Created,
        Outcome::Deduplicated => ProtoOutcome::Deduplicated,
        Outcome::Replaced => ProtoOutcome::Replaced,
        Outcome::Replayed => ProtoOutcome::Replayed,
    }
}

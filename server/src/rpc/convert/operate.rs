//! What operators ask of one job.

use lessor_proto::v1;

use super::enqueue::{labels, priority};
use super::field::Violations;
use super::payload::{PAYLOAD_LIMIT, payload_opt};
use super::time::{FARTHEST, moment};
use super::{mask, policy, text};
use crate::broker::operate::Asked;
use crate::clock::Timestamp;
use crate::job::operate::Update;
use crate::job::{JobName, RetryPolicy};

const REASON_LIMIT: usize = 1024;

/// What an update may name.
const UPDATABLE: [&str; 5] = ["payload", "priority", "schedule_time", "labels", "retry_policy"];

/// Reads what comes with a change.
pub(super) fn asked(etag: String, reason: String, wrong: &mut Violations) -> Asked {
    let reason = wrong.at("reason", self::reason(reason)).unwrap_or_default();
    Asked { etag: (!etag.is_empty()).then_some(etag), reason, ..Asked::default() }
}

/// Reads why something is asked for.
pub(super) fn reason(text: String) -> Result<String, String> {
    text::printable(&text, REASON_LIMIT).map(|()| text)
}

/// Reads which job is meant, and what comes with the change.
pub(in crate::rpc) fn action(proto: v1::JobActionRequest) -> Result<(JobName, Asked), Violations> {
    let mut wrong = Violations::default();
    let name = wrong.at("name", JobName::parse(&proto.name));
    let asked = asked(proto.etag, proto.reason, &mut wrong);
    wrong.finish(name.map(|name| (name, asked)))
}

/// Reads what to change of which job. `now` is what a schedule time is compared with.
pub(in crate::rpc) fn update(
    proto: v1::UpdateJobRequest,
    now: Timestamp,
) -> Result<(JobName, Update, Asked), Violations> {
    let mut wrong = Violations::default();
    let mask = wrong.at("update_mask", mask::read(proto.update_mask, &UPDATABLE));
    let Some(job) = proto.job else {
        wrong.add("job", "must be set");
        return Err(wrong);
    };
    let named = |field: &str| mask.as_ref().is_some_and(|mask| mask.has(field));
    let mut inner = Violations::default();
    let name = inner.at("name", JobName::parse(&job.name));
    let mut update = Update::default();
    if named("payload") {
        update.payload = inner.at("payload", payload_opt(job.payload, PAYLOAD_LIMIT));
    }
    if named("priority") {
        update.priority = inner.at("priority", priority(job.priority));
    }
    if named("schedule_time") {
        // Without a time it runs at once.
        let at = job.schedule_time.as_ref().map_or(Ok(now), moment);
        update.scheduled = inner.at("schedule_time", at.and_then(|at| not_too_far(at, now)));
    }
    if named("labels") {
        update.labels = inner.at("labels", labels(job.labels));
    }
    if named("retry_policy") {
        let retry = job.retry_policy.map_or(Ok(RetryPolicy::default()), policy::retry);
        update.retry = inner.at("retry_policy", retry);
    }
    wrong.at("job", inner.finish(Some(())));
    let asked = asked(job.etag, String::new(), &mut wrong);
    wrong.finish(name.map(|name| (name, update, asked)))
}

fn not_too_far(at: Timestamp, now: Timestamp) -> Result<Timestamp, Violations> {
    if at.since(now) > FARTHEST { Err("must be at most 10 years ahead".into()) } else { Ok(at) }
}

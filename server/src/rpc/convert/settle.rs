//! Acks, nacks and extensions, one or many.

use std::time::Duration;

use bytes::Bytes;
use lessor_proto::v1;
use lessor_proto::v1::batch_settle_request::item::Op;
use lessor_proto::v1::nack_request::Disposition as ProtoDisposition;
use prost::Message;

use super::enqueue::{REPEATED, TraceContext, lease_duration, new_job, repeated_ids};
use super::field::Violations;
use super::payload::{RESULT_LIMIT, payload_opt};
use super::time::{LONGEST_BACKOFF, proto_moment, proto_span, span, span_opt};
use super::{job, text};
use crate::broker::enqueue::NewJob;
use crate::broker::settle::{Ack, Extend, Extended, Nack, Outcome, Settle, Settled};
use crate::clock::Timestamp;
use crate::job::transition::Disposition;
use crate::job::{Failure, LeaseToken, Progress, QueueName};

const MESSAGE_LIMIT: usize = 4 << 10;
const STACK_LIMIT: usize = 16 << 10;
const DETAILS_LIMIT: usize = 16 << 10;
const PROGRESS_MESSAGE_LIMIT: usize = 1 << 10;
const MOST_ITEMS: usize = 256;
const MOST_FOLLOW_UPS: usize = 16;

/// Reads an ack. `now` is what the times of its follow-ups are compared with.
pub(in crate::rpc) fn ack(
    proto: v1::AckRequest,
    trace: &TraceContext,
    now: Timestamp,
) -> Result<(LeaseToken, Ack), Violations> {
    let mut wrong = Violations::default();
    let token = wrong.at("lease_token", token(&proto.lease_token));
    let result = wrong.at("result", payload_opt(proto.result, RESULT_LIMIT));
    let queue = token.as_ref().map(|token| &token.name.queue);
    let then = wrong.at("then", follow_ups(proto.then, queue, trace, now));
    let read = || Some((token.clone()?, Ack { result: result?, then: then? }));
    let read = read();
    wrong.finish(read)
}

/// Reads a nack.
pub(in crate::rpc) fn nack(proto: v1::NackRequest) -> Result<(LeaseToken, Nack), Violations> {
    let mut wrong = Violations::default();
    wrong.not_built("throttle_key_for", proto.throttle_key_for.is_some());
    let token = wrong.at("lease_token", token(&proto.lease_token));
    let failure = wrong.at("failure", proto.failure.map(failure).transpose());
    let disposition = disposition(proto.disposition, &mut wrong);
    let checkpoint = wrong.at("checkpoint", payload_opt(proto.checkpoint, RESULT_LIMIT));
    let read = || {
        let nack = Nack { disposition: disposition?, failure: failure?, checkpoint: checkpoint? };
        Some((token?, nack))
    };
    let read = read();
    wrong.finish(read)
}

/// Reads an extension.
pub(in crate::rpc) fn extend(
    proto: v1::ExtendLeaseRequest,
) -> Result<(LeaseToken, Extend), Violations> {
    let mut wrong = Violations::default();
    let token = wrong.at("lease_token", token(&proto.lease_token));
    let lease_duration = wrong.at("lease_duration", lease_duration(proto.lease_duration.as_ref()));
    let progress = wrong.at("progress", proto.progress.map(progress).transpose());
    let checkpoint = wrong.at("checkpoint", payload_opt(proto.checkpoint, RESULT_LIMIT));
    let read = || {
        let extend = Extend {
            lease_duration: lease_duration?,
            progress: progress?,
            checkpoint: checkpoint?,
        };
        Some((token?, extend))
    };
    let read = read();
    wrong.finish(read)
}

/// Reads a batch; each item is refused for itself.
pub(in crate::rpc) fn batch(
    proto: v1::BatchSettleRequest,
    trace: &TraceContext,
    now: Timestamp,
) -> Result<Vec<Result<Settle, Violations>>, Violations> {
    let count = proto.items.len();
    if count == 0 || count > MOST_ITEMS {
        let mut wrong = Violations::default();
        wrong.add("items", format!("must have from 1 to {MOST_ITEMS} entries, not {count}"));
        return Err(wrong);
    }
    let item = |item: v1::batch_settle_request::Item| match item.op {
        Some(Op::Ack(proto)) => ack(proto, trace, now).map(|(token, ack)| Settle::Ack(token, ack)),
        Some(Op::Nack(proto)) => nack(proto).map(|(token, nack)| Settle::Nack(token, nack)),
        Some(Op::Extend(proto)) => {
            extend(proto).map(|(token, extend)| Settle::Extend(token, extend))
        }
        None => {
            let mut wrong = Violations::default();
            wrong.add("op", "must be set: ack, nack or extend");
            Err(wrong)
        }
    };
    Ok(proto.items.into_iter().map(item).collect())
}

/// Reads the jobs that come to be with an ack, all in the queue of the acked job.
fn follow_ups(
    requests: Vec<v1::EnqueueRequest>,
    queue: Option<&QueueName>,
    trace: &TraceContext,
    now: Timestamp,
) -> Result<Vec<NewJob>, Violations> {
    if requests.len() > MOST_FOLLOW_UPS {
        let count = requests.len();
        return Err(format!("has {count} entries, more than {MOST_FOLLOW_UPS}").into());
    }
    let mut wrong = Violations::default();
    for (index, field) in repeated_ids(&requests) {
        wrong.add(format!("[{index}].{field}"), REPEATED);
    }
    let mut jobs = Vec::with_capacity(requests.len());
    for (index, request) in requests.into_iter().enumerate() {
        let Some(job) = wrong.at_index("", index, new_job(request, trace, now)) else { continue };
        if queue.is_some_and(|queue| *queue != job.queue) {
            wrong.add(format!("[{index}].queue"), "must be the queue of the acked job");
        }
        if job.validate_only {
            wrong.add(format!("[{index}].validate_only"), "must be unset in a follow-up");
        }
        jobs.push(job);
    }
    wrong.finish(Some(jobs))
}

pub(super) fn token(text: &str) -> Result<LeaseToken, Violations> {
    LeaseToken::parse(text).map_err(|why| Violations::bad_lease_token(&why))
}

fn disposition(proto: Option<ProtoDisposition>, wrong: &mut Violations) -> Option<Disposition> {
    let zero = Duration::ZERO;
    match proto {
        None => Some(Disposition::Retry(None)),
        Some(ProtoDisposition::Retry(retry)) => {
            let delay = span_opt(retry.delay.as_ref(), zero, LONGEST_BACKOFF);
            wrong.at("retry.delay", delay).map(Disposition::Retry)
        }
        Some(ProtoDisposition::Snooze(snooze)) => {
            let delay = match snooze.delay {
                Some(delay) => span(&delay, zero, LONGEST_BACKOFF),
                None => Err("must be set; to give the job back at once, use release".into()),
            };
            wrong.at("snooze.delay", delay).map(Disposition::Snooze)
        }
        Some(ProtoDisposition::Release(())) => Some(Disposition::Release),
        Some(ProtoDisposition::Dead(())) => Some(Disposition::Dead),
    }
}

/// Reads why an attempt failed. Long texts are cut: losing the report of a failure to its length
/// would be worse than losing its end.
fn failure(proto: v1::Failure) -> Result<Failure, Violations> {
    let mut wrong = Violations::default();
    if !proto.code.is_empty() {
        wrong.at("code", text::upper_snake(&proto.code));
    }
    let details = proto.details.as_ref().map_or_else(Bytes::new, |it| it.encode_to_vec().into());
    if details.len() > DETAILS_LIMIT {
        let why = format!("has {} bytes, more than {DETAILS_LIMIT}", details.len());
        wrong.add("details", why);
    }
    wrong.finish(Some(Failure {
        code: proto.code,
        message: text::truncated(proto.message, MESSAGE_LIMIT),
        stack: text::truncated(proto.stack, STACK_LIMIT),
        details,
    }))
}

fn progress(proto: v1::Progress) -> Result<Progress, Violations> {
    let mut wrong = Violations::default();
    // Written so that a NaN fails.
    if !(0.0..=100.0).contains(&proto.percent) {
        wrong.add("percent", "must be from 0 to 100");
    }
    if proto.message.len() > PROGRESS_MESSAGE_LIMIT {
        let actual = proto.message.len();
        wrong.add("message", format!("has {actual} bytes, more than {PROGRESS_MESSAGE_LIMIT}"));
    }
    for (field, count) in [("done", proto.done), ("total", proto.total)] {
        if count < 0 {
            wrong.add(field, "must not be negative");
        }
    }
    let v1::Progress { percent, message, done, total } = proto;
    wrong.finish(Some(Progress { percent, message, done, total }))
}

/// Writes the answer to an ack.
pub(in crate::rpc) fn ack_response(settled: &Settled) -> v1::AckResponse {
    let job = match settled.outcome {
        // The ack was decided by its token alone, which does not know the rest.
        Outcome::Settled => job::receipt(&settled.job),
        Outcome::AlreadySettled | Outcome::SettledLate => {
            job::proto_job(&settled.job, v1::JobView::Basic)
        }
    };
    v1::AckResponse { outcome: outcome(settled.outcome).into(), job: Some(Box::new(job)) }
}

/// Writes the answer to a nack.
pub(in crate::rpc) fn nack_response(settled: &Settled) -> v1::NackResponse {
    v1::NackResponse {
        outcome: outcome(settled.outcome).into(),
        job: Some(Box::new(job::proto_job(&settled.job, v1::JobView::Basic))),
    }
}

/// Writes the answer to an extension.
pub(in crate::rpc) fn extend_response(extended: Extended) -> v1::ExtendLeaseResponse {
    v1::ExtendLeaseResponse {
        lease_expire_time: Some(proto_moment(extended.until)),
        lease_remaining: Some(proto_span(extended.until.since(extended.now))),
        cancel_requested: extended.cancel.is_some(),
        cancel_reason: extended.cancel.unwrap_or_default(),
        drain: extended.drain,
    }
}

fn outcome(outcome: Outcome) -> v1::SettleOutcome {
    match outcome {
        Outcome::Settled => v1::SettleOutcome::Settled,
        Outcome::AlreadySettled => v1::SettleOutcome::AlreadySettled,
        Outcome::SettledLate => v1::SettleOutcome::SettledLate,
    }
}

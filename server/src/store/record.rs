//! The stored form of a job's parts, the same in every store: protobuf records, so a newer broker
//! reads what an older one wrote.
//!
//! What never changes after enqueue is one record ([`encode_spec`]); what attempts leave behind is
//! one record each. Tags are never reused.

mod event;
mod queue;
mod schedule;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::clock::{Timestamp, millis};
use crate::job::{
    Attempt, Cancel, Dedup, DedupKey, DedupScope, Failure, Form, Keep, LeaseSecret, OnDuplicate,
    Outcome, Payload, Progress, Retention, RetryPolicy, Spec, WorkerId,
};

pub use event::{count_events, decode_events, encode_event};
pub use queue::{decode_settings, encode_settings};
pub use schedule::{decode_schedule, encode_schedule};

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl From<prost::DecodeError> for Unreadable {
    fn from(error: prost::DecodeError) -> Self {
        Self(error.to_string())
    }
}

fn unreadable(what: &str) -> Unreadable {
    Unreadable(what.to_owned())
}

#[derive(Clone, PartialEq, Message)]
struct SpecRecord {
    #[prost(string, tag = "1")]
    job_type: String,
    #[prost(message, optional, tag = "2")]
    payload: Option<PayloadRecord>,
    #[prost(sint32, tag = "3")]
    priority: i32,
    #[prost(btree_map = "string, string", tag = "4")]
    labels: BTreeMap<String, String>,
    #[prost(uint64, tag = "5")]
    created: u64,
    #[prost(uint64, optional, tag = "6")]
    scheduled: Option<u64>,
    /// Absent: the default policy.
    #[prost(message, optional, tag = "7")]
    retry: Option<RetryRecord>,
    #[prost(uint64, optional, tag = "8")]
    lease_millis: Option<u64>,
    #[prost(message, optional, tag = "9")]
    dedup: Option<DedupRecord>,
    /// Absent: the default retention.
    #[prost(message, optional, tag = "10")]
    succeeded: Option<KeepRecord>,
    #[prost(message, optional, tag = "11")]
    dead: Option<KeepRecord>,
    #[prost(btree_map = "string, string", tag = "12")]
    trace_context: BTreeMap<String, String>,
    #[prost(string, tag = "13")]
    owner: String,
    #[prost(uint64, optional, tag = "14")]
    expires: Option<u64>,
    #[prost(uint64, optional, tag = "15")]
    attempt_millis: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct PayloadRecord {
    #[prost(bytes = "bytes", tag = "1")]
    data: Bytes,
    #[prost(bool, tag = "2")]
    is_json: bool,
    #[prost(string, tag = "3")]
    content_type: String,
    #[prost(string, tag = "4")]
    encoding: String,
}

#[derive(Clone, PartialEq, Message)]
struct RetryRecord {
    #[prost(uint32, optional, tag = "1")]
    max_attempts: Option<u32>,
    #[prost(uint64, tag = "2")]
    initial_millis: u64,
    #[prost(double, tag = "3")]
    multiplier: f64,
    #[prost(uint64, tag = "4")]
    max_millis: u64,
    #[prost(double, tag = "5")]
    jitter: f64,
    #[prost(uint64, repeated, tag = "6")]
    list_millis: Vec<u64>,
    #[prost(string, repeated, tag = "7")]
    fatal_codes: Vec<String>,
    #[prost(uint64, optional, tag = "8")]
    max_retry_millis: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct DedupRecord {
    #[prost(string, tag = "1")]
    key: String,
    /// Present: held for this window whatever becomes of the job.
    #[prost(uint64, optional, tag = "2")]
    window_millis: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    cap_millis: Option<u64>,
    /// Held until the job is first leased.
    #[prost(bool, tag = "4")]
    until_started: bool,
    #[prost(uint32, tag = "5")]
    on_duplicate: u32,
}

#[derive(Clone, PartialEq, Message)]
struct CancelRecord {
    #[prost(uint64, tag = "1")]
    by: u64,
    #[prost(string, tag = "2")]
    reason: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeepRecord {
    #[prost(uint64, tag = "1")]
    millis: u64,
    #[prost(uint32, optional, tag = "2")]
    count: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct ProgressRecord {
    #[prost(double, tag = "1")]
    percent: f64,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int64, tag = "3")]
    done: i64,
    #[prost(int64, tag = "4")]
    total: i64,
}

#[derive(Clone, PartialEq, Message)]
struct FailureRecord {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(string, tag = "3")]
    stack: String,
    #[prost(bytes = "bytes", tag = "4")]
    details: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct AttemptRecord {
    #[prost(uint32, tag = "1")]
    delivery: u32,
    #[prost(uint32, tag = "2")]
    number: u32,
    #[prost(fixed64, tag = "3")]
    secret: u64,
    #[prost(string, optional, tag = "4")]
    worker: Option<String>,
    #[prost(uint64, tag = "5")]
    started: u64,
    #[prost(uint64, tag = "6")]
    ended: u64,
    #[prost(uint32, tag = "7")]
    outcome: u32,
    #[prost(message, optional, tag = "8")]
    failure: Option<FailureRecord>,
}

/// Encodes what never changes after enqueue.
pub fn encode_spec(spec: &Spec) -> Vec<u8> {
    spec_record(spec).encode_to_vec()
}

/// Appends what [`encode_spec`] makes to `out`, without a copy of the payload in between.
pub fn put_spec(spec: &Spec, out: &mut Vec<u8>) {
    // A growing buffer takes all.
    let _fits = spec_record(spec).encode(out);
}

fn spec_record(spec: &Spec) -> SpecRecord {
    let retry = (spec.retry != RetryPolicy::default()).then(|| retry_record(&spec.retry));
    let usual = Retention::default();
    let keep = |keep: Keep, usual: Keep| {
        (keep != usual).then(|| KeepRecord { millis: millis(keep.span), count: keep.count })
    };
    SpecRecord {
        job_type: spec.job_type.clone(),
        payload: spec.payload.as_ref().map(payload_record),
        priority: i32::from(spec.priority),
        labels: spec.labels.clone(),
        created: spec.created.as_millis(),
        scheduled: spec.scheduled.map(Timestamp::as_millis),
        retry,
        lease_millis: spec.lease_duration.map(millis),
        dedup: spec.dedup.as_ref().map(dedup_record),
        succeeded: keep(spec.retention.succeeded, usual.succeeded),
        dead: keep(spec.retention.dead, usual.dead),
        trace_context: spec.trace_context.clone(),
        owner: spec.owner.clone(),
        expires: spec.expires.map(Timestamp::as_millis),
        attempt_millis: spec.attempt_timeout.map(millis),
    }
}

/// Decodes what [`encode_spec`] encoded; the payload shares the memory of `bytes`.
pub fn decode_spec(bytes: Bytes) -> Result<Spec, Unreadable> {
    let record = SpecRecord::decode(bytes)?;
    let priority = i16::try_from(record.priority).map_err(|_| unreadable("priority"))?;
    let keep = |record: Option<KeepRecord>, usual: Keep| {
        record.map_or(usual, |keep| Keep {
            span: Duration::from_millis(keep.millis),
            count: keep.count,
        })
    };
    let usual = Retention::default();
    Ok(Spec {
        job_type: record.job_type,
        payload: record.payload.map(payload),
        priority,
        labels: record.labels,
        created: Timestamp::from_millis(record.created),
        scheduled: record.scheduled.map(Timestamp::from_millis),
        retry: record.retry.map_or_else(RetryPolicy::default, retry),
        lease_duration: record.lease_millis.map(Duration::from_millis),
        dedup: record.dedup.as_ref().map(dedup).transpose()?,
        retention: Retention {
            succeeded: keep(record.succeeded, usual.succeeded),
            dead: keep(record.dead, usual.dead),
        },
        trace_context: record.trace_context,
        owner: record.owner,
        expires: record.expires.map(Timestamp::from_millis),
        attempt_timeout: record.attempt_millis.map(Duration::from_millis),
    })
}

/// Encodes a checkpoint or result.
pub fn encode_payload(payload: &Payload) -> Vec<u8> {
    payload_record(payload).encode_to_vec()
}

/// Decodes what [`encode_payload`] encoded.
pub fn decode_payload(bytes: Bytes) -> Result<Payload, Unreadable> {
    Ok(payload(PayloadRecord::decode(bytes)?))
}

/// Encodes a cancellation.
pub fn encode_cancel(cancel: &Cancel) -> Vec<u8> {
    CancelRecord { by: cancel.by.as_millis(), reason: cancel.reason.clone() }.encode_to_vec()
}

/// Decodes what [`encode_cancel`] encoded.
pub fn decode_cancel(bytes: Bytes) -> Result<Cancel, Unreadable> {
    let record = CancelRecord::decode(bytes)?;
    Ok(Cancel { by: Timestamp::from_millis(record.by), reason: record.reason })
}

/// Encodes a progress.
pub fn encode_progress(progress: &Progress) -> Vec<u8> {
    progress_record(progress).encode_to_vec()
}

/// Decodes what [`encode_progress`] encoded.
pub fn decode_progress(bytes: Bytes) -> Result<Progress, Unreadable> {
    Ok(progress(ProgressRecord::decode(bytes)?))
}

/// Encodes a failure.
pub fn encode_failure(failure: &Failure) -> Vec<u8> {
    failure_record(failure).encode_to_vec()
}

/// Decodes what [`encode_failure`] encoded.
pub fn decode_failure(bytes: Bytes) -> Result<Failure, Unreadable> {
    Ok(failure(FailureRecord::decode(bytes)?))
}

/// Encodes an attempt, without its worker where the store adds that.
pub fn encode_attempt(attempt: &Attempt) -> Vec<u8> {
    AttemptRecord {
        delivery: attempt.delivery,
        number: attempt.number,
        secret: attempt.secret.0,
        worker: attempt.worker.as_ref().map(|worker| worker.as_str().to_owned()),
        started: attempt.started.as_millis(),
        ended: attempt.ended.as_millis(),
        outcome: outcome_number(attempt.outcome),
        failure: attempt.failure.as_ref().map(failure_record),
    }
    .encode_to_vec()
}

/// Decodes what [`encode_attempt`] encoded.
pub fn decode_attempt(bytes: Bytes) -> Result<Attempt, Unreadable> {
    let record = AttemptRecord::decode(bytes)?;
    Ok(Attempt {
        delivery: record.delivery,
        number: record.number,
        secret: LeaseSecret(record.secret),
        worker: worker(record.worker)?,
        started: Timestamp::from_millis(record.started),
        ended: Timestamp::from_millis(record.ended),
        outcome: outcome(record.outcome)?,
        failure: record.failure.map(failure),
    })
}

fn worker(text: Option<String>) -> Result<Option<WorkerId>, Unreadable> {
    text.map(|text| WorkerId::parse(&text).map_err(|_| unreadable("worker id"))).transpose()
}

fn payload_record(payload: &Payload) -> PayloadRecord {
    PayloadRecord {
        data: payload.data.clone(),
        is_json: payload.form == Form::Json,
        content_type: payload.content_type.clone(),
        encoding: payload.encoding.clone(),
    }
}

fn payload(record: PayloadRecord) -> Payload {
    Payload {
        data: record.data,
        form: if record.is_json { Form::Json } else { Form::Data },
        content_type: record.content_type,
        encoding: record.encoding,
    }
}

fn retry_record(retry: &RetryPolicy) -> RetryRecord {
    RetryRecord {
        max_attempts: retry.max_attempts,
        initial_millis: millis(retry.initial_backoff),
        multiplier: retry.multiplier,
        max_millis: millis(retry.max_backoff),
        jitter: retry.jitter,
        list_millis: retry.backoff_list.iter().copied().map(millis).collect(),
        fatal_codes: retry.fatal_codes.clone(),
        max_retry_millis: retry.max_retry_duration.map(millis),
    }
}

fn retry(record: RetryRecord) -> RetryPolicy {
    RetryPolicy {
        max_attempts: record.max_attempts,
        initial_backoff: Duration::from_millis(record.initial_millis),
        multiplier: record.multiplier,
        max_backoff: Duration::from_millis(record.max_millis),
        jitter: record.jitter,
        backoff_list: record.list_millis.into_iter().map(Duration::from_millis).collect(),
        fatal_codes: record.fatal_codes,
        max_retry_duration: record.max_retry_millis.map(Duration::from_millis),
    }
}

fn dedup_record(dedup: &Dedup) -> DedupRecord {
    let (window, cap) = match dedup.scope {
        DedupScope::UntilStarted { cap } | DedupScope::UntilFinished { cap } => (None, cap),
        DedupScope::Window(window) => (Some(window), None),
    };
    DedupRecord {
        key: dedup.key.as_str().to_owned(),
        window_millis: window.map(millis),
        cap_millis: cap.map(millis),
        until_started: matches!(dedup.scope, DedupScope::UntilStarted { .. }),
        on_duplicate: number_of(&ON_DUPLICATE, &dedup.on_duplicate),
    }
}

fn dedup(record: &DedupRecord) -> Result<Dedup, Unreadable> {
    let key = DedupKey::parse(&record.key).map_err(|_| unreadable("dedup key"))?;
    let cap = record.cap_millis.map(Duration::from_millis);
    let scope = match record.window_millis {
        Some(window) => DedupScope::Window(Duration::from_millis(window)),
        None if record.until_started => DedupScope::UntilStarted { cap },
        None => DedupScope::UntilFinished { cap },
    };
    let on_duplicate = value_of(&ON_DUPLICATE, record.on_duplicate, "rule for duplicates")?;
    Ok(Dedup { key, scope, on_duplicate })
}

fn progress_record(progress: &Progress) -> ProgressRecord {
    ProgressRecord {
        percent: progress.percent,
        message: progress.message.clone(),
        done: progress.done,
        total: progress.total,
    }
}

fn progress(record: ProgressRecord) -> Progress {
    Progress {
        percent: record.percent,
        message: record.message,
        done: record.done,
        total: record.total,
    }
}

fn failure_record(failure: &Failure) -> FailureRecord {
    FailureRecord {
        code: failure.code.clone(),
        message: failure.message.clone(),
        stack: failure.stack.clone(),
        details: failure.details.clone(),
    }
}

fn failure(record: FailureRecord) -> Failure {
    Failure {
        code: record.code,
        message: record.message,
        stack: record.stack,
        details: record.details,
    }
}

const ON_DUPLICATE: [(OnDuplicate, u32); 4] = [
    (OnDuplicate::Keep, 0),
    (OnDuplicate::Replace, 2),
    (OnDuplicate::RunAfter, 3),
    (OnDuplicate::Reject, 4),
];

const OUTCOMES: [(Outcome, u32); 7] = [
    (Outcome::Succeeded, 1),
    (Outcome::Failed, 2),
    (Outcome::LeaseExpired, 3),
    (Outcome::TimedOut, 4),
    (Outcome::Released, 5),
    (Outcome::Cancelled, 6),
    (Outcome::Revoked, 7),
];

fn number_of<T: PartialEq>(table: &[(T, u32)], value: &T) -> u32 {
    table.iter().find(|(one, _)| one == value).map_or(0, |(_, number)| *number)
}

fn value_of<T: Copy>(table: &[(T, u32)], number: u32, what: &str) -> Result<T, Unreadable> {
    let found = table.iter().find(|(_, one)| *one == number);
    found.map(|(value, _)| *value).ok_or_else(|| unreadable(what))
}

fn outcome_number(outcome: Outcome) -> u32 {
    number_of(&OUTCOMES, &outcome)
}

fn outcome(number: u32) -> Result<Outcome, Unreadable> {
    value_of(&OUTCOMES, number, "outcome of an attempt")
}

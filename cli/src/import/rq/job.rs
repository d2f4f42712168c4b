//! A job of RQ: its hash, read as a job of ours.

use std::io::Read;
use std::time::Duration;

use flate2::read::ZlibDecoder;
use lessor::payload;
use lessor::proto::enqueue_request::Expiry;
use lessor::proto::{EnqueueRequest, Retention, RetryPolicy};
use serde_json::{Map, Value, json};

use super::pickle;
use crate::import::retry::{self, Backoff};
use crate::import::source::{Draft, Found, Place, Waiting, wire};

/// The fields of a hash that matter.
pub(super) const FIELDS: &[&str; 17] = &[
    "data",
    "meta",
    "status",
    "created_at",
    "timeout",
    "result_ttl",
    "failure_ttl",
    "ttl",
    "retries_left",
    "retry_intervals",
    "repeats_left",
    "rate_limit_key",
    "group_id",
    "success_callback_name",
    "failure_callback_name",
    "stopped_callback_name",
    "webhooks",
];

/// The states of a job that a worker may still take.
const PENDING: [&str; 5] = ["", "created", "queued", "scheduled", "ready_to_enqueue"];
/// More than a payload may have.
const MOST_DATA: u64 = 8 << 20;
const SECOND: Duration = Duration::from_secs(1);
const LONGEST_ATTEMPT: Duration = Duration::from_hours(30 * 24);
const LONGEST_KEPT: Duration = Duration::from_hours(365 * 24);

pub(super) struct Fields {
    values: [Option<Vec<u8>>; FIELDS.len()],
    /// For how many milliseconds it exists yet; negative for as long as it takes.
    lives: i64,
}

impl Fields {
    pub(super) fn of(values: [Option<Vec<u8>>; FIELDS.len()], lives: i64) -> Self {
        Self { values, lives }
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        let at = FIELDS.iter().position(|field| *field == name)?;
        self.values[at].as_deref().filter(|value| !value.is_empty())
    }

    fn text(&self, name: &str) -> Option<String> {
        self.bytes(name).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn job(&self, job: &Waiting) -> Found {
        let status = self.text("status").unwrap_or_default();
        let Some(data) = self.bytes("data") else { return Found::Gone };
        if !PENDING.contains(&status.as_str()) {
            return Found::Gone;
        }
        let call = match unpacked(data).and_then(|data| call(&data)) {
            Ok(call) => call,
            Err(why) => return Found::left(format_args!("their arguments hold {why}")),
        };
        let Call { function, args, kwargs } = call;
        let mut notes = Vec::new();
        let mut body = json!({ "args": args, "kwargs": kwargs });
        match self.bytes("meta").map(value) {
            Some(Ok(meta)) => body["meta"] = meta,
            Some(Err(why)) => notes.push(format!("without their meta, which holds {why}")),
            None => {}
        }
        for (field, what) in [
            ("success_callback_name", "with a callback, which is not taken over"),
            ("failure_callback_name", "with a callback, which is not taken over"),
            ("stopped_callback_name", "with a callback, which is not taken over"),
            ("webhooks", "with webhooks, which are not taken over"),
            ("repeats_left", "that repeat there: here they run once; see `lessor schedule create`"),
            ("rate_limit_key", "with a rate limit key: see `lessor queue update --max-leased`"),
        ] {
            if self.bytes(field).is_some() && !notes.iter().any(|note| note == what) {
                notes.push(what.to_owned());
            }
        }
        let mut request = EnqueueRequest {
            r#type: function,
            payload: Some(payload::json(body.to_string())),
            retry_policy: Some(self.retry()),
            attempt_timeout: self.number("timeout").map(|it| wire(timeout(it))),
            retention: self.retention(),
            expiry: self.expiry(job, &mut notes),
            ..EnqueueRequest::default()
        };
        if let Some(group) = self.text("group_id") {
            request.labels.insert("group".to_owned(), group);
        }
        let created = self.text("created_at").unwrap_or_default();
        // RQ gives every job an id that nobody has to know, unless its producer chose one.
        let chosen_id = Some(job.id.clone());
        Found::Job(Box::new(Draft { request, chosen_id, created, notes }))
    }

    fn retry(&self) -> RetryPolicy {
        let left = self.number("retries_left").unwrap_or_default().max(0);
        let policy = retry::policy(left + 1, 0, Backoff::None);
        let intervals = self.text("retry_intervals").unwrap_or_default();
        let intervals: Vec<f64> = serde_json::from_str(&intervals).unwrap_or_default();
        let Ok(left) = usize::try_from(left) else { return policy };
        // The last so many of the list are for the last so many retries; the first one is for all
        // that come before.
        let pauses = (1..=left).rev().filter_map(|left| {
            let pause = intervals.get(intervals.len().saturating_sub(left))?;
            Duration::try_from_secs_f64(*pause).ok()
        });
        retry::listed(policy, pauses)
    }

    fn retention(&self) -> Option<Retention> {
        let kept = |field| {
            let seconds = self.number(field)?;
            // A negative one is for ever.
            Some(wire(
                u64::try_from(seconds)
                    .map_or(LONGEST_KEPT, |it| Duration::from_secs(it).min(LONGEST_KEPT)),
            ))
        };
        let (succeeded_ttl, dead_ttl) = (kept("result_ttl"), kept("failure_ttl"));
        let retention = Retention { succeeded_ttl, dead_ttl, ..Retention::default() };
        (retention != Retention::default()).then_some(retention)
    }

    fn expiry(&self, job: &Waiting, notes: &mut Vec<String>) -> Option<Expiry> {
        if job.place == Place::Delayed {
            if self.number("ttl").is_some() {
                notes.push("scheduled with a ttl, which is not taken over".to_owned());
            }
            return None;
        }
        let left = Duration::from_millis(u64::try_from(self.lives).ok()?);
        Some(Expiry::Ttl(wire(left.max(SECOND))))
    }
}

struct Call {
    function: String,
    args: Value,
    kwargs: Map<String, Value>,
}

/// What a worker would call.
fn call(data: &[u8]) -> Result<Call, &'static str> {
    match value(data)? {
        Value::Array(mut parts) if parts.len() == 4 => {
            let kwargs = parts.pop().unwrap_or_default();
            let args = parts.pop().unwrap_or_default();
            let object = parts.pop().unwrap_or_default();
            match (parts.pop(), object, kwargs) {
                (Some(Value::String(function)), Value::Null, Value::Object(kwargs)) => {
                    Ok(Call { function, args, kwargs })
                }
                (_, Value::Null, _) => Err("no call of a function"),
                _ => Err("the object of a method"),
            }
        }
        _ => Err("no call of a function"),
    }
}

/// What RQ has serialized, by pickle or as JSON.
fn value(data: &[u8]) -> Result<Value, &'static str> {
    serde_json::from_slice(data).or_else(|_| pickle::json(data))
}

/// Data are compressed, or were not by old versions.
fn unpacked(data: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut plain = Vec::new();
    match ZlibDecoder::new(data).take(MOST_DATA).read_to_end(&mut plain) {
        Ok(_) if plain.len() as u64 == MOST_DATA => Err("more than 8 MiB"),
        Ok(_) => Ok(plain),
        Err(_) => Ok(data.to_vec()),
    }
}

/// How long a job may run; a negative time is no limit.
fn timeout(seconds: i64) -> Duration {
    u64::try_from(seconds)
        .map_or(LONGEST_ATTEMPT, |it| Duration::from_secs(it).clamp(SECOND, LONGEST_ATTEMPT))
}

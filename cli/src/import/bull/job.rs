//! A job of Bull or BullMQ: its hash, read as a job of ours.

use std::time::Duration;

use lessor::payload;
use lessor::proto::dedup::{OnDuplicate, Scope};
use lessor::proto::{Dedup, EnqueueRequest, Retention};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::Kind;
use crate::import::retry::{self, Backoff};
use crate::import::source::{Draft, Found, Waiting, wire};

/// The fields of a hash that matter.
pub(super) const FIELDS: &[&str; 10] = &[
    "name",
    "data",
    "opts",
    "timestamp",
    "priority",
    "atm",
    "attemptsMade",
    "finishedOn",
    "parentKey",
    "deid",
];

/// The name that Bull gives to a job without one.
const UNNAMED: &str = "__default__";
/// The lowest priority that we tell apart.
const LOWEST: i64 = 1000;
const LONGEST_KEY: usize = 256;
const LONGEST_WINDOW: Duration = Duration::from_hours(30 * 24);
const LONGEST_ATTEMPT: Duration = Duration::from_hours(30 * 24);
const LONGEST_KEPT: Duration = Duration::from_hours(365 * 24);
const MOST_KEPT: u64 = 1_000_000;
const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Fields {
    values: [Option<Vec<u8>>; FIELDS.len()],
    /// A worker has it.
    locked: bool,
    pub(super) dedup_id: Option<String>,
}

/// Who holds a deduplication id, and for how many milliseconds yet; none for as long as it runs.
pub(super) struct Held {
    pub(super) holder: String,
    pub(super) left: Option<u64>,
}

impl Fields {
    pub(super) fn of(values: [Option<Vec<u8>>; FIELDS.len()], locked: bool) -> Self {
        let mut fields = Self { values, locked, dedup_id: None };
        fields.dedup_id = fields.text("deid");
        fields
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

    pub(super) fn job(&self, kind: Kind, job: &Waiting, held: Option<&Held>) -> Found {
        let Some(data) = self.bytes("data") else { return Found::Gone };
        if self.locked || self.bytes("finishedOn").is_some() {
            return Found::Gone;
        }
        if serde_json::from_slice::<IgnoredAny>(data).is_err() {
            return Found::left("their data is not JSON");
        }
        let opts = self.text("opts").unwrap_or_default();
        let Ok(opts) = serde_json::from_str::<Value>(&opts) else {
            return Found::left("their options are not JSON");
        };
        if self.bytes("parentKey").is_some() || opts["parent"].is_object() {
            return Found::left("children of a flow");
        }
        let mut notes = Vec::new();
        let made = self.number("atm").or_else(|| self.number("attemptsMade")).unwrap_or_default();
        let attempts = integer(&opts["attempts"]).unwrap_or_default().max(1);
        let backoff = backoff(kind, &opts["backoff"], &mut notes);
        let mut retry_policy = retry::policy(attempts, made, backoff.unwrap_or(Backoff::None));
        if backoff.is_none() {
            // Their own code: the pauses are the defaults.
            retry_policy = lessor::proto::RetryPolicy {
                max_attempts: retry_policy.max_attempts,
                ..Default::default()
            };
        }
        let theirs = self.number("priority").or_else(|| integer(&opts["priority"]));
        if opts["repeat"].is_object() {
            return Found::left("made by a scheduler, which is a schedule here");
        }
        let request = EnqueueRequest {
            r#type: self.text("name").filter(|name| name != UNNAMED).unwrap_or_default(),
            payload: Some(payload::json(data.to_vec())),
            priority: priority(kind, theirs.unwrap_or_default(), &mut notes),
            retry_policy: Some(retry_policy),
            attempt_timeout: millis(&opts["timeout"])
                .map(|span| wire(span.clamp(SECOND, LONGEST_ATTEMPT))),
            dedup: self.dedup(job, held, &mut notes),
            retention: retention(&opts),
            ..EnqueueRequest::default()
        };
        Found::Job(Box::new(Draft {
            request,
            chosen_id: text(&opts["jobId"]),
            created: self.text("timestamp").unwrap_or_default(),
            notes,
        }))
    }

    fn dedup(&self, job: &Waiting, held: Option<&Held>, notes: &mut Vec<String>) -> Option<Dedup> {
        let key = self.dedup_id.clone()?;
        // Another job may have it by now, or nobody.
        let held = held.filter(|held| held.holder == job.id)?;
        if key.len() > LONGEST_KEY || !key.chars().all(|it| it.is_ascii_graphic() || it == ' ') {
            notes.push("with a deduplication id that is not possible here".to_owned());
            return None;
        }
        let window = held.left.map(Duration::from_millis);
        Some(Dedup {
            key,
            scope: match window {
                Some(_) => Scope::Window,
                None => Scope::UntilFinished,
            }
            .into(),
            window: window.map(|span| wire(span.clamp(SECOND, LONGEST_WINDOW))),
            on_duplicate: OnDuplicate::Keep.into(),
        })
    }
}

/// None if their own code decides.
fn backoff(kind: Kind, theirs: &Value, notes: &mut Vec<String>) -> Option<Backoff> {
    if theirs.is_null() {
        return Some(Backoff::None);
    }
    let pause = theirs.as_f64().or_else(|| theirs["delay"].as_f64()).unwrap_or_default();
    let jitter = theirs["jitter"].as_f64().unwrap_or_default();
    match (theirs["type"].as_str(), kind) {
        (None | Some("fixed"), _) => Some(Backoff::Fixed { pause, jitter }),
        (Some("exponential"), Kind::BullMq) => Some(Backoff::Doubling { pause, jitter }),
        (Some("exponential"), Kind::Bull) => Some(Backoff::AlmostDoubling { pause }),
        (Some(other), _) => {
            notes.push(format!("with the backoff {other:?} of your own; the default is used"));
            None
        }
    }
}

/// With BullMQ jobs without a priority run first, with Bull they run last.
fn priority(kind: Kind, theirs: i64, notes: &mut Vec<String>) -> i32 {
    if theirs > LOWEST {
        notes.push(format!("with a priority behind {LOWEST}, which become equal"));
    }
    let theirs = theirs.clamp(0, LOWEST);
    let ours = match kind {
        Kind::BullMq => -theirs,
        Kind::Bull if theirs == 0 => 0,
        Kind::Bull => LOWEST + 1 - theirs,
    };
    i32::try_from(ours).unwrap_or_default()
}

/// What is kept of finished jobs, where the job says so.
fn retention(opts: &Value) -> Option<Retention> {
    let (succeeded, succeeded_count) = kept(&opts["removeOnComplete"]);
    let (dead, dead_count) = kept(&opts["removeOnFail"]);
    let retention = Retention {
        succeeded_ttl: succeeded.map(wire),
        succeeded_count,
        dead_ttl: dead.map(wire),
        dead_count,
    };
    (retention != Retention::default()).then_some(retention)
}

/// For how long, and how many of the queue; 0 if it does not say.
fn kept(theirs: &Value) -> (Option<Duration>, i32) {
    let count = |value: &Value| value.as_u64().map(|it| it.min(MOST_KEPT));
    let age = theirs["age"].as_u64().map(|it| Duration::from_secs(it).min(LONGEST_KEPT));
    match (theirs.as_bool(), count(theirs).or_else(|| count(&theirs["count"]))) {
        (Some(true), _) | (_, Some(0)) => (Some(Duration::ZERO), 0),
        (_, Some(count)) => (age, i32::try_from(count).unwrap_or_default()),
        (_, None) => (age, 0),
    }
}

fn millis(value: &Value) -> Option<Duration> {
    value.as_u64().filter(|it| *it > 0).map(Duration::from_millis)
}

/// A number of JavaScript, which may be written as a fraction.
fn integer(value: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "a larger one becomes the largest")]
    value.as_i64().or_else(|| value.as_f64().map(|it| it as i64))
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

//! A row of a table, read as a job of ours.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use lessor::payload;
use lessor::proto::{EnqueueRequest, Payload};
use rusqlite::types::Value;
use serde::de::IgnoredAny;

use super::columns::Field;
use crate::import::retry::{self, Backoff};
use crate::import::source::{Draft, Found, wire};

/// Numbers above this are milliseconds: as seconds they would be thousands of years ahead.
const SECONDS_END: f64 = 1e11;
const HIGHEST: i64 = 1000;
const SECOND: Duration = Duration::from_secs(1);
const LONGEST_ATTEMPT: Duration = Duration::from_hours(30 * 24);

/// The values of a row, by what they are.
pub(super) struct Row(pub(super) BTreeMap<Field, Value>);

impl Row {
    fn value(&self, field: Field) -> Option<&Value> {
        self.0.get(&field).filter(|value| **value != Value::Null)
    }

    pub(super) fn text(&self, field: Field) -> Option<String> {
        self.value(field).map(text)
    }

    fn integer(&self, field: Field) -> Option<i64> {
        match self.value(field)? {
            Value::Integer(it) => Some(*it),
            #[expect(clippy::cast_possible_truncation, reason = "a larger one becomes the largest")]
            Value::Real(it) => Some(*it as i64),
            Value::Text(it) => it.trim().parse().ok(),
            _ => None,
        }
    }

    fn millis(&self, field: Field) -> Option<Duration> {
        u64::try_from(self.integer(field)?).ok().filter(|it| *it > 0).map(Duration::from_millis)
    }

    /// When it may run, in milliseconds since 1970.
    pub(super) fn due(&self) -> Result<Option<u64>, String> {
        let Some(value) = self.value(Field::RunAt) else { return Ok(None) };
        let millis = match value {
            #[expect(clippy::cast_precision_loss, reason = "times are far smaller")]
            Value::Integer(it) => number(*it as f64),
            Value::Real(it) => number(*it),
            Value::Text(text) => written(text),
            _ => None,
        };
        millis.map(Some).ok_or_else(|| format!("a time that can't be read: {}", text(value)))
    }

    pub(super) fn job(&self, table: &str, priority_sign: i64) -> Found {
        let mut notes = Vec::new();
        if self.integer(Field::Dependencies).is_some_and(|count| count > 0) {
            return Found::left("they wait for other jobs");
        }
        if self.value(Field::Parent).is_some() {
            notes.push("with a parent, which is not taken over".to_owned());
        }
        let theirs =
            self.integer(Field::Priority).unwrap_or_default().saturating_mul(priority_sign);
        let priority = theirs.clamp(-HIGHEST, HIGHEST);
        if priority != theirs {
            notes.push(format!("with a priority beyond {HIGHEST}, which become equal"));
        }
        let made = self.integer(Field::Attempts).unwrap_or_default();
        let pause = self.millis(Field::BackoffMs);
        let retry_policy = self.integer(Field::MaxAttempts).map(|attempts| {
            let mut policy = retry::policy(attempts, made, Backoff::None);
            // Without a pause of its own it has the default ones.
            policy = lessor::proto::RetryPolicy {
                max_attempts: policy.max_attempts,
                initial_backoff: pause.map(wire),
                ..Default::default()
            };
            policy
        });
        let request = EnqueueRequest {
            r#type: self.text(Field::Type).unwrap_or_default(),
            payload: self.value(Field::Payload).map(body),
            priority: i32::try_from(priority).unwrap_or_default(),
            retry_policy,
            attempt_timeout: self
                .millis(Field::TimeoutMs)
                .map(|span| wire(span.clamp(SECOND, LONGEST_ATTEMPT))),
            owner: self.text(Field::Owner).unwrap_or_default(),
            ..EnqueueRequest::default()
        };
        Found::Job(Box::new(Draft {
            request,
            chosen_id: self.text(Field::Id),
            created: format!("{table} {}", self.text(Field::CreatedAt).unwrap_or_default()),
            notes,
        }))
    }
}

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(it) => it.to_string(),
        Value::Real(it) => it.to_string(),
        Value::Text(it) => it.clone(),
        Value::Blob(it) => String::from_utf8_lossy(it).into_owned(),
    }
}

fn body(value: &Value) -> Payload {
    let data = match value {
        Value::Blob(data) => data.clone(),
        other => text(other).into_bytes(),
    };
    if serde_json::from_slice::<IgnoredAny>(&data).is_ok() {
        payload::json(data)
    } else {
        payload::bytes(data)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since 1970")]
fn number(value: f64) -> Option<u64> {
    let millis = if value.abs() < SECONDS_END { value * 1000.0 } else { value };
    (millis >= 0.0).then_some(millis as u64)
}

/// A time as text; without a zone it is UTC, as SQLite writes it.
fn written(text: &str) -> Option<u64> {
    let text = text.trim();
    let time = text.parse::<Timestamp>().ok().or_else(|| {
        let local = text.parse::<DateTime>().ok()?;
        Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp())
    });
    match time {
        Some(time) => u64::try_from(time.as_millisecond()).ok(),
        None => number(text.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_usually_written() {
        let millis = Some(1_798_000_000_000);
        for text in [
            "2026-12-23T04:26:40Z",
            "2026-12-23 04:26:40",
            "2026-12-23T05:26:40.000+01:00",
            "1798000000",
            "1798000000000",
        ] {
            assert_eq!(written(text), millis, "{text}");
        }
        assert_eq!(written("tomorrow"), None);
        assert_eq!(number(1_798_000_000.5), Some(1_798_000_000_500));
    }
}

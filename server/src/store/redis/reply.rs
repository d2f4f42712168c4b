//! Answers of the server, made values.

use bytes::Bytes;
use redis::Value;

use super::codec::{self, Answer};
use super::log;
use crate::clock::Timestamp;
use crate::job::{Job, JobId, QueueName, State};
use crate::store::{Counts, Entry, Error, Guarded, Inserted, Position, Result};

fn strange(what: &str) -> Error {
    Error::Unavailable(format!("the server gave an answer that is no {what}"))
}

pub(super) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        _ => Err(strange("list")),
    }
}

fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into_bytes().into()),
        Value::Int(number) => Some(number.to_string().into_bytes().into()),
        _ => None,
    }
}

/// The text of an answer.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn number<T: std::str::FromStr>(value: &Value) -> Option<T> {
    text(value)?.parse().ok()
}

/// A time as a zset's score tells it.
fn moment(value: &Value) -> Option<Timestamp> {
    let text = text(value)?;
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    whole.parse().ok().map(Timestamp::from_millis)
}

/// The value that follows `name` in a list or map of pairs; in a cluster one server's.
pub(super) fn text_after(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Array(values) => {
            let at = values.iter().position(|value| text(value).as_deref() == Some(name));
            match at {
                Some(at) => values.get(at + 1).and_then(text),
                None => values.iter().find_map(|value| text_after(value, name)),
            }
        }
        Value::Map(pairs) => pairs.iter().find_map(|(key, value)| {
            if text(key).as_deref() == Some(name) { text(value) } else { text_after(value, name) }
        }),
        _ => None,
    }
}

/// The server's version out of `INFO server`; in a cluster one server's.
pub(super) fn version(value: &Value) -> Option<String> {
    match value {
        Value::Map(pairs) => pairs.iter().find_map(|(_, value)| version(value)),
        Value::Array(values) => values.iter().find_map(version),
        other => {
            let info = text(other)?;
            let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
            Some(line.trim().to_owned())
        }
    }
}

pub(super) fn count(value: &Value) -> Result<usize> {
    number(value).ok_or_else(|| strange("number"))
}

pub(super) fn guarded(value: Value) -> Result<Vec<Guarded>> {
    let outcomes = array(value)?.into_iter().map(|word| match text(&word).as_deref() {
        Some("applied") => Ok(Guarded::Applied),
        Some("lost") => Ok(Guarded::Lost),
        _ => Err(strange("outcome of a guarded move")),
    });
    outcomes.collect()
}

pub(super) fn inserted(value: Value) -> Result<Vec<Inserted>> {
    let outcomes = array(value)?.into_iter().map(|outcome| {
        let words: Vec<String> = array(outcome)?.iter().filter_map(text).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let id = |id: &str| JobId::parse(id).map_err(|_| strange("job id"));
        match words[..] {
            ["new"] => Ok(Inserted::New),
            ["replayed", first] => Ok(Inserted::Replayed(id(first)?)),
            ["duplicate", holder] => Ok(Inserted::Duplicate(id(holder)?)),
            ["reused"] => Ok(Inserted::RequestReused),
            ["exists", state] => {
                let state = state.bytes().next().and_then(State::from_letter);
                Ok(Inserted::Exists(state.ok_or_else(|| strange("state"))?))
            }
            ["withheld"] => Ok(Inserted::Withheld),
            _ => Err(strange("outcome of an insert")),
        }
    });
    outcomes.collect()
}

/// Jobs as prelude.lua's `answer()` sends them. One that can't be read is passed over, so that it
/// does not keep the others from being leased and swept; reading it by name tells what is wrong.
pub(super) fn jobs(queue: &QueueName, value: Value) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for value in array(value)? {
        match codec::job(queue, answer(value)?) {
            Ok(job) => jobs.push(job),
            Err(error @ Error::Corrupt { .. }) => tracing::error!(%error, "a job is passed over"),
            Err(error) => return Err(error),
        }
    }
    Ok(jobs)
}

/// One job or none.
pub(super) fn job(queue: &QueueName, value: Value) -> Result<Option<Job>> {
    match value {
        Value::Nil => Ok(None),
        value => codec::job(queue, answer(value)?).map(Some),
    }
}

fn answer(value: Value) -> Result<Answer> {
    let parts: [Value; 5] = array(value)?.try_into().map_err(|_| strange("job"))?;
    let [id, record, deadline, lease, details] = parts;
    let (Some(id), Some(record)) = (bytes(id), bytes(record)) else {
        return Err(strange("job"));
    };
    Ok(Answer {
        id,
        record,
        deadline: moment(&deadline),
        lease: bytes(lease),
        details: fields(details)?,
    })
}

fn fields(value: Value) -> Result<Vec<(Bytes, Bytes)>> {
    let mut fields = Vec::new();
    let mut parts = array(value)?.into_iter().filter_map(bytes);
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        fields.push((name, value));
    }
    Ok(fields)
}

pub(super) fn queues(value: Value) -> Result<Vec<QueueName>> {
    let names = array(value)?;
    Ok(names.iter().filter_map(text).filter_map(|name| QueueName::parse(&name).ok()).collect())
}

/// What survey.lua tells.
pub(super) fn survey(value: Value) -> Result<(Counts, Option<Timestamp>)> {
    let values = array(value)?;
    let counts: Vec<u64> = values.iter().take(8).filter_map(number).collect();
    let [scheduled, ready, leased, retrying, succeeded, dead, cancelled, expired] = counts[..]
    else {
        return Err(strange("survey"));
    };
    let counts = Counts {
        scheduled,
        ready,
        leased,
        retrying,
        blocked: 0,
        succeeded,
        dead,
        cancelled,
        expired,
    };
    Ok((counts, values.get(8).and_then(moment)))
}

pub(super) fn entries(queue: &QueueName, value: Value) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for value in array(value)? {
        let [id, parts]: [Value; 2] = array(value)?.try_into().map_err(|_| strange("event"))?;
        let id = text(&id).as_deref().and_then(log::parse_id);
        let id = id.ok_or_else(|| strange("stream id"))?;
        entries.extend(log::entry(queue, id, fields(parts)?));
    }
    Ok(entries)
}

pub(super) fn position(value: Value) -> Result<Position> {
    if value == Value::Nil {
        return Ok(Position::default());
    }
    let parts = array(value)?;
    let number = parts.first().and_then(number);
    let entry = parts.get(1).and_then(text).as_deref().and_then(log::parse_id);
    match (number, entry) {
        (Some(number), Some(entry)) => Ok(Position { entry, number }),
        _ => Err(strange("log position")),
    }
}

pub(super) fn time(value: Value) -> Result<Timestamp> {
    let parts: Vec<u64> = array(value)?.iter().filter_map(number).collect();
    match parts[..] {
        [seconds, micros] => Ok(Timestamp::from_millis(seconds * 1000 + micros / 1000)),
        _ => Err(strange("time")),
    }
}

//! Answers of the server, made values.

use bytes::Bytes;
use redis::Value;

use super::codec::{self, Answer};
use super::log;
use crate::clock::Timestamp;
use crate::job::{Job, JobId, QueueName, State};
use crate::store::record::decode_cancel;
use crate::store::{
    Claimed, Counts, Document, Entry, Error, Extended, Gate, Group, Guarded, Inserted, Mark,
    Minute, Page, Position, Result, Room, Survey, Totals,
};

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

/// A time as a zset's score tells it; `None` for nil.
pub(super) fn moment(value: &Value) -> Option<Timestamp> {
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

/// What commit.lua answers.
pub(super) fn guarded(value: Value) -> Result<Vec<Guarded>> {
    array(value)?.into_iter().map(guarded_one).collect()
}

fn guarded_one(value: Value) -> Result<Guarded> {
    let words = words(value);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["applied"] => Ok(Guarded::Applied),
        ["lost"] => Ok(Guarded::Lost),
        ["refused", index, ref why @ ..] => {
            let index = index.parse().map_err(|_| strange("index"))?;
            Ok(Guarded::Refused { index, why: inserted_one(why, Room::default())? })
        }
        _ => Err(strange("outcome of a guarded move")),
    }
}

/// What extend.lua answers.
pub(super) fn extended(value: Value) -> Result<Vec<Extended>> {
    let outcomes = array(value)?.into_iter().map(|outcome| {
        let Value::Array(parts) = outcome else { return Ok(Extended::Lost) };
        let [until, cancel]: [Value; 2] = parts.try_into().map_err(|_| strange("lease"))?;
        let cancel = bytes(cancel).filter(|cancel| !cancel.is_empty()).map(decode_cancel);
        Ok(Extended::Held {
            until: moment(&until).ok_or_else(|| strange("time"))?,
            cancel: cancel.transpose().map_err(|_| strange("cancellation"))?,
        })
    });
    outcomes.collect()
}

/// What claim.lua answers.
pub(super) fn claimed(queue: &QueueName, value: Value) -> Result<Claimed> {
    let mut claims = array(value)?.into_iter();
    let gate = match claims.next() {
        None | Some(Value::Nil) => None,
        Some(gate) => Some(self::gate(gate)?),
    };
    let jobs: Vec<_> = claims.map(|claim| jobs(queue, claim)).collect::<Result<_>>()?;
    Ok(Claimed { exhausted: vec![false; jobs.len()], jobs, gate })
}

fn gate(value: Value) -> Result<Gate> {
    let words = array(value)?;
    match (words.first().and_then(text).as_deref(), words.get(1).and_then(moment)) {
        (Some("paused"), _) => Ok(Gate::Paused),
        (Some("full"), _) => Ok(Gate::Full),
        (Some("limited"), Some(until)) => Ok(Gate::Limited { until }),
        _ => Err(strange("gate")),
    }
}

/// What insert.lua answers for these groups.
pub(super) fn inserted(
    values: impl IntoIterator<Item = Value>,
    groups: &[Group],
) -> Result<Vec<Vec<Inserted>>> {
    let mut values = values.into_iter();
    let outcomes = |group: &Group| {
        let outcomes = values.by_ref().take(group.inserts.len()).map(|value| {
            let words = words(value);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            inserted_one(&words, group.room)
        });
        outcomes.collect::<Result<Vec<_>>>()
    };
    groups.iter().map(outcomes).collect()
}

fn inserted_one(words: &[&str], room: Room) -> Result<Inserted> {
    let id = |id: &str| JobId::parse(id).map_err(|_| strange("job id"));
    let state = |state: &str| {
        let state = state.bytes().next().and_then(State::from_letter);
        state.ok_or_else(|| strange("state"))
    };
    match *words {
        ["new"] => Ok(Inserted::New),
        ["replayed", first] => Ok(Inserted::Replayed(id(first)?)),
        ["duplicate", holder] => Ok(Inserted::Duplicate(id(holder)?)),
        ["replaced", holder] => Ok(Inserted::Replaced(id(holder)?)),
        ["behind", holder] => Ok(Inserted::Behind(id(holder)?)),
        ["rejected", holder, at] => Ok(Inserted::Rejected(id(holder)?, state(at)?)),
        ["full"] => Ok(Inserted::Full(room)),
        ["reused"] => Ok(Inserted::RequestReused),
        ["exists", at] => Ok(Inserted::Exists(state(at)?)),
        ["withheld"] => Ok(Inserted::Withheld),
        _ => Err(strange("outcome of an insert")),
    }
}

/// A word, or several.
fn words(value: Value) -> Vec<String> {
    match value {
        Value::Array(words) => words.iter().filter_map(text).collect(),
        word => text(&word).into_iter().collect(),
    }
}

/// A page of jobs: the mark, then jobs.
pub(super) fn page(queue: &QueueName, value: Value) -> Result<Page> {
    let mut parts = array(value)?;
    if parts.is_empty() {
        return Err(strange("page"));
    }
    let mark = bytes(parts.remove(0)).filter(|mark| !mark.is_empty()).map(Mark);
    Ok(Page { jobs: jobs(queue, Value::Array(parts))?, next: mark })
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
pub(super) fn survey(value: Value) -> Result<Survey> {
    let values = array(value)?;
    let numbers: Vec<u64> = values.iter().take(16).filter_map(number).collect();
    let [
        scheduled,
        ready,
        leased,
        retrying,
        blocked,
        succeeded_kept,
        dead_kept,
        cancelled,
        expired,
        enqueued,
        succeeded,
        dead,
        lease_expired,
        enqueued_lately,
        finished_lately,
        bytes,
    ] = numbers[..]
    else {
        return Err(strange("survey"));
    };
    Ok(Survey {
        counts: Counts {
            scheduled,
            ready,
            leased,
            retrying,
            blocked,
            succeeded: succeeded_kept,
            dead: dead_kept,
            cancelled,
            expired,
        },
        totals: Totals { enqueued, succeeded, dead, lease_expired },
        minute: Minute { enqueued: enqueued_lately, finished: finished_lately },
        oldest_ready: values.get(16).and_then(moment),
        bytes,
    })
}

/// A revision, a space, then bytes; `None` when there is nothing.
pub(super) fn revised(value: Value) -> Result<Option<(u64, Bytes)>> {
    let Some(mut bytes) = bytes(value) else { return Ok(None) };
    let end = bytes.iter().position(|byte| *byte == b' ').ok_or_else(|| strange("revision"))?;
    let body = bytes.split_off(end + 1);
    let revision = std::str::from_utf8(&bytes[..end]).ok().and_then(|text| text.parse().ok());
    Ok(Some((revision.ok_or_else(|| strange("revision"))?, body)))
}

/// All documents of a kind, in no order.
pub(super) fn documents(value: Value) -> Result<Vec<Document>> {
    let pairs: Vec<(Value, Value)> = match value {
        Value::Map(pairs) => pairs,
        other => {
            let mut parts = array(other)?.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                pairs.push((key, value));
            }
            pairs
        }
    };
    let mut documents = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        if let (Some(key), Some((revision, body))) = (text(&key), revised(value)?) {
            documents.push(Document { key, revision, body });
        }
    }
    Ok(documents)
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

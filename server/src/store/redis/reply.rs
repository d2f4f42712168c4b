//! Answers of the server, made values.

use bytes::Bytes;
use redis::Value;

use super::codec::{self, Answer};
use super::log;
use crate::clock::Timestamp;
use crate::job::{Job, QueueName, State};
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

/// The texts of an answer that may be of many servers.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| texts(value)).collect(),
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        other => text(other).into_iter().collect(),
    }
}

pub(super) fn count(value: &Value) -> Result<usize> {
    number(value).ok_or_else(|| strange("number"))
}

/// What `commit_any.lua` answers.
pub(super) fn guarded(value: Value) -> Result<Vec<Guarded>> {
    array(value)?.into_iter().map(guarded_one).collect()
}

fn guarded_one(value: Value) -> Result<Guarded> {
    let words = words(value);
    let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
    match words[..] {
        [b"applied"] => Ok(Guarded::Applied),
        [b"lost"] => Ok(Guarded::Lost),
        [b"refused", index, ref why @ ..] => {
            let index = std::str::from_utf8(index).ok().and_then(|index| index.parse().ok());
            let index = index.ok_or_else(|| strange("index"))?;
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

/// What `claim_any.lua` answers, and whether claim.lua would do the next time.
pub(super) fn claimed(queue: &QueueName, value: Value) -> Result<(Claimed, bool)> {
    let mut claims = array(value)?.into_iter();
    let gate = match claims.next() {
        None | Some(Value::Nil) => None,
        Some(gate) => Some(self::gate(gate)?),
    };
    let is_plain = claims.next() == Some(Value::Int(1));
    let mut claimed = Claimed { gate, ..Claimed::default() };
    for claim in claims {
        let mut parts = array(claim)?.into_iter();
        claimed.exhausted.push(parts.next() == Some(Value::Int(1)));
        claimed.jobs.push(jobs(queue, parts)?);
    }
    Ok((claimed, is_plain))
}

/// What claim.lua answers; `leases` are those that the claims make.
pub(super) fn claimed_plain(
    queue: &QueueName,
    value: Value,
    leases: impl Iterator<Item = Bytes>,
) -> Result<Claimed> {
    let mut claimed = Claimed::default();
    for (claim, lease) in array(value)?.into_iter().zip(leases) {
        let mut parts = array(claim)?.into_iter().peekable();
        claimed.exhausted.push(parts.next() == Some(Value::Int(1)));
        let usual = parts.next().as_ref().and_then(moment).ok_or_else(|| strange("lease"))?;
        let mut found = Vec::new();
        if let Some(Value::BulkString(_)) = parts.peek() {
            let ids = parts.next().and_then(bytes).ok_or_else(|| strange("claim"))?;
            let texts = parts.next().map_or(Ok(Vec::new()), array)?;
            let runs = parts.next().and_then(bytes).ok_or_else(|| strange("claim"))?;
            for (id, record) in jobs_in(ids, texts, &runs)? {
                found.push(Answer {
                    id,
                    record,
                    course: None,
                    deadline: Some(usual),
                    lease: Some(lease.clone()),
                    details: Vec::new(),
                });
            }
        }
        for part in parts {
            found.push(answer(part)?);
        }
        claimed.jobs.push(readable(queue, found)?);
    }
    Ok(claimed)
}

/// One run of records in the texts of a claim: 1 if they are in the next text and not in the last one (1
/// byte), how many they are, where the first one begins, and their size (4 bytes each). Those that begin
/// at 0 are texts of their own.
struct Run {
    is_next: bool,
    count: usize,
    start: usize,
    size: usize,
}

impl Run {
    const LENGTH: usize = 13;

    fn of(bytes: &[u8; Self::LENGTH]) -> Self {
        let number = |at| codec::u32_at(bytes, at) as usize;
        Self { is_next: bytes[0] == 1, count: number(1), start: number(5), size: number(9) }
    }
}

/// Ids and records of a claim; ids are of one length.
fn jobs_in(mut ids: Bytes, texts: Vec<Value>, runs: &[u8]) -> Result<Vec<(Bytes, Bytes)>> {
    let (runs, _) = runs.as_chunks();
    let runs = || runs.iter().map(Run::of);
    let total: usize = runs().map(|run| run.count).sum();
    let width = ids.len().checked_div(total).unwrap_or(0);
    let mut jobs = Vec::with_capacity(total.min(ids.len()));
    let (mut texts, mut page) = (texts.into_iter(), Bytes::new());
    let mut next = || texts.next().and_then(bytes).ok_or_else(|| strange("claim"));
    for run in runs() {
        if run.is_next {
            page = next()?;
        }
        for index in 0..run.count {
            let record = if run.start == 0 {
                next()?
            } else {
                let start = run.start + index * run.size;
                page.get(start..start + run.size).map(|it| page.slice_ref(it)).unwrap_or_default()
            };
            if width == 0 || ids.len() < width {
                return Err(strange("claim"));
            }
            jobs.push((ids.split_to(width), record));
        }
    }
    Ok(jobs)
}

/// What `hand_over.lua` answers: how many jobs each claim got, and the end of their leases.
pub(super) fn shares(value: Value) -> Result<Vec<(usize, Timestamp)>> {
    let values = array(value)?;
    let shares = values.chunks_exact(2).map(|share| {
        let deadline = moment(&share[1]).ok_or_else(|| strange("lease"))?;
        Ok((count(&share[0])?, deadline))
    });
    shares.collect()
}

/// Places in a list that finish.lua counts from 1, from 0.
pub(super) fn places(value: Value) -> Result<Vec<usize>> {
    let place =
        |value| count(&value).and_then(|at| at.checked_sub(1).ok_or_else(|| strange("place")));
    array(value)?.into_iter().map(place).collect()
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

/// What `insert_any.lua` answers for these groups.
pub(super) fn inserted(
    values: impl IntoIterator<Item = Value>,
    groups: &[Group],
) -> Result<Vec<Vec<Inserted>>> {
    let mut values = values.into_iter();
    let outcomes = |group: &Group| {
        let outcomes = values.by_ref().take(group.inserts.len()).map(|value| {
            let words = words(value);
            let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
            inserted_one(&words, group.room)
        });
        outcomes.collect::<Result<Vec<_>>>()
    };
    groups.iter().map(outcomes).collect()
}

fn inserted_one(words: &[&[u8]], room: Room) -> Result<Inserted> {
    let id = |id: &[u8]| codec::id_of(id).ok_or_else(|| strange("job id"));
    let state = |state: &[u8]| {
        let state = state.first().copied().and_then(State::from_letter);
        state.ok_or_else(|| strange("state"))
    };
    match *words {
        [b"new"] => Ok(Inserted::New),
        [b"replayed", first] => Ok(Inserted::Replayed(id(first)?)),
        [b"duplicate", holder] => Ok(Inserted::Duplicate(id(holder)?)),
        [b"replaced", holder] => Ok(Inserted::Replaced(id(holder)?)),
        [b"behind", holder] => Ok(Inserted::Behind(id(holder)?)),
        [b"rejected", holder, at] => Ok(Inserted::Rejected(id(holder)?, state(at)?)),
        [b"full"] => Ok(Inserted::Full(room)),
        [b"reused"] => Ok(Inserted::RequestReused),
        [b"exists", at] => Ok(Inserted::Exists(state(at)?)),
        [b"withheld"] => Ok(Inserted::Withheld),
        _ => Err(strange("outcome of an insert")),
    }
}

/// A word, or several.
fn words(value: Value) -> Vec<Bytes> {
    match value {
        Value::Array(words) => words.into_iter().filter_map(bytes).collect(),
        word => bytes(word).into_iter().collect(),
    }
}

/// A page of jobs: the mark, then jobs.
pub(super) fn page(queue: &QueueName, value: Value) -> Result<Page> {
    let mut parts = array(value)?;
    if parts.is_empty() {
        return Err(strange("page"));
    }
    let mark = bytes(parts.remove(0)).filter(|mark| !mark.is_empty()).map(Mark);
    Ok(Page { jobs: jobs(queue, parts)?, next: mark })
}

/// Jobs as job.lua's `answer()` sends them.
pub(super) fn jobs(queue: &QueueName, values: impl IntoIterator<Item = Value>) -> Result<Vec<Job>> {
    let answers: Vec<_> = values.into_iter().map(answer).collect::<Result<_>>()?;
    readable(queue, answers)
}

/// Those of the jobs that can be read. One that can't does not keep the others from being leased and
/// swept; reading it by name tells what is wrong.
fn readable(queue: &QueueName, answers: Vec<Answer>) -> Result<Vec<Job>> {
    let mut jobs = Vec::with_capacity(answers.len());
    for answer in answers {
        match codec::job(queue, answer) {
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
    let parts: [Value; 6] = array(value)?.try_into().map_err(|_| strange("job"))?;
    let [id, record, course, deadline, lease, details] = parts;
    let (Some(id), Some(record)) = (bytes(id), bytes(record)) else {
        return Err(strange("job"));
    };
    Ok(Answer {
        id,
        record,
        course: bytes(course),
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

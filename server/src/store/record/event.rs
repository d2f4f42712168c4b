//! The stored form of events.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use prost::encoding::{decode_key, decode_varint};

use super::{
    FailureRecord, ProgressRecord, Unreadable, failure, failure_record, number_of, progress,
    progress_record, unreadable, value_of, worker,
};
use crate::clock::{Timestamp, millis};
use crate::job::{Event, EventKind, JobId, QueueName, State};

/// Field 1 of a log entry, once per event: so the encodings of single events, joined, are the
/// encoding of all of them.
#[derive(Clone, PartialEq, Message)]
struct EventsRecord {
    #[prost(message, repeated, tag = "1")]
    events: Vec<EventRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct EventRecord {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint64, tag = "2")]
    at: u64,
    #[prost(string, tag = "3")]
    job: String,
    #[prost(string, tag = "4")]
    job_type: String,
    #[prost(btree_map = "string, string", tag = "5")]
    labels: BTreeMap<String, String>,
    #[prost(uint32, tag = "6")]
    from: u32,
    #[prost(uint32, tag = "7")]
    to: u32,
    #[prost(uint32, tag = "8")]
    attempt: u32,
    #[prost(string, optional, tag = "9")]
    worker: Option<String>,
    #[prost(message, optional, tag = "10")]
    progress: Option<ProgressRecord>,
    #[prost(message, optional, tag = "11")]
    failure: Option<FailureRecord>,
    #[prost(uint64, optional, tag = "12")]
    waited_millis: Option<u64>,
    #[prost(uint64, optional, tag = "13")]
    ran_millis: Option<u64>,
    #[prost(string, tag = "14")]
    reason: String,
    #[prost(btree_map = "string, string", tag = "15")]
    trace_context: BTreeMap<String, String>,
    #[prost(string, tag = "16")]
    actor: String,
}

/// Encodes one event so that encodings can be joined into one log entry.
pub fn encode_event(event: &Event) -> Vec<u8> {
    let record = EventRecord {
        kind: kind_number(event.kind),
        at: event.at.as_millis(),
        job: event.job.as_ref().map_or_else(String::new, ToString::to_string),
        job_type: event.job_type.clone(),
        labels: event.labels.clone(),
        from: event.from.map_or(0, |state| u32::from(state.letter())),
        to: event.to.map_or(0, |state| u32::from(state.letter())),
        attempt: event.attempt,
        worker: event.worker.as_ref().map(|worker| worker.as_str().to_owned()),
        progress: event.progress.as_ref().map(progress_record),
        failure: event.failure.as_ref().map(failure_record),
        waited_millis: event.waited.map(millis),
        ran_millis: event.ran.map(millis),
        reason: event.reason.clone(),
        trace_context: event.trace_context.clone(),
        actor: event.actor.clone(),
    };
    EventsRecord { events: vec![record] }.encode_to_vec()
}

/// How many events joined encodings hold; of an unreadable rest none.
pub fn count_events(mut joined: &[u8]) -> usize {
    let mut count = 0;
    while !joined.is_empty() {
        let event = decode_key(&mut joined).ok().and_then(|_| decode_varint(&mut joined).ok());
        let end = event.and_then(|length| usize::try_from(length).ok());
        let Some(rest) = end.and_then(|end| joined.get(end..)) else { break };
        joined = rest;
        count += 1;
    }
    count
}

/// Decodes joined encodings of events of `queue`.
pub fn decode_events(queue: &QueueName, bytes: Bytes) -> Result<Vec<Event>, Unreadable> {
    EventsRecord::decode(bytes)?.events.into_iter().map(|record| event(queue, record)).collect()
}

fn event(queue: &QueueName, record: EventRecord) -> Result<Event, Unreadable> {
    let state = |number: u32| u8::try_from(number).ok().and_then(State::from_letter);
    let kind = kind(record.kind)?;
    let mut event = Event::of_queue(kind, Timestamp::from_millis(record.at), queue.clone());
    if !record.job.is_empty() {
        let job = JobId::parse(&record.job).map_err(|_| unreadable("job id of an event"))?;
        event.job = Some(job);
    }
    event.to = state(record.to);
    event.job_type = record.job_type;
    event.labels = record.labels;
    event.from = state(record.from);
    event.attempt = record.attempt;
    event.worker = worker(record.worker)?;
    event.progress = record.progress.map(progress);
    event.failure = record.failure.map(failure);
    event.waited = record.waited_millis.map(Duration::from_millis);
    event.ran = record.ran_millis.map(Duration::from_millis);
    event.reason = record.reason;
    event.trace_context = record.trace_context;
    event.actor = record.actor;
    Ok(event)
}

const KINDS: [(EventKind, u32); 22] = [
    (EventKind::Created, 1),
    (EventKind::Deduplicated, 2),
    (EventKind::Scheduled, 3),
    (EventKind::Ready, 4),
    (EventKind::Blocked, 5),
    (EventKind::Leased, 6),
    (EventKind::Progress, 7),
    (EventKind::AttemptFailed, 8),
    (EventKind::Retrying, 9),
    (EventKind::Snoozed, 10),
    (EventKind::Released, 11),
    (EventKind::LeaseExpired, 12),
    (EventKind::TimedOut, 13),
    (EventKind::CancelRequested, 14),
    (EventKind::Succeeded, 15),
    (EventKind::Dead, 16),
    (EventKind::Cancelled, 17),
    (EventKind::Expired, 18),
    (EventKind::Purged, 19),
    (EventKind::QueuePaused, 30),
    (EventKind::QueueResumed, 31),
    (EventKind::QueueUpdated, 33),
];

fn kind_number(kind: EventKind) -> u32 {
    number_of(&KINDS, &kind)
}

fn kind(number: u32) -> Result<EventKind, Unreadable> {
    value_of(&KINDS, number, "kind of an event")
}

//! Entries of a queue's event log, as the scripts write them.
//!
//! An entry is a list of forms and bodies: `n` its number; `v` how many events it holds, if not one;
//! `b` encoded events; `w` the worker of events that name none; `c` leases of one claim; `p` promoted
//! jobs; `u` a job that waits for no other any more; `k` an enqueued job that waits for another; `d` a
//! deduplicated enqueue, `x` one that replaced what the other job does.

use std::time::Duration;

use bytes::Bytes;

use super::codec::{u32_at, u64_at};
use crate::clock::Timestamp;
use crate::job::{Event, EventKind, JobId, QueueName, State, WorkerId};
use crate::store::record::decode_events;
use crate::store::{Entry, Position};

/// Reads an entry; `None` for one that this version can't read: a hole is told by its number.
pub(super) fn entry(
    queue: &QueueName,
    id: (u64, u64),
    fields: Vec<(Bytes, Bytes)>,
) -> Option<Entry> {
    let (mut number, mut events, mut worker) = (0, Vec::new(), None);
    for (form, body) in fields {
        match form.first()? {
            b'n' => number = std::str::from_utf8(&body).ok()?.parse().ok()?,
            b'w' => worker = worker_id(&body),
            // For the script that shortens the log.
            b'v' => {}
            b'b' => {
                let mut encoded = decode_events(queue, body).ok()?;
                for event in &mut encoded {
                    let is_leased = [event.from, event.to].contains(&Some(State::Leased));
                    if event.worker.is_none() && is_leased {
                        event.worker.clone_from(&worker);
                    }
                }
                events.append(&mut encoded);
            }
            b'c' => claimed(queue, &body, &mut events)?,
            b'p' => promoted(queue, &body, &mut events)?,
            b'u' => events.push(unblocked(queue, &body)?),
            b'k' => {
                let mut encoded = decode_events(queue, body).ok()?;
                for event in &mut encoded {
                    event.to = Some(State::Blocked);
                }
                events.append(&mut encoded);
            }
            b'x' => events.push(replaced(queue, &body)?),
            b'd' => {
                let (to, job) = (State::from_letter(*body.first()?)?, job_id(&body[1..])?);
                let at = Timestamp::from_millis(id.0);
                events.push(Event::new(EventKind::Deduplicated, at, queue.clone(), job, to));
            }
            _ => return None,
        }
    }
    Some(Entry { position: Position { entry: id, number }, events })
}

fn claimed(queue: &QueueName, body: &[u8], events: &mut Vec<Event>) -> Option<()> {
    let (now, rest) = moment(body)?;
    let (worker, mut rest) = counted(rest)?;
    let worker = worker_id(worker)?;
    while !rest.is_empty() {
        let (id, after) = counted(rest)?;
        let numbers = after.get(..16)?;
        rest = &after[16..];
        let mut event =
            Event::new(EventKind::Leased, now, queue.clone(), job_id(id)?, State::Leased);
        event.from = Some(State::Ready);
        event.attempt = u32_at(numbers, 12).saturating_add(1);
        event.worker = Some(worker.clone());
        event.waited = Some(now.since(Timestamp::from_millis(u64_at(numbers, 0))));
        events.push(event);
    }
    Some(())
}

fn promoted(queue: &QueueName, body: &[u8], events: &mut Vec<Event>) -> Option<()> {
    let (now, mut rest) = moment(body)?;
    while let Some((letter, after)) = rest.split_first() {
        let (id, after) = counted(after)?;
        rest = after;
        let mut event = Event::new(EventKind::Ready, now, queue.clone(), job_id(id)?, State::Ready);
        event.from = State::from_letter(*letter);
        events.push(event);
    }
    Some(())
}

fn unblocked(queue: &QueueName, body: &[u8]) -> Option<Event> {
    let (now, rest) = moment(body)?;
    let (letter, rest) = rest.split_first()?;
    let (id, _) = counted(rest)?;
    let to = State::from_letter(*letter)?;
    let kind = if to == State::Ready { EventKind::Ready } else { EventKind::Scheduled };
    let mut event = Event::new(kind, now, queue.clone(), job_id(id)?, to);
    event.from = Some(State::Blocked);
    Some(event)
}

/// The event of the job that was to be made, told of the job that was there.
fn replaced(queue: &QueueName, body: &[u8]) -> Option<Event> {
    let ([from, to], rest) = body.split_first_chunk()?;
    let (id, created) = counted(rest)?;
    let created = decode_events(queue, Bytes::copy_from_slice(created)).ok()?.pop()?;
    Some(Event {
        kind: EventKind::Deduplicated,
        job: Some(job_id(id)?),
        from: State::from_letter(*from),
        to: State::from_letter(*to),
        reason: "REPLACED".to_owned(),
        ..created
    })
}

/// Milliseconds in decimal, then a semicolon.
fn moment(body: &[u8]) -> Option<(Timestamp, &[u8])> {
    let end = body.iter().position(|byte| *byte == b';')?;
    let millis = std::str::from_utf8(&body[..end]).ok()?.parse().ok()?;
    Some((Timestamp::from_millis(millis), &body[end + 1..]))
}

/// A length of one byte, then so many bytes.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn job_id(bytes: &[u8]) -> Option<JobId> {
    JobId::parse(std::str::from_utf8(bytes).ok()?).ok()
}

fn worker_id(bytes: &[u8]) -> Option<WorkerId> {
    WorkerId::parse(std::str::from_utf8(bytes).ok()?).ok()
}

/// The stream id from which entries were written at or after `moment`.
pub(super) fn id_at(moment: Timestamp) -> String {
    format!("{}-0", moment.as_millis())
}

/// A stream id as text.
pub(super) fn parse_id(text: &str) -> Option<(u64, u64)> {
    let (millis, sequence) = text.split_once('-')?;
    Some((millis.parse().ok()?, sequence.parse().ok()?))
}

/// The stream id before which entries are older than `memory`.
pub(super) fn id_before(now: Timestamp, memory: Duration) -> String {
    id_at(now.before(memory))
}

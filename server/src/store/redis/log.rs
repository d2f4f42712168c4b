//! Entries of a queue's event log, as the scripts write them.
//!
//! An entry is a list of forms and bodies: `n` its number; `v` how many events it holds, if not one;
//! `b` encoded events; `w` the worker of events that name none; `e` enqueued jobs that are ready; `c` and
//! `l` leases of one claim; `s` jobs that succeeded; `p` promoted jobs; `u` a job that waits for no other any more; `k` an enqueued job that waits for another; `d` a
//! deduplicated enqueue, `x` one that replaced what the other job does.

use std::time::Duration;

use bytes::Bytes;

use super::codec::{id_bytes, id_of, u32_at, u64_at};
use super::scripts::{Call, wide};
use crate::clock::{Timestamp, millis};
use crate::job::{Event, EventKind, QueueName, State, Transition, WorkerId};
use crate::store::record::{decode_events, encode_event};
use crate::store::{self, Entry, Insert, Position};

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
            b'e' => enqueued(queue, &body, &mut events)?,
            b'c' => claimed(queue, &body, &mut events)?,
            b'l' => leased(queue, &body, &mut events)?,
            b's' => ended(queue, &body, &mut events)?,
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
                let (to, job) = (State::from_letter(*body.first()?)?, id_of(&body[1..])?);
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
            Event::new(EventKind::Leased, now, queue.clone(), id_of(id)?, State::Leased);
        event.from = Some(State::Ready);
        event.attempt = u32_at(numbers, 12).saturating_add(1);
        event.worker = Some(worker.clone());
        event.waited = Some(now.since(Timestamp::from_millis(u64_at(numbers, 0))));
        events.push(event);
    }
    Some(())
}

/// As claim.lua tells it: place and time of the job's entry in its line stand before its id.
fn leased(queue: &QueueName, body: &[u8], events: &mut Vec<Event>) -> Option<()> {
    let (now, rest) = moment(body)?;
    let (worker, mut rest) = counted(rest)?;
    let worker = worker_id(worker)?;
    while !rest.is_empty() {
        let (entry, after) = counted(rest)?;
        let (attempts, after) = after.split_at_checked(4)?;
        rest = after;
        // Two bytes of the place, then the time in its lower six.
        let since = u64_at(entry.get(4..)?, 0) & 0xFFFF_FFFF_FFFF;
        let mut event = Event::new(
            EventKind::Leased,
            now,
            queue.clone(),
            id_of(entry.get(12..)?)?,
            State::Leased,
        );
        event.from = Some(State::Ready);
        event.attempt = u32_at(attempts, 0).saturating_add(1);
        event.worker = Some(worker.clone());
        event.waited = Some(now.since(Timestamp::from_millis(since)));
        events.push(event);
    }
    Some(())
}

fn enqueued(queue: &QueueName, body: &[u8], events: &mut Vec<Event>) -> Option<()> {
    let (at, rest) = moment(body)?;
    let (job_type, mut rest) = counted(rest)?;
    let job_type = std::str::from_utf8(job_type).ok()?;
    while !rest.is_empty() {
        let (id, after) = counted(rest)?;
        rest = after;
        let mut event = Event::new(EventKind::Created, at, queue.clone(), id_of(id)?, State::Ready);
        job_type.clone_into(&mut event.job_type);
        events.push(event);
    }
    Some(())
}

fn ended(queue: &QueueName, body: &[u8], events: &mut Vec<Event>) -> Option<()> {
    let (at, rest) = moment(body)?;
    let (worker, mut rest) = counted(rest)?;
    let worker = worker_id(worker)?;
    while !rest.is_empty() {
        let (id, after) = counted(rest)?;
        let (numbers, after) = after.split_at_checked(12)?;
        rest = after;
        let mut event =
            Event::new(EventKind::Succeeded, at, queue.clone(), id_of(id)?, State::Succeeded);
        event.from = Some(State::Leased);
        event.attempt = u32_at(numbers, 0);
        event.ran = Some(Duration::from_millis(u64_at(numbers, 4)));
        event.worker = Some(worker.clone());
        events.push(event);
    }
    Some(())
}

/// Forms and bodies of an entry, one after another.
#[derive(Default)]
pub(super) struct Told {
    parts: Vec<(&'static str, Vec<u8>)>,
}

impl Told {
    /// The last body, if it is of this form and goes on; else a new one that begins with `head`.
    fn body(
        &mut self,
        form: &'static str,
        goes_on: bool,
        head: impl FnOnce() -> Vec<u8>,
    ) -> &mut Vec<u8> {
        if !goes_on || self.parts.last().is_none_or(|(last, _)| *last != form) {
            self.parts.push((form, head()));
        }
        let last = self.parts.len() - 1;
        &mut self.parts[last].1
    }

    /// How many arguments it takes.
    pub(super) fn arguments(&self) -> u64 {
        wide(2 * self.parts.len())
    }

    /// Adds the forms and bodies.
    pub(super) fn add(&self, call: &mut Call<'_>) {
        for (form, body) in &self.parts {
            call.text(*form).bytes(body);
        }
    }
}

/// What is told of new jobs that are ready.
pub(super) fn created<'a>(inserts: impl Iterator<Item = &'a Insert>) -> Told {
    let (mut told, mut known) = (Told::default(), None);
    for insert in inserts {
        let spec = &insert.job.spec;
        if insert.reason.is_empty() && spec.trace_context.is_empty() && spec.labels.is_empty() {
            let common = (spec.created, spec.job_type.as_str());
            let goes_on = known.replace(common) == Some(common);
            let body = told.body("e", goes_on, || head(common.0, common.1));
            put_counted(body, id_bytes(&insert.job.name.id).as_ref());
        } else {
            let event = encode_event(&store::created(insert));
            told.body("b", true, Vec::new).extend(event);
        }
    }
    told
}

/// What is told of jobs that succeeded; each knows the attempt that did it.
pub(super) fn succeeded<'a>(transitions: impl Iterator<Item = &'a Transition>) -> Told {
    let (mut told, mut known) = (Told::default(), None);
    for Transition { name, event, attempt, .. } in transitions {
        let worker = attempt.as_ref().and_then(|attempt| attempt.worker.as_ref());
        let common = (event.at, worker.map_or("", |worker| worker.as_str()));
        let goes_on = known.replace(common) == Some(common);
        let body = told.body("s", goes_on, || head(common.0, common.1));
        put_counted(body, id_bytes(&name.id).as_ref());
        body.extend(event.attempt.to_be_bytes());
        body.extend(event.ran.map_or(0, millis).to_be_bytes());
    }
    told
}

/// What events of one body have in common: when, and who or what.
fn head(at: Timestamp, what: &str) -> Vec<u8> {
    let mut head = format!("{};", at.as_millis()).into_bytes();
    put_counted(&mut head, what.as_bytes());
    head
}

/// A length of one byte, then so many bytes; the wire allows no more of what is written so.
fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
    out.extend(bytes);
}

fn promoted(queue: &QueueName, body: &[u8], events: &mut Vec<Event>) -> Option<()> {
    let (now, mut rest) = moment(body)?;
    while let Some((letter, after)) = rest.split_first() {
        let (id, after) = counted(after)?;
        rest = after;
        let mut event = Event::new(EventKind::Ready, now, queue.clone(), id_of(id)?, State::Ready);
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
    let mut event = Event::new(kind, now, queue.clone(), id_of(id)?, to);
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
        job: Some(id_of(id)?),
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

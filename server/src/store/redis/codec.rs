//! A job as Redis holds it, to and fro.
//!
//! A record is a head of fixed width, then the spec ([`crate::store::record`]). Scripts read and
//! rewrite the head in place and never open the spec:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | format, `K` |
//! | 1-2 | priority + 1000 |
//! | 3-6 | the job's own visibility timeout in ms, 0: none |
//! | 7-10 | the job's own attempt timeout in ms, 0: none |
//! | 11-18 | when it expires, 0: never |
//! | 19-22 | revision |
//! | 23, 24-25 | lengths of type and extras |
//! | 26 | `1` when the job has details |
//! | 27 | state letter; while leased, the state before |
//! | 28-35 | time of the state, ms |
//! | 36-39, 40-43, 44-47 | leases, attempts, lost leases, without a lease under way |
//! | 48-55, 56-63 | first leased at, ended at; 0: not yet |
//!
//! Between the head and the spec stand the type and the extras: what scripts must know of a few
//! jobs. An extra is a kind, a length (2) and a value:
//!
//! | kind | value |
//! |---|---|
//! | `u`, `k` | the dedup key; `u`: held until the job is started |
//! | `c` | with any other extra: create time (8), time asked for (8, 0: none); they count, not those of the spec |
//! | `t` | a term under which the job is indexed: `o` and its owner, or `l`, the length of a label's key, `:`, the key and the value |
//!
//! Numbers are big endian. A lease is: secret (8), begun at (8), visibility timeout in ms if the
//! worker chose one (4), latest end that a cancellation set (8, 0: none), worker.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::keys;
use crate::clock::{Timestamp, millis};
use crate::job::{
    Cancel, Counters, DEFAULT_LEASE_DURATION, Dedup, DedupScope, Details, Job, JobId, JobName,
    Lease, LeaseSecret, QueueName, Spec, State, Transition, WorkerId,
};
use crate::store::record::{self, Unreadable};
use crate::store::{Claim, Error, Result};

/// Width of the head.
const HEAD: usize = 64;
const FORMAT: u8 = b'K';
/// Where the flag of the details stands.
const FLAG: usize = 26;
/// Bytes of a lease before the worker.
const LEASE: usize = 28;

/// The parts of a head that change.
struct Changing {
    state: State,
    at: Timestamp,
    counters: Counters,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
}

impl Changing {
    fn put(&self, out: &mut BytesMut) {
        let moment = |moment: Option<Timestamp>| moment.map_or(0, Timestamp::as_millis);
        out.put_u8(self.state.letter());
        out.put_u64(self.at.as_millis());
        out.put_u32(self.counters.deliveries);
        out.put_u32(self.counters.attempts);
        out.put_u32(self.counters.lease_losses);
        out.put_u64(moment(self.started));
        out.put_u64(moment(self.ended));
    }
}

/// The record of a new job.
pub(super) fn new_record(job: &Job) -> Bytes {
    let Job { state, at, counters, started, ended, .. } = *job;
    whole_record(&job.spec, job.revision, &Changing { state, at, counters, started, ended })
}

/// The record of a job after a transition that changes its spec.
pub(super) fn changed_record(transition: &Transition, spec: &Spec, revision: u32) -> Bytes {
    whole_record(spec, revision, &changing(transition))
}

fn whole_record(spec: &Spec, revision: u32, changing: &Changing) -> Bytes {
    let body = record::encode_spec(spec);
    let extras = extras(spec);
    let mut out = BytesMut::with_capacity(HEAD + spec.job_type.len() + extras.len() + body.len());
    out.put_u8(FORMAT);
    out.put_i16(spec.priority + 1000);
    out.put_u32(spec.lease_duration.map_or(0, short_millis));
    out.put_u32(spec.attempt_timeout.map_or(0, short_millis));
    out.put_u64(spec.expires.map_or(0, Timestamp::as_millis));
    out.put_u32(revision);
    // The wire allows far less of both.
    out.put_u8(u8::try_from(spec.job_type.len()).unwrap_or(u8::MAX));
    out.put_u16(u16::try_from(extras.len()).unwrap_or(u16::MAX));
    out.put_u8(b'0');
    changing.put(&mut out);
    out.put_slice(spec.job_type.as_bytes());
    out.put_slice(&extras);
    out.put_slice(&body);
    out.freeze()
}

/// True when scripts must know more of the job than its head and its type.
pub(super) fn has_extras(spec: &Spec) -> bool {
    spec.dedup.is_some() || !spec.labels.is_empty() || !spec.owner.is_empty()
}

/// What scripts must know of a few jobs.
fn extras(spec: &Spec) -> BytesMut {
    let mut out = BytesMut::new();
    let mut put = |kind: u8, value: &[u8]| {
        out.put_u8(kind);
        out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        out.put_slice(value);
    };
    if !has_extras(spec) {
        return out;
    }
    if let Some(Dedup { key, scope, .. }) = &spec.dedup {
        let until_started = matches!(scope, DedupScope::UntilStarted { .. });
        put(if until_started { b'u' } else { b'k' }, key.as_str().as_bytes());
    }
    let scheduled = spec.scheduled.map_or(0, Timestamp::as_millis);
    put(b'c', &[spec.created.as_millis().to_be_bytes(), scheduled.to_be_bytes()].concat());
    if !spec.owner.is_empty() {
        put(b't', keys::owner_term(&spec.owner).as_bytes());
    }
    for (key, value) in &spec.labels {
        put(b't', keys::label_term(key, value).as_bytes());
    }
    out
}

/// The create time and the time asked for among the extras, if they are there.
fn times_in(mut extras: &[u8]) -> Option<(u64, u64)> {
    while let Some((kind, rest)) = extras.split_first() {
        let (length, rest) = rest.split_at_checked(2)?;
        let length = u16::from_be_bytes(length.try_into().ok()?);
        let (value, rest) = rest.split_at_checked(usize::from(length))?;
        if *kind == b'c' {
            return Some((u64_at(value, 0), u64_at(value, 8)));
        }
        extras = rest;
    }
    None
}

fn changing(transition: &Transition) -> Changing {
    let Transition { to: state, at, counters, started, ended, .. } = *transition;
    Changing { state, at, counters, started, ended }
}

/// The changing part of the head after `transition`.
pub(super) fn changed_head(transition: &Transition) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD);
    changing(transition).put(&mut out);
    out.freeze()
}

/// The lease that a claim makes.
pub(super) fn new_lease(claim: &Claim, now: Timestamp) -> Bytes {
    let mut out = BytesMut::with_capacity(LEASE + claim.worker.as_str().len());
    out.put_u64(claim.secret.0);
    out.put_u64(now.as_millis());
    out.put_u32(claim.lease_duration.map_or(0, short_millis));
    out.put_u64(0);
    out.put_slice(claim.worker.as_str().as_bytes());
    out.freeze()
}

/// A span of at most 49 days in ms; the wire allows far less.
fn short_millis(span: Duration) -> u32 {
    u32::try_from(millis(span)).unwrap_or(u32::MAX)
}

/// A job as prelude.lua's `answer()` sends it.
pub(super) struct Answer {
    /// Its id.
    pub id: Bytes,
    /// Its record.
    pub record: Bytes,
    /// The end of its visibility timeout, while leased.
    pub deadline: Option<Timestamp>,
    /// Its lease, while leased.
    pub lease: Option<Bytes>,
    /// Names and values of its details.
    pub details: Vec<(Bytes, Bytes)>,
}

/// Reads a job.
pub(super) fn job(queue: &QueueName, answer: Answer) -> Result<Job> {
    let id = String::from_utf8_lossy(&answer.id).into_owned();
    decode(queue, answer).map_err(|why| Error::Corrupt {
        name: format!("queues/{queue}/jobs/{id}"),
        why: why.to_string(),
    })
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Head(&'static str),
    #[error("{0}")]
    Record(#[from] Unreadable),
}

fn decode(queue: &QueueName, answer: Answer) -> std::result::Result<Job, Broken> {
    let id = std::str::from_utf8(&answer.id).ok().and_then(|id| JobId::parse(id).ok());
    let id = id.ok_or(Broken::Head("its id is malformed"))?;
    let mut head = answer.record;
    if head.len() < HEAD || head[0] != FORMAT {
        return Err(Broken::Head("it is not a job record"));
    }
    let mut rest = head.split_off(HEAD);
    let (type_length, extras_length) =
        (usize::from(head[23]), usize::from(u16::from_be_bytes([head[24], head[25]])));
    if rest.len() < type_length + extras_length {
        return Err(Broken::Head("it is cut off"));
    }
    let extras = rest.split_to(type_length + extras_length).split_off(type_length);
    let mut spec: Spec = record::decode_spec(rest)?;
    if let Some((created, scheduled)) = times_in(&extras) {
        spec.created = Timestamp::from_millis(created);
        spec.scheduled = Some(scheduled).filter(|ms| *ms > 0).map(Timestamp::from_millis);
    }
    let state = State::from_letter(head[FLAG + 1]).ok_or(Broken::Head("its state is unknown"))?;
    let moment = |at: usize| Some(u64_at(&head, at)).filter(|ms| *ms > 0);
    let (details, cancel) = details(answer.details)?;
    let mut job = Job {
        name: JobName { queue: queue.clone(), id },
        spec,
        state,
        at: Timestamp::from_millis(u64_at(&head, 28)),
        counters: Counters {
            deliveries: u32_at(&head, 36),
            attempts: u32_at(&head, 40),
            lease_losses: u32_at(&head, 44),
        },
        revision: u32_at(&head, 19),
        started: moment(48).map(Timestamp::from_millis),
        ended: moment(56).map(Timestamp::from_millis),
        lease: None,
        cancel: None,
        details,
    };
    if let (Some(bytes), Some(deadline)) = (answer.lease, answer.deadline) {
        let lease = lease(&bytes, &job.spec)?;
        job.state = State::Leased;
        job.at = deadline;
        job.counters = job.counters.leased();
        job.started = job.started.or(Some(lease.started));
        job.lease = Some(lease);
        job.cancel = cancel.filter(|_| u64_at(&bytes, 20) > 0);
    }
    Ok(job)
}

fn lease(bytes: &[u8], spec: &Spec) -> std::result::Result<Lease, Broken> {
    if bytes.len() <= LEASE {
        return Err(Broken::Head("its lease is malformed"));
    }
    let worker = std::str::from_utf8(&bytes[LEASE..]).ok().and_then(|id| WorkerId::parse(id).ok());
    let own = spec.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION);
    Ok(Lease {
        secret: LeaseSecret(u64_at(bytes, 0)),
        worker: worker.ok_or(Broken::Head("its worker id is malformed"))?,
        started: Timestamp::from_millis(u64_at(bytes, 8)),
        duration: match u32_at(bytes, 16) {
            0 => own,
            chosen => Duration::from_millis(u64::from(chosen)),
        },
    })
}

type Left = (Details, Option<Cancel>);

fn details(fields: Vec<(Bytes, Bytes)>) -> std::result::Result<Left, Broken> {
    let (mut details, mut cancel) = (Details::default(), None);
    for (name, value) in fields {
        match name.first() {
            Some(b'p') => details.progress = Some(record::decode_progress(value)?),
            Some(b'c') => details.checkpoint = Some(record::decode_payload(value)?),
            Some(b'r') => details.result = Some(record::decode_payload(value)?),
            Some(b'f') => details.last_failure = Some(record::decode_failure(value)?),
            Some(b'x') => cancel = Some(record::decode_cancel(value)?),
            Some(b'a') => details.attempts.push(record::decode_attempt(value)?),
            _ => return Err(Broken::Head("its details hold an unknown field")),
        }
    }
    details.attempts.sort_unstable_by_key(|attempt| attempt.delivery);
    Ok((details, cancel))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_be_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

//! A job as Redis holds it, to and fro.
//!
//! What never changes after enqueue is its record: a head of fixed width, its type, its extras, its
//! spec ([`crate::store::record`]). Scripts never open the spec:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 64, and 1 if it expires, 2 if its dedup key is held until it is started, 4 if it has timeouts of its own |
//! | 1-2 | priority + 1000 |
//! | 3-6 | revision |
//! | 7, 8-9 | lengths of type and extras |
//! | 10, 11-16 | its state when it was enqueued, and the time of that, ms |
//!
//! What attempts and moves change is its course, which a job has only once it is not as it was
//! enqueued any more. Where the job has just ended by an ack, the attempt that did it follows:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | `1` when the job has details, else `0` |
//! | 1 | state letter; while leased, the state before |
//! | 2-9 | time of the state, ms |
//! | 10-13, 14-17, 18-21 | leases, attempts, lost leases, without a lease under way |
//! | 22-29, 30-37 | first leased at, ended at; 0: not yet |
//!
//! Extras are what scripts must know of a few jobs: a kind, a length (2) and a value:
//!
//! | kind | value |
//! |---|---|
//! | `u`, `k` | the dedup key; `u`: held until the job is started |
//! | `c` | create time (8), time asked for (8, 0: none), for jobs with a key or terms; they count, not those of the spec |
//! | `t` | a term under which the job is indexed: `o` and its owner, or `l`, the length of a label's key, `:`, the key and the value |
//! | `x` | when it expires (8) |
//! | `o` | its own visibility timeout and attempt timeout in ms (4 each, 0: none) |
//!
//! Numbers are big endian. A lease is: secret (8), begun at (8), visibility timeout in ms if the
//! worker chose one (4), latest end that a cancellation set (8, 0: none), `1` if the job has details,
//! nothing (32), size of the record (4), worker. The nothing makes it longer than the values of the
//! packed hashes of Redis, in which each look at a lease would read all others. An id that the broker
//! made is 1 and its 16 bytes; another one is its text.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::keys;
use crate::clock::{Timestamp, millis};
use crate::job::{
    Attempt, Cancel, Counters, DEFAULT_LEASE_DURATION, Dedup, DedupScope, Details, HISTORY, Job,
    JobId, JobName, Lease, LeaseSecret, QueueName, Spec, State, Transition, WorkerId,
};
use crate::store::record::{self, Unreadable};
use crate::store::{Claim, Error, Result};

/// Bytes of a record before the type.
const HEAD: usize = 17;
/// The first byte of a record that has nothing special.
pub(super) const PLAIN: u8 = 64;
/// Bytes of a course without an attempt.
const COURSE: usize = 38;
/// Bytes of a lease before the size of the record.
pub(super) const LEASE: usize = 61;
/// Bytes of a lease before the worker.
const HOLDER: usize = LEASE + 4;

/// An id as scripts have it.
pub(super) enum IdBytes<'i> {
    /// One that a broker made.
    Made([u8; 17]),
    /// One that somebody chose.
    Chosen(&'i str),
}

impl AsRef<[u8]> for IdBytes<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Made(bytes) => bytes,
            Self::Chosen(text) => text.as_bytes(),
        }
    }
}

/// The bytes of this id.
pub(super) fn id_bytes(id: &JobId) -> IdBytes<'_> {
    match id.bits() {
        Some(bits) => {
            let mut bytes = [1; 17];
            bytes[1..].copy_from_slice(&bits.to_be_bytes());
            IdBytes::Made(bytes)
        }
        None => IdBytes::Chosen(id.as_str()),
    }
}

/// The id that scripts have as these bytes.
pub(super) fn id_of(bytes: &[u8]) -> Option<JobId> {
    match bytes.split_first() {
        Some((1, bits)) => Some(JobId::of_bits(u128::from_be_bytes(bits.try_into().ok()?))),
        _ => JobId::parse(std::str::from_utf8(bytes).ok()?).ok(),
    }
}

/// The parts of a course that say where the job stands.
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
pub(super) fn new_record(job: &Job) -> Vec<u8> {
    record_of(&job.spec, job.revision, job.state, job.at)
}

/// The record of a job with another spec; where it stands says its course.
pub(super) fn changed_record(spec: &Spec, revision: u32) -> Vec<u8> {
    record_of(spec, revision, State::Ready, spec.created)
}

fn record_of(spec: &Spec, revision: u32, state: State, at: Timestamp) -> Vec<u8> {
    let extras = extras(spec);
    let payload = spec.payload.as_ref().map_or(0, |payload| payload.data.len());
    let usual = HEAD + spec.job_type.len() + extras.len() + 64;
    let mut out = Vec::with_capacity(usual + payload);
    let until_started = |dedup: &Dedup| matches!(dedup.scope, DedupScope::UntilStarted { .. });
    out.put_u8(
        PLAIN
            + u8::from(spec.expires.is_some())
            + 2 * u8::from(spec.dedup.as_ref().is_some_and(until_started))
            + 4 * u8::from(has_timeouts(spec)),
    );
    out.put_i16(spec.priority + 1000);
    out.put_u32(revision);
    // The wire allows far less of both.
    out.put_u8(u8::try_from(spec.job_type.len()).unwrap_or(u8::MAX));
    out.put_u16(u16::try_from(extras.len()).unwrap_or(u16::MAX));
    out.put_u8(state.letter());
    out.put_uint(at.as_millis(), 6);
    out.put_slice(spec.job_type.as_bytes());
    out.put_slice(&extras);
    record::put_spec(spec, &mut out);
    out
}

pub(super) fn has_timeouts(spec: &Spec) -> bool {
    spec.lease_duration.is_some() || spec.attempt_timeout.is_some()
}

/// True when the job is in more indexes than one.
pub(super) fn is_indexed(spec: &Spec) -> bool {
    is_listed(spec) || spec.expires.is_some()
}

/// True when the job can be met by what its spec says.
fn is_listed(spec: &Spec) -> bool {
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
    if let Some(Dedup { key, scope, .. }) = &spec.dedup {
        let until_started = matches!(scope, DedupScope::UntilStarted { .. });
        put(if until_started { b'u' } else { b'k' }, key.as_str().as_bytes());
    }
    if is_listed(spec) {
        let scheduled = spec.scheduled.map_or(0, Timestamp::as_millis);
        put(b'c', &[spec.created.as_millis().to_be_bytes(), scheduled.to_be_bytes()].concat());
    }
    if !spec.owner.is_empty() {
        put(b't', keys::owner_term(&spec.owner).as_bytes());
    }
    for (key, value) in &spec.labels {
        put(b't', keys::label_term(key, value).as_bytes());
    }
    if let Some(expires) = spec.expires {
        put(b'x', &expires.as_millis().to_be_bytes());
    }
    if has_timeouts(spec) {
        let span = |span: Option<Duration>| span.map_or(0, short_millis).to_be_bytes();
        put(b'o', &[span(spec.lease_duration), span(spec.attempt_timeout)].concat());
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

/// The course after `transition`, without the flag in front.
pub(super) fn changed_course(transition: &Transition) -> Bytes {
    let mut out = BytesMut::with_capacity(COURSE);
    changing(transition).put(&mut out);
    out.freeze()
}

/// The course of a job without details after `transition`, with the attempt that ended it.
pub(super) fn last_course(transition: &Transition, attempt: &Attempt) -> Bytes {
    let mut out = BytesMut::with_capacity(2 * COURSE);
    out.put_u8(b'0');
    changing(transition).put(&mut out);
    out.put_slice(&record::encode_attempt(attempt));
    out.freeze()
}

/// What the leases that a claim makes begin with.
pub(super) fn new_lease(claim: &Claim, now: Timestamp) -> [u8; LEASE] {
    let mut lease = [0; LEASE];
    lease[..8].copy_from_slice(&claim.secret.0.to_be_bytes());
    lease[8..16].copy_from_slice(&now.as_millis().to_be_bytes());
    let duration = claim.lease_duration.map_or(0, short_millis);
    lease[16..20].copy_from_slice(&duration.to_be_bytes());
    lease
}

/// A span of at most 49 days in ms; the wire allows far less.
fn short_millis(span: Duration) -> u32 {
    u32::try_from(millis(span)).unwrap_or(u32::MAX)
}

/// A job as job.lua's `answer()` sends it.
pub(super) struct Answer {
    /// Its id.
    pub id: Bytes,
    /// Its record.
    pub record: Bytes,
    /// Its course, if it has one.
    pub course: Option<Bytes>,
    /// The end of its visibility timeout, while leased.
    pub deadline: Option<Timestamp>,
    /// Its lease, while leased.
    pub lease: Option<Bytes>,
    /// Names and values of its details.
    pub details: Vec<(Bytes, Bytes)>,
}

/// Reads a job.
pub(super) fn job(queue: &QueueName, answer: Answer) -> Result<Job> {
    let id = answer.id.clone();
    decode(queue, answer).map_err(|why| Error::Corrupt {
        name: match id_of(&id) {
            Some(id) => format!("queues/{queue}/jobs/{id}"),
            None => format!("queues/{queue}/jobs/{}", String::from_utf8_lossy(&id)),
        },
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
    let id = id_of(&answer.id).ok_or(Broken::Head("its id is malformed"))?;
    let mut head = answer.record;
    if head.len() < HEAD || head[0] & !7 != PLAIN {
        return Err(Broken::Head("it is not a job record"));
    }
    let mut rest = head.split_off(HEAD);
    let (type_length, extras_length) =
        (usize::from(head[7]), usize::from(u16::from_be_bytes([head[8], head[9]])));
    if rest.len() < type_length + extras_length {
        return Err(Broken::Head("it is cut off"));
    }
    let extras = rest.split_to(type_length + extras_length).split_off(type_length);
    let mut spec: Spec = record::decode_spec(rest)?;
    if let Some((created, scheduled)) = times_in(&extras) {
        spec.created = Timestamp::from_millis(created);
        spec.scheduled = Some(scheduled).filter(|ms| *ms > 0).map(Timestamp::from_millis);
    }
    let (details, cancel) = details(answer.details)?;
    let begun = u64_at(&head, 9) & 0xFFFF_FFFF_FFFF;
    let mut job = Job {
        name: JobName { queue: queue.clone(), id },
        spec: spec.into(),
        state: state(head[10])?,
        at: Timestamp::from_millis(begun),
        counters: Counters::default(),
        revision: u32_at(&head, 3),
        started: None,
        ended: None,
        lease: None,
        cancel: None,
        details,
    };
    if let Some(course) = answer.course {
        follow(&mut job, &course)?;
    }
    if let (Some(bytes), Some(deadline)) = (answer.lease, answer.deadline) {
        let lease = lease(&bytes, &job.spec)?;
        hold(&mut job, lease, deadline);
        job.cancel = cancel.filter(|_| u64_at(&bytes, 20) > 0);
    }
    Ok(job)
}

/// The job is leased until `deadline`.
fn hold(job: &mut Job, lease: Lease, deadline: Timestamp) {
    job.state = State::Leased;
    job.at = deadline;
    job.counters = job.counters.leased();
    job.started = job.started.or(Some(lease.started));
    job.lease = Some(lease);
}

/// A job without timeouts of its own, as it is once `claim` has leased it until `deadline`.
pub(super) fn leased(job: &Job, claim: &Claim, now: Timestamp, deadline: Timestamp) -> Job {
    let lease = Lease {
        secret: claim.secret,
        worker: claim.worker.clone(),
        started: now,
        duration: claim.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION),
    };
    let mut job = job.clone();
    hold(&mut job, lease, deadline);
    job
}

fn state(letter: u8) -> std::result::Result<State, Broken> {
    State::from_letter(letter).ok_or(Broken::Head("its state is unknown"))
}

/// Puts the job where its course says that it is.
fn follow(job: &mut Job, course: &Bytes) -> std::result::Result<(), Broken> {
    if course.len() < COURSE {
        return Err(Broken::Head("its course is cut off"));
    }
    let moment = |at: usize| Some(u64_at(course, at)).filter(|ms| *ms > 0);
    job.state = state(course[1])?;
    job.at = Timestamp::from_millis(u64_at(course, 2));
    job.counters = Counters {
        deliveries: u32_at(course, 10),
        attempts: u32_at(course, 14),
        lease_losses: u32_at(course, 18),
    };
    job.started = moment(22).map(Timestamp::from_millis);
    job.ended = moment(30).map(Timestamp::from_millis);
    if course.len() > COURSE {
        let last = record::decode_attempt(course.slice(COURSE..))?;
        let attempts = &mut job.details_mut().attempts;
        // It has the place of the oldest where there are as many as are kept.
        let slot = last.delivery % HISTORY;
        attempts.retain(|attempt| attempt.delivery % HISTORY != slot);
        attempts.push(last);
    }
    Ok(())
}

fn lease(bytes: &[u8], spec: &Spec) -> std::result::Result<Lease, Broken> {
    if bytes.len() <= HOLDER {
        return Err(Broken::Head("its lease is malformed"));
    }
    let worker = std::str::from_utf8(&bytes[HOLDER..]).ok().and_then(|id| WorkerId::parse(id).ok());
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

type Left = (Arc<Details>, Option<Cancel>);

fn details(fields: Vec<(Bytes, Bytes)>) -> std::result::Result<Left, Broken> {
    if fields.is_empty() {
        return Ok((Details::none(), None));
    }
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
    Ok((details.into(), cancel))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_be_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

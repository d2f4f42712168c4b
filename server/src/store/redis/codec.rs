//! A job as Redis holds it, to and fro.
//!
//! A record is a head of fixed width, then the spec ([`crate::store::record`]). Scripts read and
//! rewrite the head in place and never open the spec:
//!
//! | bytes | field |
//! |---|---|
//! | 0 | format, `J` |
//! | 1-2 | priority + 1000 |
//! | 3-6 | the job's own visibility timeout in ms, 0: none |
//! | 7 | `1` when the job has details |
//! | 8 | state letter; while leased, the state before |
//! | 9-16 | time of the state, ms |
//! | 17-20, 21-24, 25-28 | leases, attempts, lost leases, without a lease under way |
//! | 29-36, 37-44 | first leased at, ended at; 0: not yet |
//!
//! Numbers are big endian. A lease is: secret (8), begun at (8), visibility timeout in ms if the
//! worker chose one (4), worker.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::clock::{Timestamp, millis};
use crate::job::{
    Counters, DEFAULT_LEASE_DURATION, Details, Job, JobId, JobName, Lease, LeaseSecret, QueueName,
    Spec, State, Transition, WorkerId,
};
use crate::store::record::{self, Unreadable};
use crate::store::{Claim, Error, Result};

/// Width of the head.
const HEAD: usize = 45;
const FORMAT: u8 = b'J';

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
    let spec = record::encode_spec(&job.spec);
    let mut out = BytesMut::with_capacity(HEAD + spec.len());
    out.put_u8(FORMAT);
    out.put_i16(job.spec.priority + 1000);
    out.put_u32(job.spec.lease_duration.map_or(0, short_millis));
    out.put_u8(b'0');
    let Job { state, at, counters, started, ended, .. } = *job;
    Changing { state, at, counters, started, ended }.put(&mut out);
    out.put_slice(&spec);
    out.freeze()
}

/// The changing part of the head after `transition`.
pub(super) fn changed_head(transition: &Transition) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD);
    let Transition { to: state, at, counters, started, ended, .. } = *transition;
    Changing { state, at, counters, started, ended }.put(&mut out);
    out.freeze()
}

/// The lease that a claim makes.
pub(super) fn new_lease(claim: &Claim, now: Timestamp) -> Bytes {
    let mut out = BytesMut::with_capacity(20 + claim.worker.as_str().len());
    out.put_u64(claim.secret.0);
    out.put_u64(now.as_millis());
    out.put_u32(claim.lease_duration.map_or(0, short_millis));
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
    let spec: Spec = record::decode_spec(head.split_off(HEAD))?;
    let state = State::from_letter(head[8]).ok_or(Broken::Head("its state is unknown"))?;
    let moment = |at: usize| Some(u64_at(&head, at)).filter(|ms| *ms > 0);
    let mut job = Job {
        name: JobName { queue: queue.clone(), id },
        spec,
        state,
        at: Timestamp::from_millis(u64_at(&head, 9)),
        counters: Counters {
            deliveries: u32_at(&head, 17),
            attempts: u32_at(&head, 21),
            lease_losses: u32_at(&head, 25),
        },
        revision: 0,
        started: moment(29).map(Timestamp::from_millis),
        ended: moment(37).map(Timestamp::from_millis),
        lease: None,
        cancel: None,
        details: details(answer.details)?,
    };
    if let (Some(lease), Some(deadline)) = (answer.lease, answer.deadline) {
        let lease = self::lease(&lease, &job.spec)?;
        job.state = State::Leased;
        job.at = deadline;
        job.counters = job.counters.leased();
        job.started = job.started.or(Some(lease.started));
        job.lease = Some(lease);
    }
    Ok(job)
}

fn lease(bytes: &[u8], spec: &Spec) -> std::result::Result<Lease, Broken> {
    if bytes.len() < 21 {
        return Err(Broken::Head("its lease is malformed"));
    }
    let worker = std::str::from_utf8(&bytes[20..]).ok().and_then(|id| WorkerId::parse(id).ok());
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

fn details(fields: Vec<(Bytes, Bytes)>) -> std::result::Result<Details, Broken> {
    let mut details = Details::default();
    for (name, value) in fields {
        match name.first() {
            Some(b'p') => details.progress = Some(record::decode_progress(value)?),
            Some(b'c') => details.checkpoint = Some(record::decode_payload(value)?),
            Some(b'r') => details.result = Some(record::decode_payload(value)?),
            Some(b'f') => details.last_failure = Some(record::decode_failure(value)?),
            Some(b'a') => details.attempts.push(record::decode_attempt(value)?),
            _ => return Err(Broken::Head("its details hold an unknown field")),
        }
    }
    details.attempts.sort_unstable_by_key(|attempt| attempt.delivery);
    Ok(details)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_be_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

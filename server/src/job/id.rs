//! Names and tokens: parsed once at the edge, then trusted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost::Message;
use uuid::Uuid;

use super::retention::Keep;
use super::schedule::ScheduleId;
use super::{Counters, DEFAULT_ATTEMPT_TIMEOUT};
use crate::clock::{Timestamp, millis};

/// Why a name or token was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(super) &'static str);

/// The name of a queue: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

/// Begins the names of the broker's own queues. Whoever means them has to say so.
pub const OWN_QUEUES: &str = "lessor.";

impl QueueName {
    /// Checks and takes a queue name.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if word(text, b"._-") {
            Ok(Self(text.into()))
        } else {
            Err(ParseError(
                "must be 1 to 128 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit",
            ))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for a queue of the broker's own.
    pub fn is_own(&self) -> bool {
        self.0.starts_with(OWN_QUEUES)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The digits of Crockford's base 32.
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What each character is worth as a digit; 32: it is none.
const DIGIT_VALUES: [u8; 256] = {
    let mut values = [32; 256];
    let mut digit = 0;
    while digit < 32 {
        values[DIGITS[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

/// The id of a job, unique in its queue: `[A-Za-z0-9][A-Za-z0-9._~-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(Arc<str>);

impl JobId {
    /// Checks and takes an id that a caller chose.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if word(text, b"._~-") {
            Ok(Self(text.into()))
        } else {
            Err(ParseError(
                "must be 1 to 128 characters of A-Z a-z 0-9 . _ ~ - and begin with a letter or digit",
            ))
        }
    }

    /// A fresh id: 128 bits of UUID version 7 (RFC 9562: time first, so ids sort by creation)
    /// in the 26 characters of Crockford's base 32, the layout of a ULID.
    pub fn generate() -> Self {
        Self::of_bits(Uuid::now_v7().as_u128())
    }

    /// The id that stands for these bits.
    pub fn of_bits(mut bits: u128) -> Self {
        let mut text = [b'0'; 26];
        for digit in text.iter_mut().rev() {
            *digit = DIGITS[(bits & 31) as usize];
            bits >>= 5;
        }
        Self(String::from_utf8_lossy(&text).into())
    }

    /// The bits that the id stands for, if it has the form of those that [`JobId::generate`] makes.
    pub fn bits(&self) -> Option<u128> {
        let text: &[u8; 26] = self.0.as_bytes().try_into().ok()?;
        // 26 digits hold two bits more than there are.
        if text[0] > b'7' {
            return None;
        }
        text.iter().try_fold(0, |bits: u128, digit| {
            let value = DIGIT_VALUES[usize::from(*digit)];
            (value < 32).then(|| bits << 5 | u128::from(value))
        })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The full name of a job, `queues/{queue}/jobs/{job}`: it carries the queue, so any broker finds
/// the job without an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName {
    /// The queue that holds the job.
    pub queue: QueueName,
    /// The job's id in that queue.
    pub id: JobId,
}

impl JobName {
    /// Checks and takes a full name.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let wrong = ParseError("must be queues/{queue}/jobs/{job}");
        let rest = text.strip_prefix("queues/").ok_or_else(|| wrong.clone())?;
        let (queue, id) = rest.split_once("/jobs/").ok_or_else(|| wrong.clone())?;
        match (QueueName::parse(queue), JobId::parse(id)) {
            (Ok(queue), Ok(id)) => Ok(Self { queue, id }),
            _ => Err(wrong),
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = ["queues/", self.queue.as_str(), "/jobs/", self.id.as_str()];
        parts.into_iter().try_for_each(|part| f.write_str(part))
    }
}

/// Who holds leases: 1 to 128 printable ASCII characters, unique per process start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// Checks and takes a worker id.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if printable(text, 128) {
            Ok(Self(text.into()))
        } else {
            Err(ParseError("must be 1 to 128 printable ASCII characters"))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes two enqueues the same business event: 1 to 256 printable ASCII characters, per queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupKey(Arc<str>);

impl DedupKey {
    /// Checks and takes a dedup key.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if printable(text, 256) {
            Ok(Self(text.into()))
        } else {
            Err(ParseError("must be 1 to 256 printable ASCII characters"))
        }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The namespace of the request ids of ticks (RFC 9562, version 5).
const TICKS: Uuid = Uuid::from_u128(0xb1c2_3d9a_5f7e_4c0b_9a46_0e7d_52c8_91f3);

/// The namespace of the request ids of moves between queues.
const MOVES: Uuid = Uuid::from_u128(0x6d0e_47a1_93b5_4f28_8c6d_21fa_0b7e_95c4);

/// The namespace of the request ids of events.
const EVENTS: Uuid = Uuid::from_u128(0x2e83_5b6f_c1d0_4d97_a5e2_7b09_f4c3_68d1);

/// Names one request, so that repeating it is safe: a UUID that the client made (AIP-155).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Uuid);

impl RequestId {
    /// Checks and takes a request id.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Uuid::try_parse(text).map(Self).map_err(|_| ParseError("must be a UUID"))
    }

    /// A fresh one: a UUID of version 7 (RFC 9562: time first).
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The request that one tick of a schedule makes: the same on every broker, and another one for
    /// a schedule of the same name that is made later.
    pub fn of_tick(schedule: &ScheduleId, created: Timestamp, tick: Timestamp) -> Self {
        let name = format!("{schedule}\n{}\n{}", created.as_millis(), tick.as_millis());
        Self(Uuid::new_v5(&TICKS, name.as_bytes()))
    }

    /// The request that makes a job of an event, in this queue: the same on every broker.
    pub fn of_event(queue: &QueueName, event: &str) -> Self {
        Self(Uuid::new_v5(&EVENTS, format!("{queue}\n{event}").as_bytes()))
    }

    /// The request that moves a job to another queue: the same however often the same version of
    /// it, which `digest` stands for, is moved.
    pub fn of_move(job: &JobName, to: &QueueName, digest: u64) -> Self {
        Self(Uuid::new_v5(&MOVES, format!("{job}\n{to}\n{digest}").as_bytes()))
    }

    /// The request that follows this one within the same call.
    #[must_use]
    pub fn next(&self) -> Self {
        Self(Uuid::new_v5(&self.0, b"next"))
    }

    /// The 16 bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_simple())
    }
}

/// The ids of the jobs that one request asks for: the same each time. They begin as the request does, so
/// that requests with UUIDs of version 7 make ids that sort by creation, and follow each other in the
/// order of the jobs.
#[derive(Clone, Copy, Debug)]
pub struct JobIds(u128);

impl JobIds {
    /// The ids of the jobs of this request.
    pub fn of(request: &RequestId) -> Self {
        const TIME: u128 = u128::MAX << 80;
        // Room for the numbers of the jobs.
        const NUMBERS: u128 = 0xfff;
        let own = Uuid::new_v5(&request.0, b"jobs").as_u128();
        Self((request.0.as_u128() & TIME) | (own & !TIME & !NUMBERS))
    }

    /// The id of the job with this number, counted from 0.
    pub fn at(&self, number: u32) -> JobId {
        JobId::of_bits(self.0.wrapping_add(number.into()))
    }
}

/// The secret of one lease. A settle must show it: it fences off whoever held the job before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseSecret(pub u64);

/// Proof of one lease, opaque to clients.
///
/// It carries all that an ack needs to be decided, so an ack is one guarded move and no read.
/// It fences, it does not authorise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseToken {
    /// The leased job.
    pub name: JobName,
    /// What the store compares: a settle applies only while the job's lease has this secret.
    pub secret: LeaseSecret,
    /// The job's counters while under this lease.
    pub counters: Counters,
    /// When this lease began.
    pub leased_at: Timestamp,
    /// When the job was first leased.
    pub first_leased_at: Timestamp,
    /// The visibility timeout that the lease was made with.
    pub lease_duration: Duration,
    /// How long the attempt may take, however often the lease is extended.
    pub attempt_timeout: Duration,
    /// What to keep once the job has succeeded.
    pub keep: Keep,
    /// The job holds a dedup key, which its end gives free.
    pub has_dedup: bool,
    /// Who holds the lease.
    pub worker: WorkerId,
}

#[derive(Clone, PartialEq, Message)]
struct TokenRecord {
    #[prost(string, tag = "1")]
    queue: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(fixed64, tag = "3")]
    secret: u64,
    #[prost(uint32, tag = "4")]
    deliveries: u32,
    #[prost(uint32, tag = "5")]
    attempts: u32,
    #[prost(uint32, tag = "6")]
    lease_losses: u32,
    #[prost(uint64, tag = "7")]
    leased_at: u64,
    #[prost(uint64, tag = "8")]
    first_leased_before: u64,
    #[prost(uint64, tag = "9")]
    lease_millis: u64,
    #[prost(uint64, optional, tag = "10")]
    keep_millis: Option<u64>,
    #[prost(uint32, optional, tag = "11")]
    keep_count: Option<u32>,
    #[prost(bool, tag = "12")]
    has_dedup: bool,
    #[prost(uint64, optional, tag = "13")]
    attempt_millis: Option<u64>,
    #[prost(string, tag = "14")]
    worker: String,
}

impl LeaseToken {
    /// Checks and takes a token as a client shows it.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let wrong = ParseError("is not a lease token");
        if text.len() > 1024 {
            return Err(wrong);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong.clone())?;
        let record = TokenRecord::decode(bytes.as_slice()).map_err(|_| wrong.clone())?;
        let (Ok(queue), Ok(id), Ok(worker)) = (
            QueueName::parse(&record.queue),
            JobId::parse(&record.id),
            WorkerId::parse(&record.worker),
        ) else {
            return Err(wrong);
        };
        let leased_at = Timestamp::from_millis(record.leased_at);
        Ok(Self {
            name: JobName { queue, id },
            secret: LeaseSecret(record.secret),
            counters: Counters {
                deliveries: record.deliveries,
                attempts: record.attempts,
                lease_losses: record.lease_losses,
            },
            leased_at,
            first_leased_at: leased_at.before(Duration::from_millis(record.first_leased_before)),
            lease_duration: Duration::from_millis(record.lease_millis),
            attempt_timeout: record
                .attempt_millis
                .map_or(DEFAULT_ATTEMPT_TIMEOUT, Duration::from_millis),
            keep: Keep {
                span: record.keep_millis.map_or(Keep::SUCCEEDED.span, Duration::from_millis),
                count: match record.keep_count {
                    None => Keep::SUCCEEDED.count,
                    Some(0) => None,
                    some => some,
                },
            },
            has_dedup: record.has_dedup,
            worker,
        })
    }
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Keep::SUCCEEDED;
        let record = TokenRecord {
            queue: self.name.queue.to_string(),
            id: self.name.id.to_string(),
            secret: self.secret.0,
            deliveries: self.counters.deliveries,
            attempts: self.counters.attempts,
            lease_losses: self.counters.lease_losses,
            leased_at: self.leased_at.as_millis(),
            first_leased_before: millis(self.leased_at.since(self.first_leased_at)),
            lease_millis: millis(self.lease_duration),
            keep_millis: (self.keep.span != usual.span).then(|| millis(self.keep.span)),
            keep_count: (self.keep.count != usual.count).then(|| self.keep.count.unwrap_or(0)),
            has_dedup: self.has_dedup,
            attempt_millis: (self.attempt_timeout != DEFAULT_ATTEMPT_TIMEOUT)
                .then(|| millis(self.attempt_timeout)),
            worker: self.worker.as_str().to_owned(),
        };
        f.write_str(&URL_SAFE_NO_PAD.encode(record.encode_to_vec()))
    }
}

fn word(text: &str, also: &[u8]) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && text.len() <= 128
        && bytes.all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
}

fn printable(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most && text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

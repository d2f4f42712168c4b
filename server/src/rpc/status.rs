//! What a call answers when it fails: one table, and one match that picks from it.
//!
//! Two audiences: the caller gets a short sentence, a code and a stable reason; the log gets the
//! cause, once, here. The table is printed into `docs/protocol.md`, and a test compares the two.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::convert::field::{Rule, Violations};
use super::convert::job;
use crate::auth::Role;
use crate::broker;
use crate::job::Outcome;
use crate::job::operate::Refusal;
use crate::store::Room;

/// Who gives the reasons.
const DOMAIN: &str = "lessor.dev";

/// Why a call failed, in a word that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    NoCredential,
    Expired,
    Role,
    NotOwner,
    InvalidField,
    PayloadTooLarge,
    BadLeaseToken,
    JobNotFound,
    JobExists,
    Duplicate,
    JobTerminal,
    JobLeased,
    WrongState,
    EtagMismatch,
    QueueNotFound,
    WorkerNotFound,
    QueueNotEmpty,
    ScheduleNotFound,
    ScheduleExists,
    RequestIdReused,
    LeaseLost,
    LeaseSettled,
    RateLimited,
    TooManyStreams,
    QueueFull,
    StoreMemory,
    StoreUnavailable,
    KeysUnavailable,
    WorkerSilent,
    Draining,
    CursorTrimmed,
    StoreReset,
    RecordCorrupt,
    FeatureDisabled,
    Internal,
}

/// What the table says of one reason.
#[cfg_attr(not(test), expect(dead_code, reason = "a test prints some of it into the docs"))]
struct Row {
    /// The reason on the wire.
    word: &'static str,
    code: Code,
    /// Keys of the metadata of `ErrorInfo`.
    metadata: &'static [&'static str],
    /// The detail that comes with `ErrorInfo`.
    detail: Detail,
    /// How long to wait before the next try; such a status carries `RetryInfo`.
    retry_after: Option<Duration>,
    /// When it is given.
    when: &'static str,
    /// What the caller should do.
    advice: &'static str,
}

/// The detail of what is about a job.
const JOB: Detail = Detail::Resource("lessor.v1.Job");

/// The detail of what is about a schedule.
const SCHEDULE: Detail = Detail::Resource("lessor.v1.Schedule");

/// Which details come beside `ErrorInfo` and `RetryInfo`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    None,
    /// `BadRequest`: the fields that are wrong.
    Fields,
    /// `ResourceInfo`: what there is not, or is already, with its type.
    Resource(&'static str),
    /// `PreconditionFailure`: the job or queue, with the reason as its type.
    Precondition,
    /// `QuotaFailure`: the store, the queue, the broker or the caller.
    Quota,
}

const fn row(
    word: &'static str,
    code: Code,
    detail: Detail,
    when: &'static str,
    advice: &'static str,
) -> Row {
    Row { word, code, metadata: &[], detail, retry_after: None, when, advice }
}

impl Row {
    const fn with(self, metadata: &'static [&'static str]) -> Self {
        Self { metadata, ..self }
    }

    const fn after(self, millis: u64) -> Self {
        Self { retry_after: Some(Duration::from_millis(millis)), ..self }
    }
}

impl Reason {
    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Self::NoCredential => row("NO_CREDENTIAL", Code::Unauthenticated, Detail::None,
                "the call has no credential, or one that is not known", "get one"),
            Self::Expired => row("EXPIRED", Code::Unauthenticated, Detail::None,
                "the credential was good and is no longer", "get a new one"),
            Self::Role => row("ROLE", Code::PermissionDenied, Detail::None,
                "no role of the caller allows the call in this queue", "ask for the role")
                .with(&["role"]),
            Self::NotOwner => row("NOT_OWNER", Code::PermissionDenied, Detail::None,
                "the caller may only touch its own jobs, and this is none; whether there is such a job is not told", "stop"),
            Self::InvalidField => row("INVALID_FIELD", Code::InvalidArgument, Detail::Fields,
                "a field is missing, malformed, out of range or not built yet", "fix the request"),
            Self::PayloadTooLarge => row("PAYLOAD_TOO_LARGE", Code::InvalidArgument, Detail::Fields,
                "a payload, result, checkpoint or request is over its limit", "store it elsewhere and send a reference")
                .with(&["limitBytes", "actualBytes"]),
            Self::BadLeaseToken => row("BAD_LEASE_TOKEN", Code::InvalidArgument, Detail::Fields,
                "the lease token is malformed", "fix the bug"),
            Self::JobNotFound => row("JOB_NOT_FOUND", Code::NotFound, JOB,
                "there is no such job, or no longer", "stop"),
            Self::JobExists => row("JOB_EXISTS", Code::AlreadyExists, JOB,
                "the chosen `job_id` is taken", "use that job")
                .with(&["state"]),
            Self::Duplicate => row("DUPLICATE", Code::AlreadyExists, JOB,
                "the dedup key is held and `on_duplicate` is REJECT", "use that job")
                .with(&["state"]),
            Self::JobTerminal => row("JOB_TERMINAL", Code::FailedPrecondition, Detail::Precondition,
                "the job is finished", "read it again")
                .with(&["state"]),
            Self::JobLeased => row("JOB_LEASED", Code::FailedPrecondition, Detail::Precondition,
                "a worker holds the job", "cancel it, revoke its lease, or wait")
                .with(&["state"]),
            Self::WrongState => row("WRONG_STATE", Code::FailedPrecondition, Detail::Precondition,
                "the call is for jobs in another state", "read it again")
                .with(&["state"]),
            Self::EtagMismatch => row("ETAG_MISMATCH", Code::Aborted, Detail::None,
                "what the `etag` is of has changed since", "read it again, and decide anew"),
            Self::QueueNotFound => row("QUEUE_NOT_FOUND", Code::NotFound, Detail::Resource("lessor.v1.Queue"),
                "there is no such queue", "stop"),
            Self::WorkerNotFound => row("WORKER_NOT_FOUND", Code::NotFound, Detail::Resource("lessor.v1.Worker"),
                "no such worker was seen lately", "stop"),
            Self::QueueNotEmpty => row("QUEUE_NOT_EMPTY", Code::FailedPrecondition, Detail::Precondition,
                "the queue holds jobs", "finish or purge them, or set `force`"),
            Self::ScheduleNotFound => row("SCHEDULE_NOT_FOUND", Code::NotFound, SCHEDULE,
                "there is no such schedule", "stop"),
            Self::ScheduleExists => row("SCHEDULE_EXISTS", Code::AlreadyExists, SCHEDULE,
                "the chosen `schedule_id` is taken", "use that schedule, or another id"),
            Self::RequestIdReused => row("REQUEST_ID_REUSED", Code::FailedPrecondition, Detail::None,
                "the `request_id` was used for another request", "fix the bug"),
            Self::LeaseLost => row("LEASE_LOST", Code::FailedPrecondition, Detail::Precondition,
                "somebody else has or had the job since, or it is gone", "drop the work, never retry")
                .with(&["state", "currentAttempt"]),
            Self::LeaseSettled => row("LEASE_SETTLED", Code::FailedPrecondition, Detail::Precondition,
                "the lease was settled before, by another verb", "log it")
                .with(&["outcome"]),
            Self::RateLimited => row("RATE_LIMITED", Code::ResourceExhausted, Detail::Quota,
                "the caller calls more often than it may, or more work waits for the store than the broker keeps", "back off")
                .after(500),
            Self::TooManyStreams => row("TOO_MANY_STREAMS", Code::ResourceExhausted, Detail::Quota,
                "more calls are under way than the broker serves, or more streams and waits than the caller may have", "back off")
                .after(1000),
            Self::QueueFull => row("QUEUE_FULL", Code::ResourceExhausted, Detail::Quota,
                "the queue holds as many unfinished jobs, or bytes of them, as it may; settles still work", "back off")
                .with(&["limit", "unit"])
                .after(1000),
            Self::StoreMemory => row("STORE_MEMORY", Code::ResourceExhausted, Detail::Quota,
                "the store is out of memory or disk; settles still work", "back off")
                .after(1000),
            Self::StoreUnavailable => row("STORE_UNAVAILABLE", Code::Unavailable, Detail::None,
                "the store is away, starting, failing over or read-only", "retry")
                .after(500),
            Self::KeysUnavailable => row("KEYS_UNAVAILABLE", Code::Unavailable, Detail::None,
                "the keys that JWTs are checked with could not be fetched since the broker started", "retry")
                .after(1000),
            Self::WorkerSilent => row("WORKER_SILENT", Code::Unavailable, Detail::None,
                "nothing came on a Work stream for three ping intervals", "open a new stream")
                .after(250),
            Self::Draining => row("DRAINING", Code::Unavailable, Detail::None,
                "the broker is shutting down", "retry, elsewhere if possible")
                .after(100),
            Self::CursorTrimmed => row("CURSOR_TRIMMED", Code::OutOfRange, Detail::None,
                "events after the cursor are no longer kept", "list again, then watch")
                .with(&["oldestCursor"]),
            Self::StoreReset => row("STORE_RESET", Code::OutOfRange, Detail::None,
                "the store lost its data, or is another one", "list again, then watch"),
            Self::RecordCorrupt => row("RECORD_CORRUPT", Code::DataLoss, JOB,
                "the record of a job can't be read", "call the operator"),
            Self::FeatureDisabled => row("FEATURE_DISABLED", Code::Unimplemented, Detail::None,
                "this broker does not have the call", "see `GetStoreStatus.features`"),
            Self::Internal => row("INTERNAL", Code::Internal, Detail::None,
                "the broker has a bug", "report it with the incident, which the log has too")
                .with(&["incident"]),
        }
    }
}

/// A failed call, before it takes the form of a status.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    reason: Reason,
    message: String,
    metadata: Vec<(&'static str, String)>,
    /// The job or queue that it is about.
    subject: String,
    fields: Vec<FieldViolation>,
    /// How long to wait, when that is known better than the table does.
    retry_after: Option<Duration>,
}

impl Fault {
    /// A fault that needs no more than a sentence.
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        let message = message.into();
        let (metadata, subject, fields) = (Vec::new(), String::new(), Vec::new());
        Self { reason, message, metadata, subject, fields, retry_after: None }
    }

    /// More of something than `who` may have.
    pub(super) fn quota(reason: Reason, message: impl Into<String>, who: &str) -> Self {
        Self::new(reason, message).about(who)
    }

    /// The same fault, which may be over after so long.
    pub(super) fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// What the caller may not do without another role.
    pub(super) fn role(message: impl Into<String>, needed: Role) -> Self {
        Self::new(Reason::Role, message).with("role", needed.as_str())
    }

    /// The reason's word.
    pub(super) fn word(&self) -> &'static str {
        self.reason.row().word
    }

    /// A call that this version does not have.
    pub(super) fn not_built(call: &str) -> Self {
        Self::new(Reason::FeatureDisabled, format!("{call} is not built yet"))
    }

    /// A bug: `cause` goes to the log, and the caller gets the number under which it is there.
    pub(super) fn internal(cause: &str) -> Self {
        let incident = format!("{:016x}", fastrand::u64(..));
        tracing::error!(incident, cause, "internal fault");
        let message = format!("the broker failed; report incident {incident}");
        Self::new(Reason::Internal, message).with("incident", incident)
    }

    /// The same fault, found in one part of the request.
    pub(super) fn inside(self, part: &str) -> Self {
        Self { message: format!("{part}: {}", self.message), ..self }
    }

    fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }

    fn about(self, subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..self }
    }

    fn details(&self) -> ErrorDetails {
        let row = self.reason.row();
        let metadata: HashMap<String, String> =
            self.metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let mut details = ErrorDetails::with_error_info(row.word, DOMAIN, metadata);
        match row.detail {
            Detail::None => {}
            Detail::Fields => {
                details.set_bad_request(self.fields.clone());
            }
            Detail::Resource(kind) => {
                details.set_resource_info(kind, &self.subject, "", &self.message);
            }
            Detail::Precondition => {
                details.add_precondition_failure_violation(row.word, &self.subject, &self.message);
            }
            Detail::Quota => {
                let whole = if self.reason == Reason::StoreMemory { "store" } else { "broker" };
                let subject = if self.subject.is_empty() { whole } else { &self.subject };
                details.add_quota_failure_violation(subject, &self.message);
            }
        }
        if let Some(usual) = row.retry_after {
            details.set_retry_info(Some(self.retry_after.unwrap_or(usual)));
        }
        details
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let details = fault.details();
        Self::with_error_details(fault.reason.row().code, fault.message, details)
    }
}

/// A fault of one item of a batch.
impl From<Fault> for tonic_types::Status {
    fn from(fault: Fault) -> Self {
        // The details of a status are such a message, encoded.
        Self::decode(Status::from(fault).details()).unwrap_or_default()
    }
}

impl From<Violations> for Fault {
    fn from(wrong: Violations) -> Self {
        let message = wrong.to_string();
        let mut fault = match wrong.rule() {
            Rule::Field => Self::new(Reason::InvalidField, message),
            Rule::LeaseToken => Self::new(Reason::BadLeaseToken, message),
            Rule::Size { limit, actual } => Self::new(Reason::PayloadTooLarge, message)
                .with("limitBytes", limit.to_string())
                .with("actualBytes", actual.to_string()),
        };
        let field =
            |one: &super::convert::field::Violation| FieldViolation::new(&one.field, &one.why);
        fault.fields = wrong.list().iter().map(field).collect();
        fault
    }
}

/// A refused request, where nothing but its form is at fault.
impl From<Violations> for Status {
    fn from(wrong: Violations) -> Self {
        Fault::from(wrong).into()
    }
}

impl From<broker::Error> for Fault {
    fn from(error: broker::Error) -> Self {
        use broker::Error;
        let message = error.to_string();
        match error {
            Error::NotFound(name) => {
                Self::new(Reason::JobNotFound, message).about(name.to_string())
            }
            Error::Exists { name, state } => Self::new(Reason::JobExists, message)
                .with("state", state_word(Some(state)))
                .about(name.to_string()),
            Error::Duplicate { name, state } => Self::new(Reason::Duplicate, message)
                .with("state", state_word(Some(state)))
                .about(name.to_string()),
            Error::QueueFull { queue, room } => {
                let (limit, unit) = match room {
                    Room { jobs: Some(jobs), .. } => (jobs, "jobs"),
                    Room { bytes, .. } => (bytes.unwrap_or(0), "bytes"),
                };
                Self::new(Reason::QueueFull, message)
                    .with("limit", limit.to_string())
                    .with("unit", unit)
                    .about(format!("queues/{queue}"))
            }
            Error::Refused { name, state, why } => {
                let reason = match why {
                    Refusal::Terminal => Reason::JobTerminal,
                    Refusal::Leased => Reason::JobLeased,
                    Refusal::WrongState => Reason::WrongState,
                };
                let state = state_word(Some(state));
                Self::new(reason, format!("{name} is {state}"))
                    .with("state", state)
                    .about(name.to_string())
            }
            Error::EtagMismatch => Self::new(Reason::EtagMismatch, message),
            Error::NoQueue(queue) => {
                Self::new(Reason::QueueNotFound, message).about(format!("queues/{queue}"))
            }
            Error::NoWorker(id) => Self::new(Reason::WorkerNotFound, message).about(id.as_str()),
            Error::QueueNotEmpty(queue) => {
                Self::new(Reason::QueueNotEmpty, message).about(format!("queues/{queue}"))
            }
            Error::BadContinuation => {
                wrong_field("continuation_token", "is not a token of this request")
            }
            Error::BadPageToken => wrong_field("page_token", "is not a page token of this list"),
            Error::FollowUp { index, why } => Self::from(*why).inside(&format!("then[{index}]")),
            Error::NoSchedule(ref id) => {
                Self::new(Reason::ScheduleNotFound, message).about(format!("schedules/{id}"))
            }
            Error::ScheduleExists(ref id) => {
                Self::new(Reason::ScheduleExists, message).about(format!("schedules/{id}"))
            }
            Error::RequestReused => Self::new(Reason::RequestIdReused, message),
            // The refused job answers for the whole group; so this one is never the answer.
            Error::Withheld => Self::internal("a batch was withheld, but none of it was refused"),
            Error::LeaseLost { name, state, attempt } => Self::new(Reason::LeaseLost, message)
                .with("state", state_word(state))
                .with("currentAttempt", attempt.to_string())
                .about(name.to_string()),
            Error::LeaseSettled { name, outcome } => Self::new(Reason::LeaseSettled, message)
                .with("outcome", outcome_word(outcome))
                .about(name.to_string()),
            Error::CursorTrimmed { oldest } => {
                Self::new(Reason::CursorTrimmed, message).with("oldestCursor", oldest)
            }
            Error::StoreReset => Self::new(Reason::StoreReset, message),
            Error::BadCursor => wrong_field("cursor", "is malformed"),
            Error::Overloaded => Self::new(Reason::RateLimited, message),
            Error::StoreFull(cause) => {
                tracing::debug!(cause, "a call met a full store");
                Self::new(Reason::StoreMemory, "the store is full")
            }
            Error::Unavailable(cause) => {
                // The health check says once that the store is away; each call would flood the log.
                tracing::debug!(cause, "a call met an unavailable store");
                Self::new(Reason::StoreUnavailable, "the store is unavailable; try again")
            }
            Error::NotSent { .. } => {
                wrong_field("received_through", "must not be more than what was delivered")
            }
            Error::Silent => Self::new(Reason::WorkerSilent, message),
            Error::Draining => Self::new(Reason::Draining, message),
            Error::Corrupt { name, why } => {
                tracing::error!(job.name = name, cause = why, "the record of a job is unreadable");
                Self::new(Reason::RecordCorrupt, format!("the record of {name} is unreadable"))
                    .about(name)
            }
        }
    }
}

/// A field whose fault only the broker can see.
fn wrong_field(field: &str, why: &str) -> Fault {
    let mut wrong = Violations::default();
    wrong.add(field, why);
    wrong.into()
}

fn state_word(state: Option<crate::job::State>) -> &'static str {
    state.map_or("GONE", job::state_word)
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "SUCCEEDED",
        Outcome::Failed => "FAILED",
        Outcome::LeaseExpired => "LEASE_EXPIRED",
        Outcome::TimedOut => "TIMED_OUT",
        Outcome::Released => "RELEASED",
        Outcome::Revoked => "REVOKED",
        Outcome::Cancelled => "CANCELLED",
    }
}

#[cfg(test)]
mod tests;

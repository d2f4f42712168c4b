//! What a call can fail with: a gRPC code, a stable reason and what to do about it.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, RpcStatusExt, StatusExt};

/// A result whose failure is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that failed, or one item of a batch that did.
///
/// Decide by [`code`](Self::code) or, finer, by [`kind`](Self::kind); the text is for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Error {
    code: Code,
    message: String,
    details: Box<ErrorDetails>,
}

impl Error {
    /// The gRPC status code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// One short sentence for people, as [`Display`](std::fmt::Display) prints it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The broker's stable word for what happened, such as `LEASE_LOST`.
    ///
    /// `None` when no broker answered, or when what answered was not a broker.
    pub fn reason(&self) -> Option<&str> {
        self.details.error_info().map(|info| info.reason.as_str()).filter(|it| !it.is_empty())
    }

    /// The reason, when this version of the client knows it.
    pub fn kind(&self) -> Option<Reason> {
        self.reason().and_then(Reason::parse)
    }

    /// The facts behind the reason, such as `limitBytes` or `state`.
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.details.error_info().map(|info| &info.metadata)
    }

    /// How long the broker asks callers to wait before they try again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.details.retry_info().and_then(|info| info.retry_delay)
    }

    /// The fields of the request that are wrong, each with why.
    pub fn field_violations(&self) -> &[FieldViolation] {
        self.details.bad_request().map_or(&[], |bad| &bad.field_violations)
    }

    /// True when the job is no longer this worker's: drop the work, never settle it again.
    pub fn is_lease_lost(&self) -> bool {
        self.kind() == Some(Reason::LeaseLost)
    }

    /// True for a passing fault. The client has retried already, within the call's deadline.
    pub fn is_unavailable(&self) -> bool {
        self.code == Code::Unavailable
    }

    /// What a broker, or the connection to it, made of a call.
    ///
    /// A status with a source was made on this side of the wire: no broker sent it. A broken
    /// connection arrives as one of many codes then; callers see one, and it may be retried.
    pub(crate) fn from_call(status: &Status, url: &str) -> Self {
        if status.source().is_none() {
            return Self {
                code: status.code(),
                message: status.message().to_owned(),
                details: Box::new(status.get_error_details()),
            };
        }
        Self::local(Code::Unavailable, format!("no answer from {url}: {}", story(status)))
    }

    /// An error of this side: no broker sent it, so it has no reason.
    pub(crate) fn local(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Box::default() }
    }

    /// A reply that lacks what the protocol promises.
    pub(crate) fn incomplete(what: &str) -> Self {
        Self::local(Code::Internal, format!("the reply lacks {what}"))
    }
}

/// One item's failure inside the reply to a batch.
impl From<tonic_types::Status> for Error {
    fn from(status: tonic_types::Status) -> Self {
        let details = Box::new(status.get_error_details());
        Self { code: Code::from(status.code), message: status.message, details }
    }
}

/// What lies behind a status that was made on this side of the wire, the outermost first.
pub(crate) fn causes(status: &Status) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(status.source(), |&cause| cause.source())
}

/// The causes in one line.
fn story(status: &Status) -> String {
    told(causes(status))
}

/// An error and its causes in one line.
#[cfg(feature = "tls")]
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    told(std::iter::successors(Some(error), |&cause| cause.source()))
}

/// Without the links that say nothing or only repeat the one before.
fn told<'a>(links: impl Iterator<Item = &'a (dyn StdError + 'static)>) -> String {
    let mut links: Vec<String> = links.map(ToString::to_string).collect();
    links.retain(|link| link != "transport error");
    links.dedup_by(|link, before| before.contains(link.as_str()));
    links.join(": ")
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)+) => {
        /// The reasons that brokers of this version give, by name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// A field is missing or wrong; see [`Error::field_violations`].
    InvalidField = "INVALID_FIELD",
    /// The payload or result is over its limit: store it elsewhere and send a reference.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE",
    /// This is not a lease token.
    BadLeaseToken = "BAD_LEASE_TOKEN",
    /// No such job, or one that was forgotten after its retention.
    JobNotFound = "JOB_NOT_FOUND",
    /// No such queue.
    QueueNotFound = "QUEUE_NOT_FOUND",
    /// No such schedule.
    ScheduleNotFound = "SCHEDULE_NOT_FOUND",
    /// A job with this id exists.
    JobExists = "JOB_EXISTS",
    /// A job with this dedup key exists, and the producer asked to be refused.
    Duplicate = "DUPLICATE",
    /// The request id was used before, for another request.
    RequestIdReused = "REQUEST_ID_REUSED",
    /// The lease was superseded, revoked, or its job is gone: drop the work.
    LeaseLost = "LEASE_LOST",
    /// The lease was settled before, in another way.
    LeaseSettled = "LEASE_SETTLED",
    /// The job is finished.
    JobTerminal = "JOB_TERMINAL",
    /// A worker holds the job.
    JobLeased = "JOB_LEASED",
    /// The queue still has jobs.
    QueueNotEmpty = "QUEUE_NOT_EMPTY",
    /// Someone changed it meanwhile: read again, then redo.
    EtagMismatch = "ETAG_MISMATCH",
    /// The queue has reached its cap of jobs or bytes.
    QueueFull = "QUEUE_FULL",
    /// The store is nearly full.
    StoreMemory = "STORE_MEMORY",
    /// This caller calls too often.
    RateLimited = "RATE_LIMITED",
    /// This caller has too many streams or waiting calls.
    TooManyStreams = "TOO_MANY_STREAMS",
    /// The broker cannot reach its store.
    StoreUnavailable = "STORE_UNAVAILABLE",
    /// The broker is shutting down.
    Draining = "DRAINING",
    /// The write was not copied to enough replicas in time.
    NotDurable = "NOT_DURABLE",
    /// The call carried no credential, or not a good one.
    NoCredential = "NO_CREDENTIAL",
    /// The credential has expired.
    Expired = "EXPIRED",
    /// The caller's role does not allow the call.
    Role = "ROLE",
    /// The job belongs to someone else.
    NotOwner = "NOT_OWNER",
    /// The broker heard nothing of the worker on its stream: open a new one.
    WorkerSilent = "WORKER_SILENT",
    /// The events after this cursor are gone: list again, then watch.
    CursorTrimmed = "CURSOR_TRIMMED",
    /// The store was emptied or replaced: list again, then watch.
    StoreReset = "STORE_RESET",
    /// The stored job cannot be read; it is set aside for an operator.
    RecordCorrupt = "RECORD_CORRUPT",
    /// The feature is switched off, or the broker is older than it.
    FeatureDisabled = "FEATURE_DISABLED",
    /// A fault of the broker; its log has more under the incident's id.
    Internal = "INTERNAL",
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn details_are_read_from_the_status() {
        let mut details = ErrorDetails::with_bad_request_violation("queue", "must not be empty");
        details.set_error_info("INVALID_FIELD", "lessor.dev", HashMap::new());
        details.set_retry_info(Some(Duration::from_secs(3)));
        let status = Status::with_error_details(Code::InvalidArgument, "queue is empty", details);

        let error = Error::from_call(&status, "http://broker");

        assert_eq!(error.to_string(), "queue is empty");
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(error.reason(), Some("INVALID_FIELD"));
        assert_eq!(error.kind(), Some(Reason::InvalidField));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        assert_eq!(error.field_violations().first().unwrap().field, "queue");
        assert!(!error.is_lease_lost());
    }

    #[test]
    fn a_reason_of_a_later_version_is_kept_as_a_word() {
        let details = ErrorDetails::with_error_info("MOON_PHASE", "lessor.dev", HashMap::new());
        let status = Status::with_error_details(Code::FailedPrecondition, "no", details);

        let error = Error::from_call(&status, "http://broker");

        assert_eq!(error.reason(), Some("MOON_PHASE"));
        assert_eq!(error.kind(), None);
    }

    #[test]
    fn every_fault_of_the_connection_is_unavailable() {
        let cut = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset");
        let status = Status::from_error(Box::new(cut));

        let error = Error::from_call(&status, "http://broker");

        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(error.to_string(), "no answer from http://broker: connection reset");
    }
}

//! The rules: what a job is, and what becomes of it. Pure and synchronous, no I/O.
//!
//! A job is in one [`State`], carries one time (`at`, see [`state`]) and one lease number
//! ([`Counters::deliveries`]). Code here decides and returns a [`Transition`]; a store applies it
//! only where its [`Guard`] still holds. Everything random or timed is an argument.

pub mod etag;
pub mod event;
pub mod fnv;
pub mod id;
pub mod operate;
pub mod push;
pub mod queue;
pub mod retention;
pub mod retry;
pub mod schedule;
pub mod state;
pub mod transition;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;

pub use event::{Event, EventKind};
pub use id::{
    DedupKey, JobId, JobIds, JobName, LeaseSecret, LeaseToken, QueueName, RequestId, WorkerId,
};
pub use push::Push;
pub use queue::{Open, QueueSettings};
pub use retention::{Keep, Retention};
pub use retry::RetryPolicy;
pub use schedule::{Schedule, ScheduleId};
pub use state::State;
pub use transition::{Guard, Line, Place, Transition};

use crate::clock::Timestamp;

/// The visibility timeout of a job for which nobody chose one.
pub const DEFAULT_LEASE_DURATION: Duration = Duration::from_secs(30);

/// How long one attempt may take when nobody chose a limit, however often its lease is extended.
pub const DEFAULT_ATTEMPT_TIMEOUT: Duration = Duration::from_mins(30);

/// This many lost leases make a job a dead letter, unless its queue says otherwise, however many
/// attempts remain: a job that kills its workers must not be handed round for ever.
pub const MAX_LEASE_LOSSES: u32 = 3;

/// How many attempts a job's history keeps, the newest ones.
pub const HISTORY: u32 = 10;

/// A job as its store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its full name.
    pub name: JobName,
    /// What was asked for at enqueue; only its producer or an operator changes it. Shared, because a
    /// job is copied for its record, its answer and its events.
    pub spec: Arc<Spec>,
    /// Where it is in its life.
    pub state: State,
    /// The one time of its state; see [`state`].
    pub at: Timestamp,
    /// How often it was leased and tried.
    pub counters: Counters,
    /// How often its spec was changed.
    pub revision: u32,
    /// When it was first leased.
    pub started: Option<Timestamp>,
    /// When it reached a terminal state.
    pub ended: Option<Timestamp>,
    /// Who holds it; present in [`State::Leased`] only.
    pub lease: Option<Lease>,
    /// Its cancellation was asked for while it was leased; present in [`State::Leased`] only.
    pub cancel: Option<Cancel>,
    /// What its attempts left behind.
    pub details: Arc<Details>,
}

/// What a producer asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    /// Which handler should run it; may be empty.
    pub job_type: String,
    /// What the handler gets; the broker never opens it.
    pub payload: Option<Payload>,
    /// -1000 to 1000, greater runs sooner.
    pub priority: i16,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// On whose behalf it was enqueued; may be empty.
    pub owner: String,
    /// When it was enqueued.
    pub created: Timestamp,
    /// When it was asked to run, if not at once.
    pub scheduled: Option<Timestamp>,
    /// It never starts after this moment.
    pub expires: Option<Timestamp>,
    /// How often and how patiently it is tried.
    pub retry: RetryPolicy,
    /// Its visibility timeout, when the worker names none.
    pub lease_duration: Option<Duration>,
    /// How long one attempt may take, however often its lease is extended.
    pub attempt_timeout: Option<Duration>,
    /// What makes it a duplicate of another.
    pub dedup: Option<Dedup>,
    /// How long it is kept once finished.
    pub retention: Retention,
    /// W3C trace context of the producer: traceparent, tracestate, baggage.
    pub trace_context: BTreeMap<String, String>,
}

impl Spec {
    /// Nothing: what is known of a job that only a token tells of.
    pub fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Spec>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }
}

/// Bytes of the user with a note of what they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload {
    /// The exact bytes; for [`Form::Json`] a protobuf `google.protobuf.Value`.
    pub data: Bytes,
    /// How the bytes came and must go back.
    pub form: Form,
    /// The user's content type; may be empty.
    pub content_type: String,
    /// The user's content encoding; may be empty.
    pub encoding: String,
}

/// How a payload travelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As bytes.
    #[default]
    Data,
    /// As a JSON value.
    Json,
}

/// The business rule against duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dedup {
    /// What duplicates share.
    pub key: DedupKey,
    /// How long the key is held.
    pub scope: DedupScope,
    /// What a later job with the same key does.
    pub on_duplicate: OnDuplicate,
}

/// How long a dedup key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DedupScope {
    /// Until the job is first leased, but no longer than the cap, if there is one.
    UntilStarted {
        /// The longest that the key is held.
        cap: Option<Duration>,
    },
    /// Until the job is finished, but no longer than the cap, if there is one.
    UntilFinished {
        /// The longest that the key is held.
        cap: Option<Duration>,
    },
    /// For this long after enqueue, whatever becomes of the job.
    Window(Duration),
}

/// What a job does that meets another one holding its dedup key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDuplicate {
    /// Gives way: the holder stays as it is.
    #[default]
    Keep,
    /// Takes the place of a holder that has not started; else gives way.
    Replace,
    /// Takes the place of a holder that waits; runs after one that is leased.
    RunAfter,
    /// Is refused.
    Reject,
}

/// A cancellation that a leased job has been asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancel {
    /// The lease ends at this moment at the latest.
    pub by: Timestamp,
    /// Why, for the worker and the event; may be empty.
    pub reason: String,
}

/// Which of its lives a job is in: two readings with the same version show the same job, but for
/// what a heartbeat brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// [`Job::state`].
    pub state: State,
    /// [`Job::at`].
    pub at: Timestamp,
    /// [`Counters::deliveries`].
    pub deliveries: u32,
    /// [`Job::revision`].
    pub revision: u32,
}

/// How often a job was leased and tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Leases in all, the lease number; it only rises.
    pub deliveries: u32,
    /// Attempts that count against the retry policy.
    pub attempts: u32,
    /// Leases that ran out.
    pub lease_losses: u32,
}

impl Counters {
    /// The counters under one more lease.
    #[must_use]
    pub fn leased(self) -> Self {
        Self {
            deliveries: self.deliveries.saturating_add(1),
            attempts: self.attempts.saturating_add(1),
            ..self
        }
    }

    /// The counters when the present attempt turns out not to count.
    #[must_use]
    pub fn uncounted(self) -> Self {
        Self { attempts: self.attempts.saturating_sub(1), ..self }
    }
}

/// Exclusive right to one job until `Job::at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What its token must show.
    pub secret: LeaseSecret,
    /// Who holds it.
    pub worker: WorkerId,
    /// When it began.
    pub started: Timestamp,
    /// The visibility timeout it was made with.
    pub duration: Duration,
}

/// What the attempts of a job left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// How far the handler says it is.
    pub progress: Option<Progress>,
    /// What the next attempt may go on from.
    pub checkpoint: Option<Payload>,
    /// What the handler returned.
    pub result: Option<Payload>,
    /// Why the last failed attempt failed.
    pub last_failure: Option<Failure>,
    /// The newest [`HISTORY`] attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

impl Details {
    /// What a job has whose attempts left nothing behind: most jobs share it.
    pub fn none() -> Arc<Self> {
        static NONE: LazyLock<Arc<Details>> = LazyLock::new(Arc::default);
        Arc::clone(&NONE)
    }
}

/// How far a handler is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// 0 to 100.
    pub percent: f64,
    /// What it is doing.
    pub message: String,
    /// Units done.
    pub done: i64,
    /// Units in all.
    pub total: i64,
}

/// Why an attempt failed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    /// `UPPER_SNAKE`, for rules and statistics.
    pub code: String,
    /// For people.
    pub message: String,
    /// Where it happened.
    pub stack: String,
    /// A protobuf `google.protobuf.Struct`; may be empty.
    pub details: Bytes,
}

impl Failure {
    /// The code of an attempt that took longer than it may.
    pub const ATTEMPT_TIMEOUT: &'static str = "ATTEMPT_TIMEOUT";
    /// The code of a worker that has no handler for the job's type.
    pub const NO_HANDLER: &'static str = "NO_HANDLER";
    /// The code of a job whose workers kept vanishing.
    pub const CRASH_LOOP: &'static str = "CRASH_LOOP";
    /// The code of a lost lease.
    pub const LEASE_EXPIRED: &'static str = "LEASE_EXPIRED";

    /// A failure that the broker itself found.
    pub fn found(code: &str, message: String) -> Self {
        Self { code: code.to_owned(), message, ..Self::default() }
    }
}

/// One lease of a job, looked back upon.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// The lease number, which also tells its place in the history.
    pub delivery: u32,
    /// The attempt's number in the retry policy's count.
    pub number: u32,
    /// The secret of its lease, by which a repeated settle is known.
    pub secret: LeaseSecret,
    /// Who held it.
    pub worker: Option<WorkerId>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, when it failed.
    pub failure: Option<Failure>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The worker acked.
    Succeeded,
    /// The worker nacked.
    Failed,
    /// The visibility timeout ended first.
    LeaseExpired,
    /// The attempt took longer than it may.
    TimedOut,
    /// The worker gave the job back; the attempt does not count.
    Released,
    /// An operator took the job from its worker; the attempt does not count.
    Revoked,
    /// The job was cancelled under its worker.
    Cancelled,
}

impl Job {
    /// The token of the present lease; `None` unless the job is leased.
    pub fn token(&self) -> Option<LeaseToken> {
        let lease = self.lease.as_ref()?;
        Some(LeaseToken {
            name: self.name.clone(),
            secret: lease.secret,
            counters: self.counters,
            leased_at: lease.started,
            first_leased_at: self.started.unwrap_or(lease.started),
            lease_duration: lease.duration,
            attempt_timeout: self.attempt_timeout(),
            keep: self.spec.retention.succeeded,
            has_dedup: self.spec.dedup.is_some(),
            worker: lease.worker.clone(),
        })
    }

    /// How long one of its attempts may take.
    pub fn attempt_timeout(&self) -> Duration {
        self.spec.attempt_timeout.unwrap_or(DEFAULT_ATTEMPT_TIMEOUT)
    }

    /// What a guard compares.
    pub fn version(&self) -> Version {
        Version {
            state: self.state,
            at: self.at,
            deliveries: self.counters.deliveries,
            revision: self.revision,
        }
    }

    /// What was asked for, to be changed.
    pub fn spec_mut(&mut self) -> &mut Spec {
        Arc::make_mut(&mut self.spec)
    }

    /// What its attempts left behind, to be changed.
    pub fn details_mut(&mut self) -> &mut Details {
        Arc::make_mut(&mut self.details)
    }

    /// Where it stands among the ready.
    pub fn line(&self) -> Line {
        Line { priority: self.spec.priority, job_type: self.spec.job_type.clone() }
    }

    /// The dedup key that its end gives free.
    pub fn held_key(&self) -> Option<DedupKey> {
        self.spec.dedup.as_ref().map(|dedup| dedup.key.clone())
    }

    /// A job as a producer's request makes it: due at `spec.scheduled`, or at once.
    pub fn enqueued(name: JobName, spec: impl Into<Arc<Spec>>) -> Self {
        let spec = spec.into();
        let (state, at) = match spec.scheduled {
            Some(at) if at > spec.created => (State::Scheduled, at),
            _ => (State::Ready, spec.created),
        };
        Self {
            name,
            spec,
            state,
            at,
            counters: Counters::default(),
            revision: 0,
            started: None,
            ended: None,
            lease: None,
            cancel: None,
            details: Details::none(),
        }
    }
}

//! What a producer may decide about a job beside its work: when to try again, what is a duplicate,
//! how long to keep it.

use std::time::Duration;

use lessor_proto::v1::dedup::{OnDuplicate, Scope};
use lessor_proto::v1::{Dedup as DedupMessage, Retention as RetentionMessage, RetryPolicy};

use crate::span;

/// How often and when a failed job is tried again. What is not set is the queue's to decide.
///
/// The pause after attempt *n* is `min(max, initial · multiplier^(n-1))`, less a random share.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Retry(RetryPolicy);

impl Retry {
    /// At most `count` attempts, the first one included. `-1` sets no limit.
    pub fn attempts(count: i32) -> Self {
        Self(RetryPolicy { max_attempts: count, ..RetryPolicy::default() })
    }

    /// At most so many attempts, the first one included. `-1` sets no limit.
    pub fn max_attempts(mut self, count: i32) -> Self {
        self.0.max_attempts = count;
        self
    }

    /// The pause after the first failure; zero is at once.
    pub fn initial_backoff(mut self, pause: Duration) -> Self {
        self.0.initial_backoff = Some(span::to_wire(pause));
        self
    }

    /// How much longer each pause is than the one before; 1 keeps them equal.
    pub fn multiplier(mut self, factor: f64) -> Self {
        self.0.multiplier = factor;
        self
    }

    /// The longest pause.
    pub fn max_backoff(mut self, pause: Duration) -> Self {
        self.0.max_backoff = Some(span::to_wire(pause));
        self
    }

    /// The share of each pause that is random, from 0 to 1.
    pub fn jitter(mut self, share: f64) -> Self {
        self.0.jitter = Some(share);
        self
    }

    /// The pauses one by one instead of a formula; the last one repeats.
    pub fn backoff_list(mut self, pauses: impl IntoIterator<Item = Duration>) -> Self {
        self.0.backoff_list = pauses.into_iter().map(span::to_wire).collect();
        self
    }

    /// Failure codes that are never tried again.
    pub fn fatal_codes<S: Into<String>>(mut self, codes: impl IntoIterator<Item = S>) -> Self {
        self.0.fatal_codes = codes.into_iter().map(Into::into).collect();
        self
    }

    /// No attempt starts later than this after the first one.
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.0.max_retry_duration = Some(span::to_wire(duration));
        self
    }
}

/// A policy that is there already, to be changed.
impl From<RetryPolicy> for Retry {
    fn from(policy: RetryPolicy) -> Self {
        Self(policy)
    }
}

impl From<Retry> for RetryPolicy {
    fn from(retry: Retry) -> Self {
        retry.0
    }
}

/// Which earlier job makes a new one a duplicate, and what becomes of the new one.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Dedup(DedupMessage);

impl Dedup {
    /// Jobs of one queue with the same key are the same work, until the first one has finished.
    pub fn key(key: impl Into<String>) -> Self {
        Self(DedupMessage { key: key.into(), ..DedupMessage::default() })
    }

    /// The earlier job counts for this long, finished or not.
    pub fn window(mut self, window: Duration) -> Self {
        self.0.scope = Scope::Window.into();
        self.0.window = Some(span::to_wire(window));
        self
    }
}

impl Dedup {
    /// The earlier job counts only until it is leased for the first time.
    pub fn until_started(mut self) -> Self {
        self.0.scope = Scope::UntilStarted.into();
        self
    }

    /// Whatever becomes of the earlier job, it counts no longer than this.
    pub fn at_most(mut self, cap: Duration) -> Self {
        self.0.window = Some(span::to_wire(cap));
        self
    }

    /// What becomes of a duplicate. Default: the earlier job is returned instead.
    pub fn on_duplicate(mut self, action: OnDuplicate) -> Self {
        self.0.on_duplicate = action.into();
        self
    }
}

impl From<Dedup> for DedupMessage {
    fn from(dedup: Dedup) -> Self {
        dedup.0
    }
}

/// How long a finished job is kept: until its age or the number of later ones is reached. What is
/// not set is the queue's to decide.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Retention(RetentionMessage);

impl Retention {
    /// As the queue says.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long it is kept when it has succeeded; zero forgets it at once.
    pub fn succeeded_for(mut self, span: Duration) -> Self {
        self.0.succeeded_ttl = Some(span::to_wire(span));
        self
    }

    /// How many succeeded jobs its queue keeps; -1 sets no limit.
    pub fn succeeded_count(mut self, count: i32) -> Self {
        self.0.succeeded_count = count;
        self
    }

    /// How long it is kept when it is dead, cancelled or expired; zero forgets it at once.
    pub fn dead_for(mut self, span: Duration) -> Self {
        self.0.dead_ttl = Some(span::to_wire(span));
        self
    }

    /// How many dead jobs its queue keeps; -1 sets no limit.
    pub fn dead_count(mut self, count: i32) -> Self {
        self.0.dead_count = count;
        self
    }
}

/// A retention that is there already, to be changed.
impl From<RetentionMessage> for Retention {
    fn from(retention: RetentionMessage) -> Self {
        Self(retention)
    }
}

impl From<Retention> for RetentionMessage {
    fn from(retention: Retention) -> Self {
        retention.0
    }
}

//! What a producer or a queue decides beside the work: when to retry, what is a duplicate, how long
//! to keep a job. Each is a group of flags that several commands share.

use std::time::Duration;

use clap::{Args, ValueEnum};
use humantime::parse_duration;
use lessor::proto;
use lessor::{Dedup, OnDuplicate, Retention, Retry};

#[derive(Args)]
#[command(next_help_heading = "Retries")]
pub(crate) struct RetryArgs {
    /// How often to try, the first time included; -1 for no limit.
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    max_attempts: Option<i32>,

    /// The pause after the first failed attempt; later ones are longer.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    backoff: Option<Duration>,

    /// How many times longer each pause is than the one before; 1 keeps them equal.
    #[arg(long, value_name = "FACTOR")]
    backoff_multiplier: Option<f64>,

    /// The longest pause.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_backoff: Option<Duration>,

    /// The share of each pause that is random, from 0 to 1.
    #[arg(long, value_name = "SHARE")]
    jitter: Option<f64>,

    /// The pauses one by one, such as 10s,1m,10m; the last one repeats.
    #[arg(
        long,
        value_name = "DURATIONS",
        value_delimiter = ',',
        value_parser = parse_duration,
        conflicts_with_all = ["backoff", "backoff_multiplier", "max_backoff"]
    )]
    backoff_list: Vec<Duration>,

    /// A failure code that is never tried again; may be given many times.
    #[arg(long = "fatal-code", value_name = "CODE")]
    fatal_codes: Vec<String>,

    /// No attempt begins later than this after the first one.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_retry_duration: Option<Duration>,
}

impl RetryArgs {
    /// The policy that there was with what the flags say, or none if they say nothing.
    pub(crate) fn apply(self, before: Option<proto::RetryPolicy>) -> Option<Retry> {
        let mut policy = Retry::from(before.unwrap_or_default());
        let before = policy.clone();
        if let Some(count) = self.max_attempts {
            policy = policy.max_attempts(count);
        }
        if let Some(pause) = self.backoff {
            policy = policy.initial_backoff(pause);
        }
        if let Some(factor) = self.backoff_multiplier {
            policy = policy.multiplier(factor);
        }
        if let Some(pause) = self.max_backoff {
            policy = policy.max_backoff(pause);
        }
        if let Some(share) = self.jitter {
            policy = policy.jitter(share);
        }
        if !self.backoff_list.is_empty() {
            policy = policy.backoff_list(self.backoff_list);
        }
        if !self.fatal_codes.is_empty() {
            policy = policy.fatal_codes(self.fatal_codes);
        }
        if let Some(span) = self.max_retry_duration {
            policy = policy.max_duration(span);
        }
        (policy != before).then_some(policy)
    }
}

#[derive(Args)]
#[command(next_help_heading = "Retention")]
pub(crate) struct RetentionArgs {
    /// How long to keep a succeeded job; 0s forgets it at once.
    #[arg(long = "retain-succeeded", value_name = "DURATION", value_parser = parse_duration)]
    succeeded: Option<Duration>,

    /// How many succeeded jobs the queue keeps; -1 for no limit.
    #[arg(long = "retain-succeeded-count", value_name = "COUNT", allow_negative_numbers = true)]
    succeeded_count: Option<i32>,

    /// How long to keep a dead, cancelled or expired job; 0s forgets it at once.
    #[arg(long = "retain-dead", value_name = "DURATION", value_parser = parse_duration)]
    dead: Option<Duration>,

    /// How many dead jobs the queue keeps; -1 for no limit.
    #[arg(long = "retain-dead-count", value_name = "COUNT", allow_negative_numbers = true)]
    dead_count: Option<i32>,
}

impl RetentionArgs {
    /// The retention that there was with what the flags say, or none if they say nothing.
    pub(crate) fn apply(self, before: Option<proto::Retention>) -> Option<Retention> {
        let mut retention = Retention::from(before.unwrap_or_default());
        let before = retention.clone();
        if let Some(span) = self.succeeded {
            retention = retention.succeeded_for(span);
        }
        if let Some(count) = self.succeeded_count {
            retention = retention.succeeded_count(count);
        }
        if let Some(span) = self.dead {
            retention = retention.dead_for(span);
        }
        if let Some(count) = self.dead_count {
            retention = retention.dead_count(count);
        }
        (retention != before).then_some(retention)
    }
}

#[derive(Args)]
#[command(next_help_heading = "Duplicates")]
pub(crate) struct DedupArgs {
    /// While a job holds this key, another one with it is a duplicate.
    #[arg(long, value_name = "KEY")]
    dedup_key: Option<String>,

    /// Until when a job holds its key. Default: window with --dedup-window, else until-finished.
    #[arg(long, value_name = "SCOPE", requires = "dedup_key")]
    dedup_scope: Option<Scope>,

    /// For how long a job holds its key; with another scope than window: at most.
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = parse_duration,
        requires = "dedup_key",
        required_if_eq("dedup_scope", "window")
    )]
    dedup_window: Option<Duration>,

    /// What becomes of a duplicate. Default: keep.
    #[arg(long, value_name = "ACTION", requires = "dedup_key")]
    on_duplicate: Option<Duplicate>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scope {
    /// Until it is leased for the first time.
    UntilStarted,
    /// Until it has succeeded, is dead, cancelled or expired.
    UntilFinished,
    /// For --dedup-window, finished or not.
    Window,
}

#[derive(Clone, Copy, ValueEnum)]
enum Duplicate {
    /// Return the job that holds the key.
    Keep,
    /// Give that job the new payload and time, unless it has started.
    Replace,
    /// Run that job once more afterwards, with the latest payload.
    RunAfter,
    /// Fail.
    Reject,
}

impl DedupArgs {
    pub(crate) fn into_dedup(self) -> Option<Dedup> {
        let dedup = Dedup::key(self.dedup_key?);
        let scope = self.dedup_scope.unwrap_or(match self.dedup_window {
            Some(_) => Scope::Window,
            None => Scope::UntilFinished,
        });
        let dedup = match (scope, self.dedup_window) {
            (Scope::Window, window) => dedup.window(window.unwrap_or_default()),
            (Scope::UntilStarted, Some(cap)) => dedup.until_started().at_most(cap),
            (Scope::UntilStarted, None) => dedup.until_started(),
            (Scope::UntilFinished, Some(cap)) => dedup.at_most(cap),
            (Scope::UntilFinished, None) => dedup,
        };
        Some(match self.on_duplicate {
            Some(Duplicate::Keep) => dedup.on_duplicate(OnDuplicate::Keep),
            Some(Duplicate::Replace) => dedup.on_duplicate(OnDuplicate::Replace),
            Some(Duplicate::RunAfter) => dedup.on_duplicate(OnDuplicate::RunAfter),
            Some(Duplicate::Reject) => dedup.on_duplicate(OnDuplicate::Reject),
            None => dedup,
        })
    }
}

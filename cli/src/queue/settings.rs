//! `lessor queue update`: each setting has a flag, and `--reset` takes it back to its default.

use std::time::Duration;

use clap::{Args, ValueEnum};
use comfy_table::Table;
use humantime::parse_duration;
use lessor::{Client, Code, HealthThresholds, Queue, QueueUpdate};

use super::push::{self, PushArgs};
use crate::failure::Usage;
use crate::input;
use crate::output::{Output, facts, show_span};
use crate::policy::{RetentionArgs, RetryArgs};

const EXAMPLES: &str = "\
Examples:
  lessor queue update emails --max-leased 20 --rate 100/1s --burst 10
  lessor queue update emails --max-attempts 10 --backoff 5s --retain-dead 30d
  lessor queue update emails --unhealthy-ready 1000 --unhealthy-age 5m
  lessor queue update hooks --push https://shop.example/jobs --push-timeout 10s
  lessor queue update emails --reset rate-limit --reset max-leased";

/// Change the settings of a queue, or create it with them: what is not named stays.
///
/// The settings of jobs (lease, attempts, retention) are for those that are enqueued from now on
/// and do not say it themselves.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Update {
    /// The queue.
    #[arg(value_name = "QUEUE")]
    name: String,

    /// The most jobs leased at once, over all workers; 0 for no limit.
    #[arg(long, value_name = "COUNT")]
    max_leased: Option<i32>,

    /// The most leases in a time, such as 100/1s or 20/1m.
    #[arg(long, value_name = "COUNT/DURATION", value_parser = input::parse_rate)]
    rate: Option<(i32, Duration)>,

    /// How many of these leases may be made at once after a quiet time.
    #[arg(long, value_name = "COUNT")]
    burst: Option<i32>,

    /// The most unfinished jobs; more are refused.
    #[arg(long, value_name = "COUNT")]
    max_jobs: Option<i64>,

    /// The most bytes of unfinished jobs, such as 500MiB; 0 for no limit.
    #[arg(long, value_name = "SIZE", value_parser = input::parse_size)]
    max_bytes: Option<i64>,

    /// For how long a worker may be silent before another one gets the job.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    lease: Option<Duration>,

    /// How long one attempt may take, however often its lease is extended.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    attempt_timeout: Option<Duration>,

    /// How many lost leases make a job a dead letter.
    #[arg(long, value_name = "COUNT")]
    max_lease_losses: Option<i32>,

    /// Unhealthy with more ready jobs than this.
    #[arg(long, value_name = "COUNT")]
    unhealthy_ready: Option<i64>,

    /// Unhealthy when a ready job waits for longer than this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    unhealthy_age: Option<Duration>,

    /// Unhealthy when a greater share of the finished jobs is dead, from 0 to 1.
    #[arg(long, value_name = "SHARE")]
    unhealthy_dead_ratio: Option<f64>,

    #[command(flatten)]
    retry: RetryArgs,

    #[command(flatten)]
    retention: RetentionArgs,

    #[command(flatten)]
    push: PushArgs,

    /// Take a setting back to its default; may be given many times.
    #[arg(long, value_name = "SETTING", help_heading = "Change")]
    reset: Vec<Setting>,

    /// Why, for the event that tells of it.
    #[arg(long, value_name = "TEXT", help_heading = "Change")]
    reason: Option<String>,

    /// Only if the queue still has this etag, as `queue get` prints it.
    #[arg(long, value_name = "ETAG", help_heading = "Change")]
    etag: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Setting {
    RetryPolicy,
    LeaseDuration,
    AttemptTimeout,
    Retention,
    MaxLeased,
    RateLimit,
    MaxJobs,
    MaxBytes,
    MaxLeaseLosses,
    Health,
    Push,
}

impl Setting {
    fn field(self) -> &'static str {
        match self {
            Self::RetryPolicy => "retry_policy",
            Self::LeaseDuration => "lease_duration",
            Self::AttemptTimeout => "attempt_timeout",
            Self::Retention => "retention",
            Self::MaxLeased => "max_leased",
            Self::RateLimit => "rate_limit",
            Self::MaxJobs => "max_jobs",
            Self::MaxBytes => "max_bytes",
            Self::MaxLeaseLosses => "max_lease_losses",
            Self::Health => "health",
            Self::Push => "push",
        }
    }
}

impl Update {
    pub(super) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        // Settings of several parts are changed in parts, which takes what is there now.
        let now = match client.get_queue(&self.name).await {
            // Its thresholds have defaults, which only the broker knows.
            Err(error) if error.code() == Code::NotFound && self.names_a_threshold() => {
                client.update_queue(QueueUpdate::queue(&self.name).reset("health")).await?
            }
            Err(error) if error.code() == Code::NotFound => Queue::default(),
            reply => reply?,
        };
        let update = self.into_update(now)?;
        let queue = client.update_queue(update).await?;
        out.message("Queue", &queue, || facts_of(&queue))
    }

    fn names_a_threshold(&self) -> bool {
        self.unhealthy_ready.is_some()
            || self.unhealthy_age.is_some()
            || self.unhealthy_dead_ratio.is_some()
    }

    fn into_update(self, now: Queue) -> anyhow::Result<QueueUpdate> {
        let (mut update, untouched) =
            (QueueUpdate::queue(&self.name), QueueUpdate::queue(&self.name));
        if let Some(count) = self.max_leased {
            update = update.max_leased(count);
        }
        if let Some(count) = self.max_jobs {
            update = update.max_jobs(count);
        }
        if let Some(count) = self.max_bytes {
            update = update.max_bytes(count);
        }
        if let Some(span) = self.lease {
            update = update.lease_duration(span);
        }
        if let Some(span) = self.attempt_timeout {
            update = update.attempt_timeout(span);
        }
        if let Some(count) = self.max_lease_losses {
            update = update.max_lease_losses(count);
        }
        let in_whole = update.clone();
        if let Some(retry) = self.retry.apply(now.retry_policy) {
            update = update.retry(retry);
        }
        if let Some(retention) = self.retention.apply(now.retention) {
            update = update.retention(retention);
        }
        if self.rate.is_some() || self.burst.is_some() {
            let rate = now.rate_limit.unwrap_or_default();
            let (permits, period) =
                self.rate.unwrap_or((rate.permits, lessor::span::read(rate.period)));
            if permits == 0 {
                return Err(Usage("--burst needs a --rate".to_owned()).into());
            }
            update = update.rate(permits, period, self.burst.unwrap_or(rate.burst));
        }
        let health = now.health.unwrap_or_default();
        let thresholds = HealthThresholds {
            max_ready: self.unhealthy_ready.unwrap_or(health.max_ready),
            max_dead_ratio: self.unhealthy_dead_ratio.unwrap_or(health.max_dead_ratio),
            max_oldest_ready_age: match self.unhealthy_age {
                Some(age) => Some(age.try_into()?),
                None => health.max_oldest_ready_age,
            },
        };
        if thresholds != health {
            update = update.health(thresholds);
        }
        if let Some(endpoint) = self.push.apply(now.push.as_ref())? {
            update = update.push(endpoint);
        }
        let etag = self.etag.or((update != in_whole).then_some(now.etag));
        update = self.reset.iter().fold(update, |update, setting| update.reset(setting.field()));
        if update == untouched {
            return Err(Usage("say what to change, such as --max-leased 20".to_owned()).into());
        }
        if let Some(etag) = etag {
            update = update.etag(etag);
        }
        Ok(match self.reason {
            Some(reason) => update.reason(reason),
            None => update,
        })
    }
}

/// The settings of a queue; what is not set is left out.
pub(super) fn facts_of(queue: &Queue) -> Table {
    let retry = queue.retry_policy.clone().unwrap_or_default();
    let kept = queue.retention.unwrap_or_default();
    let health = queue.health.unwrap_or_default();
    let rate = queue.rate_limit.map(|it| {
        let period = lessor::span::read(it.period);
        format!("{} per {}, {} at once", it.permits, humantime::format_duration(period), it.burst)
    });
    let pauses: Vec<String> =
        retry.backoff_list.iter().map(|&pause| show_span(Some(pause))).collect();
    let [push, push_timeout, push_parallel, push_headers, push_secrets] =
        push::facts(queue.push.as_ref());
    facts([
        ("Queue", queue.name.clone()),
        ("State", if queue.paused { "paused" } else { "open" }.to_owned()),
        ("Most leased", unless_zero(queue.max_leased)),
        ("Rate", rate.unwrap_or_default()),
        ("Most jobs", unless_zero(queue.max_jobs)),
        ("Most bytes", unless_zero(queue.max_bytes)),
        ("Lease", show_span(queue.lease_duration)),
        ("Attempt timeout", show_span(queue.attempt_timeout)),
        ("Lease losses", unless_zero(queue.max_lease_losses)),
        ("Attempts", unless_zero(retry.max_attempts)),
        ("Backoff", show_span(retry.initial_backoff)),
        ("Longest backoff", show_span(retry.max_backoff)),
        ("Backoff list", pauses.join(", ")),
        ("Fatal codes", retry.fatal_codes.join(", ")),
        ("Longest retry", show_span(retry.max_retry_duration)),
        ("Succeeded kept", kept_for(kept.succeeded_ttl, kept.succeeded_count)),
        ("Dead kept", kept_for(kept.dead_ttl, kept.dead_count)),
        ("Unhealthy ready", unless_zero(health.max_ready)),
        ("Unhealthy age", show_span(health.max_oldest_ready_age)),
        (
            "Unhealthy dead",
            Some(health.max_dead_ratio)
                .filter(|it| *it > 0.0)
                .map(|it| it.to_string())
                .unwrap_or_default(),
        ),
        push,
        push_timeout,
        push_parallel,
        push_headers,
        push_secrets,
        ("Etag", queue.etag.clone()),
    ])
}

fn unless_zero(number: impl Into<i64>) -> String {
    let number = number.into();
    if number == 0 { String::new() } else { number.to_string() }
}

fn kept_for(ttl: Option<prost_types::Duration>, count: i32) -> String {
    let count = match count {
        0 => String::new(),
        1.. => format!("{count} jobs"),
        _ => "any number".to_owned(),
    };
    let parts = [show_span(ttl), count];
    parts.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join(", ")
}

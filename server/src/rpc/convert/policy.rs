//! A job's policies: when it is retried, how long it is kept, what makes it a duplicate.

use std::time::Duration;

use lessor_proto::v1;
use lessor_proto::v1::dedup::{OnDuplicate, Scope};
use prost_types::Duration as ProtoDuration;

use super::field::Violations;
use super::text;
use super::time::{FARTHEST, LONGEST_BACKOFF, LONGEST_KEEP, proto_span, span, span_opt};
use crate::job::{self, Dedup, DedupKey, DedupScope, Keep, Retention, RetryPolicy};

const MOST_ATTEMPTS: u32 = 1000;
const MOST_BACKOFFS: usize = 100;
const MOST_CODES: usize = 50;
const GREATEST_MULTIPLIER: f64 = 1000.0;
const GREATEST_COUNT: u32 = 1_000_000;
const LONGEST_WINDOW: Duration = Duration::from_hours(30 * 24);

/// Reads a retry policy; what is unset takes the default.
pub(super) fn retry(proto: v1::RetryPolicy) -> Result<RetryPolicy, Violations> {
    let usual = RetryPolicy::default();
    let mut wrong = Violations::default();
    let max_attempts = wrong.at("max_attempts", attempts(proto.max_attempts));
    let initial = wrong.at("initial_backoff", backoff(proto.initial_backoff.as_ref()));
    let multiplier = wrong.at("multiplier", multiplier(proto.multiplier));
    let longest = wrong.at("max_backoff", backoff(proto.max_backoff.as_ref()));
    let jitter = wrong.at("jitter", jitter(proto.jitter));
    let backoff_list = wrong.at("backoff_list", backoff_list(&proto.backoff_list));
    wrong.at("fatal_codes", fatal_codes(&proto.fatal_codes));
    let max_retry_duration = wrong.at(
        "max_retry_duration",
        span_opt(proto.max_retry_duration.as_ref(), Duration::ZERO, FARTHEST),
    );
    if let (Some(Some(initial)), Some(Some(longest))) = (initial, longest)
        && longest < initial
    {
        wrong.add("max_backoff", "must not be less than initial_backoff");
    }
    let read = || {
        // Where one of the two is a default, it gives way to the other.
        let (initial_backoff, max_backoff) = match (initial?, longest?) {
            (Some(initial), Some(longest)) => (initial, longest),
            (Some(initial), None) => (initial, usual.max_backoff.max(initial)),
            (None, Some(longest)) => (usual.initial_backoff.min(longest), longest),
            (None, None) => (usual.initial_backoff, usual.max_backoff),
        };
        Some(RetryPolicy {
            max_attempts: max_attempts?,
            initial_backoff,
            multiplier: multiplier?,
            max_backoff,
            jitter: jitter?,
            backoff_list: backoff_list?,
            fatal_codes: proto.fatal_codes,
            max_retry_duration: max_retry_duration?,
        })
    };
    let read = read();
    wrong.finish(read)
}

fn attempts(number: i32) -> Result<Option<u32>, Violations> {
    match number {
        0 => Ok(RetryPolicy::default().max_attempts),
        -1 => Ok(None),
        number => match u32::try_from(number) {
            Ok(number) if number <= MOST_ATTEMPTS => Ok(Some(number)),
            _ => Err(format!("must be from 1 to {MOST_ATTEMPTS}, 0 or -1").into()),
        },
    }
}

fn backoff(proto: Option<&ProtoDuration>) -> Result<Option<Duration>, Violations> {
    span_opt(proto, Duration::ZERO, LONGEST_BACKOFF)
}

fn multiplier(factor: f64) -> Result<f64, Violations> {
    if factor == 0.0 {
        return Ok(RetryPolicy::default().multiplier);
    }
    // Written so that a NaN fails.
    if (1.0..=GREATEST_MULTIPLIER).contains(&factor) {
        Ok(factor)
    } else {
        Err(format!("must be from 1 to {GREATEST_MULTIPLIER}, or 0").into())
    }
}

fn jitter(share: Option<f64>) -> Result<f64, Violations> {
    let share = share.unwrap_or(RetryPolicy::default().jitter);
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be from 0 to 1".into()) }
}

fn backoff_list(list: &[ProtoDuration]) -> Result<Vec<Duration>, Violations> {
    if list.len() > MOST_BACKOFFS {
        return Err(format!("has {} entries, more than {MOST_BACKOFFS}", list.len()).into());
    }
    let mut wrong = Violations::default();
    let backoffs = list
        .iter()
        .enumerate()
        .filter_map(|(index, one)| {
            wrong.at_index("", index, span(one, Duration::ZERO, LONGEST_BACKOFF))
        })
        .collect();
    wrong.finish(Some(backoffs))
}

fn fatal_codes(codes: &[String]) -> Result<(), Violations> {
    if codes.len() > MOST_CODES {
        return Err(format!("has {} entries, more than {MOST_CODES}", codes.len()).into());
    }
    let mut wrong = Violations::default();
    for (index, code) in codes.iter().enumerate() {
        wrong.at_index("", index, text::upper_snake(code));
    }
    wrong.finish(Some(()))
}

/// Reads a retention; what is unset takes the default.
pub(super) fn retention(proto: &v1::Retention) -> Result<Retention, Violations> {
    let mut wrong = Violations::default();
    let keep = |proto: Option<&ProtoDuration>| span_opt(proto, Duration::ZERO, LONGEST_KEEP);
    let succeeded_ttl = wrong.at("succeeded_ttl", keep(proto.succeeded_ttl.as_ref()));
    let succeeded_count =
        wrong.at("succeeded_count", count(proto.succeeded_count, Keep::SUCCEEDED));
    let dead_ttl = wrong.at("dead_ttl", keep(proto.dead_ttl.as_ref()));
    let dead_count = wrong.at("dead_count", count(proto.dead_count, Keep::DEAD));
    let read = || {
        Some(Retention {
            succeeded: Keep {
                span: succeeded_ttl?.unwrap_or(Keep::SUCCEEDED.span),
                count: succeeded_count?,
            },
            dead: Keep { span: dead_ttl?.unwrap_or(Keep::DEAD.span), count: dead_count? },
        })
    };
    wrong.finish(read())
}

fn count(number: i32, usual: Keep) -> Result<Option<u32>, Violations> {
    match number {
        0 => Ok(usual.count),
        -1 => Ok(None),
        number => match u32::try_from(number) {
            Ok(number) if number <= GREATEST_COUNT => Ok(Some(number)),
            _ => Err(format!("must be from 1 to {GREATEST_COUNT}, 0 or -1").into()),
        },
    }
}

/// Reads a dedup rule.
pub(super) fn dedup(proto: &v1::Dedup) -> Result<Dedup, Violations> {
    let mut wrong = Violations::default();
    let key = wrong.at("key", DedupKey::parse(&proto.key));
    let window =
        wrong.at("window", span_opt(proto.window.as_ref(), Duration::from_secs(1), LONGEST_WINDOW));
    let scope = match (Scope::try_from(proto.scope), window) {
        (_, None) => None,
        (Ok(Scope::Unspecified | Scope::UntilFinished), Some(cap)) => {
            Some(DedupScope::UntilFinished { cap })
        }
        (Ok(Scope::Window), Some(Some(window))) => Some(DedupScope::Window(window)),
        (Ok(Scope::Window), Some(None)) => {
            wrong.add("window", "must be set with SCOPE_WINDOW");
            None
        }
        (Ok(Scope::UntilStarted), Some(cap)) => Some(DedupScope::UntilStarted { cap }),
        (Err(_), _) => {
            wrong.add("scope", "is an unknown value");
            None
        }
    };
    let on_duplicate = match OnDuplicate::try_from(proto.on_duplicate) {
        Ok(OnDuplicate::Unspecified | OnDuplicate::Keep) => Some(job::OnDuplicate::Keep),
        Ok(OnDuplicate::Replace) => Some(job::OnDuplicate::Replace),
        Ok(OnDuplicate::RunAfter) => Some(job::OnDuplicate::RunAfter),
        Ok(OnDuplicate::Reject) => Some(job::OnDuplicate::Reject),
        Err(_) => {
            wrong.add("on_duplicate", "is an unknown value");
            None
        }
    };
    let read = || Some(Dedup { key: key?, scope: scope?, on_duplicate: on_duplicate? });
    let read = read();
    wrong.finish(read)
}

/// Writes a retry policy, complete.
pub(super) fn proto_retry(retry: &RetryPolicy) -> v1::RetryPolicy {
    v1::RetryPolicy {
        max_attempts: retry.max_attempts.map_or(-1, number),
        initial_backoff: Some(proto_span(retry.initial_backoff)),
        multiplier: retry.multiplier,
        max_backoff: Some(proto_span(retry.max_backoff)),
        jitter: Some(retry.jitter),
        backoff_list: retry.backoff_list.iter().copied().map(proto_span).collect(),
        fatal_codes: retry.fatal_codes.clone(),
        max_retry_duration: retry.max_retry_duration.map(proto_span),
    }
}

/// Writes a retention, complete.
pub(super) fn proto_retention(retention: &Retention) -> v1::Retention {
    let Retention { succeeded, dead } = retention;
    v1::Retention {
        succeeded_ttl: Some(proto_span(succeeded.span)),
        succeeded_count: succeeded.count.map_or(-1, number),
        dead_ttl: Some(proto_span(dead.span)),
        dead_count: dead.count.map_or(-1, number),
    }
}

/// Writes a dedup rule, complete.
pub(super) fn proto_dedup(dedup: &Dedup) -> v1::Dedup {
    let (scope, window) = match dedup.scope {
        DedupScope::UntilStarted { cap } => (Scope::UntilStarted, cap),
        DedupScope::UntilFinished { cap } => (Scope::UntilFinished, cap),
        DedupScope::Window(window) => (Scope::Window, Some(window)),
    };
    let on_duplicate = match dedup.on_duplicate {
        job::OnDuplicate::Keep => OnDuplicate::Keep,
        job::OnDuplicate::Replace => OnDuplicate::Replace,
        job::OnDuplicate::RunAfter => OnDuplicate::RunAfter,
        job::OnDuplicate::Reject => OnDuplicate::Reject,
    };
    v1::Dedup {
        key: dedup.key.as_str().to_owned(),
        scope: scope.into(),
        window: window.map(proto_span),
        on_duplicate: on_duplicate.into(),
    }
}

/// A count as protobuf has it.
pub(super) fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

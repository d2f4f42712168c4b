//! The stored form of a queue's settings.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{KeepRecord, RetryRecord, Unreadable, retry, retry_record};
use crate::clock::millis;
use crate::job::push::{ClientErrors, Hidden, Secret};
use crate::job::queue::{Health, RateLimit};
use crate::job::{Keep, Push, QueueSettings, Retention};

#[derive(Clone, PartialEq, Message)]
struct SettingsRecord {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(bool, tag = "2")]
    paused: bool,
    #[prost(message, optional, tag = "3")]
    retry: Option<RetryRecord>,
    #[prost(uint64, optional, tag = "4")]
    lease_millis: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    attempt_millis: Option<u64>,
    /// Both or none of the two are present.
    #[prost(message, optional, tag = "6")]
    succeeded: Option<KeepRecord>,
    #[prost(message, optional, tag = "7")]
    dead: Option<KeepRecord>,
    #[prost(uint32, optional, tag = "8")]
    max_leased: Option<u32>,
    #[prost(message, optional, tag = "9")]
    rate_limit: Option<RateRecord>,
    #[prost(uint64, optional, tag = "10")]
    max_jobs: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    max_bytes: Option<u64>,
    #[prost(uint32, optional, tag = "12")]
    max_lease_losses: Option<u32>,
    #[prost(message, optional, tag = "13")]
    health: Option<HealthRecord>,
    #[prost(message, optional, tag = "14")]
    push: Option<PushRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct RateRecord {
    #[prost(uint32, tag = "1")]
    permits: u32,
    #[prost(uint64, tag = "2")]
    period_micros: u64,
    #[prost(uint32, tag = "3")]
    burst: u32,
}

#[derive(Clone, PartialEq, Message)]
struct HealthRecord {
    #[prost(uint64, tag = "1")]
    backlog: u64,
    #[prost(double, tag = "2")]
    dead_ratio: f64,
    #[prost(uint64, optional, tag = "3")]
    age_millis: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct PushRecord {
    #[prost(string, tag = "1")]
    uri: String,
    #[prost(btree_map = "string, string", tag = "2")]
    headers: BTreeMap<String, String>,
    #[prost(uint64, tag = "3")]
    timeout_millis: u64,
    #[prost(uint32, tag = "4")]
    max_parallel: u32,
    #[prost(bool, tag = "5")]
    retries_client_errors: bool,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    secrets: Vec<Bytes>,
}

/// Encodes settings.
pub fn encode_settings(settings: &QueueSettings) -> Vec<u8> {
    let keep = |keep: Keep| KeepRecord { millis: millis(keep.span), count: keep.count };
    SettingsRecord {
        revision: settings.revision,
        paused: settings.paused,
        retry: settings.retry.as_ref().map(retry_record),
        lease_millis: settings.lease_duration.map(millis),
        attempt_millis: settings.attempt_timeout.map(millis),
        succeeded: settings.retention.map(|retention| keep(retention.succeeded)),
        dead: settings.retention.map(|retention| keep(retention.dead)),
        max_leased: settings.max_leased,
        rate_limit: settings.rate_limit.map(|rate| RateRecord {
            permits: rate.permits,
            period_micros: u64::try_from(rate.period.as_micros()).unwrap_or(u64::MAX),
            burst: rate.burst,
        }),
        max_jobs: settings.max_jobs,
        max_bytes: settings.max_bytes,
        max_lease_losses: settings.max_lease_losses,
        health: (settings.health != Health::default()).then(|| HealthRecord {
            backlog: settings.health.max_ready,
            dead_ratio: settings.health.max_dead_ratio,
            age_millis: settings.health.max_oldest_ready_age.map(millis),
        }),
        push: settings.push.as_ref().map(push_record),
    }
    .encode_to_vec()
}

/// Decodes what [`encode_settings`] encoded.
pub fn decode_settings(bytes: Bytes) -> Result<QueueSettings, Unreadable> {
    let record = SettingsRecord::decode(bytes)?;
    let keep = |record: KeepRecord| Keep {
        span: Duration::from_millis(record.millis),
        count: record.count,
    };
    let retention = match (record.succeeded, record.dead) {
        (Some(succeeded), Some(dead)) => {
            Some(Retention { succeeded: keep(succeeded), dead: keep(dead) })
        }
        _ => None,
    };
    Ok(QueueSettings {
        revision: record.revision,
        paused: record.paused,
        retry: record.retry.map(retry),
        lease_duration: record.lease_millis.map(Duration::from_millis),
        attempt_timeout: record.attempt_millis.map(Duration::from_millis),
        retention,
        max_leased: record.max_leased,
        rate_limit: record.rate_limit.map(|rate| RateLimit {
            permits: rate.permits,
            period: Duration::from_micros(rate.period_micros),
            burst: rate.burst,
        }),
        max_jobs: record.max_jobs,
        max_bytes: record.max_bytes,
        max_lease_losses: record.max_lease_losses,
        health: record.health.map_or_else(Health::default, |health| Health {
            max_ready: health.backlog,
            max_dead_ratio: health.dead_ratio,
            max_oldest_ready_age: health.age_millis.map(Duration::from_millis),
        }),
        push: record.push.map(push),
    })
}

fn push_record(push: &Push) -> PushRecord {
    let header = |(name, value): (&String, &Hidden)| (name.clone(), value.expose().to_owned());
    PushRecord {
        uri: push.uri.clone(),
        headers: push.headers.iter().map(header).collect(),
        timeout_millis: millis(push.timeout),
        max_parallel: push.max_parallel,
        retries_client_errors: push.client_errors == ClientErrors::Retry,
        secrets: push.secrets.iter().map(|secret| secret.expose().clone()).collect(),
    }
}

fn push(record: PushRecord) -> Push {
    Push {
        uri: record.uri,
        headers: record.headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
        timeout: Duration::from_millis(record.timeout_millis),
        max_parallel: record.max_parallel,
        client_errors: if record.retries_client_errors {
            ClientErrors::Retry
        } else {
            ClientErrors::Dead
        },
        secrets: record.secrets.into_iter().map(Secret::of).collect(),
    }
}

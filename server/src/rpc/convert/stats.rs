//! How a queue fares, as it is told.

use lessor_proto::v1;

use super::policy::number;
use super::queue::large;
use super::time::proto_span;
use crate::broker::stats::Stats;
use crate::job::QueueName;
use crate::store::{Counts, Totals};

/// Writes how a queue fares.
pub(in crate::rpc) fn stats_response(queue: &QueueName, stats: Stats) -> v1::QueueStats {
    let Counts { scheduled, ready, leased, retrying, blocked, succeeded, dead, cancelled, expired } =
        stats.survey.counts;
    let totals: Totals = stats.survey.totals;
    v1::QueueStats {
        queue: queue.to_string(),
        scheduled: large(scheduled),
        ready: large(ready),
        leased: large(leased),
        retrying: large(retrying),
        blocked: large(blocked),
        succeeded: large(succeeded),
        dead: large(dead),
        cancelled: large(cancelled),
        expired: large(expired),
        enqueued_total: large(totals.enqueued),
        succeeded_total: large(totals.succeeded),
        dead_total: large(totals.dead),
        lease_expired_total: large(totals.lease_expired),
        oldest_ready_age: stats.oldest_ready_age.map(proto_span),
        enqueue_rate: stats.rates.enqueued,
        finish_rate: stats.rates.finished,
        wait_p50: stats.waits.half.map(proto_span),
        wait_p95: stats.waits.most.map(proto_span),
        run_p50: stats.runs.half.map(proto_span),
        run_p95: stats.runs.most.map(proto_span),
        healthy: stats.unhealthy.is_empty(),
        unhealthy_reasons: stats.unhealthy,
        paused: stats.paused,
        workers: number(u32::try_from(stats.workers).unwrap_or(u32::MAX)),
        memory_bytes: large(stats.survey.bytes),
        event_cursor: stats.event_cursor,
    }
}

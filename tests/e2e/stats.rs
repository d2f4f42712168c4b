//! How a queue fares, and why a job does not run.

use lessor_proto::v1;
use lessor_proto::v1::explain_job_response::Cause;
use lessor_proto::v1::nack_request::{Disposition, Retry};

use crate::on_every_store;
use crate::operate::later;
use crate::server::{Server, nack, request, seconds};

on_every_store! {
    a_queue_counts_its_jobs_by_state,
    totals_and_rates_count_what_happened,
    waits_and_runs_have_percentiles,
    a_queue_is_unhealthy_beyond_its_thresholds,
    a_job_in_every_state_is_explained,
    every_gate_of_a_ready_job_is_explained,
}

impl Server {
    async fn stats(&self, name: &str) -> v1::QueueStats {
        let request = v1::GetQueueStatsRequest { name: name.to_owned() };
        self.admin().get_queue_stats(request).await.unwrap().into_inner()
    }

    async fn explain(&self, name: &str) -> v1::ExplainJobResponse {
        let request = v1::GetJobRequest { name: name.to_owned(), ..v1::GetJobRequest::default() };
        self.admin().explain_job(request).await.unwrap().into_inner()
    }

    async fn codes(&self, name: &str) -> String {
        let causes = self.explain(name).await.causes;
        causes.into_iter().map(|cause| cause.code).collect::<Vec<_>>().join(" ")
    }
}

/// One job of `mail` in each of several states: ready, leased, scheduled, retrying, succeeded,
/// dead.
async fn one_of_each(server: &Server) {
    for _ in 0..5 {
        server.enqueue("mail").await;
    }
    server.enqueued(later("mail")).await;
    server.acked(&server.leased("mail").await.lease_token).await;
    let dead = server.leased("mail").await;
    let disposition = Some(Disposition::Dead(()));
    server.broker().nack(v1::NackRequest { disposition, ..nack(&dead.lease_token) }).await.unwrap();
    let failed = server.leased("mail").await;
    let delay = Some(seconds(600));
    let disposition = Some(Disposition::Retry(Retry { delay }));
    let retry = v1::NackRequest { disposition, ..nack(&failed.lease_token) };
    server.broker().nack(retry).await.unwrap();
    server.leased("mail").await;
}

async fn a_queue_counts_its_jobs_by_state(server: &mut Server) {
    one_of_each(server).await;
    for name in ["mail", "queues/mail"] {
        let stats = server.stats(name).await;
        assert_eq!(stats.queue, "mail");
        let counts = [
            stats.scheduled,
            stats.ready,
            stats.leased,
            stats.retrying,
            stats.succeeded,
            stats.dead,
        ];
        assert_eq!(counts, [1; 6]);
        assert_eq!((stats.blocked, stats.cancelled, stats.expired), (0, 0, 0));
    }
    // One that there is not has no jobs: an autoscaler may ask before the first one.
    let none = server.stats("none").await;
    assert_eq!((none.ready, none.healthy, none.oldest_ready_age), (0, true, None));
}

async fn totals_and_rates_count_what_happened(server: &mut Server) {
    one_of_each(server).await;
    let stats = server.stats("mail").await;
    assert_eq!((stats.enqueued_total, stats.succeeded_total, stats.dead_total), (6, 1, 1));
    // Six enqueued and two finished in the last minute.
    assert!((stats.enqueue_rate - 0.1).abs() < 1e-9, "{}", stats.enqueue_rate);
    assert!((stats.finish_rate - 2.0 / 60.0).abs() < 1e-9, "{}", stats.finish_rate);
    assert!(stats.oldest_ready_age.is_some() && stats.memory_bytes > 0);
    assert_eq!((stats.workers, stats.paused), (1, false));
    assert!(server.pause("mail").await.paused && server.stats("mail").await.paused);
    assert!(!stats.event_cursor.is_empty());
}

async fn waits_and_runs_have_percentiles(server: &mut Server) {
    server.enqueue("mail").await;
    assert_eq!(server.stats("mail").await.wait_p50, None);
    let leased = server.leased("mail").await;
    let stats = server.stats("mail").await;
    assert!(stats.wait_p50.is_some() && stats.wait_p95.is_some());
    assert_eq!((stats.run_p50, stats.run_p95), (None, None));
    server.acked(&leased.lease_token).await;
    let stats = server.stats("mail").await;
    assert!(stats.run_p50.is_some() && stats.run_p95.is_some());
}

async fn a_queue_is_unhealthy_beyond_its_thresholds(server: &mut Server) {
    let thresholds = |max_ready, max_dead_ratio| v1::Queue {
        name: "mail".to_owned(),
        health: Some(v1::HealthThresholds {
            max_ready,
            max_dead_ratio,
            max_oldest_ready_age: None,
        }),
        ..v1::Queue::default()
    };
    one_of_each(server).await;
    let stats = server.stats("mail").await;
    // Half of what finished is dead: more than the usual tenth.
    assert!(!stats.healthy && stats.unhealthy_reasons[0].contains("50.0 %"), "{stats:?}");
    server.set(thresholds(1, 0.6), &["health"]).await;
    let stats = server.stats("mail").await;
    assert_eq!((stats.healthy, stats.unhealthy_reasons.len()), (true, 0));
    server.enqueue("mail").await;
    let stats = server.stats("mail").await;
    assert_eq!(stats.unhealthy_reasons, ["2 jobs are ready, more than 1"]);
    server.set(thresholds(0, 0.0), &["health"]).await;
    assert!(server.stats("mail").await.healthy);
}

async fn a_job_in_every_state_is_explained(server: &mut Server) {
    one_of_each(server).await;
    let page = v1::ListJobsRequest { queue: "mail".to_owned(), ..v1::ListJobsRequest::default() };
    let mut told = Vec::new();
    for job in server.list(page).await.jobs {
        told.push(format!("{}: {}", job.state().as_str_name(), server.codes(&job.name).await));
    }
    let expected = [
        "STATE_LEASED: LEASED",
        "STATE_READY: ",
        "STATE_RETRYING: BACKOFF",
        "STATE_SCHEDULED: SCHEDULED",
        "STATE_DEAD: DEAD",
        "STATE_SUCCEEDED: SUCCEEDED",
    ];
    assert_eq!(told, expected);
    let job = server.enqueued(later("mail")).await;
    let explained = server.explain(&job.name).await;
    assert_eq!(explained.causes[0].clears_at, job.schedule_time);
    assert!(explained.estimated_wait.unwrap().seconds > 3500);
}

async fn every_gate_of_a_ready_job_is_explained(server: &mut Server) {
    server.enqueue("mail").await;
    let job = server.enqueue("mail").await;
    assert_eq!(server.codes(&job.name).await, "NO_WORKERS QUEUED");
    server.leased("mail").await;
    assert_eq!(server.codes(&job.name).await, "");
    let rate = v1::RateLimit { permits: 1, period: Some(seconds(3600)), burst: 1 };
    let limits = v1::Queue {
        name: "mail".to_owned(),
        max_leased: 1,
        rate_limit: Some(rate),
        ..v1::Queue::default()
    };
    server.set(limits, &["max_leased"]).await;
    assert_eq!(server.codes(&job.name).await, "MAX_LEASED");
    server.pause("mail").await;
    let explained = server.explain(&job.name).await;
    let codes: Vec<&str> = explained.causes.iter().map(|cause| cause.code.as_str()).collect();
    assert_eq!((codes, explained.estimated_wait), (vec!["PAUSED", "MAX_LEASED"], None));
    let Cause { metadata, message, .. } = &explained.causes[1];
    assert_eq!((metadata["leased"].as_str(), metadata["maxLeased"].as_str()), ("1", "1"));
    assert!(message.contains("of at most 1"));
    let limited =
        v1::Queue { name: "slow".to_owned(), rate_limit: Some(rate), ..v1::Queue::default() };
    server.set(limited, &["rate_limit"]).await;
    server.enqueue("slow").await;
    let second = server.enqueued(request("slow")).await;
    server.leased("slow").await;
    let explained = server.explain(&second.name).await;
    assert_eq!(explained.causes[0].code, "RATE_LIMIT");
    assert!(explained.causes[0].clears_at.is_some());
}

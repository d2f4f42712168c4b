//! `/metrics`: what it answers is what the documentation lists, and what happened.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use lessor_proto::v1;
use lessor_proto::v1::event::Type;
use lessor_server::telemetry::metrics::table::{Kind, MOST_QUEUES, TABLE};

use crate::http::client::Http;
use crate::on_every_store;
use crate::server::{Server, ack, lease, millis, nack, request, seconds};
use crate::watch::wait_for;

on_every_store! {
    exactly_the_documented_metrics_are_there,
    jobs_are_counted_by_what_becomes_of_them,
    queues_beyond_the_bound_share_a_label,
    calls_are_counted_by_method_and_code,
}

/// The samples of one answer, by name and labels.
struct Scrape {
    text: String,
}

impl Scrape {
    async fn of(server: &Server) -> Self {
        let answer = Http::one(server.address).await.get("/metrics").await;
        assert_eq!(answer.status, hyper::StatusCode::OK);
        assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
        Self { text: answer.text().to_owned() }
    }

    /// The kind of each metric.
    fn kinds(&self) -> BTreeMap<&str, &str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split_once(' ').unwrap()).collect()
    }

    /// The labels of all samples of a metric.
    fn labels(&self, metric: &str) -> BTreeSet<&str> {
        let samples = self.text.lines().filter(|line| !line.starts_with('#'));
        let labels = samples.filter_map(|line| {
            let (name, rest) = line.split_once('{').unwrap_or((line, "}"));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let is_it = name == metric || base == Some(metric);
            is_it.then(|| rest.split_once('}').unwrap().0)
        });
        let pairs = labels.flat_map(|labels| labels.split(',')).filter(|pair| !pair.is_empty());
        pairs.map(|pair| pair.split_once('=').unwrap().0).filter(|label| *label != "le").collect()
    }

    /// One sample that counts; `None` when there is no such series.
    fn find(&self, series: &str) -> Option<u64> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(series))?;
        line.trim().parse().ok()
    }

    fn value(&self, series: &str) -> u64 {
        self.find(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }
}

/// Leaves a trace in every metric.
async fn live(server: &Server) {
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    server.acked(&token).await;
    let mut watch = server
        .broker()
        .watch_events(v1::WatchEventsRequest {
            queues: vec!["mail".to_owned()],
            start: Some(v1::watch_events_request::Start::StartTime(
                prost_types::Timestamp::default(),
            )),
            ..v1::WatchEventsRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
}

async fn exactly_the_documented_metrics_are_there(server: &mut Server) {
    live(server).await;
    let scrape = Scrape::of(server).await;
    let kind = |kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    let documented: BTreeMap<String, &str> =
        TABLE.iter().map(|metric| (metric.prometheus_name(), kind(metric.kind))).collect();
    let there = scrape.kinds();
    assert_eq!(
        there.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect::<BTreeMap<_, _>>(),
        documented
    );
    for metric in TABLE {
        let labels = metric.prometheus_labels();
        let labels: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(scrape.labels(&metric.prometheus_name()), labels, "{}", metric.name);
    }
}

async fn jobs_are_counted_by_what_becomes_of_them(server: &mut Server) {
    for _ in 0..3 {
        server.enqueue("mail").await;
    }
    let done = server.leased("mail").await;
    server.acked(&done.lease_token).await;
    let dead = server.leased("mail").await;
    let disposition = Some(v1::nack_request::Disposition::Dead(()));
    let request_dead = v1::NackRequest { disposition, ..nack(&dead.lease_token) };
    server.broker().nack(request_dead).await.unwrap();
    let short = v1::LeaseRequest { lease_duration: Some(millis(1000)), ..lease("mail") };
    server.leased_by(short).await;
    wait_for(server, |event| event.r#type() == Type::JobLeaseExpired).await;

    // The event may be told a moment before its call is counted.
    let lost = "lessor_jobs_lease_expired_total{queue=\"mail\"}";
    let mut scrape = Scrape::of(server).await;
    while scrape.value(lost) < 1 {
        scrape = Scrape::of(server).await;
    }

    let count = |name: &str| scrape.value(&format!("lessor_jobs_{name}_total{{queue=\"mail\"}}"));
    let names = ["enqueued", "leased", "completed", "failed", "dead", "lease_expired", "released"];
    assert_eq!(names.map(count), [3, 3, 1, 1, 1, 1, 0]);
    assert_eq!(scrape.value("lessor_job_wait_seconds_count{queue=\"mail\"}"), 3);
    assert_eq!(scrape.value("lessor_job_run_seconds_count{queue=\"mail\"}"), 2);
    let jobs = |state: &str| {
        scrape.value(&format!("lessor_queue_jobs{{queue=\"mail\",state=\"{state}\"}}"))
    };
    assert_eq!(["ready", "leased", "succeeded", "dead"].map(jobs), [1, 0, 1, 1]);
    assert_eq!(scrape.value("lessor_store_up"), 1);
}

async fn queues_beyond_the_bound_share_a_label(server: &mut Server) {
    let broker = server.broker();
    let enqueues = (0..MOST_QUEUES + 5).map(|number| {
        let mut broker = broker.clone();
        async move { broker.enqueue(request(&format!("q{number}"))).await.unwrap() }
    });
    join_all(enqueues).await;

    let scrape = Scrape::of(server).await;

    assert_eq!(scrape.value("lessor_jobs_enqueued_total{queue=\"other\"}"), 5);
    assert_eq!(scrape.value("lessor_queue_jobs{queue=\"other\",state=\"ready\"}"), 5);
    let labels = scrape.text.matches("lessor_jobs_enqueued_total{queue=").count();
    assert_eq!(labels, MOST_QUEUES + 1);
}

async fn calls_are_counted_by_method_and_code(server: &mut Server) {
    server.enqueue("mail").await;
    server.broker().enqueue(request("")).await.unwrap_err();
    server.broker().ack(ack("nonsense")).await.unwrap_err();
    let mut broker = server.broker();
    let waiting = broker.lease(v1::LeaseRequest { wait: Some(seconds(60)), ..lease("empty") });
    let waited_for = async {
        loop {
            let scrape = Scrape::of(server).await;
            if scrape.value("lessor_workers_waiting") > 0 {
                return scrape;
            }
        }
    };
    let scrape = tokio::select! {
        answer = waiting => panic!("there is no job, but {answer:?}"),
        scrape = waited_for => scrape,
    };

    let ended = |method: &str, code: &str| {
        scrape.find(&format!(
            "rpc_server_call_duration_seconds_count{{rpc_method=\"lessor.v1.JobBroker/{method}\",\
             rpc_response_status_code=\"{code}\",rpc_system_name=\"grpc\"}}"
        ))
    };
    assert_eq!(ended("Enqueue", "OK"), Some(1));
    assert_eq!(ended("Enqueue", "INVALID_ARGUMENT"), Some(1));
    assert_eq!(ended("Ack", "INVALID_ARGUMENT"), Some(1));
    assert_eq!(ended("Lease", "OK"), None);
    let active = "lessor_calls_active{rpc_method=\"lessor.v1.JobBroker/Lease\"}";
    assert_eq!(scrape.value(active), 1);
    assert_eq!(scrape.value("lessor_workers_waiting"), 1);
}

//! A refused call names its reason, and every field that is wrong.

use lessor_proto::v1;
use lessor_proto::v1::dedup::Scope;
use lessor_proto::v1::enqueue_request::{Expiry, Start};
use lessor_proto::v1::event::Type;
use lessor_proto::v1::nack_request::{Disposition, Retry, Snooze};
use lessor_proto::v1::watch_events_request::Start as From;
use prost_types::{Duration as ProtoDuration, Timestamp};
use tonic::Response;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, data, extend, lease, nack, request, seconds};

on_every_store! {
    bad_enqueues_name_their_fields,
    all_that_is_wrong_is_told_at_once,
    bad_leases_name_their_fields,
    bad_settles_name_their_fields,
    bad_cancels_name_their_fields,
    bad_waits_name_their_fields,
    bad_reads_name_their_fields,
    long_failures_are_cut_and_not_refused,
}

fn malformed() -> ProtoDuration {
    ProtoDuration { seconds: 1, nanos: -1 }
}

fn policy(change: impl FnOnce(&mut v1::RetryPolicy)) -> v1::EnqueueRequest {
    let mut policy = v1::RetryPolicy::default();
    change(&mut policy);
    v1::EnqueueRequest { retry_policy: Some(policy), ..request("mail") }
}

fn kept(change: impl FnOnce(&mut v1::Retention)) -> v1::EnqueueRequest {
    let mut retention = v1::Retention::default();
    change(&mut retention);
    v1::EnqueueRequest { retention: Some(retention), ..request("mail") }
}

fn dedup(change: impl FnOnce(&mut v1::Dedup)) -> v1::EnqueueRequest {
    let mut dedup = v1::Dedup { key: "key".to_owned(), ..v1::Dedup::default() };
    change(&mut dedup);
    v1::EnqueueRequest { dedup: Some(dedup), ..request("mail") }
}

fn job(change: impl FnOnce(&mut v1::EnqueueRequest)) -> v1::EnqueueRequest {
    let mut request = request("mail");
    change(&mut request);
    request
}

fn labelled(key: &str, value: &str) -> v1::EnqueueRequest {
    job(|it| it.labels = [(key.to_owned(), value.to_owned())].into())
}

async fn bad_enqueues_name_their_fields(server: &mut Server) {
    let decades = Timestamp { seconds: 253_402_300_799, nanos: 0 };
    let table = vec![
        (request(""), "queue"),
        (request("-a"), "queue"),
        (request(&"a".repeat(129)), "queue"),
        (job(|it| it.r#type = "a\nb".into()), "type"),
        (job(|it| it.r#type = "é".repeat(65)), "type"),
        (job(|it| it.job_id = "a/b".into()), "job_id"),
        (job(|it| it.request_id = "7".into()), "request_id"),
        (job(|it| it.priority = 1001), "priority"),
        (job(|it| it.priority = i32::MIN), "priority"),
        (job(|it| it.start = Some(Start::Delay(seconds(-1)))), "delay"),
        (job(|it| it.start = Some(Start::Delay(seconds(3654 * 86_400)))), "delay"),
        (job(|it| it.start = Some(Start::Delay(malformed()))), "delay"),
        (job(|it| it.start = Some(Start::ScheduleTime(decades))), "schedule_time"),
        (job(|it| it.lease_duration = Some(seconds(0))), "lease_duration"),
        (job(|it| it.lease_duration = Some(seconds(43_201))), "lease_duration"),
        (labelled("", "x"), "labels"),
        (labelled(&"k".repeat(64), "x"), "labels"),
        (labelled("k", &"v".repeat(256)), "labels[\"k\"]"),
        (job(|it| it.labels = (0..65).map(|n| (n.to_string(), String::new())).collect()), "labels"),
        (policy(|it| it.max_attempts = -2), "retry_policy.max_attempts"),
        (policy(|it| it.max_attempts = 1001), "retry_policy.max_attempts"),
        (policy(|it| it.multiplier = 0.5), "retry_policy.multiplier"),
        (policy(|it| it.multiplier = f64::NAN), "retry_policy.multiplier"),
        (policy(|it| it.jitter = Some(1.1)), "retry_policy.jitter"),
        (policy(|it| it.jitter = Some(f64::NAN)), "retry_policy.jitter"),
        (policy(|it| it.initial_backoff = Some(seconds(-1))), "retry_policy.initial_backoff"),
        (
            policy(|it| {
                it.initial_backoff = Some(seconds(2));
                it.max_backoff = Some(seconds(1));
            }),
            "retry_policy.max_backoff",
        ),
        (
            policy(|it| it.backoff_list = vec![seconds(1), seconds(-1)]),
            "retry_policy.backoff_list[1]",
        ),
        (policy(|it| it.backoff_list = vec![seconds(1); 101]), "retry_policy.backoff_list"),
        (policy(|it| it.fatal_codes = vec!["nope".to_owned()]), "retry_policy.fatal_codes[0]"),
        (policy(|it| it.max_retry_duration = Some(seconds(-1))), "retry_policy.max_retry_duration"),
        (kept(|it| it.succeeded_ttl = Some(seconds(366 * 86_400))), "retention.succeeded_ttl"),
        (kept(|it| it.succeeded_count = -2), "retention.succeeded_count"),
        (kept(|it| it.dead_ttl = Some(seconds(-1))), "retention.dead_ttl"),
        (kept(|it| it.dead_count = 1_000_001), "retention.dead_count"),
        (dedup(|it| it.key.clear()), "dedup.key"),
        (dedup(|it| it.scope = Scope::Window.into()), "dedup.window"),
        (dedup(|it| it.window = Some(seconds(0))), "dedup.window"),
        (dedup(|it| it.scope = 99), "dedup.scope"),
        (dedup(|it| it.on_duplicate = 99), "dedup.on_duplicate"),
        (job(|it| it.expiry = Some(Expiry::Ttl(seconds(0)))), "ttl"),
        (
            job(|it| {
                it.start = Some(Start::Delay(seconds(60)));
                it.expiry = Some(Expiry::Ttl(seconds(60)));
            }),
            "ttl",
        ),
        (job(|it| it.expiry = Some(Expiry::ExpireTime(decades))), "expire_time"),
        (job(|it| it.attempt_timeout = Some(seconds(0))), "attempt_timeout"),
        (job(|it| it.order_key = "k".into()), "order_key"),
        (job(|it| it.fairness_key = "k".into()), "fairness_key"),
        (job(|it| it.fairness_weight = 1.0), "fairness_weight"),
        (job(|it| it.limits = vec![v1::Limit::default()]), "limits"),
        (job(|it| it.depends_on = vec![String::new()]), "depends_on"),
        (job(|it| it.owner = "a\nb".into()), "owner"),
    ];
    for (request, field) in table {
        let refusal = Refusal::of(server.broker().enqueue(request).await);
        refusal.assert_field(field);
        assert_eq!(refusal.reason, "INVALID_FIELD");
        assert!(refusal.message.contains(field), "{}", refusal.message);
    }
    assert_eq!(server.lease_now(lease("*")).await.jobs, []);
}

async fn all_that_is_wrong_is_told_at_once(server: &mut Server) {
    let wrong = v1::EnqueueRequest {
        priority: 5000,
        owner: "m\ne".to_owned(),
        payload: Some(v1::Payload { content_type: "a\nb".to_owned(), ..data("") }),
        ..policy(|it| {
            it.jitter = Some(2.0);
            it.multiplier = -1.0;
        })
    };
    let mut refusal = Refusal::of(server.broker().enqueue(wrong).await);
    refusal.fields.sort();
    let expected = [
        "owner",
        "payload.content_type",
        "priority",
        "retry_policy.jitter",
        "retry_policy.multiplier",
    ];
    assert_eq!(refusal.fields, expected);
}

async fn bad_leases_name_their_fields(server: &mut Server) {
    let changed = |change: fn(&mut v1::LeaseRequest)| {
        let mut lease = lease("mail");
        change(&mut lease);
        lease
    };
    let weighted = |queue: &str, weight| v1::LeaseRequest {
        order: v1::Order::Weighted.into(),
        weights: [(queue.to_owned(), weight)].into(),
        ..lease("mail")
    };
    let lingering = |min_jobs, linger| v1::LeaseRequest {
        max_jobs: 4,
        min_jobs,
        linger: Some(seconds(linger)),
        ..lease("mail")
    };
    let described = |change: fn(&mut v1::Worker)| {
        let mut worker = v1::Worker::default();
        change(&mut worker);
        v1::LeaseRequest { worker: Some(worker), ..lease("mail") }
    };
    let table = [
        (changed(|it| it.queues.clear()), "queues"),
        (changed(|it| it.queues.push("a*b".to_owned())), "queues[1]"),
        (changed(|it| it.queues = vec!["a".to_owned(); 257]), "queues"),
        (changed(|it| it.worker_id.clear()), "worker_id"),
        (changed(|it| it.worker_id = "a\nb".into()), "worker_id"),
        (changed(|it| it.max_jobs = -1), "max_jobs"),
        (changed(|it| it.max_jobs = 257), "max_jobs"),
        (changed(|it| it.max_bytes = -1), "max_bytes"),
        (changed(|it| it.max_bytes = (3 << 20) + 1), "max_bytes"),
        (changed(|it| it.lease_duration = Some(seconds(43_201))), "lease_duration"),
        (changed(|it| it.wait = Some(seconds(61))), "wait"),
        (changed(|it| it.wait = Some(seconds(-1))), "wait"),
        (changed(|it| it.request_id = "x".into()), "request_id"),
        (changed(|it| it.types = vec!["a".to_owned(), "a".repeat(129)]), "types[1]"),
        (changed(|it| it.types = vec!["a".to_owned(); 65]), "types"),
        (changed(|it| it.order = 99), "order"),
        (changed(|it| it.weights = [("mail".to_owned(), 1)].into()), "weights"),
        (weighted("sms", 1), "weights[\"sms\"]"),
        (weighted("mail", 0), "weights[\"mail\"]"),
        (weighted("mail", 1001), "weights[\"mail\"]"),
        (changed(|it| it.min_jobs = 1), "linger"),
        (changed(|it| it.linger = Some(seconds(1))), "min_jobs"),
        (lingering(2, 11), "linger"),
        (lingering(5, 1), "min_jobs"),
        (lingering(-1, 1), "min_jobs"),
        (v1::LeaseRequest { lease_duration: Some(seconds(2)), ..lingering(2, 2) }, "linger"),
        (described(|it| it.worker_id = "other".into()), "worker.worker_id"),
        (described(|it| it.display_name = "a".repeat(129)), "worker.display_name"),
        (described(|it| it.sdk = "a\nb".into()), "worker.sdk"),
        (described(|it| it.labels = [(String::new(), String::new())].into()), "worker.labels"),
        (described(|it| it.concurrency = -1), "worker.concurrency"),
    ];
    for (request, field) in table {
        Refusal::of(server.broker().lease(request).await).assert_field(field);
    }
}

async fn bad_settles_name_their_fields(server: &mut Server) {
    server.enqueue("mail").await;
    let token = server.leased("mail").await.lease_token;
    for bad in ["", "nonsense", "é", &"A".repeat(2000)] {
        let refusals = [
            Refusal::of(server.broker().ack(ack(bad)).await),
            Refusal::of(server.broker().nack(nack(bad)).await),
            Refusal::of(server.broker().extend_lease(extend(bad)).await),
        ];
        for refusal in refusals {
            refusal.assert_field("lease_token");
            assert_eq!(refusal.reason, "BAD_LEASE_TOKEN");
        }
    }
    let then = |then: Vec<v1::EnqueueRequest>| v1::AckRequest { then, ..ack(&token) };
    let checked = v1::EnqueueRequest { validate_only: true, ..request("mail") };
    let named = v1::EnqueueRequest { job_id: "a".to_owned(), ..request("mail") };
    let acks = [
        (then(vec![request("mail"); 17]), "then"),
        (then(vec![request("mail"), request("sms")]), "then[1].queue"),
        (then(vec![v1::EnqueueRequest { priority: 1001, ..request("mail") }]), "then[0].priority"),
        (then(vec![checked]), "then[0].validate_only"),
        (then(vec![named.clone(), named]), "then[1].job_id"),
    ];
    for (request, field) in acks {
        Refusal::of(server.broker().ack(request).await).assert_field(field);
    }
    let failed = |failure| v1::NackRequest { failure: Some(failure), ..nack(&token) };
    let disposed = |disposition| v1::NackRequest { disposition: Some(disposition), ..nack(&token) };
    let failure = v1::Failure { code: "not upper".to_owned(), ..v1::Failure::default() };
    let late = Some(seconds(31 * 86_400));
    let throttled = v1::NackRequest { throttle_key_for: Some(seconds(1)), ..nack(&token) };
    let nacks = [
        (failed(failure), "failure.code"),
        (disposed(Disposition::Retry(Retry { delay: Some(seconds(-1)) })), "retry.delay"),
        (disposed(Disposition::Snooze(Snooze { delay: late })), "snooze.delay"),
        (disposed(Disposition::Snooze(Snooze { delay: None })), "snooze.delay"),
        (throttled, "throttle_key_for"),
    ];
    for (request, field) in nacks {
        Refusal::of(server.broker().nack(request).await).assert_field(field);
    }
    let told = |change: fn(&mut v1::Progress)| {
        let mut progress = v1::Progress::default();
        change(&mut progress);
        v1::ExtendLeaseRequest { progress: Some(progress), ..extend(&token) }
    };
    let short = v1::ExtendLeaseRequest { lease_duration: Some(seconds(0)), ..extend(&token) };
    let extensions = [
        (short, "lease_duration"),
        (told(|it| it.percent = 100.5), "progress.percent"),
        (told(|it| it.percent = f64::NAN), "progress.percent"),
        (told(|it| it.message = "x".repeat(1025)), "progress.message"),
        (told(|it| it.done = -1), "progress.done"),
        (told(|it| it.total = -1), "progress.total"),
    ];
    for (request, field) in extensions {
        Refusal::of(server.broker().extend_lease(request).await).assert_field(field);
    }
    let nothing = v1::BatchSettleRequest { items: Vec::new() };
    Refusal::of(server.broker().batch_settle(nothing).await).assert_field("items");
    let nothing = v1::BatchEnqueueRequest::default();
    Refusal::of(server.broker().batch_enqueue(nothing).await).assert_field("requests");
}

async fn bad_cancels_name_their_fields(server: &mut Server) {
    let cancel = |change: fn(&mut v1::CancelJobRequest)| {
        let name = "queues/mail/jobs/a".to_owned();
        let mut cancel = v1::CancelJobRequest { name, ..v1::CancelJobRequest::default() };
        change(&mut cancel);
        cancel
    };
    let table = [
        (cancel(|it| it.name = "mail".into()), "name"),
        (cancel(|it| it.reason = "a\nb".into()), "reason"),
        (cancel(|it| it.reason = "a".repeat(1025)), "reason"),
        (cancel(|it| it.grace = Some(seconds(-1))), "grace"),
        (cancel(|it| it.grace = Some(seconds(12 * 3600 + 1))), "grace"),
    ];
    for (request, field) in table {
        Refusal::of(server.broker().cancel_job(request).await).assert_field(field);
    }
}

async fn bad_waits_name_their_fields(server: &mut Server) {
    let wait = |change: fn(&mut v1::WaitJobRequest)| {
        let name = "queues/mail/jobs/a".to_owned();
        let mut wait = v1::WaitJobRequest { name, ..v1::WaitJobRequest::default() };
        change(&mut wait);
        wait
    };
    let table = [
        (wait(|it| it.name = "mail".into()), "name"),
        (wait(|it| it.wait = Some(seconds(61))), "wait"),
        (wait(|it| it.wait = Some(seconds(-1))), "wait"),
        (wait(|it| it.until = vec![v1::job::State::Dead.into(), 0]), "until[1]"),
        (wait(|it| it.until = vec![99]), "until[0]"),
    ];
    for (request, field) in table {
        Refusal::of(server.broker().wait_job(request).await).assert_field(field);
    }
}

async fn bad_reads_name_their_fields(server: &mut Server) {
    for name in ["", "mail", "queues/mail", "queues/mail/jobs/", "namespaces/n/queues/mail/jobs/a"]
    {
        let read = v1::GetJobRequest { name: name.to_owned(), ..v1::GetJobRequest::default() };
        Refusal::of(server.broker().get_job(read).await).assert_field("name");
    }
    let read = v1::GetJobRequest { name: "queues/mail/jobs/a".to_owned(), view: 99 };
    Refusal::of(server.broker().get_job(read).await).assert_field("view");
    let watch = |change: fn(&mut v1::WatchEventsRequest)| {
        let mut request = v1::WatchEventsRequest::default();
        change(&mut request);
        request
    };
    let one_job = |change: fn(&mut v1::WatchEventsRequest)| {
        let job = "queues/mail/jobs/a".to_owned();
        let mut request = v1::WatchEventsRequest { job, ..v1::WatchEventsRequest::default() };
        change(&mut request);
        request
    };
    let watches = [
        (watch(|it| it.job = "mail".into()), "job"),
        (watch(|it| it.labels = [(String::new(), String::new())].into()), "labels"),
        (one_job(|it| it.queues = vec!["mail".to_owned()]), "queues"),
        (one_job(|it| it.start = Some(From::Oldest(true))), "oldest"),
        (one_job(|it| it.start = Some(From::StartTime(Timestamp::default()))), "start_time"),
        (watch(|it| it.queues = vec!["?".to_owned()]), "queues[0]"),
        (watch(|it| it.types = vec![Type::JobDead.into(), 0]), "types[1]"),
        (watch(|it| it.types = vec![99]), "types[0]"),
        (watch(|it| it.bookmark_interval = Some(seconds(0))), "bookmark_interval"),
        (watch(|it| it.bookmark_interval = Some(seconds(301))), "bookmark_interval"),
    ];
    for (request, field) in watches {
        let answer = server.broker().watch_events(request).await;
        Refusal::of(answer.map(|_| Response::new(()))).assert_field(field);
    }
    let listed = |change: fn(&mut v1::ListQueuesRequest)| {
        let mut list = v1::ListQueuesRequest::default();
        change(&mut list);
        list
    };
    let lists = [
        (listed(|it| it.page_size = -1), "page_size"),
        (listed(|it| it.page_token = "x".into()), "page_token"),
        (listed(|it| it.filter = "a=b".into()), "filter"),
        (listed(|it| it.order_by = "age".into()), "order_by"),
    ];
    for (request, field) in lists {
        Refusal::of(server.admin().list_queues(request).await).assert_field(field);
    }
    let stats = v1::GetQueueStatsRequest { name: "?".to_owned() };
    Refusal::of(server.admin().get_queue_stats(stats).await).assert_field("name");
}

async fn long_failures_are_cut_and_not_refused(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let token = server.leased("mail").await.lease_token;
    let failure = v1::Failure {
        message: "é".repeat(5000),
        stack: "s".repeat(50_000),
        ..v1::Failure::default()
    };
    let failed = v1::NackRequest { failure: Some(failure), ..nack(&token) };
    server.broker().nack(failed).await.unwrap();
    let kept = server.get(&name).await.last_failure.unwrap();
    assert_eq!((kept.message.len(), kept.stack.len()), (4096, 16_384));
}

//! Push: queues whose jobs the broker sends to an HTTP endpoint.

mod endpoint;
mod sinks;

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use lessor_proto::v1::push::ClientErrorPolicy;
use lessor_server::config::RawConfig;
use tokio::task::JoinSet;

use self::endpoint::{Call, Endpoint};
use crate::on_every_store;
use crate::queues::named;
use crate::refusal::Refusal;
use crate::server::{
    Server, Store, bytes_of, configured_case, data, manual_case, request, seconds, shared_case,
};
use crate::travel::advance;

on_every_store! {
    a_job_is_sent_and_the_answer_is_its_result,
    a_client_error_is_final_unless_the_queue_says_otherwise,
    a_job_that_keeps_failing_becomes_a_dead_letter,
    a_redirect_is_not_followed,
    an_answer_that_is_too_long_is_no_result,
    nobody_there_is_a_failed_attempt,
    secrets_are_replaced_one_after_the_other,
    a_queue_without_its_endpoint_is_for_workers_again,
}

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka"];

impl Server {
    /// Lets the broker send the jobs of a queue.
    async fn push(&self, queue: &str, push: v1::Push) -> v1::Queue {
        self.set(v1::Queue { push: Some(push), ..named(queue) }, &["push"]).await
    }

    /// Enqueues a job that is tried so often.
    async fn tried(&self, queue: &str, max_attempts: i32) -> v1::Job {
        let retry_policy = Some(v1::RetryPolicy {
            max_attempts,
            initial_backoff: Some(seconds(60)),
            jitter: Some(0.0),
            ..v1::RetryPolicy::default()
        });
        self.enqueued(v1::EnqueueRequest { retry_policy, ..request(queue) }).await
    }
}

fn failure(job: &v1::Job) -> (&str, i32) {
    (&job.last_failure.as_ref().unwrap().code, job.attempt)
}

async fn a_job_is_sent_and_the_answer_is_its_result(server: &mut Server) {
    let mut endpoint = Endpoint::open().await;
    let headers = [("Authorization".to_owned(), "Bearer it".to_owned())].into();
    let push = v1::Push { headers, ..endpoint.push() };
    let queue = server.push("hooks", push).await;
    assert_eq!(queue.push.unwrap().headers["authorization"], "***");
    let payload = v1::Payload { content_type: "text/csv".to_owned(), ..data("a,b") };
    let labels = [("header.X-Tenant".to_owned(), "acme".to_owned())].into();
    let job = v1::EnqueueRequest {
        payload: Some(payload),
        r#type: "export".to_owned(),
        labels,
        ..request("hooks")
    };
    let job = server.enqueued(job).await;
    let call = endpoint.call().await;
    assert_eq!((call.method(), call.path()), ("POST", "/jobs"));
    assert_eq!(&call.body[..], b"a,b");
    assert_eq!(call.header("content-type"), "text/csv");
    assert_eq!(call.header("authorization"), "Bearer it");
    assert_eq!(call.header("x-tenant"), "acme");
    assert_eq!(call.header("lessor-job"), job.name);
    assert_eq!(call.header("lessor-type"), "export");
    assert_eq!(call.header("lessor-attempt"), "1");
    assert!(call.header("webhook-id").starts_with("msg_"));
    assert!(call.header("webhook-timestamp").parse::<u64>().unwrap() > 1_700_000_000);
    let leased = server.get(&job.name).await;
    assert_eq!(leased.state(), State::Leased);
    assert!(leased.worker_id.starts_with("push/") && leased.worker_id.ends_with("/hooks"));
    call.answer(201, &[("content-type", "text/plain")], "well done");
    let done = server.comes_to(&job.name, State::Succeeded).await;
    assert_eq!(bytes_of(done.result.as_ref()), b"well done");
    assert_eq!(done.result.unwrap().content_type, "text/plain");
}

async fn a_client_error_is_final_unless_the_queue_says_otherwise(server: &mut Server) {
    let mut endpoint = Endpoint::open().await;
    server.push("strict", endpoint.push()).await;
    let retry = ClientErrorPolicy::Retry.into();
    let patient = v1::Push { client_error_policy: retry, ..endpoint.push() };
    server.push("patient", patient).await;
    let job = server.tried("strict", 3).await;
    endpoint.call().await.answer(422, &[], "no such template");
    let dead = server.comes_to(&job.name, State::Dead).await;
    assert_eq!(failure(&dead), ("HTTP_422", 1));
    assert!(dead.last_failure.unwrap().message.ends_with("no such template"));
    let job = server.tried("patient", 3).await;
    endpoint.call().await.answer(422, &[], "");
    let retried = server.comes_to(&job.name, State::Retrying).await;
    assert_eq!(failure(&retried), ("HTTP_422", 1));
}

async fn a_job_that_keeps_failing_becomes_a_dead_letter(server: &mut Server) {
    let mut endpoint = Endpoint::open().await;
    server.push("hooks", endpoint.push()).await;
    let retry_policy = Some(v1::RetryPolicy {
        max_attempts: 2,
        initial_backoff: Some(seconds(0)),
        ..v1::RetryPolicy::default()
    });
    let job = server.enqueued(v1::EnqueueRequest { retry_policy, ..request("hooks") }).await;
    let first = endpoint.call().await;
    let id = first.header("webhook-id").to_owned();
    first.answer(500, &[], "");
    let second = endpoint.call().await;
    assert_eq!((second.header("lessor-attempt"), second.header("webhook-id")), ("2", &*id));
    second.answer(502, &[], "");
    let dead = server.comes_to(&job.name, State::Dead).await;
    assert_eq!(failure(&dead), ("HTTP_502", 2));
}

async fn a_redirect_is_not_followed(server: &mut Server) {
    let (mut endpoint, mut other) = (Endpoint::open().await, Endpoint::open().await);
    server.push("hooks", endpoint.push()).await;
    let job = server.tried("hooks", 1).await;
    let elsewhere = other.push().uri;
    endpoint.call().await.answer(307, &[("location", &elsewhere)], "");
    let dead = server.comes_to(&job.name, State::Dead).await;
    assert_eq!(failure(&dead), ("HTTP_307", 1));
    assert!(other.was_not_called());
}

async fn an_answer_that_is_too_long_is_no_result(server: &mut Server) {
    let mut endpoint = Endpoint::open().await;
    server.push("hooks", endpoint.push()).await;
    let most = 256 << 10;
    for (size, kept) in [(most, true), (most + 1, false)] {
        let job = server.enqueue("hooks").await;
        endpoint.call().await.answer(200, &[], &"x".repeat(size));
        let done = server.comes_to(&job.name, State::Succeeded).await;
        assert_eq!(done.result.is_some(), kept, "{size}");
    }
}

async fn nobody_there_is_a_failed_attempt(server: &mut Server) {
    let push = Endpoint::open().await.push();
    server.push("hooks", push).await;
    let job = server.tried("hooks", 1).await;
    let dead = server.comes_to(&job.name, State::Dead).await;
    assert_eq!(failure(&dead), ("CONNECT", 1));
}

async fn secrets_are_replaced_one_after_the_other(server: &mut Server) {
    let mut endpoint = Endpoint::open().await;
    let with = |secrets: &[&str]| {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        v1::Push { secrets, ..endpoint.push() }
    };
    let steps = [
        (with(&[SECRETS[0]]), 1),
        (with(&[SECRETS[1], SECRETS[0]]), 2),
        (with(&[]), 2),
        (with(&[SECRETS[1]]), 1),
    ];
    let mut signatures = Vec::new();
    for (push, count) in steps {
        let told = server.push("hooks", push).await.push.unwrap();
        assert_eq!((told.secrets.len(), told.secret_fingerprints.len()), (0, count));
        let payload = Some(data("same"));
        let job = server.enqueued(v1::EnqueueRequest { payload, ..request("hooks") }).await;
        let call = endpoint.call().await;
        signatures.push(call.header("webhook-signature").split(' ').count());
        call.answer(200, &[], "");
        server.comes_to(&job.name, State::Succeeded).await;
    }
    assert_eq!(signatures, [1, 2, 2, 1]);
}

async fn a_queue_without_its_endpoint_is_for_workers_again(server: &mut Server) {
    let mut endpoint = Endpoint::open().await;
    server.push("hooks", endpoint.push()).await;
    let job = server.enqueue("hooks").await;
    // What is under way when the endpoint goes is finished.
    let call = endpoint.call().await;
    server.set(named("hooks"), &["push"]).await;
    call.answer(200, &[], "");
    server.comes_to(&job.name, State::Succeeded).await;
    // A broker hears of the change within moments, not at once.
    loop {
        server.enqueue("hooks").await;
        tokio::select! {
            _leased = server.leased("hooks") => break,
            call = endpoint.call() => call.answer(200, &[], ""),
        }
    }
}

#[tokio::test]
async fn an_endpoint_says_when_to_come_back() {
    manual_case(async |server| {
        let mut endpoint = Endpoint::open().await;
        server.push("hooks", endpoint.push()).await;
        let job = server.tried("hooks", 3).await;
        endpoint.call().await.answer(503, &[("retry-after", "600")], "");
        let waiting = server.comes_to(&job.name, State::Retrying).await;
        assert_eq!(failure(&waiting), ("HTTP_503", 1));
        advance(server, 599).await;
        assert_eq!(server.get(&job.name).await.state(), State::Retrying);
        advance(server, 1).await;
        let call = endpoint.call().await;
        assert_eq!(call.header("lessor-attempt"), "2");
        call.answer(200, &[], "");
        server.comes_to(&job.name, State::Succeeded).await;
    })
    .await;
}

#[tokio::test]
async fn a_schedule_calls_an_endpoint() {
    manual_case(async |server| {
        let mut endpoint = Endpoint::open().await;
        server.push("hooks", endpoint.push()).await;
        let schedule = v1::Schedule {
            interval: Some(seconds(60)),
            job: Some(request("hooks")),
            ..v1::Schedule::default()
        };
        let schedule_id = "minutely".to_owned();
        let creation = v1::CreateScheduleRequest { schedule: Some(schedule), schedule_id };
        server.admin().create_schedule(creation).await.unwrap();
        for _ in 0..2 {
            advance(server, 60).await;
            let call = endpoint.call().await;
            let job = call.header("lessor-job").to_owned();
            call.answer(204, &[], "");
            server.comes_to(&job, State::Succeeded).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_queue_rests_while_its_endpoint_asks_for_time() {
    manual_case(async |server| {
        let mut endpoint = Endpoint::open().await;
        server.push("hooks", v1::Push { max_parallel: 1, ..endpoint.push() }).await;
        let first = server.tried("hooks", 3).await;
        let call = endpoint.call().await;
        let second = server.tried("hooks", 3).await;
        call.answer(429, &[("retry-after", "30")], "");
        server.comes_to(&first.name, State::Retrying).await;
        // Time flies only once the broker has heard the answer, so no job is leased meanwhile.
        assert_eq!(server.get(&second.name).await.state(), State::Ready);
        assert!(endpoint.was_not_called());
        advance(server, 30).await;
        for _ in 0..2 {
            endpoint.call().await.answer(200, &[], "");
        }
        server.comes_to(&first.name, State::Succeeded).await;
        server.comes_to(&second.name, State::Succeeded).await;
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_is_silent_has_failed() {
    manual_case(async |server| {
        let mut endpoint = Endpoint::open().await;
        server.push("hooks", v1::Push { timeout: Some(seconds(5)), ..endpoint.push() }).await;
        let job = server.tried("hooks", 3).await;
        let _silent = endpoint.call().await;
        advance(server, 5).await;
        let waiting = server.comes_to(&job.name, State::Retrying).await;
        assert_eq!(failure(&waiting), ("TIMEOUT", 1));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_is_sent_is_given_up() {
    manual_case(async |server| {
        let mut endpoint = Endpoint::open().await;
        server.push("hooks", v1::Push { timeout: Some(seconds(300)), ..endpoint.push() }).await;
        let job = server.tried("hooks", 3).await;
        let call = endpoint.call().await;
        let cancel =
            v1::CancelJobRequest { name: job.name.clone(), ..v1::CancelJobRequest::default() };
        server.broker().cancel_job(cancel).await.unwrap();
        advance(server, 12).await;
        server.comes_to(&job.name, State::Cancelled).await;
        call.hung_up().await;
    })
    .await;
}

#[tokio::test]
async fn all_brokers_together_send_no_more_at_once_than_the_queue_allows() {
    shared_case(async |one, other| {
        let mut endpoint = Endpoint::open().await;
        one.push("hooks", v1::Push { max_parallel: 3, ..endpoint.push() }).await;
        for server in [&*one, &*other].into_iter().cycle().take(12) {
            server.enqueue("hooks").await;
        }
        let mut under_way: Vec<Call> = Vec::new();
        let mut workers = std::collections::BTreeSet::new();
        for _ in 0..12 {
            while under_way.len() < 3 {
                let call = endpoint.call().await;
                workers.insert(one.get(call.header("lessor-job")).await.worker_id);
                under_way.push(call);
            }
            let request = v1::GetQueueStatsRequest { name: "hooks".to_owned() };
            let stats = other.admin().get_queue_stats(request).await.unwrap().into_inner();
            assert_eq!(stats.leased, 3);
            assert!(endpoint.was_not_called());
            under_way.remove(0).answer(200, &[], "");
            if stats.ready == 0 {
                break;
            }
        }
        for call in under_way {
            call.answer(200, &[], "");
        }
        assert!(!workers.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_waits_for_what_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let mut server = Server::start(Store::Sqlite, &url, "10s").await;
    let mut endpoint = Endpoint::open().await;
    server.push("hooks", endpoint.push()).await;
    let job = server.enqueue("hooks").await;
    let call = endpoint.call().await;
    server.stop();
    let mut ending = JoinSet::new();
    ending.spawn(async move { server.stopped().await });
    call.answer(200, &[], "in time");
    ending.join_next().await.unwrap().unwrap();
    let mut server = Server::start(Store::Sqlite, &url, "10s").await;
    let done = server.get(&job.name).await;
    assert_eq!((done.state(), bytes_of(done.result.as_ref())), (State::Succeeded, &b"in time"[..]));
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn a_shutdown_gives_back_what_takes_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("jobs.db").display());
    let mut server = Server::start(Store::Sqlite, &url, "20s").await;
    let mut endpoint = Endpoint::open().await;
    server.push("hooks", endpoint.push()).await;
    let job = server.enqueue("hooks").await;
    let _silent = endpoint.call().await;
    server.stop();
    server.stopped().await;
    let mut server = Server::start(Store::Sqlite, &url, "10s").await;
    // It is sent again, and the attempt before does not count.
    let again = endpoint.call().await;
    assert_eq!((again.header("lessor-job"), again.header("lessor-attempt")), (&*job.name, "1"));
    again.answer(200, &[], "");
    server.comes_to(&job.name, State::Succeeded).await;
    server.stop();
    server.stopped().await;
}

#[tokio::test]
async fn internal_addresses_are_refused_by_name_of_the_field() {
    configured_case(RawConfig::default(), async |server| {
        for uri in
            ["http://example.com/", "https://127.0.0.1/", "https://localhost/", "https://[::1]/"]
        {
            let push = Some(v1::Push { uri: uri.to_owned(), ..v1::Push::default() });
            let update = v1::UpdateQueueRequest {
                queue: Some(v1::Queue { push, ..named("hooks") }),
                update_mask: Some(prost_types::FieldMask { paths: vec!["push".to_owned()] }),
                ..v1::UpdateQueueRequest::default()
            };
            Refusal::of(server.admin().update_queue(update).await).assert_field("queue.push.uri");
        }
    })
    .await;
}

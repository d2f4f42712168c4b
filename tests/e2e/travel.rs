//! Time travel: what takes hours is tried in milliseconds, on a broker whose clock a test moves.

use lessor_proto::v1;
use lessor_proto::v1::enqueue_request::Start;
use lessor_proto::v1::job::State;
use lessor_proto::v1::test_clock_client::TestClockClient;
use tonic::Code;
use tonic_reflection::pb::v1 as reflection;

use crate::refusal::Refusal;
use crate::server::{Server, Store, case, lease, nack, request, seconds};

const HOUR: i64 = 3600;

/// Runs one case against a broker with a manual clock.
async fn travelling(case: impl AsyncFnOnce(&mut Server)) {
    crate::server::manual_case(case).await;
}

pub(crate) async fn advance(server: &Server, span: i64) -> prost_types::Timestamp {
    let request = v1::AdvanceClockRequest { duration: Some(seconds(span)) };
    let mut clock = TestClockClient::new(server.channel());
    clock.advance_clock(request).await.unwrap().into_inner().now.unwrap()
}

async fn state(server: &Server, job: &v1::Job) -> State {
    server.get(&job.name).await.state()
}

#[tokio::test]
async fn a_retry_after_an_hour_takes_milliseconds() {
    travelling(async |server| {
        let retry_policy = Some(v1::RetryPolicy {
            initial_backoff: Some(seconds(HOUR)),
            jitter: Some(0.0),
            ..v1::RetryPolicy::default()
        });
        let job = server.enqueued(v1::EnqueueRequest { retry_policy, ..request("mail") }).await;
        let leased = server.leased("mail").await;
        server.broker().nack(nack(&leased.lease_token)).await.unwrap();
        advance(server, HOUR - 1).await;
        assert_eq!(state(server, &job).await, State::Retrying);
        advance(server, 1).await;
        assert_eq!(server.leased("mail").await.job.unwrap().attempt, 2);
    })
    .await;
}

#[tokio::test]
async fn a_silent_worker_loses_its_lease() {
    travelling(async |server| {
        let job = server.enqueue("mail").await;
        server.leased("mail").await;
        let now = advance(server, 60).await;
        let lost = server.get(&job.name).await;
        assert_eq!((lost.state(), lost.lease_expired_count), (State::Ready, 1));
        assert_eq!(now.seconds - job.create_time.unwrap().seconds, 60);
    })
    .await;
}

#[tokio::test]
async fn a_schedule_fires_a_month_of_mornings() {
    travelling(async |server| {
        let schedule = v1::Schedule {
            cron: "0 6 * * *".to_owned(),
            time_zone: "America/New_York".to_owned(),
            job: Some(request("reports")),
            ..v1::Schedule::default()
        };
        let schedule_id = "morning".to_owned();
        let creation = v1::CreateScheduleRequest { schedule: Some(schedule), schedule_id };
        let made = server.admin().create_schedule(creation).await.unwrap().into_inner();
        advance(server, 30 * 24 * HOUR).await;
        let all = v1::LeaseRequest { max_jobs: 100, ..lease("reports") };
        let jobs = server.lease_now(all).await.jobs;
        assert_eq!(jobs.len(), 30);
        let first = jobs[0].job.as_ref().unwrap();
        assert_eq!(first.create_time, made.next_fire_time);
    })
    .await;
}

#[tokio::test]
async fn a_waiting_worker_gets_a_job_when_its_time_comes() {
    travelling(async |server| {
        let start = Some(Start::Delay(seconds(10)));
        let job = server.enqueued(v1::EnqueueRequest { start, ..request("mail") }).await;
        // However the two calls meet: the worker waits already, or finds the job.
        let (leased, _now) = tokio::join!(server.leased("mail"), advance(server, 10));
        assert_eq!(leased.job.unwrap().name, job.name);
    })
    .await;
}

#[tokio::test]
async fn a_span_out_of_bounds_is_refused_by_name() {
    travelling(async |server| {
        let mut clock = TestClockClient::new(server.channel());
        for duration in [None, Some(seconds(-1)), Some(seconds(11 * 366 * 24 * HOUR))] {
            let answer = clock.advance_clock(v1::AdvanceClockRequest { duration }).await;
            Refusal::of(answer).assert_field("duration");
        }
    })
    .await;
}

/// What reflection says of the test clock.
async fn is_listed(server: &Server) -> bool {
    use reflection::server_reflection_request::MessageRequest;
    use reflection::server_reflection_response::MessageResponse;
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(server.channel());
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list")
    };
    list.service.iter().any(|service| service.name == "lessor.v1.TestClock")
}

#[tokio::test]
async fn only_a_broker_that_was_started_for_tests_has_a_test_clock() {
    travelling(async |server| assert!(is_listed(server).await)).await;
    case(Store::Sqlite, async |server| {
        let request = v1::AdvanceClockRequest { duration: Some(seconds(1)) };
        let mut clock = TestClockClient::new(server.channel());
        let refused = clock.advance_clock(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert!(!is_listed(server).await);
    })
    .await;
}

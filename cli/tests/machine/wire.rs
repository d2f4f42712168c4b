//! Calls by the bare stubs: no retries, so that a test sees what the broker answers.

use std::fmt::Debug;
use std::time::Duration;

use lessor::proto::job_broker_client::JobBrokerClient;
use lessor::proto::{
    AckRequest, EnqueueRequest, GetJobRequest, Job, LeaseRequest, LeasedJob, RetryPolicy,
};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;

pub(crate) type Stub = JobBrokerClient<Channel>;

/// The deadline of every call: none may hang.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Far more than anything takes: a test that hangs fails and says where.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// The answer to a call, which must come before the call's deadline.
pub(crate) async fn answer<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, call).await.expect("a call hangs")
}

/// What a wait brings.
pub(crate) async fn awaited<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("waited too long")
}

/// A job whose retries never end.
pub(crate) fn job(queue: &str) -> EnqueueRequest {
    let retry_policy = Some(RetryPolicy { max_attempts: -1, ..RetryPolicy::default() });
    EnqueueRequest { queue: queue.to_owned(), retry_policy, ..EnqueueRequest::default() }
}

/// A wish for one job, leased for so long at most.
pub(crate) fn wish(queue: &str, lease: i64, wait: i64) -> LeaseRequest {
    LeaseRequest {
        queues: vec![queue.to_owned()],
        worker_id: "worker".to_owned(),
        lease_duration: Some(seconds(lease)),
        wait: Some(seconds(wait)),
        ..LeaseRequest::default()
    }
}

pub(crate) fn seconds(count: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: count, nanos: 0 }
}

pub(crate) fn ack(token: &str) -> AckRequest {
    AckRequest { lease_token: token.to_owned(), ..AckRequest::default() }
}

/// Enqueues a job, and returns its name.
pub(crate) async fn enqueued(stub: &Stub, queue: &str) -> String {
    let reply = answer(stub.clone().enqueue(job(queue))).await.unwrap().into_inner();
    reply.job.unwrap().name
}

/// Leases a job for so many seconds, waiting for it.
pub(crate) async fn leased(stub: &Stub, queue: &str, lease: i64) -> LeasedJob {
    let reply = awaited(stub.clone().lease(wish(queue, lease, 30))).await.unwrap().into_inner();
    reply.jobs.into_iter().next().unwrap_or_else(|| panic!("no job of {queue} comes"))
}

/// Lets `lease`, which finds no job, begin to wait for one. It is sent before another one, on the
/// same connection, and a broker looks for jobs in the order of its calls: once the second is
/// answered, the first waits.
pub(crate) async fn begin_to_wait<T: Debug>(stub: &Stub, lease: impl Future<Output = T> + Unpin) {
    let mut next = stub.clone();
    tokio::select! {
        biased;
        early = lease => panic!("it does not wait: {early:?}"),
        found = answer(next.lease(wish("nothing", 60, 0))) => {
            assert!(found.unwrap().into_inner().jobs.is_empty());
        }
    }
}

/// Waits for the error that ends a stream, past all that comes before it.
pub(crate) async fn end_of<T>(stream: &mut Streaming<T>) -> Status {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends without a word"),
            Err(status) => return status,
        }
    }
}

/// Leases a job, waiting for it, and acks it; returns its name.
pub(crate) async fn done(stub: &Stub, queue: &str) -> String {
    let leased = leased(stub, queue, 60).await;
    answer(stub.clone().ack(ack(&leased.lease_token))).await.unwrap();
    leased.job.unwrap().name
}

pub(crate) async fn read(stub: &Stub, name: &str) -> Result<Job, Status> {
    let request = GetJobRequest { name: name.to_owned(), ..GetJobRequest::default() };
    answer(stub.clone().get_job(request)).await.map(tonic::Response::into_inner)
}

/// Waits until the broker says so of its health.
pub(crate) async fn health(channel: &Channel, service: &str, wanted: ServingStatus) {
    told(&mut healths(channel, service).await, wanted).await;
}

/// What the broker says of its health, now and with each change.
pub(crate) async fn healths(channel: &Channel, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: service.to_owned() };
    answer(HealthClient::new(channel.clone()).watch(request)).await.unwrap().into_inner()
}

/// Waits until this is said.
pub(crate) async fn told(healths: &mut Streaming<HealthCheckResponse>, wanted: ServingStatus) {
    while awaited(healths.message()).await.unwrap().unwrap().status() != wanted {}
}

/// Code and reason of a refusal.
pub(crate) fn why(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    (status.code(), reason.unwrap_or_else(|| status.message().to_owned()))
}

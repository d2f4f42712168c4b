//! Calls by the bare stubs: no retries, so that a test sees what the broker answers.

use std::time::Duration;

use lessor::proto::job_broker_client::JobBrokerClient;
use lessor::proto::{
    AckRequest, EnqueueRequest, GetJobRequest, Job, LeaseRequest, LeasedJob, RetryPolicy,
};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
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
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut client = HealthClient::new(channel.clone());
    let mut told = answer(client.watch(request)).await.unwrap().into_inner();
    while awaited(told.message()).await.unwrap().unwrap().status() != wanted {}
}

/// Code and reason of a refusal.
pub(crate) fn why(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    (status.code(), reason.unwrap_or_else(|| status.message().to_owned()))
}

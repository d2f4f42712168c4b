//! Callers without an SDK: the bare stubs, and the advice of docs/protocol.md on retries.

use std::error::Error;
use std::time::Duration;

use lessor::proto::{
    EnqueueRequest, ExtendLeaseRequest, LeaseRequest, LeasedJob, Retention, SettleOutcome,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::ledger::Book;
use crate::machine::pause;
use crate::wire::{Stub, ack, job, wish};

/// The service config of the protocol.
const TRIES: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// The deadline of a call that does not wait.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a lease waits, in seconds.
const WAIT: i64 = 2;

pub(crate) struct Caller {
    stub: Stub,
    worker_id: String,
}

impl Caller {
    /// A caller with a connection of its own.
    pub(crate) fn of(url: &str) -> Self {
        let channel: Channel = Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
        Self { stub: Stub::new(channel), worker_id: id() }
    }

    /// Makes a call, and again while it fails with `UNAVAILABLE`, as the service config says. Any
    /// other failure, and one more than there are tries, is one that a client would see.
    async fn call<M: Clone, T>(
        &self,
        what: &str,
        message: M,
        send: impl AsyncFn(Stub, Request<M>) -> Result<Response<T>, Status>,
    ) -> T {
        let mut backoff = FIRST_BACKOFF;
        for attempt in 1.. {
            let mut request = Request::new(message.clone());
            request.set_timeout(DEADLINE);
            match send(self.stub.clone(), request).await {
                Ok(answer) => return answer.into_inner(),
                Err(status) if is_unavailable(&status) && attempt < TRIES => {
                    let asked =
                        status.get_error_details().retry_info().and_then(|it| it.retry_delay);
                    let jitter = 0.8 + 0.4 * fastrand::f64();
                    pause(backoff.mul_f64(jitter).max(asked.unwrap_or_default())).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
                Err(status) => panic!("{what} fails at attempt {attempt}: {status:?}"),
            }
        }
        unreachable!("the last attempt returns")
    }

    pub(crate) async fn enqueue(&self, queue: &str, book: &Book) {
        let retention = Some(Retention { succeeded_count: -1, ..Retention::default() });
        let wanted = EnqueueRequest { request_id: id(), retention, ..job(queue) };
        let send = async |mut stub: Stub, request| stub.enqueue(request).await;
        let name = self.call("Enqueue", wanted, send).await.job.unwrap().name;
        book.enqueued(name);
    }

    pub(crate) async fn lease(&self, queue: &str) -> Vec<LeasedJob> {
        let wish = LeaseRequest {
            request_id: id(),
            worker_id: self.worker_id.clone(),
            max_jobs: 4,
            ..wish(queue, 60, WAIT)
        };
        self.call("Lease", wish, async |mut stub: Stub, request| stub.lease(request).await)
            .await
            .jobs
    }

    pub(crate) async fn extend(&self, token: &str) {
        let wanted = ExtendLeaseRequest { lease_token: token.to_owned(), ..Default::default() };
        let send = async |mut stub: Stub, request| stub.extend_lease(request).await;
        self.call("ExtendLease", wanted, send).await;
    }

    pub(crate) async fn ack(&self, leased: LeasedJob, book: &Book) {
        let name = leased.job.unwrap().name;
        book.begun(&name);
        let send = async |mut stub: Stub, request| stub.ack(request).await;
        let outcome = self.call("Ack", ack(&leased.lease_token), send).await.outcome();
        let once = [SettleOutcome::Settled, SettleOutcome::AlreadySettled];
        assert!(once.contains(&outcome), "{name}: {outcome:?}");
        book.done(&name);
    }
}

/// Tonic gives a broken connection one of several codes; its source tells that no broker sent it.
fn is_unavailable(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

fn id() -> String {
    Uuid::new_v4().to_string()
}

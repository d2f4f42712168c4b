//! The hot path, `lessor.v1.JobBroker`: per call convert, delegate, convert.
//!
//! Every write is owned by a task of the broker, so a call that is dropped half-way leaves nothing
//! half-done; what such a call still waited for is given back.

use std::time::Duration;

use futures_util::future::join_all;
use lessor_proto::codec::Written;
use lessor_proto::v1;
use lessor_proto::v1::batch_settle_response::Result as SettleResult;
use lessor_proto::v1::batch_settle_response::result::Response as SettleAnswer;
use lessor_proto::v1::job_broker_server::JobBroker;
use lessor_proto::v1::lease_response::EmptyReason;
use prost::Message;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::auth::{Access, Gate};
use super::convert::cancel::{cancel, wait};
use super::convert::enqueue::{Batch, BatchJobs, TraceContext, batch, new_job};
use super::convert::field::Violations;
use super::convert::lease::{REPLY_LIMIT, deadline, lease, patience};
use super::convert::settle;
use super::convert::time::{proto_moment, proto_span};
use super::convert::trace::trace_context;
use super::convert::written::{batch_enqueued, with_jobs};
use super::convert::{admin, job, written};
use super::events::{EventStream, Events};
use super::handover::Handover;
use super::status::Fault;
use super::work::{Streams, WorkStream};
use crate::auth::Call;
use crate::broker::enqueue::Enqueued;
use crate::broker::lease::{Empty, Leased};
use crate::broker::settle::{Answer as Settlement, Settle};
use crate::broker::wait::Waited;
use crate::broker::{Broker, Error};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces;

/// How long a worker that does not wait should pause before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The calls of `JobBroker`.
pub(super) struct Calls {
    broker: Broker,
    gate: Gate,
    events: Events,
    streams: Streams,
}

type Answer<T> = Result<Response<T>, Status>;

impl Calls {
    pub(super) fn new(broker: Broker, gate: Gate, metrics: Metrics) -> Self {
        let events = Events::new(broker.clone(), metrics);
        let streams = Streams::new(broker.clone());
        Self { broker, gate, events, streams }
    }

    async fn settle(&self, item: Result<Settle, Violations>, access: &Access) -> SettleResult {
        let answer = self.try_settle(item, access).await;
        let response = answer.unwrap_or_else(|fault| SettleAnswer::Error(fault.into()));
        SettleResult { response: Some(response) }
    }

    async fn try_settle(
        &self,
        item: Result<Settle, Violations>,
        access: &Access,
    ) -> Result<SettleAnswer, Fault> {
        let mut settle = item?;
        access.settle(&mut settle)?;
        Ok(match self.broker.settle(settle).await? {
            Settlement::Acked(settled) => SettleAnswer::Ack(settle::ack_response(&settled)),
            Settlement::Nacked(settled) => SettleAnswer::Nack(settle::nack_response(&settled)),
            Settlement::Extended(extended) => {
                SettleAnswer::Extend(settle::extend_response(extended))
            }
        })
    }

    async fn enqueue_batch(
        &self,
        batch: Batch,
        access: &Access,
    ) -> Result<Vec<Result<Enqueued, Fault>>, Fault> {
        let Batch { jobs, request } = batch;
        match jobs {
            BatchJobs::Whole(mut jobs) => {
                jobs.iter_mut().try_for_each(|job| access.enqueue(job))?;
                let results = self.broker.enqueue_all(jobs, request).await?;
                refusal(&results)?;
                Ok(results.into_iter().map(|result| result.map_err(Fault::from)).collect())
            }
            BatchJobs::Partial(items) => {
                let mut refused = Vec::with_capacity(items.len());
                let mut jobs = Vec::with_capacity(items.len());
                for (number, item) in (0..).zip(items) {
                    let allowed = item.map_err(Fault::from).and_then(|mut job| {
                        access.enqueue(&mut job)?;
                        Ok(job)
                    });
                    match allowed {
                        Ok(job) => {
                            jobs.push((number, job));
                            refused.push(None);
                        }
                        Err(fault) => refused.push(Some(fault)),
                    }
                }
                let mut made = self.broker.enqueue_each(jobs, request).await.into_iter();
                let results = refused.into_iter().filter_map(|refused| match refused {
                    Some(fault) => Some(Err(fault)),
                    None => made.next().map(|result| result.map_err(Fault::from)),
                });
                Ok(results.collect())
            }
        }
    }

    /// The reply to a lease. Jobs that do not fit into it go back, uncounted; the first one always
    /// fits.
    fn lease_reply(
        &self,
        leased: Leased,
        max_bytes: usize,
        waited: bool,
    ) -> Response<Written<v1::LeaseResponse>> {
        let empty = leased.empty;
        let mut handover = Handover::new(self.broker.clone(), leased.jobs);
        let now = self.broker.clock().now();
        let mut size = 0;
        let mut jobs = Vec::with_capacity(handover.jobs().len());
        for (job, token) in handover.jobs().iter().filter_map(|job| Some((job, job.token()?))) {
            let leased = with_jobs(|jobs| jobs.leased(job, &token, now));
            // Tag and length of the entry come on top.
            size += leased.len() + 8;
            if size > max_bytes && !jobs.is_empty() {
                break;
            }
            jobs.push(leased);
        }
        handover.keep(jobs.len());
        let usual = (!waited).then_some(ASK_AGAIN);
        let (reason, pause) = match empty {
            _ if !jobs.is_empty() => (EmptyReason::Unspecified, None),
            Empty::NoJobs => (EmptyReason::NoJobs, usual),
            Empty::Paused => (EmptyReason::Paused, usual),
            Empty::Limited { until } => {
                let pause = until.map(|until| until.since(now));
                (EmptyReason::Limited, pause.or(usual))
            }
            Empty::Draining => (EmptyReason::Draining, Some(ASK_AGAIN)),
        };
        let rest = v1::LeaseResponse {
            jobs: Vec::new(),
            empty_reason: reason.into(),
            retry_after: pause.map(proto_span),
            server_time: Some(proto_moment(now)),
        };
        let mut reply = Response::new(Written::new(written::leased(&jobs, &rest)));
        handover.attach(&mut reply);
        reply
    }
}

/// Why a batch was refused as a whole, if it was: the first refusal that is not a consequence.
fn refusal<T>(results: &[Result<T, Error>]) -> Result<(), Fault> {
    let failed = || {
        results
            .iter()
            .enumerate()
            .filter_map(|(index, result)| Some((index, result.as_ref().err()?)))
    };
    let cause = failed().find(|(_, error)| **error != Error::Withheld).or_else(|| failed().next());
    match cause {
        Some((index, error)) => {
            Err(Fault::from(error.clone()).inside(&format!("requests[{index}]")))
        }
        None => Ok(()),
    }
}

/// True for an answer to an enqueue that meets another's job by its dedup key, of which not more is
/// told than that it is there.
fn is_anothers(enqueued: &Enqueued, access: &Access) -> bool {
    access.shows_as(Call::GetJob, &enqueued.job).is_err()
}

fn settled_job(result: &mut SettleResult) -> Option<&mut v1::Job> {
    match result.response.as_mut()? {
        SettleAnswer::Ack(ack) => ack.job.as_deref_mut(),
        SettleAnswer::Nack(nack) => nack.job.as_deref_mut(),
        SettleAnswer::Extend(_) | SettleAnswer::Error(_) => None,
    }
}

/// When the caller gives up.
fn deadline_of<T>(request: &Request<T>) -> Option<Duration> {
    let header = request.metadata().get("grpc-timeout").and_then(|it| it.to_str().ok());
    header.and_then(deadline)
}

fn trace_of<T>(request: &Request<T>) -> TraceContext {
    trace_context(request.metadata())
}

#[async_trait]
impl JobBroker for Calls {
    async fn enqueue(
        &self,
        request: Request<v1::EnqueueRequest>,
    ) -> Answer<Written<v1::EnqueueResponse>> {
        let access = self.gate.access(&request)?;
        let trace = trace_of(&request);
        let now = self.broker.clock().now();
        let mut job = new_job(request.into_inner(), &trace, now).map_err(Fault::from)?;
        access.enqueue(&mut job)?;
        let enqueued = self.broker.enqueue(job).await.map_err(Fault::from)?;
        traces::about("enqueue", &enqueued.job.name);
        let is_short = is_anothers(&enqueued, &access);
        Ok(Response::new(Written::new(with_jobs(|jobs| jobs.enqueued(&enqueued, is_short)))))
    }

    async fn batch_enqueue(
        &self,
        request: Request<v1::BatchEnqueueRequest>,
    ) -> Answer<Written<v1::BatchEnqueueResponse>> {
        let access = self.gate.access(&request)?;
        let trace = trace_of(&request);
        let now = self.broker.clock().now();
        let batch = batch(request.into_inner(), &trace, now).map_err(Fault::from)?;
        let results = self.enqueue_batch(batch, &access).await?;
        let mut reply = batch_enqueued(&results, |enqueued| is_anothers(enqueued, &access));
        if reply.len() > REPLY_LIMIT {
            reply = batch_enqueued(&results, |_| true);
        }
        Ok(Response::new(Written::new(reply)))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Answer<v1::Job> {
        let access = self.gate.access(&request)?;
        let request = request.into_inner();
        let name = admin::job_name(&request.name).map_err(Fault::from)?;
        let view = admin::view(request.view).map_err(Fault::from)?;
        access.job(&self.broker, &name).await?;
        let found = self.broker.get(&name).await.map_err(Fault::from)?;
        access.shows(&found)?;
        Ok(Response::new(job::proto_job(&found, view)))
    }

    async fn wait_job(&self, request: Request<v1::WaitJobRequest>) -> Answer<v1::WaitJobResponse> {
        let access = self.gate.access(&request)?;
        let deadline = deadline_of(&request);
        let mut wait = wait(request.get_ref()).map_err(Fault::from)?;
        access.job(&self.broker, &wait.name).await?;
        wait.wait = patience(wait.wait, deadline);
        let Waited { job, reached } = self.broker.wait_job(wait).await.map_err(Fault::from)?;
        access.shows(&job)?;
        let job = Some(job::proto_job(&job, v1::JobView::Full));
        Ok(Response::new(v1::WaitJobResponse { job, reached }))
    }

    async fn cancel_job(&self, request: Request<v1::CancelJobRequest>) -> Answer<v1::Job> {
        let access = self.gate.access(&request)?;
        let mut request = cancel(request.into_inner()).map_err(Fault::from)?;
        access.job(&self.broker, &request.name).await?;
        request.actor = access.actor();
        let job = self.broker.cancel(request).await.map_err(Fault::from)?;
        Ok(Response::new(job::proto_job(&job, v1::JobView::Basic)))
    }

    async fn lease(
        &self,
        request: Request<v1::LeaseRequest>,
    ) -> Answer<Written<v1::LeaseResponse>> {
        let access = self.gate.access(&request)?;
        let deadline = deadline_of(&request);
        let mut lease = lease(request.get_ref()).map_err(Fault::from)?;
        access.queues(&lease.queues)?;
        if let Some(linger) = &mut lease.linger {
            linger.span = patience(linger.span, deadline);
        }
        lease.wait = patience(lease.wait, deadline);
        let (max_bytes, waited) = (lease.max_bytes, !lease.wait.is_zero());
        let leased = self.broker.lease(lease).await.map_err(Fault::from)?;
        traces::leased(&leased.jobs);
        Ok(self.lease_reply(leased, max_bytes, waited))
    }

    async fn ack(&self, request: Request<v1::AckRequest>) -> Answer<v1::AckResponse> {
        let access = self.gate.access(&request)?;
        let trace = trace_of(&request);
        let now = self.broker.clock().now();
        let (token, mut ack) =
            settle::ack(request.into_inner(), &trace, now).map_err(Fault::from)?;
        access.ack(&token, &mut ack)?;
        traces::about("ack", &token.name);
        let settled = self.broker.ack(token, ack).await.map_err(Fault::from)?;
        Ok(Response::new(settle::ack_response(&settled)))
    }

    async fn nack(&self, request: Request<v1::NackRequest>) -> Answer<v1::NackResponse> {
        let access = self.gate.access(&request)?;
        let (token, nack) = settle::nack(request.into_inner()).map_err(Fault::from)?;
        access.queue(&token.name.queue)?;
        traces::about("nack", &token.name);
        let settled = self.broker.nack(token, nack).await.map_err(Fault::from)?;
        Ok(Response::new(settle::nack_response(&settled)))
    }

    async fn extend_lease(
        &self,
        request: Request<v1::ExtendLeaseRequest>,
    ) -> Answer<v1::ExtendLeaseResponse> {
        let access = self.gate.access(&request)?;
        let (token, extend) = settle::extend(request.into_inner()).map_err(Fault::from)?;
        access.queue(&token.name.queue)?;
        traces::about("extend", &token.name);
        let extended = self.broker.extend(token, extend).await.map_err(Fault::from)?;
        Ok(Response::new(settle::extend_response(extended)))
    }

    async fn batch_settle(
        &self,
        request: Request<v1::BatchSettleRequest>,
    ) -> Answer<v1::BatchSettleResponse> {
        let access = self.gate.access(&request)?;
        let trace = trace_of(&request);
        let now = self.broker.clock().now();
        let items = settle::batch(request.into_inner(), &trace, now).map_err(Fault::from)?;
        let results = join_all(items.into_iter().map(|item| self.settle(item, &access))).await;
        let mut reply = v1::BatchSettleResponse { results };
        if reply.encoded_len() > REPLY_LIMIT {
            reply.results.iter_mut().filter_map(settled_job).for_each(job::reduce);
        }
        Ok(Response::new(reply))
    }

    type WorkStream = WorkStream;

    async fn work(&self, request: Request<Streaming<v1::WorkRequest>>) -> Answer<WorkStream> {
        let access = self.gate.access(&request)?;
        let trace = trace_of(&request);
        Ok(Response::new(self.streams.open(request.into_inner(), trace, access)?))
    }

    type WatchEventsStream = EventStream;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(self.events.watch(request.into_inner(), &access).await?))
    }
}

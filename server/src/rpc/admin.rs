//! `lessor.v1.JobBrokerAdmin`, what operators and dashboards ask.

use lessor_proto::v1;
use lessor_proto::v1::job_broker_admin_server::JobBrokerAdmin;
use tonic::{Request, Response, Status, async_trait};

use super::auth::Gate;
use super::convert::admin::{job_name, status_response};
use super::convert::bulk::{bulk_response, purge_response};
use super::convert::explain::explanation;
use super::convert::job::proto_job;
use super::convert::lease::REPLY_LIMIT;
use super::convert::list::{entry_bytes, jobs_response};
use super::convert::queue::{proto_queue, queue_name, queues_response};
use super::convert::stats::stats_response;
use super::convert::worker::{proto_worker, workers_response};
use super::convert::{bulk, list, operate, queue, worker};
use super::schedules;
use super::status::Fault;
use crate::broker::bulk::Action;
use crate::broker::lists::Size;
use crate::broker::operate::Asked;
use crate::broker::queues::QueueQuery;
use crate::broker::workers::WorkerQuery;
use crate::broker::{self, Broker};
use crate::job::{Job, JobName, QueueName, QueueSettings};
use crate::push::Allowed;

/// Bytes of the jobs in one page of a list; token and cursor come on top.
const LIST_LIMIT: usize = REPLY_LIMIT - (4 << 10);

/// The calls of `JobBrokerAdmin`.
pub(super) struct AdminCalls {
    broker: Broker,
    gate: Gate,
    /// Where the endpoints of queues may be.
    allowed: Allowed,
}

impl AdminCalls {
    pub(super) fn new(broker: Broker, gate: Gate, allowed: Allowed) -> Self {
        Self { broker, gate, allowed }
    }

    /// Reads which job is meant, if the caller may do this to it.
    async fn job_action(
        &self,
        request: Request<v1::JobActionRequest>,
    ) -> Result<(JobName, Asked), Fault> {
        let access = self.gate.access(&request)?;
        let (name, asked) = operate::action(request.into_inner())?;
        access.job(&self.broker, &name).await?;
        Ok((name, asked.by(access.actor())))
    }

    /// Reads which queue is meant, if the caller may do this to it.
    fn queue_action(
        &self,
        request: Request<v1::QueueActionRequest>,
    ) -> Result<(QueueName, Asked), Fault> {
        let access = self.gate.access(&request)?;
        let (name, asked) = queue::action(request.into_inner())?;
        access.queue(&name)?;
        Ok((name, asked.by(access.actor())))
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// What a call answers that was carried out or refused by the broker.
fn answer<T>(result: broker::Result<T>) -> Answer<T> {
    Ok(Response::new(result.map_err(Fault::from)?))
}

/// A job with all that is known of it.
fn full(job: &Job) -> v1::Job {
    proto_job(job, v1::JobView::Full)
}

#[async_trait]
impl JobBrokerAdmin for AdminCalls {
    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Answer<v1::ListJobsResponse> {
        let access = self.gate.access(&request)?;
        let owner = access.owner_in(&request.get_ref().queue)?;
        let (query, view) = list::jobs(request.into_inner(), owner)?;
        let bytes = Size { limit: LIST_LIMIT, of: |job: &Job| entry_bytes(job, view) };
        let page = self.broker.list_jobs(&query, bytes).await;
        answer(page.map(|page| jobs_response(&page, view)))
    }

    async fn update_job(&self, request: Request<v1::UpdateJobRequest>) -> Answer<v1::Job> {
        let access = self.gate.access(&request)?;
        let now = self.broker.clock().now();
        let (name, update, asked) = operate::update(request.into_inner(), now)?;
        access.job(&self.broker, &name).await?;
        let asked = asked.by(access.actor());
        answer(self.broker.update_job(&name, &update, &asked).await.map(|job| full(&job)))
    }

    async fn retry_job(&self, request: Request<v1::JobActionRequest>) -> Answer<v1::Job> {
        let (name, asked) = self.job_action(request).await?;
        answer(self.broker.retry_job(&name, &asked).await.map(|job| full(&job)))
    }

    async fn promote_job(&self, request: Request<v1::JobActionRequest>) -> Answer<v1::Job> {
        let (name, asked) = self.job_action(request).await?;
        answer(self.broker.promote_job(&name, &asked).await.map(|job| full(&job)))
    }

    async fn delete_job(&self, request: Request<v1::JobActionRequest>) -> Answer<()> {
        let (name, asked) = self.job_action(request).await?;
        answer(self.broker.delete_job(&name, &asked).await)
    }

    async fn revoke_lease(&self, request: Request<v1::JobActionRequest>) -> Answer<v1::Job> {
        let (name, asked) = self.job_action(request).await?;
        answer(self.broker.revoke_lease(&name, &asked).await.map(|job| full(&job)))
    }

    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Answer<v1::ListQueuesResponse> {
        let known = self.gate.access(&request)?.known();
        let query = QueueQuery { known, ..queue::query(request.into_inner())? };
        answer(self.broker.list_queues(&query).await.map(queues_response))
    }

    async fn get_queue(&self, request: Request<v1::GetQueueRequest>) -> Answer<v1::Queue> {
        let name = queue_name(&request.get_ref().name)?;
        self.gate.access(&request)?.queue(&name)?;
        answer(self.broker.queue(&name).await.map(|queue| proto_queue(&queue)))
    }

    async fn update_queue(&self, request: Request<v1::UpdateQueueRequest>) -> Answer<v1::Queue> {
        let access = self.gate.access(&request)?;
        let mut update = queue::update(request.into_inner(), &self.allowed)?;
        access.queue(&update.name)?;
        update.asked.actor = access.actor();
        let change = |settings: &mut QueueSettings| update.apply(settings);
        let queue = self.broker.update_queue(&update.name, &update.asked, change).await;
        answer(queue.map(|queue| proto_queue(&queue)))
    }

    async fn pause_queue(&self, request: Request<v1::QueueActionRequest>) -> Answer<v1::Queue> {
        let (name, asked) = self.queue_action(request)?;
        let queue = self.broker.pause_queue(&name, true, &asked).await;
        answer(queue.map(|queue| proto_queue(&queue)))
    }

    async fn resume_queue(&self, request: Request<v1::QueueActionRequest>) -> Answer<v1::Queue> {
        let (name, asked) = self.queue_action(request)?;
        let queue = self.broker.pause_queue(&name, false, &asked).await;
        answer(queue.map(|queue| proto_queue(&queue)))
    }

    async fn delete_queue(&self, request: Request<v1::DeleteQueueRequest>) -> Answer<()> {
        let access = self.gate.access(&request)?;
        let (name, force, asked) = queue::delete(request.into_inner())?;
        access.queue(&name)?;
        let asked = asked.by(access.actor());
        answer(self.broker.delete_queue(&name, force, &asked).await)
    }

    async fn get_queue_stats(
        &self,
        request: Request<v1::GetQueueStatsRequest>,
    ) -> Answer<v1::QueueStats> {
        let queue = queue_name(&request.get_ref().name)?;
        self.gate.access(&request)?.queue(&queue)?;
        answer(self.broker.stats(&queue).await.map(|stats| stats_response(&queue, stats)))
    }

    async fn explain_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Answer<v1::ExplainJobResponse> {
        let name = job_name(&request.get_ref().name)?;
        self.gate.access(&request)?.job(&self.broker, &name).await?;
        answer(self.broker.explain(&name).await.map(explanation))
    }

    async fn bulk_jobs(
        &self,
        request: Request<v1::BulkJobsRequest>,
    ) -> Answer<v1::BulkJobsResponse> {
        let access = self.gate.access(&request)?;
        let owner = access.owner_in(&request.get_ref().queue)?;
        let mut bulk = bulk::bulk(request.into_inner(), owner)?;
        if let Action::Move(to) = &bulk.action {
            access.queue(to)?;
        }
        bulk.actor = access.actor();
        answer(self.broker.bulk(&bulk).await.map(bulk_response))
    }

    async fn purge_jobs(
        &self,
        request: Request<v1::PurgeJobsRequest>,
    ) -> Answer<v1::PurgeJobsResponse> {
        let access = self.gate.access(&request)?;
        let mut purge = bulk::purge(request.get_ref())?;
        access.queue(&purge.queue)?;
        purge.actor = access.actor();
        answer(self.broker.purge_jobs(&purge).await.map(purge_response))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Answer<v1::ListWorkersResponse> {
        let known = self.gate.access(&request)?.known();
        let query = WorkerQuery { known, ..worker::query(request.into_inner())? };
        answer(self.broker.list_workers(&query).await.map(workers_response))
    }

    async fn drain_worker(&self, request: Request<v1::DrainWorkerRequest>) -> Answer<v1::Worker> {
        let access = self.gate.access(&request)?;
        let (id, reason) = worker::drain(request.into_inner())?;
        access.worker(&self.broker, &id).await?;
        answer(self.broker.drain_worker(&id, &reason).await.map(proto_worker))
    }

    /// Answers even when the store does not: that is what it is asked for.
    async fn get_store_status(
        &self,
        _: Request<v1::GetStoreStatusRequest>,
    ) -> Answer<v1::StoreStatus> {
        let clock = self.broker.clock();
        let asked = clock.now();
        let status = self.broker.status().await;
        let now = clock.now();
        let status = status.map_err(|error| error.to_string());
        Ok(Response::new(status_response(status, now.since(asked), now)))
    }

    async fn create_schedule(
        &self,
        request: Request<v1::CreateScheduleRequest>,
    ) -> Answer<v1::Schedule> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::create(&self.broker, request.into_inner(), &access).await?))
    }

    async fn get_schedule(&self, request: Request<v1::GetScheduleRequest>) -> Answer<v1::Schedule> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::get(&self.broker, request.into_inner(), &access).await?))
    }

    async fn list_schedules(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Answer<v1::ListSchedulesResponse> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::list(&self.broker, request.into_inner(), &access).await?))
    }

    async fn update_schedule(
        &self,
        request: Request<v1::UpdateScheduleRequest>,
    ) -> Answer<v1::Schedule> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::update(&self.broker, request.into_inner(), &access).await?))
    }

    async fn delete_schedule(&self, request: Request<v1::ScheduleActionRequest>) -> Answer<()> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::delete(&self.broker, request.into_inner(), &access).await?))
    }

    async fn pause_schedule(
        &self,
        request: Request<v1::ScheduleActionRequest>,
    ) -> Answer<v1::Schedule> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::pause(&self.broker, request.into_inner(), &access).await?))
    }

    async fn resume_schedule(
        &self,
        request: Request<v1::ScheduleActionRequest>,
    ) -> Answer<v1::Schedule> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::resume(&self.broker, request.into_inner(), &access).await?))
    }

    async fn trigger_schedule(
        &self,
        request: Request<v1::ScheduleActionRequest>,
    ) -> Answer<v1::Job> {
        let access = self.gate.access(&request)?;
        Ok(Response::new(schedules::trigger(&self.broker, request.into_inner(), &access).await?))
    }
}

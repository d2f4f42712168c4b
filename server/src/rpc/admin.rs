//! `lessor.v1.JobBrokerAdmin`, what operators and dashboards ask.

use std::pin::Pin;

use lessor_proto::v1;
use lessor_proto::v1::job_broker_admin_server::JobBrokerAdmin;
use tonic::{Request, Response, Status, async_trait};

use super::convert::admin::{page, queue_name, queues_response, stats_response, status_response};
use super::status::Fault;
use crate::broker::Broker;

/// The calls of `JobBrokerAdmin`.
pub(super) struct AdminCalls {
    broker: Broker,
}

impl AdminCalls {
    pub(super) fn new(broker: Broker) -> Self {
        Self { broker }
    }
}

type Answer<T> = Result<Response<T>, Status>;

/// Calls that this version does not have. Each is written as the attribute on the trait would
/// write an `async fn`, for it does not look into macros.
macro_rules! not_built {
    ($($name:ident: $call:literal, $request:ty => $response:ty;)+) => {
        $(
            fn $name<'this, 'call>(
                &'this self,
                _: Request<$request>,
            ) -> Pin<Box<dyn Future<Output = Answer<$response>> + Send + 'call>>
            where
                'this: 'call,
                Self: 'call,
            {
                Box::pin(std::future::ready(Err(Fault::not_built($call).into())))
            }
        )+
    };
}

#[async_trait]
impl JobBrokerAdmin for AdminCalls {
    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Answer<v1::ListQueuesResponse> {
        let page = page(request.get_ref()).map_err(Fault::from)?;
        let queues = self.broker.queues().await.map_err(Fault::from)?;
        Ok(Response::new(queues_response(&queues, &page)))
    }

    async fn get_queue_stats(
        &self,
        request: Request<v1::GetQueueStatsRequest>,
    ) -> Answer<v1::QueueStats> {
        let queue = queue_name(&request.get_ref().name).map_err(Fault::from)?;
        let survey = self.broker.survey(&queue).await.map_err(Fault::from)?;
        Ok(Response::new(stats_response(&queue, &survey.counts)))
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

    not_built! {
        list_jobs: "ListJobs", v1::ListJobsRequest => v1::ListJobsResponse;
        update_job: "UpdateJob", v1::UpdateJobRequest => v1::Job;
        retry_job: "RetryJob", v1::JobActionRequest => v1::Job;
        promote_job: "PromoteJob", v1::JobActionRequest => v1::Job;
        delete_job: "DeleteJob", v1::JobActionRequest => ();
        revoke_lease: "RevokeLease", v1::JobActionRequest => v1::Job;
        explain_job: "ExplainJob", v1::GetJobRequest => v1::ExplainJobResponse;
        bulk_jobs: "BulkJobs", v1::BulkJobsRequest => v1::BulkJobsResponse;
        get_queue: "GetQueue", v1::GetQueueRequest => v1::Queue;
        update_queue: "UpdateQueue", v1::UpdateQueueRequest => v1::Queue;
        pause_queue: "PauseQueue", v1::QueueActionRequest => v1::Queue;
        resume_queue: "ResumeQueue", v1::QueueActionRequest => v1::Queue;
        delete_queue: "DeleteQueue", v1::DeleteQueueRequest => ();
        purge_jobs: "PurgeJobs", v1::PurgeJobsRequest => v1::PurgeJobsResponse;
        create_schedule: "CreateSchedule", v1::CreateScheduleRequest => v1::Schedule;
        get_schedule: "GetSchedule", v1::GetScheduleRequest => v1::Schedule;
        list_schedules: "ListSchedules", v1::ListSchedulesRequest => v1::ListSchedulesResponse;
        update_schedule: "UpdateSchedule", v1::UpdateScheduleRequest => v1::Schedule;
        delete_schedule: "DeleteSchedule", v1::ScheduleActionRequest => ();
        pause_schedule: "PauseSchedule", v1::ScheduleActionRequest => v1::Schedule;
        resume_schedule: "ResumeSchedule", v1::ScheduleActionRequest => v1::Schedule;
        trigger_schedule: "TriggerSchedule", v1::ScheduleActionRequest => v1::Job;
        list_workers: "ListWorkers", v1::ListWorkersRequest => v1::ListWorkersResponse;
        drain_worker: "DrainWorker", v1::DrainWorkerRequest => v1::Worker;
    }
}

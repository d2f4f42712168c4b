//! What KEDA asks to scale workers.
//!
//! KEDA knows no tokens, so this is served on the port for operations and nowhere else. It reads counts
//! of queues, and changes nothing.

use std::collections::HashMap;
use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::unfold;
use lessor_proto::externalscaler as keda;
use lessor_proto::externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use tonic::{Request, Response, Status, async_trait};

use super::convert::field::Violations;
use super::status::Fault;
use crate::broker::Broker;
use crate::broker::lease::QueuePattern;

const METRIC: &str = "jobs";
/// Names and prefixes in one trigger.
const MOST_QUEUES: usize = 64;
const MOST_JOBS: f64 = 1e6;
/// A request holds a few names.
const DECODE_LIMIT: usize = 64 << 10;

/// The service over `broker`.
pub(super) fn service(broker: Broker) -> ExternalScalerServer<ScalerCalls> {
    ExternalScalerServer::new(ScalerCalls { broker }).max_decoding_message_size(DECODE_LIMIT)
}

/// The calls of `ExternalScaler`.
pub(super) struct ScalerCalls {
    broker: Broker,
}

/// A trigger's metadata, read.
struct Trigger {
    queues: Vec<QueuePattern>,
    jobs_per_worker: f64,
}

fn trigger(metadata: &HashMap<String, String>) -> Result<Trigger, Fault> {
    let mut wrong = Violations::default();
    let queues = queues(metadata, &mut wrong);
    let jobs_per_worker = match metadata.get("jobsPerWorker") {
        None => 1.0,
        Some(text) => {
            text.parse().ok().filter(|count| *count > 0.0 && *count <= MOST_JOBS).unwrap_or_else(
                || {
                    let why = format!("must be a number above 0 and at most {MOST_JOBS}");
                    wrong.add("scalerMetadata.jobsPerWorker", why);
                    1.0
                },
            )
        }
    };
    wrong.finish(Some(Trigger { queues, jobs_per_worker })).map_err(Fault::from)
}

fn queues(metadata: &HashMap<String, String>, wrong: &mut Violations) -> Vec<QueuePattern> {
    const FIELD: &str = "scalerMetadata.queue";
    let Some(text) = metadata.get("queue") else {
        wrong.add(FIELD, "must be set, to a queue, or several separated by commas");
        return Vec::new();
    };
    let mut queues = Vec::new();
    for name in text.split(',').map(str::trim).take(MOST_QUEUES + 1) {
        match QueuePattern::parse(name) {
            Some(queue) => queues.push(queue),
            None => wrong.add(FIELD, format!("holds {name:?}, no name or prefix of a queue")),
        }
    }
    if queues.len() > MOST_QUEUES {
        wrong.add(FIELD, format!("must hold at most {MOST_QUEUES} queues"));
    }
    queues
}

/// A count as KEDA takes it.
#[expect(clippy::cast_precision_loss, reason = "nobody scales by the last of 2^53 jobs")]
fn value(jobs: u64) -> keda::MetricValue {
    keda::MetricValue {
        metric_name: METRIC.to_owned(),
        metric_value: i64::try_from(jobs).unwrap_or(i64::MAX),
        metric_value_float: jobs as f64,
    }
}

#[async_trait]
impl ExternalScaler for ScalerCalls {
    type StreamIsActiveStream =
        Pin<Box<dyn Stream<Item = Result<keda::IsActiveResponse, Status>> + Send>>;

    async fn is_active(
        &self,
        request: Request<keda::ScaledObjectRef>,
    ) -> Result<Response<keda::IsActiveResponse>, Status> {
        let trigger = trigger(&request.get_ref().scaler_metadata)?;
        let demand = self.broker.demand(&trigger.queues).await.map_err(Fault::from)?;
        Ok(Response::new(keda::IsActiveResponse { result: demand.jobs() > 0 }))
    }

    async fn stream_is_active(
        &self,
        request: Request<keda::ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let trigger = trigger(&request.get_ref().scaler_metadata)?;
        let activity = self.broker.activity(trigger.queues);
        Ok(Response::new(Box::pin(unfold(Some(activity), |activity| async move {
            let mut activity = activity?;
            match activity.next().await {
                Ok(result) => Some((Ok(keda::IsActiveResponse { result }), Some(activity))),
                // A failure is the last word of a stream; KEDA opens another.
                Err(error) => Some((Err(Fault::from(error).into()), None)),
            }
        }))))
    }

    async fn get_metric_spec(
        &self,
        request: Request<keda::ScaledObjectRef>,
    ) -> Result<Response<keda::GetMetricSpecResponse>, Status> {
        let Trigger { jobs_per_worker, .. } = trigger(&request.get_ref().scaler_metadata)?;
        #[expect(clippy::cast_possible_truncation, reason = "it is at most a million")]
        let whole = jobs_per_worker.max(1.0) as i64;
        let spec = keda::MetricSpec {
            metric_name: METRIC.to_owned(),
            target_size: whole,
            target_size_float: jobs_per_worker,
        };
        Ok(Response::new(keda::GetMetricSpecResponse { metric_specs: vec![spec] }))
    }

    async fn get_metrics(
        &self,
        request: Request<keda::GetMetricsRequest>,
    ) -> Result<Response<keda::GetMetricsResponse>, Status> {
        let metadata = request.into_inner().scaled_object_ref.unwrap_or_default().scaler_metadata;
        let trigger = trigger(&metadata)?;
        let demand = self.broker.demand(&trigger.queues).await.map_err(Fault::from)?;
        let metric_values = vec![value(demand.jobs())];
        Ok(Response::new(keda::GetMetricsResponse { metric_values }))
    }
}

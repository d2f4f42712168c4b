//! The span of an attempt, by the names of OpenTelemetry's conventions for messaging.

use tracing::Span;
use tracing::field::Empty;

use super::Job;

/// The span in which a handler runs. With the feature `otel` it is linked to the producer's.
pub(super) fn span(job: &Job, worker_id: &str) -> Span {
    let span = tracing::info_span!(
        "process",
        otel.name = Empty,
        otel.kind = "consumer",
        messaging.system = "lessor",
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = job.queue(),
        messaging.message.id = job.name(),
        messaging.client.id = worker_id,
        job.r#type = job.job_type(),
        job.attempt = job.attempt(),
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("process {}", job.queue()));
        #[cfg(feature = "otel")]
        crate::trace::link(&span, job.trace_context());
    }
    span
}

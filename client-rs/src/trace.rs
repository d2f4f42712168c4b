//! The W3C trace context between OpenTelemetry and the broker.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Links a span to the one that a job was made in.
pub(crate) fn link(span: &Span, context: &HashMap<String, String>) {
    let made = TraceContextPropagator::new().extract(context);
    let made = made.span().span_context().clone();
    if made.is_valid() {
        span.add_link(made);
    }
}

/// The context of the current span, as the broker keeps it with a job.
pub(crate) fn current() -> HashMap<String, String> {
    let mut context = HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut context);
    context
}

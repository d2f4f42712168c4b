//! Spans: made only where traces are sent, and only for calls and jobs that are traced.
//!
//! A broker follows the decision of its caller, told by the W3C headers of the call; of the calls
//! that bring none it traces a few. A job carries the context of its producer, so what becomes of
//! it later is told in the producer's trace. Names and attributes are those of the semantic
//! conventions of OpenTelemetry for RPC and messaging.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::metrics::{System, code_name};
use crate::job::{Job, JobName, QueueName};

/// The target of all spans, by which they are told from logs.
pub(super) const TARGET: &str = "lessor::trace";

/// Of the calls without a trace context this share is traced, unless `OTEL_TRACES_SAMPLER` says
/// otherwise.
const ROOTS: f64 = 0.01;

/// A span has no more links than OpenTelemetry keeps.
const MOST_LINKS: usize = 128;

/// The header that names the parent.
const PARENT: &str = "traceparent";

/// Set once traces are sent: the share of calls without a trace context that are traced.
static ROOT_SHARE: OnceLock<f64> = OnceLock::new();

/// From now on spans are made. `has_sampler`: the environment names one, which decides alone.
pub(super) fn begin(has_sampler: bool) {
    // It begins once, with the logs.
    let _before = ROOT_SHARE.set(if has_sampler { 1.0 } else { ROOTS });
}

/// True where traces are sent.
pub fn are_on() -> bool {
    ROOT_SHARE.get().is_some()
}

/// The span of a call, a child of the caller's; none when the call is not traced. A call that has
/// no parent gets the span as the parent of what it makes. A stream has no span: it would end
/// hours after all else in its trace.
pub fn call(method: &str, is_stream: bool, system: System, headers: &mut HeaderMap) -> Span {
    let Some(root_share) = ROOT_SHARE.get().filter(|_| !is_stream) else { return Span::none() };
    let has_parent = headers.contains_key(PARENT);
    let parent = if has_parent { context_of(&Headers(headers)) } else { None };
    match &parent {
        Some(parent) if !parent.is_sampled() => return Span::none(),
        None if fastrand::f64() >= *root_share => return Span::none(),
        _ => {}
    }
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = system.name(),
        rpc.method = method,
    );
    match parent {
        Some(parent) => set_parent(&span, parent),
        None => tell_parent(&span, headers),
    }
    span
}

/// A call ended: its span gets the code.
pub fn ended(span: &Span, code: usize) {
    if span.is_disabled() {
        return;
    }
    let name = code_name(code);
    span.set_attribute("rpc.response.status_code", name);
    // The rest is the caller's fault, not the server's.
    let is_fault = matches!(
        name,
        "UNKNOWN"
            | "DEADLINE_EXCEEDED"
            | "UNIMPLEMENTED"
            | "INTERNAL"
            | "UNAVAILABLE"
            | "DATA_LOSS"
    );
    if is_fault {
        span.set_attribute("error.type", name);
        span.set_status(Status::error(""));
    }
}

/// The present call is about this job.
pub fn about(operation: &'static str, job: &JobName) {
    if let Some(span) = present() {
        message(&span, operation, &job.queue);
        span.set_attribute("messaging.message.id", job.id.as_str().to_owned());
    }
}

/// The present call leased these jobs: its span is linked to those that made them.
pub fn leased(jobs: &[Job]) {
    let Some(span) = present() else { return };
    span.set_attribute("messaging.system", "lessor");
    span.set_attribute("messaging.operation.name", "lease");
    span.set_attribute("messaging.operation.type", "receive");
    span.set_attribute("messaging.batch.message_count", count(jobs.len()));
    if let Some(job) = jobs.first() {
        span.set_attribute("messaging.destination.name", job.name.queue.as_str().to_owned());
        if let Some(lease) = &job.lease {
            span.set_attribute("messaging.client.id", lease.worker.as_str().to_owned());
        }
    }
    for context in jobs.iter().filter_map(|job| sampled(&job.spec.trace_context)).take(MOST_LINKS) {
        span.add_link(context);
    }
}

/// A span for what is done with jobs together, in the trace of the first one that is traced and
/// linked to the others; without one, none.
pub fn batch<'c>(
    operation: &'static str,
    queue: &QueueName,
    contexts: impl Iterator<Item = &'c BTreeMap<String, String>>,
) -> Span {
    if !are_on() {
        return Span::none();
    }
    let mut contexts = contexts.filter_map(sampled).take(MOST_LINKS);
    let Some(first) = contexts.next() else { return Span::none() };
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "batch",
        otel.name = format!("{operation} {}", queue.as_str()),
        otel.kind = "internal",
    );
    set_parent(&span, first);
    message(&span, operation, queue);
    contexts.for_each(|context| span.add_link(context));
    span
}

/// A span within the present call; none outside of one.
pub fn step(operation: &'static str) -> Span {
    if present().is_none() {
        return Span::none();
    }
    tracing::info_span!(target: TARGET, "step", otel.name = operation, otel.kind = "internal")
}

/// The span of the present call, if it is traced.
fn present() -> Option<Span> {
    if !are_on() {
        return None;
    }
    Some(Span::current()).filter(|span| !span.is_disabled())
}

fn message(span: &Span, operation: &'static str, queue: &QueueName) {
    span.set_attribute("messaging.system", "lessor");
    span.set_attribute("messaging.operation.name", operation);
    span.set_attribute("messaging.destination.name", queue.as_str().to_owned());
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn set_parent(span: &Span, parent: SpanContext) {
    // It fails only for spans that nobody takes down.
    let _ignored = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
}

/// Writes the span into the headers of its own call, from where jobs take their context.
fn tell_parent(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    let context = context.span().span_context().clone();
    if !context.is_sampled() {
        return;
    }
    let text = format!("00-{}-{}-01", context.trace_id(), context.span_id());
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(PARENT, value);
    }
}

/// The context that a job carries, if its producer is traced.
fn sampled(context: &BTreeMap<String, String>) -> Option<SpanContext> {
    if !context.contains_key(PARENT) {
        return None;
    }
    context_of(&Stored(context)).filter(SpanContext::is_sampled)
}

fn context_of(carrier: &dyn Extractor) -> Option<SpanContext> {
    let context =
        TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), carrier);
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

struct Stored<'c>(&'c BTreeMap<String, String>);

impl Extractor for Stored<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

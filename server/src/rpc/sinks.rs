//! Sinks of events: what the settings say of them is checked as what comes over the wire is, and
//! events leave as they do in a stream of events.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use lessor_proto::v1;
use prost::Message;
use prost_reflect::DescriptorPool;

use super::Error;
use super::connect::json;
use super::convert::field::Violations;
use super::convert::time::proto_span;
use super::convert::watch::{proto_event, sink_kinds};
use super::convert::{lease, push};
use crate::job::QueueName;
use crate::job::id::OWN_QUEUES;
use crate::push::{Allowed, Sink, Writer};

/// A sink as it is written down.
#[derive(Clone, Debug, Default)]
pub(crate) struct SinkText {
    pub(crate) name: String,
    pub(crate) queues: Vec<String>,
    pub(crate) types: Vec<String>,
    pub(crate) uri: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_parallel: Option<i32>,
    pub(crate) retries_client_errors: bool,
    pub(crate) secrets: Vec<String>,
}

/// Reads a sink; says what is wrong with which field.
pub(crate) fn read_sink(text: SinkText, allowed: &Allowed) -> Result<Sink, String> {
    let wrong = |field: &str, why: &dyn Display| format!("{field} {why}");
    let queue = QueueName::parse(&format!("{OWN_QUEUES}sink.{}", text.name));
    let queue = queue.map_err(|why| wrong("name", &why))?;
    let mut violations = Violations::default();
    let queues = violations.at("queues", lease::patterns(&text.queues));
    let queues = violations.finish(queues).map_err(|why| why.to_string())?;
    let kinds = sink_kinds(&text.types)?;
    let policy = if text.retries_client_errors {
        v1::push::ClientErrorPolicy::Retry
    } else {
        v1::push::ClientErrorPolicy::Dead
    };
    let endpoint = v1::Push {
        uri: text.uri,
        headers: text.headers,
        timeout: text.timeout.map(proto_span),
        max_parallel: text.max_parallel.unwrap_or(0),
        client_error_policy: policy.into(),
        secrets: text.secrets,
        secret_fingerprints: Vec::new(),
    };
    let push = push::push(endpoint, allowed).map_err(|why| why.to_string())?;
    Ok(Sink { queue, queues, kinds, push })
}

/// What writes events for sinks.
pub(crate) fn event_writer() -> Result<Writer, Error> {
    let mut pool = DescriptorPool::new();
    pool.decode_file_descriptor_set(lessor_proto::DESCRIPTOR_SET)?;
    let kind = pool.get_message_by_name("lessor.v1.Event");
    Ok(Arc::new(move |watched| {
        let event = proto_event(watched);
        let job_type = event.r#type().as_str_name().to_owned();
        let written = json(kind.as_ref()?, event.encode_to_vec().into()).ok()?;
        Some((job_type, written))
    }))
}

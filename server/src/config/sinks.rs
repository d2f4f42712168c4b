//! Sinks of events: the list `[[sinks]]` of the file.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::parse::invalid;
use super::{Error, Layers, text_of};
use crate::push::{Allowed, Sink};
use crate::rpc::{SinkText, read_sink};

/// Events that are sent to an HTTP endpoint, as one source writes them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSink {
    /// Its name; its queue is `lessor.sink.NAME`.
    pub name: String,
    /// Whose events: names of queues and prefixes; all by default.
    #[serde(default)]
    pub queues: Vec<String>,
    /// Which events, such as `JOB_DEAD`.
    pub types: Vec<String>,
    /// Where they are sent.
    pub uri: String,
    /// Headers of each request.
    #[serde(default)]
    pub headers: HashMap<String, String>,
    /// How long the endpoint may take to answer, such as `10s`.
    pub timeout: Option<String>,
    /// Requests at once over all brokers.
    pub max_parallel: Option<i32>,
    /// Try again after a client error.
    #[serde(default)]
    pub retry_client_errors: bool,
    /// Files of the secrets that requests are signed with, one or two.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
}

pub(super) fn sinks(layers: &Layers, allowed: &Allowed) -> Result<Vec<Sink>, Error> {
    let (raw, source) = layers.get(|raw| Some(raw.sinks.clone()).filter(|it| !it.is_empty()));
    let mut sinks: Vec<Sink> = Vec::new();
    for raw in raw.unwrap_or_default() {
        let wrong =
            |why: String| invalid("sinks", &source, format!("has {:?}, whose {why}", raw.name));
        let timeout = raw.timeout.as_deref().map(humantime::parse_duration).transpose();
        let timeout = timeout.map_err(|why| wrong(format!("timeout is no span: {why}")))?;
        let mut secrets = Vec::new();
        for path in &raw.secret_files {
            secrets.push(text_of(path)?.trim().to_owned());
        }
        let text = SinkText {
            name: raw.name.clone(),
            queues: raw.queues.clone(),
            types: raw.types.clone(),
            uri: raw.uri.clone(),
            headers: raw.headers.clone(),
            timeout,
            max_parallel: raw.max_parallel,
            retries_client_errors: raw.retry_client_errors,
            secrets,
        };
        let sink = read_sink(text, allowed).map_err(wrong)?;
        if sinks.iter().any(|one| one.queue == sink.queue) {
            return Err(wrong("name is there twice".to_owned()));
        }
        sinks.push(sink);
    }
    Ok(sinks)
}

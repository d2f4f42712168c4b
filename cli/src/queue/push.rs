//! Flags for the endpoint that a queue's jobs are sent to.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use humantime::parse_duration;
use lessor::Push;
use lessor::proto::push::ClientErrorPolicy;

use crate::failure::Usage;
use crate::output::show_span;

#[derive(Args)]
#[command(next_help_heading = "Push")]
pub(super) struct PushArgs {
    /// Send the jobs to this HTTP endpoint.
    #[arg(long = "push", value_name = "URL")]
    uri: Option<String>,

    /// A header of each request, such as 'Authorization: Bearer abc'; may be given many times, and
    /// they take the place of the former ones.
    #[arg(long = "push-header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,

    /// How long the endpoint may take to answer.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    push_timeout: Option<Duration>,

    /// The most requests at once, over all brokers.
    #[arg(long = "push-parallel", value_name = "COUNT")]
    parallel: Option<i32>,

    /// What a client error of the endpoint (4xx) means for the job.
    #[arg(long = "push-client-errors", value_name = "POLICY")]
    client_errors: Option<ClientErrors>,

    /// A secret to sign requests with, as `lessor token secret` makes it; given twice, requests carry
    /// both signatures.
    #[arg(long = "push-secret", value_name = "SECRET")]
    secrets: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ClientErrors {
    /// The job becomes a dead letter.
    Dead,
    /// The job is tried again.
    Retry,
}

impl PushArgs {
    /// The endpoint that there was with what the flags say, or none if they say nothing.
    pub(super) fn apply(self, before: Option<&Push>) -> anyhow::Result<Option<Push>> {
        let before = before.cloned().unwrap_or_default();
        let mut push = before.clone();
        if let Some(uri) = self.uri {
            push.uri = uri;
        }
        if !self.headers.is_empty() {
            push.headers = self.headers.into_iter().collect();
        }
        if let Some(timeout) = self.push_timeout {
            push.timeout = Some(timeout.try_into().context("--push-timeout is too long")?);
        }
        if let Some(count) = self.parallel {
            push.max_parallel = count;
        }
        match self.client_errors {
            Some(ClientErrors::Dead) => push.set_client_error_policy(ClientErrorPolicy::Dead),
            Some(ClientErrors::Retry) => push.set_client_error_policy(ClientErrorPolicy::Retry),
            None => {}
        }
        push.secrets = self.secrets;
        if push == before {
            return Ok(None);
        }
        if push.uri.is_empty() {
            return Err(Usage("say where to send the jobs: --push URL".to_owned()).into());
        }
        Ok(Some(push))
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("must be NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// What of an endpoint is told in a table.
pub(super) fn facts(push: Option<&Push>) -> [(&'static str, String); 5] {
    let Some(push) = push else {
        return ["Push", "Push timeout", "Push parallel", "Push headers", "Push secrets"]
            .map(|name| (name, String::new()));
    };
    let policy = match push.client_error_policy() {
        ClientErrorPolicy::Retry => ", client errors are retried",
        ClientErrorPolicy::Dead | ClientErrorPolicy::Unspecified => "",
    };
    let mut headers: Vec<&str> = push.headers.keys().map(String::as_str).collect();
    headers.sort_unstable();
    [
        ("Push", format!("{}{policy}", push.uri)),
        ("Push timeout", show_span(push.timeout)),
        ("Push parallel", push.max_parallel.to_string()),
        ("Push headers", headers.join(", ")),
        ("Push secrets", push.secret_fingerprints.join(", ")),
    ]
}

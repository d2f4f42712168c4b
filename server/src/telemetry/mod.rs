//! What a broker tells of itself: logs, metrics and traces.
//!
//! Logs go to standard error; standard output belongs to what a command prints.

mod logs;
pub mod metrics;
pub mod otlp;
pub mod traces;

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Dispatch;
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

use self::otlp::Collector;
use crate::config::{Config, LogConfig, LogFormat, TelemetryConfig};

/// Why a process can't tell of itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was set up before.
    #[error("can't log: {0}")]
    Twice(#[from] TryInitError),
    /// Traces can't be sent.
    #[error(transparent)]
    Otlp(#[from] otlp::Error),
}

/// The logs and traces of this process.
pub struct Telemetry {
    filter: reload::Handle<EnvFilter, Registry>,
    traces: Option<(SdkTracerProvider, Collector)>,
}

/// Begins logging and tracing as `config` says. A process does this once; the second time is an
/// error.
pub fn init(config: &Config) -> Result<Telemetry, Error> {
    let (lines, filter) = lines(&config.log);
    let traces = if config.telemetry.traces { Some(traces(&config.telemetry)?) } else { None };
    let spans = traces.as_ref().map(|(provider, _)| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("lessor"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| metadata.target() == traces::TARGET))
    });
    dispatch(lines, spans).try_init()?;
    if traces.is_some() {
        traces::begin(std::env::var_os("OTEL_TRACES_SAMPLER").is_some_and(|it| !it.is_empty()));
    }
    Ok(Telemetry { filter, traces })
}

impl Telemetry {
    /// From now on what `log` says is logged; its format stays what it was.
    pub fn set_filter(&self, log: &LogConfig) {
        if let Err(error) = self.filter.reload(EnvFilter::new(&log.filter)) {
            tracing::warn!(%error, "the log filter can't be changed");
        }
    }

    /// Sends what was not sent yet. Blocks; nothing is traced afterwards.
    pub fn shut_down(self) {
        if let Some((provider, _collector)) = self.traces
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// Where lines and spans go. Nothing stands in for spans that nobody wants: an absent layer counts as one
/// that may want everything.
fn dispatch<S>(lines: Lines, spans: Option<S>) -> Dispatch
where
    S: Layer<Layered<Lines, Registry>> + Send + Sync,
{
    let registry = tracing_subscriber::registry().with(lines);
    match spans {
        Some(spans) => registry.with(spans).into(),
        None => registry.into(),
    }
}

fn lines(log: &LogConfig) -> (Lines, reload::Handle<EnvFilter, Registry>) {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&log.filter));
    // Spans are no lines.
    // Without a level of its own this filter hides that of the other, and every span of each library is
    // made, for nobody.
    let is_line = filter_fn(|metadata| metadata.target() != traces::TARGET);
    let filter = filter.and(is_line.with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.event_format(logs::Json).with_filter(filter).boxed()
    } else {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        lines.with_ansi(colour).with_filter(filter).boxed()
    };
    (lines, handle)
}

fn traces(config: &TelemetryConfig) -> Result<(SdkTracerProvider, Collector), Error> {
    let collector = Collector::new(config)?;
    Ok((collector.tracer_provider()?, collector))
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::Identity;

    use super::*;

    #[test]
    fn spans_of_libraries_are_not_made_when_nobody_asks_for_them() {
        let log = LogConfig { filter: "info".to_owned(), format: LogFormat::Text };
        let (lines, _filter) = lines(&log);
        tracing::dispatcher::with_default(&dispatch(lines, None::<Identity>), || {
            assert!(tracing::trace_span!(target: "h2", "frame").is_disabled());
            assert!(!tracing::enabled!(target: "hyper", tracing::Level::DEBUG));
            assert!(tracing::enabled!(tracing::Level::INFO));
        });
    }
}

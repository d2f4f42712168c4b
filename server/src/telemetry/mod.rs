//! Logs. They go to standard error; standard output belongs to what a command prints.

pub mod metrics;
pub mod otlp;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogConfig, LogFormat};

/// Begins logging as `log` says. A process does this once; the second time is an error.
pub fn init(log: &LogConfig) -> Result<(), TryInitError> {
    let terminal = std::io::stderr().is_terminal();
    let json = match log.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(EnvFilter::new(&log.filter));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
        registry.with(lines.with_ansi(colour)).try_init()
    }
}

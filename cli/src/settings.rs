//! The broker's settings as flags. Each has an environment variable and a key in the file; the
//! flag wins.

use std::path::PathBuf;

use clap::Args;
use lessor_server::config::{Config, RawConfig, Sources};

/// Settings that are wrong: the broker can't begin.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct BadConfig(#[from] lessor_server::config::Error);

#[derive(Clone, Args)]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
pub(crate) struct Settings {
    /// A configuration file in TOML [env: LESSOR_CONFIG].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Where jobs are kept: sqlite:PATH, sqlite::memory:, redis://…, rediss://…,
    /// redis-cluster://HOST:PORT,HOST:PORT… or redis-sentinel://HOST:PORT,…/SERVICE [env: LESSOR_STORE] [default: a SQLite file in the
    /// user's data folder].
    #[arg(long, value_name = "URL")]
    store: Option<String>,

    /// A file that holds the URL of the store, for a URL with a password
    /// [env: LESSOR_STORE_FILE].
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    store_file: Option<String>,

    /// Keeps several products apart in one Redis [env: LESSOR_NAMESPACE] [default: lessor].
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// When SQLite has a write for sure: full (survives a power loss) or normal (survives a crash
    /// of the broker) [env: LESSOR_SYNCHRONOUS] [default: full].
    #[arg(long, value_name = "LEVEL")]
    synchronous: Option<String>,

    /// Run even if Redis may evict keys, and so lose jobs [env: LESSOR_ALLOW_EVICTION].
    #[arg(long)]
    allow_eviction: bool,

    /// What to log: a level, or filters like lessor_server=debug [env: LESSOR_LOG] [default: info].
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,

    /// How to log: auto, text or json [env: LESSOR_LOG_FORMAT] [default: auto].
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Settings {
    /// The checked settings; `flags` holds those of the command itself.
    pub(crate) fn load(self, flags: RawConfig) -> Result<Config, BadConfig> {
        let flags = RawConfig {
            store: self.store,
            store_file: self.store_file,
            namespace: self.namespace,
            synchronous: self.synchronous,
            allow_eviction: self.allow_eviction.then_some(true),
            log: self.log,
            log_format: self.log_format,
            ..flags
        };
        Ok(Config::load(Sources { flags, file: self.config.as_deref() })?)
    }
}

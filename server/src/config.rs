//! Settings: from defaults, a file, the environment and flags, the later ones winning.
//!
//! [`RawConfig`] is what one source says, as it is written; [`Config`] is checked and typed, and
//! only it enters the program. `config.reference.toml` documents every key.

mod credentials;
mod parse;
mod sinks;
mod telemetry;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::auth;
use crate::push::{Allowed, Sink};
use crate::rpc::{ConnectionLimits, TlsFiles};
use crate::store::open::OpenOptions;

pub use self::sinks::RawSink;

/// Settings as one source writes them; what it leaves out is left to the others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Address and port to listen on.
    pub listen: Option<String>,
    /// Address and port of their own for the pages that tell how the broker does.
    pub ops_listen: Option<String>,
    /// URL of the store.
    pub store: Option<String>,
    /// File that holds the URL of the store, for a URL with a password.
    pub store_file: Option<String>,
    /// Name that keeps several products apart in one Redis.
    pub namespace: Option<String>,
    /// When `SQLite`'s writes reach the disk: `full` or `normal`.
    pub synchronous: Option<String>,
    /// Work with a Redis that may evict keys.
    pub allow_eviction: Option<bool>,
    /// How long a shutdown may take, such as `30s`.
    pub grace: Option<String>,
    /// What is logged: a level, or directives such as `info,lessor_server=debug`.
    pub log: Option<String>,
    /// How logs look: `auto`, `text` or `json`.
    pub log_format: Option<String>,
    /// The section `telemetry`.
    #[serde(default)]
    pub telemetry: RawTelemetry,
    /// Threads that serve calls.
    pub threads: Option<usize>,
    /// The clock moves only when it is told to, for tests.
    pub manual_clock: Option<bool>,
    /// Listen beyond this machine although nobody is asked for credentials.
    pub insecure_listen: Option<bool>,
    /// Bounds of connections.
    #[serde(default)]
    pub connections: RawConnections,
    /// Who may call.
    #[serde(default)]
    pub auth: RawAuth,
    /// Web pages.
    #[serde(default)]
    pub cors: RawCors,
    /// How connections are protected.
    #[serde(default)]
    pub tls: RawTls,
    /// Jobs that are sent to HTTP endpoints.
    #[serde(default)]
    pub push: RawPush,
    /// Events that are sent to HTTP endpoints.
    #[serde(default)]
    pub sinks: Vec<RawSink>,
}

/// Jobs that are sent to HTTP endpoints, as one source writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPush {
    /// Networks that may be called though they are not public.
    pub allow: Option<Vec<String>>,
    /// Who vouches for the certificates of endpoints, besides the usual authorities.
    pub ca: Option<PathBuf>,
}

/// Bounds of connections, as one source writes them.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConnections {
    /// How many there may be at once.
    pub max: Option<usize>,
    /// How long one may take to begin, such as `10s`.
    pub handshake_timeout: Option<String>,
}

/// Which web pages may call.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCors {
    /// Their origins, such as `https://shop.example`, or `*`.
    pub origins: Option<Vec<String>>,
}

/// How connections are protected, as one source writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// The broker's certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Who vouches for the certificates of callers.
    pub client_ca: Option<PathBuf>,
}

/// Who may call, as one source writes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawAuth {
    /// The file of identities.
    pub tokens: Option<PathBuf>,
    /// File or URL of the keys of JWTs.
    pub jwks: Option<String>,
    /// How often keys are fetched again, such as `10m`.
    pub jwks_refresh: Option<String>,
    /// Who signs JWTs.
    pub jwt_issuer: Option<String>,
    /// For whom JWTs are.
    pub jwt_audience: Option<String>,
    /// The claim that holds what is granted.
    pub jwt_claim: Option<String>,
    /// The claim that names the principal.
    pub jwt_owner_claim: Option<String>,
    /// Calls a second of each principal.
    pub calls_per_second: Option<u32>,
    /// Calls at once of each principal, after a pause.
    pub burst: Option<u32>,
    /// Streams and waits under way of each principal.
    pub streams: Option<u32>,
}

/// The section `telemetry` of a source.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTelemetry {
    /// Where the OpenTelemetry collector is.
    pub otlp_endpoint: Option<String>,
}

/// The settings of a broker, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are served instead; plaintext, no credentials.
    pub ops_listen: Option<SocketAddr>,
    /// Which store to use and how.
    pub store: StoreConfig,
    /// How long a shutdown may take.
    pub grace: Duration,
    /// What is logged and how.
    pub log: LogConfig,
    /// Where traces and metrics go, beside the logs.
    pub telemetry: TelemetryConfig,
    /// Threads that serve calls; `None`: one.
    pub threads: Option<NonZeroUsize>,
    /// The clock moves only when it is told to; only with `sqlite::memory:`.
    pub manual_clock: bool,
    /// Bounds of connections.
    pub connections: ConnectionLimits,
    /// Who may call.
    pub auth: auth::Settings,
    /// Origins of web pages that may call from a browser, or `*`; none by default.
    pub cors_origins: Vec<String>,
    /// What TLS needs; `None`: connections are plain.
    pub tls: Option<TlsFiles>,
    /// Jobs that are sent to HTTP endpoints.
    pub push: PushConfig,
    /// Events that are sent to HTTP endpoints.
    pub sinks: Vec<Sink>,
}

/// How jobs are sent to HTTP endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushConfig {
    /// Which addresses may be called though they are not public.
    pub allowed: Allowed,
    /// The file of authorities that vouch for endpoints, besides the usual ones.
    pub ca: Option<PathBuf>,
}

/// Which store to use and how.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Where it is.
    pub url: StoreUrl,
    /// How to open it.
    pub options: OpenOptions,
    /// A folder to make first: set when nobody chose the store, so that nobody made it a place.
    pub folder: Option<PathBuf>,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or directives of `tracing`'s filter.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// What is sent to an OpenTelemetry collector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Where it is; `None`: where the standard `OTEL_` variables say.
    pub otlp_endpoint: Option<String>,
    /// Traces are sent.
    pub traces: bool,
    /// Metrics are sent, so often.
    pub metrics: Option<Duration>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// The URL of a store; its secrets stay out of logs and messages.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// Which store it is, in a word.
    pub fn kind(&self) -> &'static str {
        if self.0.starts_with("sqlite:") { "sqlite" } else { "redis" }
    }

    /// The URL with its secrets, to open the store.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&parse::redacted(&self.0))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env,
    /// A flag of the command line.
    Flag,
}

/// Why settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("can't read {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file is not what it should be: not TOML, or with a key that there is not.
    #[error("{}: {}", path.display(), .cause.to_string().trim_end())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why, with the place.
        cause: Box<toml::de::Error>,
    },
    /// A value is refused.
    #[error("{key} {why} (from {origin})")]
    Invalid {
        /// The key in the file, which the flag and the variable are named after.
        key: &'static str,
        /// What is wrong, as the rest of a sentence that begins with the key.
        why: String,
        /// Where it was set, in words.
        origin: String,
    },
}

/// All that settings are made of.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// What the command line says.
    pub flags: RawConfig,
    /// The file that the command line names; without it, `LESSOR_CONFIG` may name one.
    pub file: Option<&'a Path>,
}

impl Config {
    /// True when only this machine reaches the broker, and nobody is asked who they are.
    pub(crate) fn is_private(&self) -> bool {
        let asks = |tls: &TlsFiles| tls.client_ca.is_some();
        self.listen.ip().is_loopback() && !self.auth.is_on() && !self.tls.as_ref().is_some_and(asks)
    }

    /// Reads the settings of this process: defaults, file, environment, flags.
    pub fn load(sources: Sources<'_>) -> Result<Self, Error> {
        // What is not Unicode is made so, visibly: better refused than passed over.
        let env = |name: &str| Some(std::env::var_os(name)?.to_string_lossy().into_owned());
        Self::load_with(sources, &env)
    }

    /// As [`load`](Self::load), with another environment.
    pub fn load_with(
        sources: Sources<'_>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let named = env("LESSOR_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        let mut layers = vec![(Source::Flag, sources.flags), (Source::Env, from_env(env)?)];
        if let Some(path) = sources.file.map(Path::to_owned).or(named) {
            let raw = from_file(&path)?;
            layers.push((Source::File(path), raw));
        }
        parse::config(&Layers(layers), env)
    }
}

/// What the sources say, the strongest first.
struct Layers(Vec<(Source, RawConfig)>);

impl Layers {
    /// The strongest value of one key, and where it comes from.
    fn get<T>(&self, pick: impl Fn(&RawConfig) -> Option<T>) -> (Option<T>, Source) {
        let found = self.0.iter().find_map(|(source, raw)| Some((pick(raw)?, source.clone())));
        match found {
            Some((value, source)) => (Some(value), source),
            None => (None, Source::Default),
        }
    }
}

fn from_file(path: &Path) -> Result<RawConfig, Error> {
    toml::from_str(&text_of(path)?)
        .map_err(|cause| Error::Malformed { path: path.to_owned(), cause: Box::new(cause) })
}

fn text_of(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path)
        .map_err(|cause| Error::Unreadable { path: path.to_owned(), cause })
}

/// Reads `LESSOR_…` for each key; an empty variable counts as unset.
fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<RawConfig, Error> {
    let text = |name: &str| env(name).filter(|value| !value.is_empty());
    let path = |name: &str| text(name).map(PathBuf::from);
    let number = |key, name: &str| typed(key, text(name), "a number");
    Ok(RawConfig {
        listen: text("LESSOR_LISTEN"),
        ops_listen: text("LESSOR_OPS_LISTEN"),
        store: text("LESSOR_STORE"),
        store_file: text("LESSOR_STORE_FILE"),
        namespace: text("LESSOR_NAMESPACE"),
        synchronous: text("LESSOR_SYNCHRONOUS"),
        allow_eviction: typed("allow_eviction", text("LESSOR_ALLOW_EVICTION"), "true or false")?,
        grace: text("LESSOR_GRACE"),
        log: text("LESSOR_LOG"),
        log_format: text("LESSOR_LOG_FORMAT"),
        telemetry: RawTelemetry { otlp_endpoint: text("LESSOR_TELEMETRY_OTLP_ENDPOINT") },
        threads: typed("threads", text("LESSOR_THREADS"), "a number")?,
        manual_clock: typed("manual_clock", text("LESSOR_MANUAL_CLOCK"), "true or false")?,
        insecure_listen: typed("insecure_listen", text("LESSOR_INSECURE_LISTEN"), "true or false")?,
        connections: RawConnections {
            max: typed("connections.max", text("LESSOR_CONNECTIONS_MAX"), "a number")?,
            handshake_timeout: text("LESSOR_CONNECTIONS_HANDSHAKE_TIMEOUT"),
        },
        cors: RawCors { origins: text("LESSOR_CORS_ORIGINS").map(|text| list(&text)) },
        auth: RawAuth {
            tokens: path("LESSOR_AUTH_TOKENS"),
            jwks: text("LESSOR_AUTH_JWKS"),
            jwks_refresh: text("LESSOR_AUTH_JWKS_REFRESH"),
            jwt_issuer: text("LESSOR_AUTH_JWT_ISSUER"),
            jwt_audience: text("LESSOR_AUTH_JWT_AUDIENCE"),
            jwt_claim: text("LESSOR_AUTH_JWT_CLAIM"),
            jwt_owner_claim: text("LESSOR_AUTH_JWT_OWNER_CLAIM"),
            calls_per_second: number("auth.calls_per_second", "LESSOR_AUTH_CALLS_PER_SECOND")?,
            burst: number("auth.burst", "LESSOR_AUTH_BURST")?,
            streams: number("auth.streams", "LESSOR_AUTH_STREAMS")?,
        },
        tls: RawTls {
            cert: path("LESSOR_TLS_CERT"),
            key: path("LESSOR_TLS_KEY"),
            client_ca: path("LESSOR_TLS_CLIENT_CA"),
        },
        push: RawPush {
            allow: text("LESSOR_PUSH_ALLOW").map(|text| list(&text)),
            ca: path("LESSOR_PUSH_CA"),
        },
        // A list of tables has no place in a variable.
        sinks: Vec::new(),
    })
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|one| one.trim().to_owned()).collect()
}

fn typed<T: std::str::FromStr>(
    key: &'static str,
    text: Option<String>,
    what: &str,
) -> Result<Option<T>, Error> {
    let Some(text) = text else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| parse::invalid(key, &Source::Env, format!("must be {what}, not {text:?}")))
}

#[cfg(test)]
mod tests;

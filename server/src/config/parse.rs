//! From what is written to what is meant.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    Config, Error, Layers, LogConfig, LogFormat, PushConfig, Source, StoreConfig, StoreUrl,
    credentials, sinks, telemetry,
};
use crate::job::QueueName;
use crate::push::Allowed;
use crate::rpc::{ConnectionLimits, TlsFiles};
use crate::store::open::{self, OpenOptions};
use crate::store::sqlite::Synchronous;

const LISTEN: &str = "127.0.0.1:7077";
/// What the documentation proposes; unset means no port of its own.
const OPS_LISTEN: &str = "127.0.0.1:9464";
const GRACE: Duration = Duration::from_secs(30);
const LONGEST_GRACE: Duration = Duration::from_hours(1);
const LOG: &str = "info";
const MOST_THREADS: usize = 1024;
const MOST_CONNECTIONS: usize = 1_000_000;
const HANDSHAKES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);

/// Checks and types the settings.
pub(super) fn config(
    layers: &Layers,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Error> {
    let listen = read(layers, "listen", |raw| raw.listen.clone(), |text| address(&text, LISTEN))?;
    let ops_listen = read(
        layers,
        "ops_listen",
        |raw| raw.ops_listen.clone(),
        |text| address(&text, OPS_LISTEN),
    )?;
    let grace = read(layers, "grace", |raw| raw.grace.clone(), |text| grace(&text))?;
    let log = LogConfig {
        filter: read(layers, "log", |raw| raw.log.clone(), filter)?
            .unwrap_or_else(|| LOG.to_owned()),
        format: read(layers, "log_format", |raw| raw.log_format.clone(), |text| log_format(&text))?
            .unwrap_or(LogFormat::Auto),
    };
    let threads = read(layers, "threads", |raw| raw.threads, threads)?;
    let store = store(layers, env)?;
    let manual_clock =
        read(layers, "manual_clock", |raw| raw.manual_clock, |on| manual_clock(on, &store.url))?;
    let auth = credentials::credentials(layers)?;
    let listen = match listen {
        Some(listen) => listen,
        None => ([127, 0, 0, 1], 7077).into(),
    };
    let tls = tls(layers, auth.is_on())?;
    let has_client_ca = tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
    guarded(layers, listen, auth.is_on() || has_client_ca)?;
    let cors_origins = read(layers, "cors.origins", |raw| raw.cors.origins.clone(), origins)?;
    let allowed = |entries: Vec<String>| Allowed::parse(entries.iter().map(String::as_str));
    let allowed = read(layers, "push.allow", |raw| raw.push.allow.clone(), allowed)?;
    let allowed = allowed.unwrap_or_default();
    let sinks = sinks::sinks(layers, &allowed)?;
    Ok(Config {
        listen,
        ops_listen,
        store,
        grace: grace.unwrap_or(GRACE),
        log,
        telemetry: telemetry::telemetry(layers, env)?,
        threads,
        manual_clock: manual_clock.unwrap_or(false),
        connections: connections(layers)?,
        auth,
        cors_origins: cors_origins.unwrap_or_default(),
        tls,
        push: PushConfig { allowed, ca: layers.get(|raw| raw.push.ca.clone()).0 },
        sinks,
    })
}

/// Bounds of connections.
fn connections(layers: &Layers) -> Result<ConnectionLimits, Error> {
    let most = read(layers, "connections.max", |raw| raw.connections.max, most_connections)?;
    let handshake = read(
        layers,
        "connections.handshake_timeout",
        |raw| raw.connections.handshake_timeout.clone(),
        |text| handshake(&text),
    )?;
    let usual = ConnectionLimits::default();
    Ok(ConnectionLimits {
        most: most.unwrap_or(usual.most),
        handshake: handshake.unwrap_or(usual.handshake),
    })
}

/// Which files hold what TLS needs.
fn tls(layers: &Layers, has_identities: bool) -> Result<Option<TlsFiles>, Error> {
    let (cert, of_cert) = layers.get(|raw| raw.tls.cert.clone());
    let (key, of_key) = layers.get(|raw| raw.tls.key.clone());
    let (client_ca, of_ca) = layers.get(|raw| raw.tls.client_ca.clone());
    let missing = |key, source: &Source, what: &str| {
        Err(invalid(key, source, format!("needs {what} beside it")))
    };
    match (cert, key, client_ca) {
        (Some(cert), Some(key), client_ca) => {
            // With identities a caller may show a token instead.
            let is_client_required = client_ca.is_some() && !has_identities;
            Ok(Some(TlsFiles { cert, key, client_ca, is_client_required }))
        }
        (Some(_), None, _) => missing("tls.cert", &of_cert, "tls.key"),
        (None, Some(_), _) => missing("tls.key", &of_key, "tls.cert"),
        (None, None, Some(_)) => missing("tls.client_ca", &of_ca, "tls.cert and tls.key"),
        (None, None, None) => Ok(None),
    }
}

/// Whoever reaches a port without credentials may do everything, so that has to be meant.
fn guarded(layers: &Layers, listen: SocketAddr, has_credentials: bool) -> Result<(), Error> {
    let is_meant = layers.get(|raw| raw.insecure_listen).0.unwrap_or(false);
    if listen.ip().is_loopback() || has_credentials || is_meant {
        return Ok(());
    }
    let (_, source) = layers.get(|raw| raw.listen.clone());
    let why = "is reachable from other machines, and without credentials whoever reaches it may do \
               everything: set auth.tokens or auth.jwks (see docs/security.md), or insecure_listen = true \
               (--insecure-listen) where the network itself keeps strangers out";
    Err(invalid("listen", &source, why.to_owned()))
}

fn store(layers: &Layers, env: &dyn Fn(&str) -> Option<String>) -> Result<StoreConfig, Error> {
    let usual = OpenOptions::default();
    let namespace = read(layers, "namespace", |raw| raw.namespace.clone(), namespace)?;
    let synchronous =
        read(layers, "synchronous", |raw| raw.synchronous.clone(), |text| synchronous(&text))?;
    let (allow_eviction, _) = layers.get(|raw| raw.allow_eviction);
    let options = OpenOptions {
        namespace: namespace.unwrap_or(usual.namespace),
        synchronous: synchronous.unwrap_or(usual.synchronous),
        allow_eviction: allow_eviction.unwrap_or(usual.allow_eviction),
    };
    if let Some(url) = store_url(layers)? {
        return Ok(StoreConfig { url, options, folder: None });
    }
    let folder = data_folder(env).ok_or_else(|| {
        let why = "must be set, for this user has no home folder to put it in";
        invalid("store", &Source::Default, why.to_owned())
    })?;
    let url = StoreUrl(format!("sqlite:{}", folder.join("lessor.db").display()));
    Ok(StoreConfig { url, options, folder: Some(folder) })
}

/// The URL of the store from the strongest source that names it, itself or the file it is in.
fn store_url(layers: &Layers) -> Result<Option<StoreUrl>, Error> {
    let named = |raw: &super::RawConfig| match (&raw.store, &raw.store_file) {
        (None, None) => None,
        named => Some((named.0.clone(), named.1.clone())),
    };
    let (named, source) = layers.get(named);
    match named {
        None | Some((None, None)) => Ok(None),
        Some((Some(text), None)) => {
            url(text).map(Some).map_err(|why| invalid("store", &source, why))
        }
        Some((Some(_), Some(_))) => {
            Err(invalid("store_file", &source, "can't stand beside store".to_owned()))
        }
        Some((None, Some(path))) => {
            let path = PathBuf::from(path);
            let text = super::text_of(&path)?;
            url(text.trim().to_owned())
                .map(Some)
                .map_err(|why| invalid("store", &Source::File(path), why))
        }
    }
}

/// The folder for this user's data, by the XDG base directory rules.
fn data_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data =
        absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
    Some(data.join("lessor"))
}

/// Takes the strongest value of `key` and reads it; what is wrong is told with key and source.
pub(super) fn read<T, U>(
    layers: &Layers,
    key: &'static str,
    pick: impl Fn(&super::RawConfig) -> Option<T>,
    parse: impl FnOnce(T) -> Result<U, String>,
) -> Result<Option<U>, Error> {
    let (value, source) = layers.get(pick);
    value.map(parse).transpose().map_err(|why| invalid(key, &source, why))
}

/// A refused value.
pub(super) fn invalid(key: &'static str, source: &Source, why: String) -> Error {
    let origin = match source {
        Source::Default => "the defaults".to_owned(),
        Source::File(path) => path.display().to_string(),
        Source::Env => format!("LESSOR_{}", key.to_uppercase().replace('.', "_")),
        Source::Flag => format!("--{}", key.replace(['_', '.'], "-")),
    };
    Error::Invalid { key, why, origin }
}

fn address(text: &str, such_as: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("must be IP:PORT, such as {such_as}, not {text:?}"))
}

fn origins(origins: Vec<String>) -> Result<Vec<String>, String> {
    match origins.iter().find(|origin| *origin != "*" && !is_origin(origin)) {
        Some(wrong) => {
            Err(format!("must be origins such as https://shop.example, or *, not {wrong:?}"))
        }
        None => Ok(origins),
    }
}

/// Scheme and host, perhaps a port, and nothing else: so a browser writes it.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        !host.is_empty() && host.bytes().all(|byte| is_allowed(byte) || b"-._:[]".contains(&byte))
    })
}

fn grace(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    if span > LONGEST_GRACE {
        return Err("must be at most 1h".to_owned());
    }
    Ok(span)
}

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|why| format!("must be a span with a unit, such as 30s, not {text:?}: {why}"))
}

fn handshake(text: &str) -> Result<Duration, String> {
    let span = span(text)?;
    if !HANDSHAKES.contains(&span) {
        return Err("must be from 1s to 5m".to_owned());
    }
    Ok(span)
}

fn most_connections(count: usize) -> Result<usize, String> {
    if !(1..=MOST_CONNECTIONS).contains(&count) {
        return Err(format!("must be from 1 to {MOST_CONNECTIONS}"));
    }
    Ok(count)
}

fn filter(text: String) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(why) => Err(format!("must be a level or directives such as {LOG}: {why}")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "auto" => Ok(LogFormat::Auto),
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("must be auto, text or json, not {other:?}")),
    }
}

fn synchronous(text: &str) -> Result<Synchronous, String> {
    match text {
        "full" => Ok(Synchronous::Full),
        "normal" => Ok(Synchronous::Normal),
        other => Err(format!("must be full or normal, not {other:?}")),
    }
}

fn threads(count: usize) -> Result<NonZeroUsize, String> {
    NonZeroUsize::new(count)
        .filter(|count| count.get() <= MOST_THREADS)
        .ok_or_else(|| format!("must be from 1 to {MOST_THREADS}"))
}

/// Time that stands still is for tests: no job that somebody waits for may be in such a store.
fn manual_clock(on: bool, store: &StoreUrl) -> Result<bool, String> {
    if on && !open::is_in_memory(store.expose()) {
        return Err(format!("needs the store sqlite::memory:, not {store}"));
    }
    Ok(on)
}

/// A namespace stands in every key, where the alphabet of queue names is safe.
fn namespace(text: String) -> Result<String, String> {
    match QueueName::parse(&text) {
        Ok(_) => Ok(text),
        Err(why) => Err(why.to_string()),
    }
}

/// Only the scheme is checked here; the store knows the rest.
fn url(text: String) -> Result<StoreUrl, String> {
    // It is not told back: whatever it is, it may hold a password.
    open::check(&text)?;
    Ok(StoreUrl(text))
}

/// `url` without what stands before the host and without the values of its query.
pub(super) fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
    };
    // A password may hold a slash, so the last @ ends it.
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let mut shown = format!("{scheme}://");
    if host.len() < rest.len() {
        shown.push_str("***@");
    }
    shown.push_str(host);
    for (index, pair) in query.into_iter().flat_map(|query| query.split('&')).enumerate() {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        let joint = if index == 0 { '?' } else { '&' };
        // Writing to a string can't fail.
        let _infallible = write!(shown, "{joint}{key}=***");
    }
    shown
}

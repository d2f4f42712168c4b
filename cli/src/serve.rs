//! `lessor serve`: the broker itself.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use lessor_server::Server;
use lessor_server::config::{Config, RawAuth, RawConfig, RawTls};
use lessor_server::telemetry::{self, Telemetry};
use tokio::signal::unix::{SignalKind, signal};

use crate::room;
use crate::settings::Settings;

const EXAMPLES: &str = "\
Examples:
  lessor serve
  lessor serve --store redis://127.0.0.1:6379 --listen 0.0.0.0:7077 --auth-tokens tokens.toml
  lessor serve --store sqlite::memory: --manual-clock";

/// Run a broker.
///
/// Needs no configuration: without any it listens on 127.0.0.1:7077 and keeps jobs in a SQLite
/// file. Prints one line once it serves. SIGTERM and Ctrl-C drain it: waiting workers are
/// answered, calls under way are finished, then it exits with 0.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
pub(crate) struct Serve {
    /// Address and port; port 0 takes a free one [env: LESSOR_LISTEN] [default: 127.0.0.1:7077].
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,

    /// A port of its own for /livez, /readyz and /metrics, in plaintext [env: LESSOR_OPS_LISTEN].
    #[arg(long, value_name = "ADDR")]
    ops_listen: Option<String>,

    /// How long a shutdown may take, like 30s [env: LESSOR_GRACE] [default: 30s].
    #[arg(long, value_name = "DURATION")]
    grace: Option<String>,

    /// Threads that serve calls; 1 is fastest on small machines [env: LESSOR_THREADS].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// For tests: the clock moves only by lessor.v1.TestClock/AdvanceClock; needs --store
    /// sqlite::memory: [env: LESSOR_MANUAL_CLOCK].
    #[arg(long)]
    manual_clock: bool,

    #[command(flatten)]
    guard: Guard,

    #[command(flatten)]
    settings: Settings,
}

/// Who may call.
#[derive(Args)]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
struct Guard {
    /// A file of identities with digests of their tokens, see `lessor token new`
    /// [env: LESSOR_AUTH_TOKENS].
    #[arg(long, value_name = "FILE")]
    auth_tokens: Option<PathBuf>,

    /// The keys of JWTs (JWKS): a file, or an https URL
    /// [env: LESSOR_AUTH_JWKS].
    #[arg(long, value_name = "FILE|URL")]
    auth_jwks: Option<String>,

    /// Who signs JWTs [env: LESSOR_AUTH_JWT_ISSUER].
    #[arg(long, value_name = "ISSUER")]
    auth_jwt_issuer: Option<String>,

    /// For whom JWTs are [env: LESSOR_AUTH_JWT_AUDIENCE].
    #[arg(long, value_name = "AUDIENCE")]
    auth_jwt_audience: Option<String>,

    /// The broker's certificate, in PEM [env: LESSOR_TLS_CERT].
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// The key of the certificate, in PEM [env: LESSOR_TLS_KEY].
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Who vouches for the certificates of callers, in PEM [env: LESSOR_TLS_CLIENT_CA].
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// Listen beyond this machine although nobody is asked for credentials
    /// [env: LESSOR_INSECURE_LISTEN].
    #[arg(long)]
    insecure_listen: bool,
}

impl Guard {
    fn into_raw(self) -> RawConfig {
        RawConfig {
            insecure_listen: self.insecure_listen.then_some(true),
            auth: RawAuth {
                tokens: self.auth_tokens,
                jwks: self.auth_jwks,
                jwt_issuer: self.auth_jwt_issuer,
                jwt_audience: self.auth_jwt_audience,
                ..RawAuth::default()
            },
            tls: RawTls { cert: self.tls_cert, key: self.tls_key, client_ca: self.tls_client_ca },
            ..RawConfig::default()
        }
    }
}

impl Serve {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self { listen, ops_listen, grace, threads, manual_clock, guard, settings } = self;
        let manual_clock = manual_clock.then_some(true);
        let flags =
            RawConfig { listen, ops_listen, grace, threads, manual_clock, ..guard.into_raw() };
        let mut config = settings.clone().load(flags.clone())?;
        let telemetry = telemetry::init(&config)?;
        room::make(&mut config);
        let again = || Ok(settings.clone().load(flags.clone())?);
        let end = runtime(&config)?.block_on(serve(config, &telemetry, again));
        telemetry.shut_down();
        end
    }
}

/// One thread serves more calls than two on a machine of two cores, since it wakes nobody.
fn runtime(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    let threads = config.threads.map_or(1, std::num::NonZero::get);
    let mut builder = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

/// Serves until a signal. At SIGHUP the settings are loaded `again`, and what is logged follows them.
async fn serve(
    config: Config,
    telemetry: &Telemetry,
    again: impl Fn() -> anyhow::Result<Config> + Send,
) -> anyhow::Result<()> {
    let listener = lessor_server::bind(config.listen)?;
    let address = listener.local_addr()?;
    let store = config.store.url.to_string();
    // Before the line is printed: whoever reads it may send a signal at once.
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let server = Server::open(config, listener).await?;
    let line =
        format!("lessor {} serving on {address}, store {store}\n", env!("CARGO_PKG_VERSION"));
    if let Some(ops) = server.ops_address() {
        tracing::info!("serving /livez, /readyz and /metrics on {ops}");
    }
    let mut stdout = std::io::stdout();
    // Nobody may be reading; the broker serves all the same.
    let _unread = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    let shutdown = async move {
        loop {
            tokio::select! {
                _signal = terminate.recv() => break,
                _signal = interrupt.recv() => break,
                _signal = hangup.recv() => match again() {
                    Ok(config) => telemetry.set_filter(&config.log),
                    Err(error) => tracing::error!(%error, "the settings stay as they are"),
                },
            }
        }
    };
    Ok(server.run(shutdown).await?)
}

//! The Lessor broker as a library: gRPC in front, a store behind, and rules in between.
//!
//! A job is in one state, carries one time and one lease number. Pure code decides what becomes of
//! it; stores only move it, and only where a guard still holds.
//!
//! | module | what it is | what it may use |
//! |---|---|---|
//! | [`rpc`] | the wire: services, validation, errors | `broker` |
//! | [`auth`] | who may do what | `broker` |
//! | [`broker`] | the use cases: enqueue, lease, settle, watch, sweep | `store`, `job` |
//! | [`push`] | jobs that are sent to HTTP endpoints | `broker` |
//! | [`store`] | where jobs live: the trait, Redis and `SQLite` | `job` |
//! | [`job`] | the rules: states, transitions, retries; pure and synchronous | `clock::Timestamp` |
//! | [`clock`] | the only reader of time | |
//! | [`config`], [`telemetry`] | settings and logs of a process | |
//!
//! [`run`] puts them together and is all that a binary needs.

#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test that can't go on says where"
    )
)]

pub mod auth;
pub mod broker;
pub mod clock;
pub mod config;
pub mod job;
pub mod push;
pub mod rpc;
pub mod store;
pub mod telemetry;

mod crew;
mod files;
mod http;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use self::auth::{Credentials, Keeping};
use self::broker::{Broker, Tasks, travel};
use self::clock::{Clock, Timestamp};
use self::config::{Config, StoreConfig};
use self::crew::Crew;
use self::push::{Pushing, Sinking};
use self::rpc::{Gate, Guards, Health, KeyKeeping, Keys, Porter};
use self::store::Store;
use self::store::observed::Observed;
use self::telemetry::metrics::{Metrics, Stocktaking};

/// What closing the store may take when the grace period is used up already.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Why a broker can't run, or can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of the default store can't be made.
    #[error("can't create {folder}: {cause}")]
    Folder {
        /// The folder.
        folder: String,
        /// Why.
        cause: std::io::Error,
    },
    /// The store can't be opened.
    #[error("can't open the store {url}: {cause}")]
    Store {
        /// The store, without secrets.
        url: String,
        /// Why.
        cause: store::Error,
    },
    /// Telemetry can't be set up.
    #[error(transparent)]
    Metrics(#[from] telemetry::metrics::Error),
    /// An address can't be listened on.
    #[error("can't listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: std::io::Error,
    },
    /// The credentials can't be had.
    #[error(transparent)]
    Credentials(#[from] auth::Error),
    /// Nobody can be called over TLS.
    #[error("can't set up TLS to call endpoints: {0}")]
    Client(#[from] rustls::Error),
    /// The certificates can't be had.
    #[error(transparent)]
    Tls(#[from] rpc::TlsError),
    /// The authorities of `push.ca` can't be had.
    #[error("can't trust the authorities of push.ca, {path}: {why}")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The wire can't be served.
    #[error(transparent)]
    Wire(#[from] rpc::Error),
    /// A part that runs as long as the broker has ended before it.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// A broker whose store is open and whose port is bound; it serves once [`Server::run`] does.
pub struct Server {
    config: Config,
    listener: TcpListener,
    ops: Option<TcpListener>,
    credentials: Option<(Arc<Credentials>, Keeping)>,
    keys: Option<(Keys, KeyKeeping)>,
    /// Whom endpoints may be vouched for by, besides the usual authorities.
    authorities: Vec<CertificateDer<'static>>,
    store: Arc<dyn Store>,
    clock: Clock,
    metrics: Metrics,
}

/// Runs a broker on `listener` until `shutdown`, and returns when it has come to rest.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    Server::open(config, listener).await?.run(shutdown).await
}

impl Server {
    /// Binds the port of `ops_listen` and opens the store; fails when either can't be used.
    pub async fn open(config: Config, listener: TcpListener) -> Result<Self, Error> {
        let ops = match config.ops_listen {
            Some(address) => Some(bind(address)?),
            None => None,
        };
        let authorities = config.push.ca.as_deref().map(authorities).transpose()?;
        let authorities = authorities.unwrap_or_default();
        let metrics = Metrics::of(&config)?;
        let keys = config.tls.clone().map(rpc::open_keys).transpose()?;
        let credentials = if config.auth.is_on() {
            Some(Credentials::open(&config.auth, &metrics).await?)
        } else {
            None
        };
        let (store, time) = open(&config.store).await?;
        let clock = if config.manual_clock { Clock::manual(time) } else { Clock::anchored(time) };
        let store = Arc::new(Observed::new(store, metrics.clone()));
        Ok(Self { config, listener, ops, credentials, keys, authorities, store, clock, metrics })
    }

    /// Where the pages of `ops_listen` are served, when they have a port of their own.
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops.as_ref().and_then(|ops| ops.local_addr().ok())
    }

    /// Serves until `shutdown`, and returns when the broker has come to rest.
    ///
    /// The end is in order: health says "not ready"; waiting leases are answered, empty; calls
    /// under way are finished; the tasks end; the store is closed. What is not done after the
    /// grace period is cut off, and logged; that is no error, for everything that was answered is
    /// in the store.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Self { config, listener, ops, credentials, keys, authorities, store, clock, metrics } =
            self;
        let (broker, tasks) = Broker::new(Arc::clone(&store), clock);
        let health = Health::new(broker.clone()).await;
        let mut crew = Crew::default();
        let stop = CancellationToken::new();
        let traveller = config.manual_clock.then(|| {
            let (traveller, travelling) = travel::pair(broker.clone());
            crew.hire("time travel", travelling.run(stop.clone()));
            traveller
        });
        let (porter, gate) = match credentials {
            Some((credentials, keeping)) => {
                crew.hire("the credentials", keeping.run(stop.clone()));
                (Some(Porter::new(credentials, broker.clock().clone())), Gate::Guarded)
            }
            None => (None, Gate::Open),
        };
        let keys = keys.map(|(keys, keeping)| {
            crew.hire("the certificates", keeping.run(stop.clone()));
            keys
        });
        let allowed = config.push.allowed.clone();
        let routes =
            rpc::routes(broker.clone(), traveller, &health, gate, allowed.clone(), &metrics)?;
        let (unready, closing) = (CancellationToken::new(), CancellationToken::new());
        hire(&mut crew, tasks, Arc::clone(&store), &stop);
        let pushing = Pushing::new(broker.clone(), allowed, &authorities)?;
        crew.hire("the sending of jobs", pushing.run(stop.clone()));
        let (sinks, writer) = (config.sinks.clone(), rpc::event_writer()?);
        let sinking = Sinking { broker: broker.clone(), sinks, writer };
        crew.hire("the sinks of events", sinking.run(stop.clone()));
        let stocktaking = Arc::new(Stocktaking::new(broker.clone(), metrics.clone()));
        if let Some(period) = config.telemetry.metrics {
            let (exporting, stop) = (Arc::clone(&stocktaking), stop.clone());
            crew.hire("the export of metrics", async move { exporting.run(period, stop).await });
        }
        let pages = http::router(health.readiness(), stocktaking);
        let pages = match ops {
            Some(ops) => {
                crew.hire(
                    "the ops port",
                    serve_ops(
                        pages,
                        broker.clone(),
                        config.cors_origins.clone(),
                        ops,
                        stop.clone(),
                    ),
                );
                axum::Router::new()
            }
            None => rpc::guard(pages, porter.clone()),
        };
        let farewell = health.farewell();
        let checking = crew.hire("the health check", health.run(unready.clone()));
        let closed = closing.clone().cancelled_owned();
        let origins = &config.cors_origins;
        let is_private = config.is_private();
        let limits = config.connections;
        let guards = Guards { porter, keys, limits, is_private };
        let serving = rpc::serve(routes, pages, origins, guards, &metrics, listener, closed);
        let mut serving = Box::pin(serving);
        let ended = tokio::select! {
            () = shutdown => Ok(()),
            task = crew.deserter() => Err(Error::Ended(task)),
            // The server ends by itself only when it fails.
            served = &mut serving => Err(served.err().map_or(Error::Ended("the server"), Error::Wire)),
        };
        crew.dismiss();
        tracing::info!("shutting down");
        let is_serving = !matches!(ended, Err(Error::Wire(_) | Error::Ended(_)));
        let orderly = async {
            unready.cancel();
            let _panicked = checking.await;
            broker.drain();
            closing.cancel();
            farewell.say().await;
            if is_serving && let Err(error) = (&mut serving).await {
                tracing::warn!(%error, "the server failed at its end");
            }
            drop((broker, serving));
            stop.cancel();
            crew.rest().await;
            store.close().await;
        };
        // A silent peer can hold up the end of its connection for ever (hyper issue 4170).
        if tokio::time::timeout(config.grace, orderly).await.is_err() {
            tracing::warn!(grace = ?config.grace, "the grace period is over: the rest is cut off");
            stop.cancel();
            let _late = tokio::time::timeout(LAST_MOMENT, store.close()).await;
        }
        ended
    }
}

/// Reads certificates in PEM.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let wrong = |why: String| Error::Authorities { path: path.display().to_string(), why };
    let pem = std::fs::read(path).map_err(|cause| wrong(cause.to_string()))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let read = read.map_err(|why| wrong(why.to_string()))?;
    if read.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(read)
}

/// Connections that may wait to be taken, as far as the system allows (`net.core.somaxconn` on Linux): when a
/// broker goes away, all its workers come to the others at once. Of those beyond it some learn that they
/// are connected and others do not, and are tried again by their systems after seconds.
const WAITING: u32 = 4096;

/// Listens on `address`, within a runtime; fails with [`Error::Listen`].
pub fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A broker that is started anew has its port again at once, as `TcpListener::bind` sees to.
        socket.set_reuseaddr(cfg!(unix))?;
        socket.bind(address)?;
        socket.listen(WAITING)
    };
    listen().map_err(|cause| Error::Listen { address, cause })
}

/// Serves the pages until `stop`, so that they tell of a shutdown too.
async fn serve_ops(
    pages: axum::Router,
    broker: Broker,
    origins: Vec<String>,
    ops: TcpListener,
    stop: CancellationToken,
) {
    let served = stop.run_until_cancelled(rpc::serve_ops(pages, broker, &origins, ops)).await;
    if let Some(Err(error)) = served {
        tracing::error!(%error, "the ops port failed");
    }
}

/// Opens the store and asks it the time.
async fn open(config: &StoreConfig) -> Result<(Arc<dyn Store>, Timestamp), Error> {
    if let Some(folder) = &config.folder {
        std::fs::create_dir_all(folder)
            .map_err(|cause| Error::Folder { folder: folder.display().to_string(), cause })?;
    }
    let wrong = |cause| Error::Store { url: config.url.to_string(), cause };
    let store = store::open::open(config.url.expose(), &config.options).await.map_err(wrong)?;
    let time = store.time().await.map_err(wrong)?;
    Ok((store, time))
}

fn hire(crew: &mut Crew, tasks: Tasks, store: Arc<dyn Store>, stop: &CancellationToken) {
    let Tasks { folding, dispatching, sweeping, watching, working, ticking, pulse } = tasks;
    let stopped = stop.clone();
    crew.hire("the store's feed", async move { store.run(stopped).await });
    crew.hire("folding", folding.run());
    crew.hire("dispatching", dispatching.run());
    crew.hire("sweeping", sweeping.run(stop.clone()));
    crew.hire("watching workers", watching.run(stop.clone()));
    crew.hire("the work streams", working.run(stop.clone()));
    crew.hire("the schedules", ticking.run(stop.clone()));
    crew.hire("the pulse", pulse.run(stop.clone()));
}

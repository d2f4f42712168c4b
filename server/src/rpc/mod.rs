//! The wire: gRPC services over a [`Broker`], and the only place that knows protobuf.
//!
//! Each call is converted, delegated and converted back; nothing is decided here. Input is checked
//! in [`convert`], failures take their form in [`status`], and [`shield`] stands around all.

mod admin;
mod auth;
mod broker;
mod connect;
mod convert;
mod cors;
mod door;
mod events;
pub mod front;
mod handover;
mod health;
mod hosts;
mod intake;
mod observe;
mod scaler;
mod schedules;
mod shield;
mod sinks;
mod status;
mod testing;
mod tls;
mod unread;
mod work;

use std::time::Duration;

use axum::Router;
use lessor_proto::v1::job_broker_admin_server::{self as admin_name, JobBrokerAdminServer};
use lessor_proto::v1::job_broker_server::{self as broker_name, JobBrokerServer};
use lessor_proto::v1::test_clock_server::{self as test_name, TestClockServer};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;

use self::admin::AdminCalls;
use self::auth::AuthLayer;
use self::broker::Calls;
use self::door::Door;
use self::front::FrontLayer;
use self::hosts::Hosts;
use self::observe::ObserveLayer;
use self::shield::ShieldLayer;
use self::testing::TestCalls;
use self::tls::Incoming;
use crate::broker::Broker;
use crate::broker::travel::Traveller;
use crate::push::Allowed;
use crate::telemetry::metrics::Metrics;

pub(crate) use self::auth::{Gate, Porter, guard};
pub use self::door::ConnectionLimits;
pub(crate) use self::health::Health;
pub(crate) use self::sinks::{SinkText, event_writer, read_sink};
pub use self::tls::{Error as TlsError, TlsFiles};
pub(crate) use self::tls::{KeyKeeping, Keys, open as open_keys};

/// Requests above this are not even read. The limits that callers are told are well below it.
const DECODE_LIMIT: usize = 4 << 20;
/// Replies are kept below 3 MiB; this is what clients accept by default.
const ENCODE_LIMIT: usize = 4 << 20;

const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// h2 closes a connection that holds too many small unread frames, and acks, leases and events are
/// such frames. What it tolerates grows with this window, so it is large and never adaptive.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Holds a batch at once.
const STREAM_WINDOW: u32 = 2 << 20;
/// Calls per connection, long polls included.
const MOST_STREAMS: u32 = 8192;
/// Room for the largest trace context that is kept.
const HEADER_LIMIT: u32 = 32 << 10;

/// A connection is closed after about this long, in good order, so that clients look again where
/// brokers are.
const CONNECTION_AGE: Duration = Duration::from_hours(1);

/// Few have business on the ops port.
const OPS_LIMITS: ConnectionLimits =
    ConnectionLimits { most: 1024, handshake: Duration::from_secs(10) };

/// What is served over HTTP too.
const DESCRIPTORS: [&[u8]; 2] =
    [lessor_proto::DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET];

/// Why the wire can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The descriptors of the protocol are unreadable.
    #[error("can't serve reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The same, for calls over HTTP.
    #[error("can't serve calls over HTTP: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// The listener failed.
    #[error("can't serve: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// What keeps strangers out.
pub(crate) struct Guards {
    /// Who may call; `None`: everybody.
    pub(crate) porter: Option<Porter>,
    /// What connections are protected with; `None`: they are plain.
    pub(crate) keys: Option<Keys>,
    /// How many connections there may be, and how soon they begin.
    pub(crate) limits: ConnectionLimits,
    /// Only this machine reaches the broker, and nobody is asked who they are.
    pub(crate) is_private: bool,
}

/// Serves calls, and `pages` beside them, from `listener` until `stop`, then finishes those under
/// way. Web pages may call if they are of `origins`.
///
/// The caller bounds that end: a silent peer can hold it up for ever.
pub(crate) async fn serve(
    routes: Routes,
    pages: Router,
    origins: &[String],
    guards: Guards,
    metrics: &Metrics,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let Guards { porter, keys, limits, is_private } = guards;
    let hosts = if is_private { Hosts::own(origins) } else { Hosts::Any };
    // The first layer is the outermost.
    let mut server = server()
        .layer(FrontLayer::new(pages, &DESCRIPTORS)?.allow(origins).called(hosts))
        .layer(ObserveLayer::new(metrics.calls(), &DESCRIPTORS))
        .layer(ShieldLayer::default())
        .layer(AuthLayer::new(porter));
    let tcp = TcpIncoming::from(listener).with_nodelay(Some(true));
    let incoming = Door::new(Incoming::new(tcp, keys, limits.handshake), limits);
    Ok(server.add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await?)
}

/// Serves `pages` from `listener`, until it is dropped, and what KEDA asks of `broker`.
pub(crate) async fn serve_ops(
    pages: Router,
    broker: Broker,
    origins: &[String],
    listener: TcpListener,
) -> Result<(), Error> {
    let is_private = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let pages = if is_private { Hosts::own(origins).guard(pages) } else { pages };
    let tcp = TcpIncoming::from(listener).with_nodelay(Some(true));
    let incoming = Door::new(tcp, OPS_LIMITS);
    let mut server = server().layer(ShieldLayer::default());
    let routes = Routes::from(pages).add_service(scaler::service(broker));
    Ok(server.add_routes(routes).serve_with_incoming(incoming).await?)
}

/// All services over `broker`.
///
/// The test clock is among them when there is a `traveller`. Endpoints of queues may be at public
/// addresses and those `allowed`.
pub(crate) fn routes(
    broker: Broker,
    traveller: Option<Traveller>,
    health: &Health,
    gate: Gate,
    allowed: Allowed,
    metrics: &Metrics,
) -> Result<Routes, Error> {
    let calls = JobBrokerServer::new(Calls::new(broker.clone(), gate, metrics.clone()))
        .max_decoding_message_size(DECODE_LIMIT)
        .max_encoding_message_size(ENCODE_LIMIT);
    let admin = JobBrokerAdminServer::new(AdminCalls::new(broker, gate, allowed))
        .max_decoding_message_size(DECODE_LIMIT)
        .max_encoding_message_size(ENCODE_LIMIT);
    // Two versions: some tools still ask the older one.
    let mut routes = Routes::builder();
    routes
        .add_service(calls)
        .add_service(admin)
        .add_service(HealthServer::new(health.service()))
        .add_service(reflection(traveller.is_some()).build_v1()?)
        .add_service(reflection(traveller.is_some()).build_v1alpha()?);
    if let Some(traveller) = traveller {
        routes.add_service(TestClockServer::new(TestCalls::new(traveller, gate)));
    }
    Ok(routes.routes())
}

/// HTTP/1 and HTTP/2 on one port, within the limits of the transport.
fn server() -> Server {
    // Brokers that start together would otherwise send their clients away together.
    let age = CONNECTION_AGE.mul_f64(0.9 + 0.2 * fastrand::f64());
    Server::builder()
        .accept_http1(true)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(MOST_STREAMS)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_LIMIT)
        .max_connection_age(age)
}

/// Tells of the services that are served.
fn reflection(test_clock: bool) -> tonic_reflection::server::Builder<'static> {
    let mut names = vec![
        broker_name::SERVICE_NAME,
        admin_name::SERVICE_NAME,
        tonic_health::pb::health_server::SERVICE_NAME,
        tonic_reflection::pb::v1::server_reflection_server::SERVICE_NAME,
        tonic_reflection::pb::v1alpha::server_reflection_server::SERVICE_NAME,
    ];
    names.extend(test_clock.then_some(test_name::SERVICE_NAME));
    let builder = tonic_reflection::server::Builder::configure();
    names
        .into_iter()
        .fold(builder, tonic_reflection::server::Builder::with_service_name)
        .register_encoded_file_descriptor_set(lessor_proto::DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

//! What telemetry costs: the rate of a broker that sends traces and metrics to a collector and is
//! scraped each second, beside that of one that tells nobody. They take turns in the same run.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context as Waking, Poll};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use lessor::{Client, LeaseOptions, NewJob};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_prost::ProstCodec;

use crate::machine::{Broker, Machine};
use crate::report::{Figure, Report};

const IN_FLIGHT: usize = 128;
const JOBS: usize = 20_000;
/// Off and on take turns so often.
const TURNS: usize = 3;
/// The promise: telemetry costs less than a tenth.
const PROMISE: f64 = 0.9;
/// As often as a busy Prometheus asks.
const SCRAPE: Duration = Duration::from_secs(1);

pub(crate) async fn measure(machine: &Machine, report: &mut Report) -> anyhow::Result<()> {
    let mut helpers = JoinSet::new();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let collector = format!("http://{}", listener.local_addr()?);
    let sink = Server::builder().add_service(Traces).add_service(Metrics);
    helpers.spawn(async move { drop(sink.serve_with_incoming(TcpIncoming::from(listener)).await) });
    let on = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
    ];
    let off = machine.broker("sqlite::memory:").await?;
    let on = machine.broker_with("sqlite::memory:", &on).await?;
    let address = on.url().trim_start_matches("http://").to_owned();
    helpers.spawn(async move {
        while scrape(&address).await.is_ok() {
            tokio::time::sleep(SCRAPE).await;
        }
    });
    let (mut without, mut with) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..TURNS {
        without += life(&off).await?;
        with += life(&on).await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "few")]
    let rate = |span: Duration| (TURNS * JOBS) as f64 / span.as_secs_f64();
    let mut add = |metric, value, unit| {
        let setting = "sqlite in memory".to_owned();
        let workload = "enqueue, lease and ack, 128 in flight";
        report.add(Figure { system: "lessor", setting, workload, metric, unit }, value);
    };
    add("rate, telemetry off", rate(without), "1/s");
    add("rate, telemetry on", rate(with), "1/s");
    let share = rate(with) / rate(without);
    add("rate with telemetry, share of that without", share, "ratio");
    add("the same, share of the promise of 0.9", share / PROMISE, "ratio");
    Ok(())
}

/// How long some jobs take from their enqueue to their ack.
async fn life(broker: &Broker) -> anyhow::Result<Duration> {
    let client = broker.client()?;
    let began = Instant::now();
    let jobs = stream::iter(0..JOBS).map(|_| {
        let job = NewJob::new("telemetry").payload_bytes(vec![b'x'; 256]);
        async { client.enqueue(job).await }
    });
    jobs.buffer_unordered(IN_FLIGHT).try_for_each(|_| async { Ok(()) }).await?;
    let options = LeaseOptions::new(["telemetry"]);
    let work = stream::iter(0..JOBS).map(|_| lease_and_ack(&client, &options));
    work.buffer_unordered(IN_FLIGHT).try_for_each(|()| async { Ok(()) }).await?;
    Ok(began.elapsed())
}

async fn lease_and_ack(client: &Client, options: &LeaseOptions) -> anyhow::Result<()> {
    let leased = client.lease(options).await?;
    let job = leased.jobs.first().context("no job was left")?;
    client.ack(&job.lease_token, None).await?;
    Ok(())
}

async fn scrape(address: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "no metrics");
    Ok(())
}

/// Takes what is exported, and forgets it.
#[derive(Clone)]
struct Sink;

impl UnaryService<()> for Sink {
    type Response = ();
    type Future = Ready<Result<tonic::Response<()>, tonic::Status>>;

    fn call(&mut self, _exported: tonic::Request<()>) -> Self::Future {
        ready(Ok(tonic::Response::new(())))
    }
}

macro_rules! sinks {
    ($($service:ident = $name:literal,)+) => {
        $(
            #[derive(Clone)]
            struct $service;

            impl NamedService for $service {
                const NAME: &'static str = $name;
            }

            impl Service<Request<Body>> for $service {
                type Response = Response<Body>;
                type Error = Infallible;
                type Future = BoxFuture<Self::Response, Self::Error>;

                fn poll_ready(&mut self, _: &mut Waking<'_>) -> Poll<Result<(), Infallible>> {
                    Poll::Ready(Ok(()))
                }

                fn call(&mut self, request: Request<Body>) -> Self::Future {
                    Box::pin(async move {
                        let mut grpc = Grpc::new(ProstCodec::<(), ()>::default())
                            .apply_max_message_size_config(Some(64 << 20), None);
                        Ok(grpc.unary(Sink, request).await)
                    })
                }
            }
        )+
    };
}

sinks! {
    Traces = "opentelemetry.proto.collector.trace.v1.TraceService",
    Metrics = "opentelemetry.proto.collector.metrics.v1.MetricsService",
}

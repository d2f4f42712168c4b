//! What bounds every broker on gRPC: a tonic server that does nothing, and its caller, each a
//! process with one thread. The caller speaks the interface of the drivers.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use crate::metric;

/// As those of a broker: a batch fits.
const CONNECTION_WINDOW: u32 = 16 << 20;
const STREAM_WINDOW: u32 = 2 << 20;

mod stub {
    #![expect(
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::pedantic,
        unreachable_pub,
        unused_qualifications,
        reason = "generated"
    )]
    tonic::include_proto!("bench.Echo");
}

use stub::echo_client::EchoClient;
use stub::echo_server::{Echo, EchoServer};

/// A job as lean as can be.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Job {
    #[prost(bytes = "bytes", tag = "1")]
    payload: Bytes,
}

/// Its id.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Put {
    #[prost(uint64, tag = "1")]
    id: u64,
}

/// Many jobs.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Batch {
    #[prost(message, repeated, tag = "1")]
    jobs: Vec<Job>,
}

/// Their ids.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PutBatch {
    #[prost(uint64, repeated, tag = "1")]
    ids: Vec<u64>,
}

/// A side of the bare service.
#[derive(Subcommand)]
pub(crate) enum Side {
    /// Answers.
    Serve,
    /// Calls.
    Call(Call),
}

/// What a caller is to do.
#[derive(Args)]
pub(crate) struct Call {
    workload: String,
    #[arg(long)]
    role: String,
    #[arg(long)]
    address: String,
    #[arg(long)]
    queue: String,
    #[arg(long)]
    jobs: usize,
    #[arg(long)]
    in_flight: usize,
    #[arg(long, default_value_t = 100)]
    batch: usize,
    #[arg(long, default_value_t = 256)]
    payload: usize,
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

pub(crate) fn run(side: Side) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match side {
            Side::Serve => serve().await,
            Side::Call(call) => self::call(Arc::new(call)).await,
        }
    })
}

#[derive(Default)]
struct Counter(AtomicU64);

#[tonic::async_trait]
impl Echo for Counter {
    async fn put(&self, _job: Request<Job>) -> Result<Response<Put>, Status> {
        Ok(Response::new(Put { id: self.0.fetch_add(1, Ordering::Relaxed) }))
    }

    async fn put_batch(&self, batch: Request<Batch>) -> Result<Response<PutBatch>, Status> {
        let jobs = batch.get_ref().jobs.len() as u64;
        let first = self.0.fetch_add(jobs, Ordering::Relaxed);
        Ok(Response::new(PutBatch { ids: (first..first + jobs).collect() }))
    }
}

#[expect(clippy::print_stdout, reason = "the harness reads the address from it")]
async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    // The builder's own setting is not for sockets that it is given.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = EchoServer::new(Counter::default());
    Ok(Server::builder()
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .add_service(service)
        .serve_with_incoming(incoming)
        .await?)
}

#[expect(clippy::print_stdout, reason = "the harness reads the figures from it")]
async fn call(call: Arc<Call>) -> anyhow::Result<()> {
    let endpoint = Endpoint::from_shared(call.address.clone())?
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW);
    let channel = endpoint.tcp_nodelay(true).connect().await?;
    let mut client = EchoClient::new(channel);
    // The first call pays for the connection.
    client.put(Job { payload: Bytes::new() }).await?;
    let cpu = clock(ClockId::ProcessCPUTime)?;
    let start = clock(ClockId::Monotonic)?;
    let took = if call.workload == metric::W4 {
        pace(&call, client).await?
    } else {
        flood(&call, client).await?
    };
    let end = clock(ClockId::Monotonic)?;
    let at = |share| Duration::from_nanos(took.value_at_quantile(share)).as_secs_f64() * 1e3;
    let seconds = Duration::from_nanos(end - start).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
    let rate = call.jobs as f64 / seconds;
    let cpu = Duration::from_nanos(clock(ClockId::ProcessCPUTime)? - cpu).as_secs_f64();
    let line = serde_json::json!({
        "workload": call.workload, "role": call.role, "jobs": call.jobs,
        "start_ns": start, "end_ns": end, "rate": rate,
        "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0), "cpu_s": cpu,
    });
    println!("{line}");
    Ok(())
}

/// Each call's time, when as many as are asked for are in flight.
async fn flood(call: &Arc<Call>, client: EchoClient<Channel>) -> anyhow::Result<Histogram<u64>> {
    let next = Arc::new(AtomicUsize::new(0));
    let step = if call.workload == metric::W1B { call.batch } else { 1 };
    let mut callers = JoinSet::new();
    for _ in 0..call.in_flight {
        let (call, next, mut client) = (call.clone(), next.clone(), client.clone());
        callers.spawn(async move {
            let mut took = Histogram::<u64>::new(3)?;
            loop {
                let first = next.fetch_add(step, Ordering::Relaxed);
                if first >= call.jobs {
                    return anyhow::Ok(took);
                }
                let began = clock(ClockId::Monotonic)?;
                put(&call, &mut client, first..(first + step).min(call.jobs)).await?;
                took.record(clock(ClockId::Monotonic)? - began)?;
            }
        });
    }
    let mut all = Histogram::new(3)?;
    while let Some(took) = callers.join_next().await {
        all.add(took??)?;
    }
    Ok(all)
}

/// Each call's time, one after another at a steady pace.
async fn pace(call: &Call, mut client: EchoClient<Channel>) -> anyhow::Result<Histogram<u64>> {
    let mut turns = tokio::time::interval(Duration::from_secs(1) / call.rate);
    let mut took = Histogram::new(3)?;
    for job in 0..call.jobs {
        turns.tick().await;
        let began = clock(ClockId::Monotonic)?;
        put(call, &mut client, job..job + 1).await?;
        took.record(clock(ClockId::Monotonic)? - began)?;
    }
    Ok(took)
}

async fn put(
    call: &Call,
    client: &mut EchoClient<Channel>,
    jobs: Range<usize>,
) -> anyhow::Result<()> {
    let job = || Job { payload: vec![b'x'; call.payload].into() };
    if call.workload == metric::W1B {
        let jobs = jobs.map(|_| job()).collect();
        client.put_batch(Batch { jobs }).await?;
    } else {
        client.put(job()).await?;
    }
    Ok(())
}

fn clock(id: ClockId) -> anyhow::Result<u64> {
    let time = clock_gettime(id);
    Ok(u64::try_from(time.tv_sec)? * 1_000_000_000 + u64::try_from(time.tv_nsec)?)
}

//! A Rust worker of nothing but generated code: the least that works on a stream.

use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::stream;
use lessor::proto::job_broker_client::JobBrokerClient;
use lessor::proto::{AckRequest, WorkRequest, Worker, work_request, work_response};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

/// h2 closes a connection that holds too many small unread frames.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// What the worker is to do; the interface of all drivers.
#[derive(Args)]
pub(crate) struct Bare {
    workload: String,
    #[arg(long)]
    role: String,
    #[arg(long)]
    address: String,
    #[arg(long)]
    queue: String,
    #[arg(long)]
    jobs: u64,
    #[arg(long)]
    in_flight: u64,
}

/// Acks jobs until so many acks are confirmed. One thread, as `lessor bench` has.
#[expect(clippy::print_stdout, reason = "what a driver is asked for")]
pub(crate) fn run(bare: &Bare) -> anyhow::Result<()> {
    if (bare.workload.as_str(), bare.role.as_str()) != ("W2", "worker") {
        bail!("{} as {} is not driven without a library", bare.workload, bare.role);
    }
    let cpu = cpu_seconds();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let span = runtime.block_on(drain(bare))?;
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
    let rate = bare.jobs as f64 / span.as_secs_f64();
    let line = serde_json::json!({
        "workload": "W2", "role": "worker", "jobs": bare.jobs,
        "start_ns": 0, "end_ns": u64::try_from(span.as_nanos())?,
        "rate": rate, "cpu_s": cpu_seconds() - cpu,
    });
    println!("{line}");
    Ok(())
}

async fn drain(bare: &Bare) -> anyhow::Result<std::time::Duration> {
    let endpoint = Endpoint::from_shared(bare.address.clone())?
        .tcp_nodelay(true)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let mut client = JobBrokerClient::new(endpoint.connect().await?);
    let (say, frames) = mpsc::unbounded_channel();
    let hello = work_request::Hello {
        worker: Some(Worker { worker_id: "bare".to_owned(), ..Worker::default() }),
        queues: vec![bare.queue.clone()],
        auto_extend: true,
        ..work_request::Hello::default()
    };
    let frame = |frame| WorkRequest { frame: Some(frame), ..WorkRequest::default() };
    let credit = |max_delivery_seq| {
        frame(work_request::Frame::Credit(work_request::Credit { max_delivery_seq }))
    };
    say.send(frame(work_request::Frame::Hello(hello)))?;
    say.send(credit(bare.in_flight))?;
    let frames = stream::unfold(frames, async |mut frames: mpsc::UnboundedReceiver<_>| {
        Some((frames.recv().await?, frames))
    });
    let mut replies = client.work(frames).await?.into_inner();
    let (mut begun, mut acked) = (None, 0);
    while acked < bare.jobs {
        let reply = replies.message().await?.context("the broker ended the stream")?;
        match reply.frame {
            Some(work_response::Frame::Delivery(delivery)) => {
                begun.get_or_insert_with(Instant::now);
                let number = delivery.delivery_seq;
                let lease_token = delivery.leased.context("a job")?.lease_token;
                say.send(WorkRequest {
                    frame: Some(work_request::Frame::Ack(AckRequest {
                        lease_token,
                        ..AckRequest::default()
                    })),
                    request_seq: number,
                    received_through: number,
                })?;
                if number.is_multiple_of(bare.in_flight / 2) {
                    say.send(credit((number + bare.in_flight).min(bare.jobs)))?;
                }
            }
            Some(work_response::Frame::Ack(_)) => acked += 1,
            Some(work_response::Frame::Error(error)) => bail!("an ack was refused: {error:?}"),
            _ => {}
        }
    }
    begun.map(|begun| begun.elapsed()).context("no jobs were asked for")
}

/// CPU time that this process has used.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of hours fit")]
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

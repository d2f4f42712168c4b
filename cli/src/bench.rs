//! `lessor bench`: how fast a broker is, by the workloads that docs/performance.md speaks of.

mod figures;
mod plan;
mod produce;
mod stub;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use lessor::proto::job_broker_client::JobBrokerClient;
use lessor::{Client, Code};
use tokio::time::MissedTickBehavior;

use crate::client::Connection;
use crate::output::{Format, Output, columns};
use crate::progress::Progress;

use figures::{Figures, Side};
use plan::{Plan, Role, Scale, Sides, Workload};

/// How often the bar moves.
const LOOK: Duration = Duration::from_millis(100);

/// How long the deletion of a queue may take: it may be full.
const CLEANING: Duration = Duration::from_mins(5);

const EXAMPLES: &str = "\
Examples:
  lessor bench
  lessor bench W1 --unary --jobs 50000
  lessor bench W1b W2 -o json
  lessor bench W2 --backlog 100000 --priorities 10

Producer and worker as processes of their own, on one queue:
  lessor bench W3 --role worker --queue load --jobs 100000 &
  lessor bench W3 --role producer --queue load --jobs 100000

Workloads:
  W1   enqueue, one job a call; the client joins concurrent calls unless --unary
  W1b  enqueue, --batch jobs a call, 4 calls in flight
  W2   drain a full queue: each job is acked for itself, and the ack confirmed
  W3   enqueue as W1 and drain as W2 at the same time
  W4   enqueue --rate jobs a second while a worker waits: the time from the start of the
       enqueue to the start of the work
  W6   drain as W2 beside 10,000, 100,000 and 1,000,000 other jobs, in 10 priorities, and
       beside 100,000 delayed jobs";

/// Measure a broker: rates, latencies and the CPU time of this process.
///
/// With json each workload is one line as soon as it is done. Times are those of the monotonic clock
/// of this machine, so that several processes can be compared. Latency is that of the call in W1 and
/// W1b, from delivery to the confirmed ack in W2 and W6, and from the start of the enqueue to the
/// start of the work in W3 and W4.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Bench {
    /// What to run, in this order.
    #[arg(value_name = "WORKLOAD", ignore_case = true, default_values = ["W1", "W1b", "W2", "W3", "W4"])]
    workloads: Vec<Workload>,

    /// Which side of the workload this process is.
    #[arg(long, value_name = "ROLE", default_value = "all")]
    role: Role,

    /// The queue. Default: one of its own for each workload, which is deleted afterwards.
    #[arg(long, value_name = "NAME", required_if_eq_any = [("role", "producer"), ("role", "worker")])]
    queue: Option<String>,

    /// Spread the jobs over so many queues, NAME-0 and so on, with a worker each.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    queues: u32,

    /// How many jobs. Default: 100000; in W4 ten seconds' worth; in W6 30000.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,

    /// Enqueues at a time, and jobs that a worker holds at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,

    /// Jobs in a call of W1b, and in those that fill a queue.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    batch: u32,

    /// Bytes of a payload, at least 20.
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(20..))]
    payload: u32,

    /// Jobs a second in W4.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,

    /// Bare calls: producers do not join theirs, workers take jobs by Lease and not from a stream.
    #[arg(long)]
    unary: bool,

    /// Workers run handlers, as programs have them; latency is from enqueue to the handler's start.
    #[arg(long, conflicts_with = "unary")]
    handlers: bool,

    /// Other jobs that wait in the queue before W2 begins.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    backlog: u64,

    /// Delayed jobs that lie in the queue before W2 begins.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    delayed: u64,

    /// Spread the jobs over so many priorities.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    priorities: u32,
}

impl Bench {
    pub(crate) async fn run(
        self,
        connection: &Connection,
        client: &Client,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let mut table =
            columns(["WORKLOAD", "ROLE", "JOBS", "JOBS/S", "P50", "P99", "MAX", "CPU OF 100K"]);
        for &workload in &self.workloads {
            for plan in self.plans(workload) {
                let figures = self.measure(connection, client, &plan).await?;
                match out.format() {
                    Format::Table => figures.row(&mut table),
                    Format::Json | Format::Jsonl => out.line(&figures)?,
                }
            }
        }
        if out.format() == Format::Table { out.table(table) } else { Ok(()) }
    }

    fn plans(&self, workload: Workload) -> Vec<Arc<Plan>> {
        let chosen =
            Scale { backlog: self.backlog, delayed: self.delayed, priorities: self.priorities };
        let scales = match workload {
            Workload::W6 if chosen == Scale::default() => Scale::GROWING.to_vec(),
            _ => vec![chosen],
        };
        let plan = |scale| {
            let suffix = fastrand::u32(..);
            Arc::new(Plan {
                workload,
                role: self.role,
                queue: self.queue.clone().unwrap_or_else(|| format!("bench-{suffix:08x}")),
                queues: self.queues,
                jobs: self.jobs.unwrap_or_else(|| workload.jobs(self.rate)),
                in_flight: self.in_flight,
                batch: self.batch,
                payload: self.payload,
                rate: self.rate,
                unary: self.unary,
                handlers: self.handlers,
                scale,
            })
        };
        scales.into_iter().map(plan).collect()
    }

    async fn measure(
        &self,
        connection: &Connection,
        client: &Client,
        plan: &Arc<Plan>,
    ) -> anyhow::Result<Figures> {
        let stub = || anyhow::Ok(JobBrokerClient::new(connection.channel()?));
        let producer = produce::Producer::new(client, stub()?, plan);
        let worker = work::Worker::new(client, stub()?, plan);
        if self.role == Role::All && plan.workload.is_drain() {
            let total = plan.scale.delayed + plan.scale.backlog + plan.jobs;
            watched("enqueued", total, &producer.done, producer.fill()).await?;
        }
        let jobs = plan.jobs;
        let cpu = figures::cpu_seconds();
        let enqueue = watched("enqueued", jobs, &producer.done, producer.run());
        let drain = watched("done", jobs, &worker.done, worker.run());
        let (input, output): (Option<Side>, Option<Side>) = match plan.sides() {
            Sides::Input => (Some(enqueue.await?), None),
            Sides::Output => (None, Some(drain.await?)),
            Sides::Both => {
                let (input, output) = tokio::try_join!(producer.run(), drain)?;
                (Some(input), Some(output))
            }
        };
        let figures = Figures::new(plan, input, output, figures::cpu_seconds() - cpu);
        if self.queue.is_none() {
            let client = connection.connect_within(CLEANING)?;
            for queue in plan.names() {
                match client.delete_queue_with_jobs(format!("queues/{queue}")).await {
                    // The call was repeated after all: the first one did it.
                    Err(error) if error.code() == Code::NotFound => {}
                    done => done?,
                }
            }
        }
        Ok(figures)
    }
}

/// Shows on a terminal how far `work` has come.
async fn watched<T>(
    what: &'static str,
    total: u64,
    done: &AtomicU64,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let progress = Progress::start(Some(total), what)?;
    if !progress.is_seen() {
        return work.await;
    }
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            _ = looks.tick() => progress.reached(done.load(Ordering::Relaxed)),
        }
    }
}

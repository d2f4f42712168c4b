//! One side of one workload against a broker that has a Rust client, or a plain protocol.
//!
//! The interface of all drivers is in `../README.md`; this one takes the broker's name first.

mod beanstalkd;
mod jetstream;
mod measure;
mod rabbitmq;

use clap::{Args, Parser, ValueEnum};

/// Drives another broker for the benchmark.
#[derive(Parser)]
struct Cli {
    /// The broker.
    #[arg(value_enum)]
    broker: Broker,

    #[command(flatten)]
    run: Run,
}

#[derive(Clone, Copy, ValueEnum)]
enum Broker {
    Beanstalkd,
    Jetstream,
    Rabbitmq,
}

impl Broker {
    /// Threads of the runtime: what was measured as the fastest on two cores.
    fn threads(self) -> usize {
        match self {
            // Its many connections are independent of each other.
            Self::Beanstalkd => 2,
            Self::Jetstream | Self::Rabbitmq => 1,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Producer,
    Worker,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
enum Workload {
    W1,
    #[value(name = "W1b")]
    W1Bulk,
    W2,
    W3,
    W4,
}

/// What is asked of a driver.
#[derive(Args)]
struct Run {
    #[arg(value_enum)]
    workload: Workload,
    #[arg(long, value_enum)]
    role: Role,
    /// Where the broker listens.
    #[arg(long)]
    address: String,
    #[arg(long)]
    queue: String,
    #[arg(long)]
    jobs: usize,
    /// Calls in flight, or jobs at work.
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Jobs of a bulk call.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// Jobs a second of the paced workload.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Priorities that the jobs are spread over; 0: none are given.
    #[arg(long, default_value_t = 0)]
    priorities: u8,
    /// Seconds that the jobs are delayed by.
    #[arg(long, default_value_t = 0)]
    delay: u32,
}

impl Run {
    /// Jobs of one call.
    fn jobs_a_call(&self) -> usize {
        if self.workload == Workload::W1Bulk { self.batch } else { 1 }
    }
}

fn main() -> anyhow::Result<()> {
    let Cli { broker, run } = Cli::parse();
    let runtime = match broker.threads() {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        more => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(more).enable_all().build()?
        }
    };
    runtime.block_on(async {
        match broker {
            Broker::Beanstalkd => beanstalkd::drive(run).await,
            Broker::Jetstream => jetstream::drive(run).await,
            Broker::Rabbitmq => rabbitmq::drive(run).await,
        }
    })
}

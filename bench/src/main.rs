//! Measures what Lessor promises, on real processes: brokers from the given binary, a Redis of
//! their own. Everything runs on loopback, is bounded in count and time, and ends what it began.
//!
//! Each figure stands beside a limit or a promise measured or stated in the same run, and its
//! ratio to that: the machine is noisy, ratios are less so.

#![expect(clippy::large_futures, reason = "a few futures in all, made once")]

mod expiry;
mod fold;
mod idle;
mod keep;
mod machine;
mod report;
mod scale;
mod wake;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use crate::machine::Machine;
use crate::report::Report;

/// Measures a Lessor binary against its promises.
#[derive(Parser)]
#[command(name = "lessor-bench", version)]
struct Cli {
    /// What to measure; all of it by default.
    #[arg(value_enum)]
    what: Vec<What>,

    /// The `lessor` binary; a release build, or the figures mean nothing.
    #[arg(long, env = "LESSOR_BINARY", value_name = "PATH")]
    binary: PathBuf,

    /// Rounds; medians and ranges are taken over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Also write one JSON object a line to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// How soon a lost lease's job is available, at 10,000 leases.
    Expiry,
    /// How soon a waiting worker gets a job enqueued at another broker.
    Wake,
    /// What 1,000 waiting workers cost Redis.
    Idle,
    /// How many Redis calls a job operation costs at 128 calls in flight.
    Fold,
    /// What a look at a queue of 1,000,000 jobs costs, beside one of 1,000.
    Scale,
    /// What 1,000,000 finished jobs leave in the store.
    Keep,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let machine = Machine::new(cli.binary)?;
    let all = [What::Expiry, What::Wake, What::Idle, What::Fold, What::Scale, What::Keep];
    let what = if cli.what.is_empty() { &all[..] } else { &cli.what };
    let mut report = Report::default();
    for round in 1..=cli.rounds {
        for one in what {
            let name = one.to_possible_value().context("a name")?.get_name().to_owned();
            eprintln!("round {round} of {}: {name}", cli.rounds);
            match one {
                What::Expiry => expiry::measure(&machine, &mut report).await,
                What::Wake => wake::measure(&machine, &mut report).await,
                What::Idle => idle::measure(&machine, &mut report).await,
                What::Fold => fold::measure(&machine, &mut report).await,
                What::Scale => scale::measure(&machine, &mut report).await,
                What::Keep => keep::measure(&machine, &mut report).await,
            }
            .with_context(|| name)?;
        }
    }
    report.print();
    match cli.out {
        Some(path) => report.write(&path),
        None => Ok(()),
    }
}

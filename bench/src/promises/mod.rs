//! What docs/performance.md promises, each figure beside its promise or its bound.

mod expiry;
mod fold;
mod idle;
mod keep;
mod scale;
mod telemetry;
mod wake;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::machine::Machine;
use crate::report::Report;

/// Measures a Lessor binary against its promises.
#[derive(Args)]
pub(crate) struct Promises {
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
    /// What traces, exported metrics and a scrape each second cost.
    Telemetry,
}

pub(crate) async fn measure(asked: Promises) -> anyhow::Result<()> {
    let machine = Machine::new(asked.binary)?;
    let what = if asked.what.is_empty() { What::value_variants() } else { &asked.what };
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for one in what {
            let name = one.to_possible_value().context("a name")?.get_name().to_owned();
            eprintln!("round {round} of {}: {name}", asked.rounds);
            match one {
                What::Expiry => expiry::measure(&machine, &mut report).await,
                What::Wake => wake::measure(&machine, &mut report).await,
                What::Idle => idle::measure(&machine, &mut report).await,
                What::Fold => fold::measure(&machine, &mut report).await,
                What::Scale => scale::measure(&machine, &mut report).await,
                What::Keep => keep::measure(&machine, &mut report).await,
                What::Telemetry => telemetry::measure(&machine, &mut report).await,
            }
            .with_context(|| name)?;
        }
    }
    report.print();
    match asked.out {
        Some(path) => report.write(&path),
        None => Ok(()),
    }
}

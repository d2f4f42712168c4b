//! Measures what Lessor promises, and Lessor beside other brokers, on real processes. Everything
//! runs on loopback, is bounded in count and time, and ends what it began.
//!
//! Each figure stands beside a limit, a promise or a peer measured in the same run: the machine is
//! noisy, ratios are less so.

mod chart;
mod driver;
mod echo;
mod libraries;
mod machine;
mod metric;
mod peers;
mod process;
mod promises;
mod report;
mod table;

use std::path::PathBuf;

use anyhow::bail;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::report::Line;

/// Measures Lessor.
#[derive(Parser)]
#[command(name = "lessor-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Promises(promises::Promises),
    Peers(peers::SideBySide),
    Libraries(libraries::Libraries),
    /// Prints the tables of a run as Markdown.
    Table {
        /// The JSON lines of the run.
        file: PathBuf,
    },
    /// Draws a run as SVG.
    Chart {
        /// The JSON lines of the run.
        file: PathBuf,
        /// The picture.
        picture: PathBuf,
    },
    /// Serves or calls the bare gRPC service that the limits are measured with.
    #[command(subcommand, hide = true)]
    Echo(echo::Side),
    /// Works without a library.
    #[command(hide = true)]
    Bare(libraries::bare::Bare),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Promises(asked) => until_a_signal(promises::measure(asked)),
        Command::Peers(asked) => until_a_signal(peers::measure(asked)),
        Command::Libraries(asked) => until_a_signal(libraries::measure(asked)),
        Command::Table { file } => {
            table::print(&Line::read(&file)?);
            Ok(())
        }
        Command::Chart { file, picture } => chart::draw(&Line::read(&file)?, &picture),
        Command::Echo(side) => echo::run(side),
        Command::Bare(asked) => libraries::bare::run(&asked),
    }
}

/// Runs to the end or to a signal; either way all processes that were started are ended.
fn until_a_signal(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

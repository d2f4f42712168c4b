//! Lessor beside other brokers: the same workloads, alternating within each round.
//!
//! What the workloads are and how each peer is set stands in docs/benchmarks.md.

mod asynq;
mod beanstalkd;
mod bullmq;
mod costs;
mod faktory;
mod growth;
mod jetstream;
mod lessor;
mod limits;
mod own;
mod rabbitmq;
mod running;
pub(crate) mod subject;
mod tools;
mod workloads;

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};

use crate::report::{Figure, Report};
use crate::table;
use subject::{Peer, Store, Subject};
use tools::Tools;

/// Measures Lessor beside other brokers.
#[derive(Args)]
pub(crate) struct SideBySide {
    /// Rounds; medians and ranges are taken over them.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// The other brokers.
    #[arg(long, value_enum, num_args = 0.., default_values = ["bullmq", "beanstalkd", "jetstream"])]
    peers: Vec<Peer>,

    /// Where Lessor keeps its jobs; none leaves Lessor out.
    #[arg(long, value_enum, num_args = 0.., default_values = ["redis", "everysec", "sqlite"])]
    lessor: Vec<Store>,

    /// What to measure; all by default, where W6 is measured for Lessor alone.
    #[arg(long, value_enum, num_args = 1..)]
    workloads: Vec<Workload>,

    /// Jobs of each workload but W6, in the place of each system's own number: for a quick look.
    #[arg(long)]
    jobs: Option<usize>,

    /// Write one JSON object a line to this file, renewed after each round.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    tools: Tools,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
enum Workload {
    /// One job a call, 32 calls in flight.
    W1,
    /// 100 jobs a call, 4 calls in flight.
    #[value(name = "W1b")]
    W1Bulk,
    /// A drain of what W1 and W1b have enqueued, 32 jobs at work.
    W2,
    /// A worker waits while a producer enqueues, 32 calls in flight.
    W3,
    /// 200 jobs a second, from the start of the call to the start of the handler.
    W4,
    /// CPU seconds and memory over W1 and W2.
    W5,
    /// A drain of backlogs that grow, in priorities, and beside delayed jobs.
    W6,
    /// 1,000 queues against 1, and what stays of jobs without retention. Lessor alone.
    #[value(name = "own")]
    Own,
    /// What a job costs each process, and each layer of the store. Lessor alone.
    #[value(name = "costs")]
    Costs,
    /// What no broker on this machine can exceed.
    #[value(name = "limits")]
    Limits,
}

/// What is measured in this run.
struct Chosen<'a> {
    workloads: &'a [Workload],
    jobs: Option<usize>,
}

impl Chosen<'_> {
    /// True if it is to be measured; all is when nothing is named.
    fn has(&self, workload: Workload) -> bool {
        self.workloads.is_empty() || self.workloads.contains(&workload)
    }

    fn has_any(&self, workloads: &[Workload]) -> bool {
        workloads.iter().any(|workload| self.has(*workload))
    }

    /// Jobs of a workload.
    fn jobs(&self, subject: Subject) -> usize {
        self.jobs.unwrap_or_else(|| subject.jobs())
    }

    /// True for what takes so long that a peer is spared it unless it is asked for by name.
    fn has_growth(&self, subject: Subject) -> bool {
        match subject {
            Subject::Lessor(Store::Redis) => self.has(Workload::W6),
            Subject::Lessor(_) | Subject::Peer(..) => self.workloads.contains(&Workload::W6),
        }
    }
}

pub(crate) async fn measure(asked: SideBySide) -> anyhow::Result<()> {
    ensure!(asked.rounds > 0, "no rounds are asked for");
    asked.tools.check(&asked.lessor, &asked.peers)?;
    let stores = asked.lessor.iter().copied().map(Subject::Lessor);
    let peers = asked.peers.iter().flat_map(|peer| peer.subjects());
    let mut subjects: Vec<Subject> = stores.chain(peers).collect();
    let chosen = Chosen { workloads: &asked.workloads, jobs: asked.jobs };
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for subject in &subjects {
            let name = format!("{} ({})", subject.system(), subject.setting());
            eprintln!("round {round} of {}: {name}", asked.rounds);
            one(*subject, &asked.tools, &chosen, &mut report).await.context(name)?;
        }
        if chosen.has(Workload::Limits) {
            eprintln!("round {round} of {}: limits", asked.rounds);
            limits::measure(&mut report).await.context("limits")?;
        }
        // Nobody is always the first, on a machine that others may have just made warm.
        subjects.rotate_left(1);
        if let Some(path) = &asked.out {
            report.write(path)?;
        }
    }
    table::print(&report.lines().collect::<Vec<_>>());
    Ok(())
}

async fn one(
    subject: Subject,
    tools: &Tools,
    chosen: &Chosen<'_>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut notes = Notes { subject, report };
    workloads::measure(subject, tools, chosen, &mut notes).await?;
    if chosen.has_growth(subject) {
        growth::measure(subject, tools, &mut notes).await?;
    }
    if subject == Subject::Lessor(Store::Redis) && chosen.has(Workload::Own) {
        own::measure(tools, chosen, &mut notes).await?;
    }
    if subject == Subject::Lessor(Store::Redis) && chosen.has(Workload::Costs) {
        costs::measure(tools, chosen, &mut notes).await?;
    }
    Ok(())
}

/// Takes the figures of one subject down.
struct Notes<'a> {
    subject: Subject,
    report: &'a mut Report,
}

impl Notes<'_> {
    fn add(
        &mut self,
        workload: &'static str,
        metric: &'static str,
        unit: &'static str,
        value: f64,
    ) {
        // A run is long: show that it moves, and where it is slow.
        eprintln!("  {workload} {metric}: {} {unit}", table::short(value));
        let (system, setting) = (self.subject.system(), self.subject.setting().to_owned());
        self.report.add(Figure { system, setting, workload, metric, unit }, value);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        peers: SideBySide,
    }

    fn parse(arguments: &str) -> anyhow::Result<SideBySide> {
        let tools = "bench --binary a --drivers b --unpacked c --go d";
        let all = tools.split(' ').chain(arguments.split_whitespace());
        Ok(Cli::try_parse_from(all)?.peers)
    }

    #[test]
    fn by_default_the_first_three_peers_run_beside_all_stores() -> anyhow::Result<()> {
        let asked = parse("")?;
        assert_eq!(asked.peers, [Peer::Bullmq, Peer::Beanstalkd, Peer::Jetstream]);
        assert_eq!(asked.lessor, [Store::Redis, Store::Everysec, Store::Sqlite]);
        Ok(())
    }

    #[test]
    fn lessor_and_the_peers_can_be_left_out() -> anyhow::Result<()> {
        let asked = parse("--lessor --peers beanstalkd")?;
        assert_eq!((asked.lessor.len(), &asked.peers[..]), (0, &[Peer::Beanstalkd][..]));
        assert_eq!(parse("--peers")?.peers, []);
        Ok(())
    }

    #[test]
    fn a_peer_grows_a_backlog_only_when_it_is_asked_for() -> anyhow::Result<()> {
        let lessor = Subject::Lessor(Store::Redis);
        let peer = Subject::Peer(Peer::Beanstalkd, false);
        let asked = parse("--workloads W1 W1b W6")?;
        let all = Chosen { workloads: &[], jobs: None };
        let named = Chosen { workloads: &asked.workloads, jobs: None };
        assert_eq!((all.has_growth(lessor), all.has_growth(peer)), (true, false));
        assert_eq!((named.has_growth(lessor), named.has_growth(peer)), (true, true));
        Ok(())
    }

    #[test]
    fn a_missing_server_is_named_before_anything_runs() -> anyhow::Result<()> {
        let asked = parse("--bullmq /nowhere/driver.js")?;
        let error = asked.tools.check(&[], &[Peer::Bullmq]).err().context("an error")?;
        assert!(error.to_string().contains("BullMQ is missing"), "{error}");
        Ok(())
    }
}

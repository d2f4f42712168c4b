//! What no broker on this machine can exceed: bare calls over gRPC, bare commands to Redis.

use std::process::Stdio;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::workloads::{BULK_IN_FLIGHT, load};
use crate::driver::Driver;
use crate::machine::{Persistence, Redis};
use crate::metric;
use crate::process::Process;
use crate::report::{Figure, Report};

const UNARY: usize = 60_000;
const BATCHED: usize = 500_000;
const PACED: usize = 1000;

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    tonic(report).await?;
    for (persistence, setting) in
        [(Persistence::No, "appendonly no"), (Persistence::Everysec, "everysec")]
    {
        redis(persistence, setting, report).await?;
    }
    Ok(())
}

async fn tonic(report: &mut Report) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    let mut server = Process::start(command.args(["echo", "serve"]).stdout(Stdio::piped()))?;
    let mut stdout = BufReader::new(server.child.stdout.take().context("stdout")?);
    let mut address = String::new();
    stdout.read_line(&mut address).await?;
    let driver = Driver {
        command: vec![program.into(), "echo".into(), "call".into()],
        last: Vec::new(),
        address: address.trim().to_owned(),
    };
    let mut note = |setting: &str, metric, unit, value| {
        let (system, workload) = (metric::TONIC, metric::LIMIT);
        let setting = setting.to_owned();
        report.add(Figure { system, setting, workload, metric, unit }, value);
    };
    let unary = driver.produce(&load("W1", "echo", UNARY)).await?;
    note(metric::TONIC_UNARY, metric::RATE, "calls/s", unary.rate);
    let mut bulk = load("W1b", "echo", BATCHED);
    bulk.in_flight = BULK_IN_FLIGHT;
    note(metric::TONIC_BATCH, metric::RATE, "jobs/s", driver.produce(&bulk).await?.rate);
    let paced = driver.produce(&load("W4", "echo", PACED)).await?;
    note(metric::TONIC_PACED, metric::CALL_P50, "ms", paced.p50_ms);
    Ok(())
}

async fn redis(persistence: Persistence, setting: &str, report: &mut Report) -> anyhow::Result<()> {
    let redis = Redis::start(persistence).await?;
    for (pipelined, requests) in [("1", "100000"), ("16", "400000")] {
        let mut command = Command::new("redis-benchmark");
        command
            .args(["-p", &redis.port().to_string(), "-c", "50", "-P", pipelined, "-n", requests])
            .args(["-d", "256", "-r", "100000", "-t", "set,lpush", "--csv"])
            .kill_on_drop(true);
        let output = command.output().await.context("redis-benchmark is not installed")?;
        let text = String::from_utf8_lossy(&output.stdout);
        for (command, metric) in [("SET", "SET"), ("LPUSH", "LPUSH")] {
            let setting = format!("{setting}, {pipelined} pipelined");
            let (system, workload, unit) = (metric::REDIS_BENCHMARK, metric::LIMIT, "commands/s");
            let rate = rate_of(&text, command).with_context(|| text.clone().into_owned())?;
            report.add(Figure { system, setting, workload, metric, unit }, rate);
        }
    }
    Ok(())
}

/// The rate of a command in the lines of redis-benchmark: names and rates are the first two.
fn rate_of(lines: &str, command: &str) -> Option<f64> {
    lines.lines().find_map(|line| {
        let mut fields = line.split("\",\"").map(|field| field.trim_matches('"'));
        (fields.next()? == command).then(|| fields.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::rate_of;

    #[test]
    fn reads_the_rate_of_the_named_command() {
        let lines = "\"test\",\"rps\",\"avg_latency_ms\"\n\
                     \"SET\",\"125000.50\",\"0.2\"\n\"LPUSH\",\"99.00\",\"0.3\"\n";
        assert_eq!(rate_of(lines, "LPUSH"), Some(99.0));
        assert_eq!(rate_of(lines, "SET"), Some(125_000.5));
        assert_eq!(rate_of(lines, "GET"), None);
    }
}

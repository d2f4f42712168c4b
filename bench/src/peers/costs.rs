//! What a job costs each process, and in Redis each layer: where the time of a workload goes, and so what
//! would have to go for a higher rate.

use anyhow::bail;

use super::own::{QUEUES, spread};
use super::running::{Running, Servers};
use super::subject::{Store, Subject};
use super::tools::Tools;
use super::workloads::{BULK_IN_FLIGHT, PACED, count, load, rate_between, side_by_side};
use super::{Chosen, Notes};
use crate::machine::{Broker, Redis};
use crate::metric;
use crate::process::Cpu;

pub(super) async fn measure(
    tools: &Tools,
    chosen: &Chosen<'_>,
    notes: &mut Notes<'_>,
) -> anyhow::Result<()> {
    let subject = Subject::Lessor(Store::Redis);
    let (running, jobs) = (subject.start(tools).await?, chosen.jobs(subject));
    let Running { driver, servers: Servers::Broker(broker, redis) } = &running else {
        bail!("a broker on Redis has both");
    };
    let mut meter = Meter { broker, redis, notes };

    let before = meter.read().await?;
    let sent = driver.produce(&load("W1", "single", jobs)).await?;
    meter.note(metric::W1, before, (jobs, sent.rate, sent.cpu_s)).await?;

    let mut unary = load("W1", "unary", jobs);
    unary.more.push("--unary".to_owned());
    let before = meter.read().await?;
    let sent = driver.produce(&unary).await?;
    meter.note(metric::W1_UNARY, before, (jobs, sent.rate, sent.cpu_s)).await?;

    let mut bulk = load("W1b", "bulk", jobs);
    bulk.in_flight = BULK_IN_FLIGHT;
    let before = meter.read().await?;
    let sent = driver.produce(&bulk).await?;
    meter.note(metric::W1B, before, (jobs, sent.rate, sent.cpu_s)).await?;

    let before = meter.read().await?;
    let worked = driver.drain(&load("W2", "bulk", jobs)).await?;
    meter.note(metric::W2, before, (jobs, worked.rate, worked.cpu_s)).await?;

    for (workload, jobs) in [(metric::W3, jobs), (metric::W4, PACED)] {
        let before = meter.read().await?;
        let (sent, worked) = side_by_side(driver, &load(workload, workload, jobs)).await?;
        let rate = rate_between(&sent, &worked);
        meter.note(workload, before, (jobs, rate, sent.cpu_s + worked.cpu_s)).await?;
    }

    let before = meter.read().await?;
    let (sent, worked) = spread(driver, jobs, "spread", QUEUES).await?;
    let rate = rate_between(&sent, &worked);
    meter.note(metric::QUEUES, before, (jobs, rate, sent.cpu_s + worked.cpu_s)).await
}

/// What was spent so far, in seconds.
struct Spent {
    broker: Cpu,
    redis: Cpu,
    scripts: f64,
    commands: f64,
}

struct Meter<'a, 'n> {
    broker: &'a Broker,
    redis: &'a Redis,
    notes: &'a mut Notes<'n>,
}

impl Meter<'_, '_> {
    async fn read(&self) -> anyhow::Result<Spent> {
        let calls = self.redis.calls().await?;
        let (broker, redis) = (self.broker.process.cpu()?, self.redis.process.cpu()?);
        Ok(Spent { broker, redis, scripts: calls.script_s, commands: calls.command_s })
    }

    async fn note(
        &mut self,
        workload: &'static str,
        before: Spent,
        (jobs, rate, clients): (usize, f64, f64),
    ) -> anyhow::Result<()> {
        let now = self.read().await?;
        let commands = now.commands - before.commands;
        let scripts = now.scripts - before.scripts - commands;
        let redis = now.redis.since(before.redis);
        let broker = now.broker.since(before.broker);
        let parts = [
            (metric::COST_COMMANDS, commands),
            (metric::COST_SCRIPTS, scripts),
            // The rest of its own code, such as taking calls apart.
            (metric::COST_REDIS, (redis.user - commands - scripts).max(0.0)),
            (metric::COST_REDIS_KERNEL, redis.kernel),
            (metric::COST_BROKER, broker.user),
            (metric::COST_BROKER_KERNEL, broker.kernel),
            (metric::COST_CLIENTS, clients),
            (metric::COST_ALL, redis.all() + broker.all() + clients),
        ];
        self.notes.add(workload, metric::COST_RATE, "jobs/s", rate);
        for (part, seconds) in parts {
            self.notes.add(workload, part, "µs a job", seconds * 1e6 / count(jobs));
        }
        Ok(())
    }
}

//! What 1,000 waiting workers cost Redis while nothing happens.

use std::time::Duration;

use futures_util::future::join_all;
use lessor::{Client, LeaseOptions};

use crate::machine::Machine;
use crate::report::{Figure, Report};

const WORKERS: usize = 1000;
const WINDOW: Duration = Duration::from_secs(15);
/// The promise, in commands a second.
const PROMISE: f64 = 2.0;

pub(crate) async fn measure(machine: &Machine, report: &mut Report) -> anyhow::Result<()> {
    for (queues, workload) in
        [(1, "1,000 workers wait at 1 queue"), (100, "1,000 workers wait at 100 queues")]
    {
        let redis = machine.redis().await?;
        let broker = machine.broker(&redis.url()).await?;
        let clients: Vec<Client> =
            (0..20).map(|_| broker.client()).collect::<anyhow::Result<_>>()?;
        let waiting = join_all((0..WORKERS).map(|worker| {
            let client = &clients[worker % clients.len()];
            let options = LeaseOptions::new([format!("idle-{}", worker % queues)])
                .wait(Duration::from_mins(1));
            async move { client.lease(&options).await }
        }));
        let measuring = async {
            // Every worker looks once when it comes; wait until they all have.
            tokio::time::sleep(Duration::from_secs(5)).await;
            let before = redis.calls().await?;
            tokio::time::sleep(WINDOW).await;
            anyhow::Ok(redis.calls().await?.since(before))
        };
        let calls = tokio::select! {
            calls = measuring => calls?,
            answers = waiting => anyhow::bail!("{} workers were answered", answers.len()),
        };
        #[expect(clippy::cast_precision_loss, reason = "few calls")]
        let rate = calls.commands as f64 / WINDOW.as_secs_f64();
        let mut add = |metric, value, unit| {
            let setting = "redis, appendonly no".to_owned();
            report.add(Figure { system: "lessor", setting, workload, metric, unit }, value);
        };
        // What the measuring itself asks, some four commands, counts too.
        add("commands that Redis carried out", rate, "1/s");
        add("commands, share of the promise of 2/s", rate / PROMISE, "ratio");
    }
    Ok(())
}

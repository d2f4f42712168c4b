//! Each figure of Lessor beside a peer's, or beside a limit, and what it should be of it.

use clap::ValueEnum;
use comfy_table::Table;

use super::{find, new_table, short};
use crate::metric;
use crate::peers::subject::{Peer, Store};
use crate::report::Line;

/// What the ratio of Lessor's figure to the other should be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

use Target::{AtLeast, AtMost};

/// A figure that peers have too, and the targets against BullMQ, beanstalkd and JetStream.
struct Row {
    name: &'static str,
    /// Workload and metric of Lessor.
    ours: (&'static str, &'static str),
    /// Workload of the peer; its metric has the same name.
    theirs: &'static str,
    targets: [Option<Target>; 3],
}

const fn row(
    name: &'static str,
    ours: (&'static str, &'static str),
    theirs: &'static str,
    targets: [Option<Target>; 3],
) -> Row {
    Row { name, ours, theirs, targets }
}

const fn at_least(bullmq: f64, beanstalkd: f64, jetstream: f64) -> [Option<Target>; 3] {
    [Some(AtLeast(bullmq)), Some(AtLeast(beanstalkd)), Some(AtLeast(jetstream))]
}

const fn at_most(bullmq: f64, beanstalkd: f64, jetstream: f64) -> [Option<Target>; 3] {
    [Some(AtMost(bullmq)), Some(AtMost(beanstalkd)), Some(AtMost(jetstream))]
}

const ROWS: [Row; 9] = [
    row("W1b bulk", (metric::W1B, metric::RATE), metric::W1B, at_least(10.0, 4.0, 2.5)),
    row("W1 joined", (metric::W1, metric::RATE), metric::W1, at_least(3.0, 1.2, 1.2)),
    row("W1 unary", (metric::W1_UNARY, metric::RATE), metric::W1, [Some(AtLeast(1.2)), None, None]),
    row("W2 drain", (metric::W2, metric::RATE), metric::W2, at_least(5.5, 1.8, 1.3)),
    row("W3 joined", (metric::W3, metric::RATE), metric::W3, at_least(6.0, 1.8, 1.4)),
    row("W4 p50", (metric::W4, metric::P50), metric::W4, at_most(0.6, 3.5, 1.4)),
    row("W4 p99", (metric::W4, metric::P99), metric::W4, at_most(0.5, 3.5, 1.4)),
    row("CPU of 100k jobs", (metric::W5, metric::CPU_ALL), metric::W5, at_most(0.15, 0.45, 0.6)),
    row(
        "memory of a waiting job",
        (metric::W5, metric::MEMORY_WAITING),
        metric::W5,
        [Some(AtMost(0.5)), Some(AtMost(0.95)), None],
    ),
];

/// The payload, and what a waiting job may take beside it.
const WAITING_JOB: f64 = 256.0 + 160.0;

/// One line of the comparison.
#[derive(Debug, PartialEq)]
struct Compared {
    row: &'static str,
    setting: &'static str,
    against: String,
    ours: f64,
    other: f64,
    target: Option<Target>,
}

impl Compared {
    /// Where the other is nothing at all, no ratio tells anything.
    fn ratio(&self) -> Option<f64> {
        (self.other > 0.0).then(|| self.ours / self.other)
    }

    /// None where there is no target.
    fn met(&self) -> Option<bool> {
        Some(match (self.target?, self.ratio()) {
            (AtLeast(bound), Some(ratio)) => ratio >= bound,
            (AtMost(bound), Some(ratio)) => ratio <= bound,
            // Less than a byte a job is what the allocator rounds.
            (_, None) => self.ours < 1.0,
        })
    }

    fn cells(&self) -> [String; 8] {
        let target = match self.target {
            Some(AtLeast(bound)) => format!(">= {bound}"),
            Some(AtMost(bound)) => format!("<= {bound}"),
            None => String::new(),
        };
        let met = self.met().map(|met| if met { "yes" } else { "NO" });
        [
            self.row.to_owned(),
            self.setting.to_owned(),
            self.against.clone(),
            short(self.ours),
            short(self.other),
            self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            target,
            met.unwrap_or_default().to_owned(),
        ]
    }
}

pub(super) fn table(lines: &[Line]) -> Table {
    let heads = ["row", "Lessor on", "against", "Lessor", "other", "ratio", "target", "met"];
    let mut table = new_table(heads);
    for compared in compare(lines) {
        table.add_row(compared.cells());
    }
    table
}

fn compare(lines: &[Line]) -> Vec<Compared> {
    let mut all = Vec::new();
    for row in &ROWS {
        for (store, durable) in [(Store::Redis, false), (Store::Everysec, true)] {
            let peers = Peer::value_variants().iter();
            all.extend(peers.filter_map(|peer| beside(lines, row, store, *peer, durable)));
        }
    }
    if let Some(w3) = ROWS.iter().find(|row| row.name == "W3 joined") {
        let sqlite = beside(lines, w3, Store::Sqlite, Peer::Bullmq, true);
        all.extend(sqlite.map(|found| Compared { target: Some(AtLeast(2.0)), ..found }));
    }
    for store in [Store::Redis, Store::Everysec] {
        all.extend(beside_limits(lines, store));
    }
    all.extend(beside_itself(lines));
    all
}

/// Lessor beside a peer that is as durable.
fn beside(lines: &[Line], row: &Row, store: Store, peer: Peer, durable: bool) -> Option<Compared> {
    let (workload, metric) = row.ours;
    let setting = peer.setting(durable)?;
    let ours = find(lines, ("lessor", store.setting()), workload, metric)?.median;
    let other = find(lines, (peer.name(), setting), row.theirs, metric)?.median;
    let target = match peer {
        Peer::Bullmq => row.targets[0],
        Peer::Beanstalkd => row.targets[1],
        Peer::Jetstream => row.targets[2],
        Peer::Rabbitmq | Peer::Faktory | Peer::Asynq => None,
    };
    let against = format!("{} ({setting})", peer.name());
    Some(Compared { row: row.name, setting: store.setting(), against, ours, other, target })
}

/// Lessor beside what bounds it.
fn beside_limits(lines: &[Line], store: Store) -> Vec<Compared> {
    let setting = store.setting();
    let ours = |workload, metric| {
        find(lines, ("lessor", setting), workload, metric).map(|line| line.median)
    };
    let tonic = |limit, metric| {
        find(lines, (metric::TONIC, limit), metric::LIMIT, metric).map(|line| line.median)
    };
    let rows = [
        ("W1b bulk", metric::W1B, metric::RATE, metric::TONIC_BATCH, AtLeast(0.3)),
        ("W1 unary", metric::W1_UNARY, metric::RATE, metric::TONIC_UNARY, AtLeast(0.75)),
        ("Enqueue alone, p50", metric::W4, metric::CALL_P50, metric::TONIC_PACED, AtMost(2.5)),
    ];
    let mut all: Vec<Compared> = rows
        .into_iter()
        .filter_map(|(row, workload, metric, limit, target)| {
            let (ours, other) = (ours(workload, metric)?, tonic(limit, metric)?);
            let against = format!("tonic, {limit}");
            Some(Compared { row, setting, against, ours, other, target: Some(target) })
        })
        .collect();
    if let (Some(lives), Some(limit)) =
        (ours(metric::W2, metric::LIVES), ours(metric::W2, metric::LIVES_LIMIT))
    {
        all.push(Compared {
            row: "bulk life cycles",
            setting,
            against: "the store's CPU".to_owned(),
            ours: lives,
            other: limit,
            target: Some(AtLeast(0.7)),
        });
    }
    let constants = [
        ("memory of a waiting job", metric::MEMORY_WAITING, "payload + 160 bytes", WAITING_JOB),
        ("left without retention", metric::MEMORY_LEFT_NO_RETENTION, "nothing", 0.0),
    ];
    all.extend(constants.into_iter().filter_map(|(row, metric, against, other)| {
        let (ours, against) = (ours(metric::W5, metric)?, against.to_owned());
        Some(Compared { row, setting, against, ours, other, target: Some(AtMost(1.0)) })
    }));
    all
}

/// Lessor beside Lessor when there is less to carry.
fn beside_itself(lines: &[Line]) -> Vec<Compared> {
    let setting = Store::Redis.setting();
    let median = |workload, metric| {
        find(lines, ("lessor", setting), workload, metric).map(|line| line.median)
    };
    let rows = [
        ("1M waiting", metric::W6, metric::BACKLOG_1M, metric::BACKLOG_10K, 0.9),
        ("10 priorities", metric::W6, metric::PRIORITIES, metric::BACKLOG_100K, 0.85),
        ("100k delayed", metric::W6, metric::DELAYED, metric::BACKLOG_100K, 0.85),
        ("1,000 queues", metric::QUEUES, metric::MANY_QUEUES, metric::ONE_QUEUE, 0.7),
    ];
    rows.into_iter()
        .filter_map(|(row, workload, of, to, bound)| {
            let (ours, other) = (median(workload, of)?, median(workload, to)?);
            let against = format!("itself: {to}");
            Some(Compared { row, setting, against, ours, other, target: Some(AtLeast(bound)) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(system: &str, setting: &str, (workload, metric): (&str, &str), median: f64) -> Line {
        let [system, setting, workload, metric] =
            [system, setting, workload, metric].map(str::to_owned);
        let unit = String::new();
        Line { system, setting, workload, metric, median, min: median, max: median, unit }
    }

    const BULK: (&str, &str) = (metric::W1B, metric::RATE);
    const CALL: (&str, &str) = (metric::W1, metric::RATE);

    fn only(lines: &[Line]) -> Compared {
        let mut all = compare(lines);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    #[test]
    fn a_peer_is_met_by_the_store_that_is_as_durable() {
        let lines = [
            line("lessor", "redis, appendonly no", BULK, 500.0),
            line("lessor", "redis, everysec", BULK, 200.0),
            line("beanstalkd", "binlog", BULK, 100.0),
        ];
        let compared = only(&lines);
        assert_eq!(compared.setting, "redis, everysec");
        assert_eq!(compared.ratio(), Some(2.0));
        assert_eq!(compared.met(), Some(false), "4 times was the target");
    }

    #[test]
    fn a_latency_is_met_when_it_is_low_enough() {
        let p50 = (metric::W4, metric::P50);
        let at = |ours| {
            only(&[
                line("lessor", "redis, everysec", p50, ours),
                line("jetstream", "file", p50, 1.0),
            ])
        };
        assert_eq!(at(1.4).met(), Some(true));
        assert_eq!(at(1.5).met(), Some(false));
    }

    #[test]
    fn whole_lives_are_compared_with_what_the_store_s_core_could_carry() {
        let [reached, limit] = [metric::LIVES, metric::LIVES_LIMIT].map(|it| (metric::W2, it));
        let everysec = "redis, everysec";
        let lines =
            [line("lessor", everysec, reached, 36.0), line("lessor", everysec, limit, 50.0)];
        let compared = only(&lines);
        assert_eq!((compared.ratio(), compared.met()), (Some(0.72), Some(true)));
    }

    #[test]
    fn a_bare_call_is_compared_with_the_single_call_of_a_peer() {
        let ours = line("lessor", "redis, appendonly no", (metric::W1_UNARY, metric::RATE), 30.0);
        let compared = only(&[ours, line("bullmq", "redis, appendonly no", CALL, 20.0)]);
        assert_eq!((compared.row, compared.ratio()), ("W1 unary", Some(1.5)));
        assert_eq!(compared.met(), Some(true));
    }

    #[test]
    fn a_peer_without_a_target_is_only_shown() {
        let lines = [
            line("lessor", "redis, everysec", BULK, 300.0),
            line("rabbitmq", "classic, durable", BULK, 100.0),
        ];
        let compared = only(&lines);
        assert_eq!((compared.ratio(), compared.met()), (Some(3.0), None));
    }

    #[test]
    fn nothing_left_is_less_than_a_byte() {
        let left = (metric::W5, metric::MEMORY_LEFT_NO_RETENTION);
        let at = |bytes| only(&[line("lessor", "redis, appendonly no", left, bytes)]);
        assert_eq!(at(0.4).met(), Some(true));
        assert_eq!(at(-3.0).met(), Some(true));
        assert_eq!(at(2.0).met(), Some(false));
    }

    #[test]
    fn the_limit_stands_beside_both_settings_of_redis() {
        let lines = [
            line("lessor", "redis, appendonly no", BULK, 400.0),
            line("lessor", "redis, everysec", BULK, 200.0),
            line(metric::TONIC, metric::TONIC_BATCH, (metric::LIMIT, metric::RATE), 1000.0),
        ];
        let met: Vec<_> = compare(&lines).iter().map(Compared::met).collect();
        assert_eq!(met, [Some(true), Some(false)]);
    }
}

//! What a run comes to.

use comfy_table::Table;
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::Serialize;

use super::plan::{Plan, Role, Scale, Workload};

/// Nanoseconds of the monotonic clock, which all processes of a machine share.
pub(super) fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// CPU time that this process has used.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds of hours fit")]
pub(super) fn cpu_seconds() -> f64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime)) as f64 / 1e9
}

fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

/// Latencies in nanoseconds: all of them, as that costs the least while the clock runs.
#[derive(Default)]
pub(super) struct Latencies(Vec<u64>);

impl Latencies {
    pub(super) fn note(&mut self, nanoseconds: u64) {
        self.0.push(nanoseconds);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// In milliseconds: the median, that of 99 of 100, and the longest.
    fn quantiles(mut self) -> [f64; 3] {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        [last / 2, last * 99 / 100, last].map(|index| {
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of minutes fit")]
            self.0.get(index).map_or(0.0, |&nanoseconds| nanoseconds as f64 / 1e6)
        })
    }
}

/// What one side of a workload measured.
pub(super) struct Side {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) latencies: Latencies,
}

#[derive(Serialize)]
pub(super) struct Figures {
    workload: Workload,
    role: Role,
    #[serde(flatten)]
    scale: Option<Scale>,
    jobs: u64,
    start_ns: u64,
    end_ns: u64,
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    cpu_s: f64,
}

impl Figures {
    /// With both sides: from the first enqueue to the last ack, and how long a job took.
    #[expect(clippy::cast_precision_loss, reason = "counts and times fit")]
    pub(super) fn new(plan: &Plan, input: Option<Side>, output: Option<Side>, cpu: f64) -> Self {
        let began = input.as_ref().or(output.as_ref()).map_or(0, |side| side.start);
        let side = output.or(input);
        let ended = side.as_ref().map_or(began, |side| side.end);
        let [p50_ms, p99_ms, max_ms] =
            side.map(|side| side.latencies).unwrap_or_default().quantiles();
        Self {
            workload: plan.workload,
            role: plan.role,
            scale: Some(plan.scale).filter(|scale| *scale != Scale::default()),
            jobs: plan.jobs,
            start_ns: began,
            end_ns: ended,
            rate: plan.jobs as f64 / (ended.saturating_sub(began).max(1) as f64 / 1e9),
            p50_ms,
            p99_ms,
            max_ms,
            cpu_s: cpu,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts fit")]
    pub(super) fn row(&self, table: &mut Table) {
        let Self { workload, role, .. } = self;
        let scale = self.scale.map(|scale| {
            let Scale { backlog, delayed, priorities } = scale;
            format!(" (backlog {backlog}, delayed {delayed}, priorities {priorities})")
        });
        let milliseconds = |it: f64| format!("{it:.2} ms");
        table.add_row([
            format!("{}{}", name(workload), scale.unwrap_or_default()),
            name(role),
            self.jobs.to_string(),
            format!("{:.0}", self.rate),
            milliseconds(self.p50_ms),
            milliseconds(self.p99_ms),
            milliseconds(self.max_ms),
            format!("{:.2} s", self.cpu_s * 1e5 / self.jobs as f64),
        ]);
    }
}

/// As it is written on the command line.
fn name(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
}

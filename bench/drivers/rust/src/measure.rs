//! The clock that all processes of a run share, the payload that carries it, and the line that a
//! driver prints.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::Run;

/// The first bytes of a payload: the start of the enqueue call.
const CLOCK_DIGITS: usize = 20;

/// Nanoseconds of `CLOCK_MONOTONIC`, which is the same for all processes.
pub(crate) fn now() -> anyhow::Result<u64> {
    nanoseconds(ClockId::Monotonic)
}

fn nanoseconds(clock: ClockId) -> anyhow::Result<u64> {
    let time = clock_gettime(clock);
    Ok(u64::try_from(time.tv_sec)? * 1_000_000_000 + u64::try_from(time.tv_nsec)?)
}

/// A payload of `bytes` bytes that says that its call begins now.
pub(crate) fn payload(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let mut payload = format!("{:0CLOCK_DIGITS$}", now()?).into_bytes();
    payload.resize(bytes, b'x');
    Ok(payload)
}

/// Deals the jobs out to tasks.
pub(crate) struct Tickets {
    next: AtomicUsize,
    jobs: usize,
}

impl Tickets {
    pub(crate) fn new(jobs: usize) -> Self {
        Self { next: AtomicUsize::new(0), jobs }
    }

    /// The next jobs, at most so many; none when all are dealt out.
    pub(crate) fn take(&self, most: usize) -> Option<Range<usize>> {
        let first = self.next.fetch_add(most, Ordering::Relaxed);
        (first < self.jobs).then(|| first..(first + most).min(self.jobs))
    }
}

/// The turns of a paced producer.
pub(crate) struct Pace {
    start: u64,
    interval: u64,
    turn: u64,
}

impl Pace {
    pub(crate) fn new(rate: u64) -> anyhow::Result<Self> {
        Ok(Self { start: now()?, interval: 1_000_000_000 / rate.max(1), turn: 0 })
    }

    /// Waits for the next turn.
    pub(crate) async fn turn(&mut self) -> anyhow::Result<()> {
        let at = self.start + self.turn * self.interval;
        self.turn += 1;
        tokio::time::sleep(Duration::from_nanos(at.saturating_sub(now()?))).await;
        Ok(())
    }
}

/// What a task has seen.
pub(crate) struct Tally {
    start: u64,
    end: u64,
    took: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { start: u64::MAX, end: 0, took: Histogram::new(3)? })
    }

    /// A producer's call is answered.
    pub(crate) fn called(&mut self, began: u64) -> anyhow::Result<()> {
        self.end = now()?;
        self.start = self.start.min(began);
        self.took.record(self.end.saturating_sub(began))?;
        Ok(())
    }

    /// A worker begins a job.
    pub(crate) fn received(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let began = now()?;
        self.start = self.start.min(began);
        let sent = payload.get(..CLOCK_DIGITS).context("a payload without a clock")?;
        let sent: u64 = std::str::from_utf8(sent)?.parse()?;
        self.took.record(began.saturating_sub(sent))?;
        Ok(())
    }

    /// A worker is done with a job.
    pub(crate) fn done(&mut self) -> anyhow::Result<()> {
        self.end = now()?;
        Ok(())
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.took.add(&other.took)?;
        Ok(())
    }
}

/// Waits for all tasks and puts together what they saw.
pub(crate) async fn gather(mut tasks: JoinSet<anyhow::Result<Tally>>) -> anyhow::Result<Tally> {
    let mut all = Tally::new()?;
    while let Some(tally) = tasks.join_next().await {
        all.add(&tally??)?;
    }
    Ok(all)
}

/// CPU time that this process had used at a moment.
pub(crate) struct Cpu(u64);

impl Cpu {
    pub(crate) fn now() -> anyhow::Result<Self> {
        Ok(Self(nanoseconds(ClockId::ProcessCPUTime)?))
    }
}

/// Says that the worker waits for jobs.
pub(crate) fn ready() {
    eprintln!("ready");
}

#[derive(Serialize)]
struct Line {
    workload: String,
    role: String,
    jobs: usize,
    start_ns: u64,
    end_ns: u64,
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    cpu_s: f64,
}

/// Prints what the harness reads.
pub(crate) fn report(run: &Run, tally: &Tally, since: &Cpu) -> anyhow::Result<()> {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let at = |share| Duration::from_nanos(tally.took.value_at_quantile(share)).as_secs_f64() * 1e3;
    let seconds = Duration::from_nanos(tally.end.saturating_sub(tally.start)).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
    let rate = run.jobs as f64 / seconds;
    let line = Line {
        workload: name(run.workload.to_possible_value()),
        role: name(run.role.to_possible_value()),
        jobs: run.jobs,
        start_ns: tally.start,
        end_ns: tally.end,
        rate,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        max_ms: at(1.0),
        cpu_s: Duration::from_nanos(Cpu::now()?.0 - since.0).as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&line)?);
    Ok(())
}

//! One side of one workload, as a process; its interface is in `bench/drivers/README.md`.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::process::Process;

/// How long a side may take for its whole work.
const WITHIN: Duration = Duration::from_mins(5);
/// How long a worker may take to wait for jobs.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// What a worker says when it does.
const READY: &str = "ready";

/// The program that drives a system, and where that system is.
#[derive(Clone)]
pub(crate) struct Driver {
    /// The program and what stands in front of the workload.
    pub command: Vec<OsString>,
    /// What stands behind everything else.
    pub last: Vec<&'static str>,
    pub address: String,
}

/// What a side is to do.
#[derive(Clone)]
pub(crate) struct Load {
    pub workload: &'static str,
    pub queue: String,
    pub jobs: usize,
    pub in_flight: usize,
    /// Arguments for one system or one measurement alone.
    pub more: Vec<String>,
}

/// What a side has seen; times are of the clock that all processes share.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub jobs: usize,
    pub start_ns: u64,
    pub end_ns: u64,
    pub rate: f64,
    #[serde(default)]
    pub p50_ms: f64,
    #[serde(default)]
    pub p99_ms: f64,
    pub cpu_s: f64,
}

/// A side at work.
pub(crate) struct Side {
    _process: Process,
    jobs: usize,
    ready: Option<oneshot::Receiver<()>>,
    out: JoinHandle<std::io::Result<String>>,
    errors: JoinHandle<std::io::Result<String>>,
}

impl Driver {
    /// Enqueues jobs and waits for the end.
    pub(crate) async fn produce(&self, load: &Load) -> anyhow::Result<Seen> {
        self.start("producer", load)?.finish().await
    }

    /// Works a backlog off.
    pub(crate) async fn drain(&self, load: &Load) -> anyhow::Result<Seen> {
        self.start("worker", load)?.finish().await
    }

    /// A worker that waits for jobs.
    pub(crate) async fn worker(&self, load: &Load) -> anyhow::Result<Side> {
        let mut side = self.start("worker", load)?;
        let ready = side.ready.take().context("a new worker")?;
        match tokio::time::timeout(READY_WITHIN, ready).await {
            Ok(Ok(())) => Ok(side),
            Ok(Err(_)) => Err(side.finish().await.err().context("the worker ended at once")?),
            Err(_) => bail!("the worker was not ready within {READY_WITHIN:?}"),
        }
    }

    fn start(&self, role: &'static str, load: &Load) -> anyhow::Result<Side> {
        let [program, first @ ..] = &self.command[..] else { bail!("a driver without a program") };
        let mut command = Command::new(program);
        command
            .args(first)
            .args(["--role", role, "--address", &self.address, "--queue", &load.queue])
            .args(["--jobs", &load.jobs.to_string()])
            .args(["--in-flight", &load.in_flight.to_string()])
            .args(&load.more)
            .args(&self.last)
            .arg(load.workload)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let stdout = process.child.stdout.take().context("stdout")?;
        let stderr = process.child.stderr.take().context("stderr")?;
        let (tell, ready) = oneshot::channel();
        Ok(Side {
            _process: process,
            jobs: load.jobs,
            ready: Some(ready),
            out: tokio::spawn(read(stdout)),
            errors: tokio::spawn(listen(stderr, tell)),
        })
    }
}

impl Side {
    /// Waits for the end.
    pub(crate) async fn finish(self) -> anyhow::Result<Seen> {
        let said = tokio::time::timeout(WITHIN, async {
            anyhow::Ok((self.out.await??, self.errors.await??))
        });
        let (out, errors) = said.await.context("a driver took too long")??;
        let line = out.lines().rfind(|line| line.starts_with('{'));
        let line = line.with_context(|| format!("a driver gave no figures; it said: {errors}"))?;
        let seen: Seen = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(seen.jobs >= self.jobs, "only {} of {} jobs were done", seen.jobs, self.jobs);
        ensure!(seen.end_ns > seen.start_ns, "no time has passed: {line}");
        Ok(seen)
    }
}

async fn read(mut from: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut text = String::new();
    from.read_to_string(&mut text).await?;
    Ok(text)
}

/// Reads what is written to stderr, and tells when the worker is ready.
async fn listen(
    from: impl AsyncRead + Unpin,
    tell: oneshot::Sender<()>,
) -> std::io::Result<String> {
    let (mut tell, mut text) = (Some(tell), String::new());
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        if line.trim() == READY {
            // Nobody listens for a worker that has a backlog.
            let _told = tell.take().map(|tell| tell.send(()));
        } else {
            text.push_str(&line);
            text.push('\n');
        }
    }
    Ok(text)
}

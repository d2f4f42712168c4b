//! A system under measurement: its servers, its driver, and what it uses.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::driver::Driver;
use crate::machine::{Broker, Redis};
use crate::process::Process;

const START_WITHIN: Duration = Duration::from_mins(1);

/// The servers of a system, which end when this is dropped, and its driver.
pub(super) struct Running {
    pub driver: Driver,
    pub servers: Servers,
}

/// What a system runs.
pub(super) enum Servers {
    /// A library over Redis.
    Redis(Redis),
    /// Lessor over Redis.
    Broker(Broker, Redis),
    /// Lessor over a file in that folder.
    Embedded(Broker, TempDir),
    /// A server that keeps its jobs in memory, and may write a log of them.
    Memory { server: Process, _log: TempDir },
    /// A server that keeps its jobs in that folder.
    Files(Process, TempDir),
}

/// What the jobs of a system take, and where.
pub(super) enum Size {
    /// Bytes of memory, as the store itself counts them.
    Counted(u64),
    /// Bytes of the server's memory, which does not shrink when jobs go.
    Resident(u64),
    /// Bytes of files.
    Files(u64),
}

impl Servers {
    /// CPU seconds of the broker, if there is one.
    pub(super) fn broker_cpu(&self) -> anyhow::Result<Option<f64>> {
        match self {
            Self::Redis(_) => Ok(None),
            Self::Broker(broker, _) | Self::Embedded(broker, _) => cpu(&broker.process),
            Self::Memory { server, .. } | Self::Files(server, _) => cpu(server),
        }
    }

    /// CPU seconds of the store, if it is a process of its own.
    pub(super) fn store_cpu(&self) -> anyhow::Result<Option<f64>> {
        match self {
            Self::Redis(redis) | Self::Broker(_, redis) => cpu(&redis.process),
            _ => Ok(None),
        }
    }

    /// What the jobs take.
    pub(super) async fn size(&self) -> anyhow::Result<Size> {
        Ok(match self {
            Self::Redis(redis) | Self::Broker(_, redis) => Size::Counted(redis.memory().await?),
            Self::Memory { server, .. } => Size::Resident(server.memory()?),
            Self::Embedded(_, folder) | Self::Files(_, folder) => {
                Size::Files(bytes_of(folder.path())?)
            }
        })
    }
}

fn cpu(process: &Process) -> anyhow::Result<Option<f64>> {
    Ok(Some(process.cpu()?.all()))
}

fn bytes_of(folder: &Path) -> anyhow::Result<u64> {
    let (mut bytes, mut folders) = (0, vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            // A file may go while the folder is read.
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => bytes += meta.len(),
                Err(_) => {}
            }
        }
    }
    Ok(bytes)
}

/// Waits until somebody listens at a port of this machine.
pub(super) async fn listens(port: u16) -> anyhow::Result<()> {
    tokio::time::timeout(START_WITHIN, async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .with_context(|| format!("a server does not listen at port {port}"))
}

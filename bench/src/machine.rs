//! The processes under measurement: started here, ended here.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use lessor::Client;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::process::Process;

/// How long a process may take to serve.
pub(crate) const START_WITHIN: Duration = Duration::from_secs(20);

/// Where brokers come from.
pub(crate) struct Machine {
    binary: PathBuf,
}

/// A Redis of our own.
pub(crate) struct Redis {
    pub process: Process,
    _folder: TempDir,
    port: u16,
}

/// What a Redis writes to its disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Nothing.
    No,
    /// Every command, synced once a second.
    Everysec,
}

/// A broker of our own.
pub(crate) struct Broker {
    pub process: Process,
    url: String,
}

/// Where a broker keeps its jobs.
pub(crate) enum Store {
    /// A file of its own.
    Sqlite(TempDir),
    /// A Redis of its own.
    Redis(Redis),
}

impl Store {
    pub(crate) fn sqlite() -> anyhow::Result<Self> {
        Ok(Self::Sqlite(tempfile::tempdir()?))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => format!("sqlite:{}", folder.path().join("bench.db").display()),
            Self::Redis(redis) => redis.url(),
        }
    }

    /// Bytes that its jobs and all that belongs to them take.
    pub(crate) async fn size(&self) -> anyhow::Result<u64> {
        match self {
            Self::Sqlite(folder) => {
                let files = std::fs::read_dir(folder.path())?;
                let sizes = files.map(|file| Ok(file?.metadata()?.len()));
                sizes.sum()
            }
            Self::Redis(redis) => redis.memory().await,
        }
    }

    pub(crate) fn setting(&self) -> String {
        match self {
            Self::Sqlite(_) => "sqlite, synchronous full".to_owned(),
            Self::Redis(_) => "redis, appendonly no".to_owned(),
        }
    }
}

impl Machine {
    pub(crate) fn new(binary: PathBuf) -> anyhow::Result<Self> {
        ensure!(binary.is_file(), "{} is no file", binary.display());
        Ok(Self { binary })
    }

    /// Starts a broker and waits until it says that it serves.
    pub(crate) async fn broker(&self, store: &str) -> anyhow::Result<Broker> {
        self.broker_with(store, &[]).await
    }

    /// Starts a broker with these variables in its environment, and waits until it says that it
    /// serves.
    pub(crate) async fn broker_with(
        &self,
        store: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Broker> {
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", store]);
        command.envs(environment.iter().copied());
        let mut process = Process::start(command.stdout(Stdio::piped()))?;
        let stdout = process.child.stdout.take().context("a broker's stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(START_WITHIN, lines.next_line()).await??;
        let line = line.context("the broker ended at once")?;
        let (_, rest) = line.split_once("serving on ").context("the broker's first line")?;
        let address = rest.split(',').next().context("the broker's address")?;
        Ok(Broker { process, url: format!("http://{address}") })
    }

    /// Starts a Redis server that keeps nothing.
    pub(crate) async fn redis(&self) -> anyhow::Result<Redis> {
        Redis::start(Persistence::No).await
    }
}

/// A port that was free a moment ago, so almost surely still is.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Broker {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.url)?)
    }
}

impl Redis {
    /// Starts a Redis server and waits until it answers.
    pub(crate) async fn start(persistence: Persistence) -> anyhow::Result<Self> {
        let (port, folder) = (free_port()?, tempfile::tempdir()?);
        let appendonly = match persistence {
            Persistence::No => "no",
            Persistence::Everysec => "yes",
        };
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendfsync", "everysec"])
            // Whether a rewrite falls into a measurement would be chance.
            .args(["--auto-aof-rewrite-percentage", "0"])
            .args(["--appendonly", appendonly, "--port"])
            .arg(port.to_string())
            .current_dir(folder.path())
            .stdout(Stdio::null());
        let process = Process::start(&mut command).context("redis-server is not installed")?;
        let redis = Self { process, _folder: folder, port };
        tokio::time::timeout(START_WITHIN, async {
            while redis.connect().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
        .context("redis-server does not answer")?;
        Ok(redis)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn client(&self) -> anyhow::Result<redis::Client> {
        Ok(redis::Client::open(self.url())?)
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<MultiplexedConnection> {
        Ok(self.client()?.get_multiplexed_async_connection().await?)
    }

    /// Bytes in use.
    pub(crate) async fn memory(&self) -> anyhow::Result<u64> {
        let mut connection = self.connect().await?;
        let text: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
        let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.context("a size")?.parse()?)
    }

    /// What was asked of it so far.
    pub(crate) async fn calls(&self) -> anyhow::Result<Calls> {
        let mut connection = self.connect().await?;
        let text: String = redis::cmd("INFO").arg("all").query_async(&mut connection).await?;
        let count = |name: &str, rest: &str| -> anyhow::Result<u64> {
            let Some(line) = text.lines().find_map(|line| line.strip_prefix(name)) else {
                return Ok(0);
            };
            let value = line.strip_prefix(rest).context("a count")?;
            let digits = value.split(|it: char| !it.is_ascii_digit()).next();
            Ok(digits.context("a number")?.parse()?)
        };
        let scripts = count("cmdstat_evalsha:", "calls=")? + count("cmdstat_eval:", "calls=")?;
        let mut calls = Calls {
            scripts,
            commands: count("total_commands_processed:", "")?,
            ..Calls::default()
        };
        for line in text.lines().filter_map(|line| line.strip_prefix("cmdstat_")) {
            let (name, figures) = line.split_once(':').context("a command")?;
            let (_, micros) = figures.split_once(",usec=").context("a time")?;
            let digits = micros.split(|it: char| !it.is_ascii_digit()).next();
            let seconds = digits.context("a number")?.parse::<f64>()? / 1e6;
            let sum = match name {
                "evalsha" | "eval" => &mut calls.script_s,
                _ => &mut calls.command_s,
            };
            *sum += seconds;
        }
        Ok(calls)
    }
}

/// What a Redis was asked.
#[derive(Clone, Copy, Default)]
pub(crate) struct Calls {
    /// Script calls.
    pub scripts: u64,
    /// Commands of any kind, those inside scripts included.
    pub commands: u64,
    /// Seconds in scripts, with what they call.
    pub script_s: f64,
    /// Seconds in other commands, those inside scripts included.
    pub command_s: f64,
}

impl Calls {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            scripts: self.scripts - before.scripts,
            commands: self.commands - before.commands,
            script_s: self.script_s - before.script_s,
            command_s: self.command_s - before.command_s,
        }
    }
}

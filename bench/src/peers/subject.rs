//! What is measured: a system in one of its settings.

use clap::ValueEnum;

use super::running::Running;
use super::tools::Tools;
use super::{asynq, beanstalkd, bullmq, faktory, jetstream, lessor, rabbitmq};

/// Another broker or library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Bullmq,
    Beanstalkd,
    Jetstream,
    Rabbitmq,
    Faktory,
    Asynq,
}

/// Where Lessor keeps its jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Store {
    /// Redis that writes nothing to its disk.
    Redis,
    /// Redis with appendonly, synced once a second.
    Everysec,
    /// A SQLite file with its default, synchronous full.
    Sqlite,
}

/// A system in one of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Lessor(Store),
    /// A peer; true: in its setting that survives a crash of the machine but for its last moments.
    Peer(Peer, bool),
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bullmq => "bullmq",
            Self::Beanstalkd => "beanstalkd",
            Self::Jetstream => "jetstream",
            Self::Rabbitmq => "rabbitmq",
            Self::Faktory => "faktory",
            Self::Asynq => "asynq",
        }
    }

    /// What its setting is called, if it has one that is as durable, or as little.
    pub(crate) fn setting(self, durable: bool) -> Option<&'static str> {
        Some(match (self, durable) {
            (Self::Bullmq | Self::Asynq, false) => "redis, appendonly no",
            (Self::Bullmq | Self::Asynq, true) => "redis, everysec",
            (Self::Beanstalkd, false) => "memory",
            (Self::Beanstalkd, true) => "binlog",
            (Self::Jetstream, true) => "file",
            (Self::Rabbitmq, true) => "classic, durable",
            (Self::Faktory, false) => "snapshots",
            (Self::Faktory, true) => "everysec",
            (Self::Jetstream | Self::Rabbitmq, false) => return None,
        })
    }

    /// Its settings.
    pub(crate) fn subjects(self) -> impl Iterator<Item = Subject> {
        let has = move |durable: &bool| self.setting(*durable).is_some();
        [false, true].into_iter().filter(has).map(move |durable| Subject::Peer(self, durable))
    }
}

impl Store {
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Redis => "redis, appendonly no",
            Self::Everysec => "redis, everysec",
            Self::Sqlite => "sqlite, synchronous full",
        }
    }
}

impl Subject {
    pub(crate) fn system(self) -> &'static str {
        match self {
            Self::Lessor(_) => "lessor",
            Self::Peer(peer, _) => peer.name(),
        }
    }

    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Lessor(store) => store.setting(),
            Self::Peer(peer, durable) => peer.setting(durable).unwrap_or_default(),
        }
    }

    /// Jobs of a workload: a second or two of work each.
    pub(super) fn jobs(self) -> usize {
        match self {
            Self::Lessor(Store::Redis | Store::Everysec) | Self::Peer(Peer::Beanstalkd, _) => {
                100_000
            }
            Self::Lessor(Store::Sqlite) | Self::Peer(Peer::Jetstream, _) => 60_000,
            Self::Peer(Peer::Bullmq | Peer::Rabbitmq | Peer::Faktory | Peer::Asynq, _) => 30_000,
        }
    }

    /// False for those that have no way to enqueue many jobs at once.
    pub(super) fn has_bulk(self) -> bool {
        !matches!(self, Self::Peer(Peer::Asynq, _))
    }

    /// Starts its servers.
    pub(super) async fn start(self, tools: &Tools) -> anyhow::Result<Running> {
        match self {
            Self::Lessor(store) => lessor::start(tools, store).await,
            Self::Peer(Peer::Bullmq, durable) => bullmq::start(tools, durable).await,
            Self::Peer(Peer::Beanstalkd, durable) => beanstalkd::start(tools, durable).await,
            Self::Peer(Peer::Jetstream, _) => jetstream::start(tools).await,
            Self::Peer(Peer::Rabbitmq, _) => rabbitmq::start(tools).await,
            Self::Peer(Peer::Faktory, durable) => faktory::start(tools, durable).await,
            Self::Peer(Peer::Asynq, durable) => asynq::start(tools, durable).await,
        }
    }
}

//! Where the programs of a run are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::ensure;
use clap::Args;
use tokio::process::Command;

use super::subject::{Peer, Store};

/// The programs of a run; `make bench` builds or unpacks them all.
#[derive(Args)]
pub(crate) struct Tools {
    /// The `lessor` binary; a release build, or the figures mean nothing.
    #[arg(long, env = "LESSOR_BINARY", value_name = "PATH")]
    pub binary: PathBuf,

    /// The drivers written in Rust.
    #[arg(long, value_name = "PATH")]
    pub drivers: PathBuf,

    /// The driver of BullMQ, beside its modules.
    #[arg(long, value_name = "PATH", default_value = "bench/drivers/bullmq/driver.js")]
    pub bullmq: PathBuf,

    /// Where Debian's packages are unpacked, for servers that are not on the search path.
    #[arg(long, value_name = "FOLDER")]
    pub unpacked: PathBuf,

    /// Where what is written in Go was built: drivers, and Faktory's server.
    #[arg(long, value_name = "FOLDER")]
    pub go: PathBuf,
}

impl Tools {
    /// Fails when something is missing that Lessor or one of the peers needs.
    pub(super) fn check(&self, stores: &[Store], peers: &[Peer]) -> anyhow::Result<()> {
        let present = |path: &Path, what: &str| {
            ensure!(path.exists(), "{what} is missing: there is no {}", path.display());
            Ok(())
        };
        if !stores.is_empty() {
            present(&self.binary, "the broker")?;
        }
        for peer in peers {
            match peer {
                Peer::Bullmq => {
                    present(&self.bullmq, "the driver of BullMQ")?;
                    let modules = self.bullmq.with_file_name("node_modules");
                    present(&modules.join("bullmq"), "BullMQ")?;
                }
                Peer::Beanstalkd => present(&self.unpacked("beanstalkd"), "beanstalkd")?,
                Peer::Jetstream => present(&self.unpacked("nats-server"), "nats-server")?,
                Peer::Rabbitmq => present(&self.rabbitmq_folder(), "rabbitmq-server")?,
                Peer::Faktory => present(&self.go.join("faktory-server"), "Faktory")?,
                Peer::Asynq => present(&self.go.join("asynq"), "the driver of Asynq")?,
            }
            if matches!(peer, Peer::Beanstalkd | Peer::Jetstream | Peer::Rabbitmq) {
                present(&self.drivers, "the drivers in Rust")?;
            }
        }
        Ok(())
    }

    /// A driver written in Rust.
    pub(super) fn rust_driver(&self, name: &str) -> Vec<OsString> {
        vec![self.drivers.clone().into(), name.into()]
    }

    /// A server from a package: as installed on this machine, or as unpacked.
    pub(super) fn unpacked(&self, program: &str) -> PathBuf {
        search_path(program).unwrap_or_else(|| {
            let usr = self.unpacked.join("usr");
            let places = [usr.join("bin").join(program), usr.join("sbin").join(program)];
            let [first, second] = places;
            if first.is_file() { first } else { second }
        })
    }

    /// The folder that holds RabbitMQ's packages: the root of the machine, or where they were
    /// unpacked.
    pub(super) fn rabbitmq_folder(&self) -> PathBuf {
        let installed = Path::new("/usr/lib/rabbitmq");
        if installed.exists() {
            installed.to_owned()
        } else {
            self.unpacked.join("usr/lib/rabbitmq")
        }
    }
}

/// A program that is installed on this machine.
pub(super) fn search_path(program: &str) -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    // Servers are there, and it is not on everybody's search path.
    let mut folders = std::env::split_paths(&search).chain(["/usr/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// A command whose output nobody reads.
pub(super) fn quiet(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

//! The real binary, serving.

use std::net::SocketAddr;
use std::process::Command;

use tonic::transport::{Channel, Endpoint};

use super::process::Process;

/// `lessor serve` with these arguments, and with no setting from the environment of the test.
pub(crate) fn serve(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lessor"));
    command.env_clear().arg("serve").args(args);
    command
}

/// A broker that serves.
pub(crate) struct Broker {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Broker {
    /// Starts a broker and waits until it serves.
    pub(crate) async fn start(args: &[&str]) -> Self {
        Self::ready(Process::spawn(&mut serve(args))).await
    }

    /// Waits for the line with which a broker says that it serves.
    pub(crate) async fn ready(mut process: Process) -> Self {
        let line = process.says(" serving on ").await;
        let (_, rest) = line.split_once(" serving on ").unwrap();
        let (address, _) = rest.split_once(',').unwrap_or_else(|| panic!("{line:?}"));
        let address = address.parse().unwrap_or_else(|_| panic!("{line:?}"));
        Self { process, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A connection of its own.
    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url()).unwrap().connect_lazy()
    }
}

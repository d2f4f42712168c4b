//! NATS JetStream with files, which it syncs every two minutes by default.

use super::running::{Running, Servers, listens};
use super::tools::{Tools, quiet};
use crate::driver::Driver;
use crate::machine::free_port;
use crate::process::Process;

pub(super) async fn start(tools: &Tools) -> anyhow::Result<Running> {
    let (port, folder) = (free_port()?, tempfile::tempdir()?);
    let mut command = quiet(tools.unpacked("nats-server"));
    command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"]).arg(folder.path());
    let process = Process::start(&mut command)?;
    listens(port).await?;
    let driver = Driver {
        command: tools.rust_driver("jetstream"),
        last: Vec::new(),
        address: format!("nats://127.0.0.1:{port}"),
    };
    Ok(Running { driver, servers: Servers::Files(process, folder) })
}

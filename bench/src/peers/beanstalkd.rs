//! beanstalkd, in memory or with its binlog, which it syncs at most every 50 ms by default.

use super::running::{Running, Servers, listens};
use super::tools::{Tools, quiet};
use crate::driver::Driver;
use crate::machine::free_port;
use crate::process::Process;

pub(super) async fn start(tools: &Tools, durable: bool) -> anyhow::Result<Running> {
    let (port, folder) = (free_port()?, tempfile::tempdir()?);
    let mut command = quiet(tools.unpacked("beanstalkd"));
    command.args(["-l", "127.0.0.1", "-p", &port.to_string()]);
    if durable {
        command.arg("-b").arg(folder.path());
    }
    let server = Process::start(&mut command)?;
    listens(port).await?;
    let driver = Driver {
        command: tools.rust_driver("beanstalkd"),
        last: Vec::new(),
        address: format!("127.0.0.1:{port}"),
    };
    Ok(Running { driver, servers: Servers::Memory { server, _log: folder } })
}

//! Faktory, which runs a Redis of its own: by its defaults one that writes snapshots.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;

use super::running::{Running, Servers, listens};
use super::tools::{Tools, quiet, search_path};
use crate::driver::Driver;
use crate::machine::free_port;
use crate::process::Process;

pub(super) async fn start(tools: &Tools, durable: bool) -> anyhow::Result<Running> {
    let (port, web) = (free_port()?, free_port()?);
    let folder = tempfile::tempdir()?;
    let mut command = quiet(tools.go.join("faktory-server"));
    let address = format!("127.0.0.1:{port}");
    command
        .args(["-b", &address, "-w", &format!("127.0.0.1:{web}"), "-e", "development", "-d"])
        .arg(folder.path().join("data"))
        .arg("-c")
        .arg(folder.path().join("settings"))
        .env("HOME", folder.path());
    if durable {
        let programs = folder.path().join("programs");
        append(&programs)?;
        let search = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(programs).chain(std::env::split_paths(&search));
        command.env("PATH", std::env::join_paths(folders)?);
    }
    let server = Process::start(&mut command)?;
    listens(port).await?;
    let driver =
        Driver { command: vec![tools.go.join("faktory").into()], last: Vec::new(), address };
    Ok(Running { driver, servers: Servers::Memory { server, _log: folder } })
}

/// Faktory has no setting for what its Redis writes, so it finds a `redis-server` with more
/// arguments first.
fn append(programs: &Path) -> anyhow::Result<()> {
    let real = search_path("redis-server").context("redis-server is not installed")?;
    let wrapper = programs.join("redis-server");
    std::fs::create_dir_all(programs)?;
    let script = format!(
        "#!/bin/sh\nexec '{}' \"$@\" --appendonly yes --appendfsync everysec --save ''\n",
        real.display()
    );
    std::fs::write(&wrapper, script)?;
    std::fs::set_permissions(&wrapper, Permissions::from_mode(0o755))?;
    Ok(())
}

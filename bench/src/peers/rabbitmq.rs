//! RabbitMQ with a durable classic queue.

use std::path::Path;

use super::running::{Running, Servers, listens};
use super::tools::{Tools, quiet};
use crate::driver::Driver;
use crate::machine::free_port;
use crate::process::Process;

pub(super) async fn start(tools: &Tools) -> anyhow::Result<Running> {
    let (port, distribution, names) = (free_port()?, free_port()?, free_port()?);
    let (folder, packages) = (tempfile::tempdir()?, tools.rabbitmq_folder());
    let erlang = packages.with_file_name("erlang").join("bin");
    let search = std::env::var_os("PATH").unwrap_or_default();
    let search = std::env::join_paths(
        std::iter::once(erlang.clone()).chain(std::env::split_paths(&search)),
    )?;
    // Erlang's register of names would outlive the server; started first by the same shell, it is
    // a descendant and ends with it.
    let script = r#"epmd -port "$ERL_EPMD_PORT" & exec sh "$0""#;
    let mut command = quiet("sh");
    let path = |name: &str| folder.path().join(name);
    command
        .args(["-c", script])
        .arg(server_script(&packages)?)
        .env("PATH", search)
        .env("HOME", folder.path())
        .env("ERL_EPMD_PORT", names.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", format!("bench-{port}@localhost"))
        .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", distribution.to_string())
        .env("RABBITMQ_MNESIA_BASE", folder.path())
        .env("RABBITMQ_LOG_BASE", folder.path())
        .env("RABBITMQ_PID_FILE", path("pid"))
        .env("RABBITMQ_CONFIG_FILE", path("no-config"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("no-plugins"));
    let process = Process::start(&mut command)?;
    listens(port).await?;
    let driver = Driver {
        command: tools.rust_driver("rabbitmq"),
        last: Vec::new(),
        address: format!("amqp://guest:guest@127.0.0.1:{port}/%2f"),
    };
    Ok(Running { driver, servers: Servers::Files(process, folder) })
}

/// The script that starts the server, in whichever version is there.
fn server_script(packages: &Path) -> anyhow::Result<std::path::PathBuf> {
    Ok(packages.join("bin/rabbitmq-server").canonicalize()?)
}

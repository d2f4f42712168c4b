//! A real Redis server, with a folder of its own, to be hurt.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::machine::free_port;
use crate::machine::process::Process;

/// A server. It can be killed and started again with what it had written.
pub(crate) struct Redis {
    port: u16,
    folder: TempDir,
    process: Process,
}

impl Redis {
    /// Starts a server with these lines of configuration.
    pub(crate) async fn start(lines: &[&str]) -> Self {
        if let Err(error) = Command::new("redis-server").arg("--version").output() {
            panic!(
                "these tests need redis-server on the PATH ({error}): install it with \
                 `apt install redis-server`, `dnf install redis` or `brew install redis`"
            );
        }
        let folder = tempfile::Builder::new().prefix("lessor-redis-").tempdir().unwrap();
        let port = free_port();
        let place = format!("bind 127.0.0.1\nport {port}\ndir {}\n", folder.path().display());
        let config = format!("{place}save \"\"\n{}\n", lines.join("\n"));
        fs::write(folder.path().join("redis.conf"), config).unwrap();
        let process = launch(&folder).await;
        Self { port, folder, process }
    }

    /// What a broker opens.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once; what it had not handed to the system is lost.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a killed server again, on its port and with what it had written.
    pub(crate) async fn start_again(&mut self) {
        self.process = launch(&self.folder).await;
    }

    /// Sends a signal: after `STOP` it takes connections and answers nothing, until `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Gives a command, whose arguments hold no spaces, and returns the first line of the answer.
    pub(crate) fn tell(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The file that it appends its writes to.
    pub(crate) fn append_only_file(&self) -> PathBuf {
        let folder = self.folder.path();
        let single = folder.join("appendonly.aof");
        // From Redis 7 on it is one of several.
        let parts = fs::read_dir(folder.join("appendonlydir")).into_iter().flatten();
        let mut parts = parts.map(|entry| entry.unwrap().path());
        let growing = parts.find(|path| path.to_string_lossy().ends_with(".incr.aof"));
        growing.unwrap_or(single)
    }
}

async fn launch(folder: &TempDir) -> Process {
    let mut process =
        Process::spawn(Command::new("redis-server").arg(folder.path().join("redis.conf")));
    process.says("Ready to accept connections").await;
    process
}

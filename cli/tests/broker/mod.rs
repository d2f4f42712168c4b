//! A real broker in its own process, on a free port, with a store in memory.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub(crate) struct Broker {
    process: Child,
    url: String,
}

impl Broker {
    /// Starts it, and waits for the line with which it says where it serves.
    pub(crate) fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_lessor"))
            .args(["serve", "--listen", "127.0.0.1:0", "--store", "sqlite::memory:"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, rest) = line.split_once(" serving on ").unwrap_or_else(|| panic!("{line:?}"));
        let (address, _) = rest.split_once(',').unwrap_or_else(|| panic!("{line:?}"));
        Self { process, url: format!("http://{address}") }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to do then.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

//! A shell: the real binary against a real broker, which runs in its own process, on a free port,
//! with a store in memory.

use std::io::{BufRead, BufReader};
use std::process::{self, Child, Stdio};

use assert_cmd::Command;
use serde_json::Value;

pub(crate) struct Broker {
    process: Child,
    url: String,
}

impl Broker {
    /// Starts it, and waits for the line with which it says where it serves.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`start`](Self::start), with flags of its own.
    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let mut process = process::Command::new(env!("CARGO_BIN_EXE_lessor"))
            .args(["serve", "--listen", "127.0.0.1:0", "--store", "sqlite::memory:"])
            .args(flags)
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

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        run(self.url(), args, "")
    }

    /// Leases the one job that must be ready: its name and its token.
    pub(crate) fn lease(&self, queue: &str) -> (String, String) {
        let reply = self.run(&["lease", queue, "--wait", "30s"]).json();
        let leased = &reply["jobs"][0];
        (text(&leased["job"]["name"]), text(&leased["leaseToken"]))
    }

    pub(crate) fn state(&self, job: &str) -> String {
        text(&self.run(&["get", job]).json()["state"])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to do then.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// What a command left behind.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Its output, as the one JSON document that it must be.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// That it ended with this code and these words on stderr.
    pub(crate) fn said(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
    }

    /// That it failed with this code, said nothing on stdout and these words on stderr.
    pub(crate) fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.stdout, "", "{}", self.stderr);
        self.said(code, words);
    }
}

pub(crate) fn run(server: &str, args: &[&str], stdin: &str) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_lessor"))
        .env("LESSOR_SERVER", server)
        .args(args)
        .write_stdin(stdin)
        .output()
        .unwrap();
    Done {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A span as proto JSON writes it: `1.5s`.
pub(crate) fn seconds(value: &Value) -> f64 {
    value.as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap()
}

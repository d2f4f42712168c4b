//! One process that ends with the test, whatever becomes of the test.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use super::found;

/// A running process. Dropped, it is killed; and should the test process itself be killed, a
/// watchdog does it.
pub(crate) struct Process {
    child: Child,
    watchdog: Child,
    /// What it says: `stdout` and `stderr`.
    said: TempDir,
}

/// Waits for the end of its standard input, which comes with the end of the test process. A Ctrl-C
/// must not end it before.
const WATCHDOG: &str = "trap '' INT HUP TERM; read line; kill -9 $1";

impl Process {
    /// Starts `command`, keeping what it says.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let said = tempfile::Builder::new().prefix("lessor-said-").tempdir().unwrap();
        let file = |name| File::create(said.path().join(name)).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, watchdog, said }
    }

    /// All that it said on standard output so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.said.path().join("stdout")).unwrap()
    }

    /// All that it said on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.said.path().join("stderr")).unwrap()
    }

    /// Waits for the first whole line of standard output that holds `words`.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        found(&format!("{words:?} to be said"), || {
            // Asked first, so that its last words are not missed.
            let ended = self.child.try_wait().unwrap();
            let said = self.stdout();
            let lines = said.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            let line = lines.map(str::trim_end).find(|line| line.contains(words));
            match (line, ended) {
                (Some(line), _) => Some(line.to_owned()),
                (None, None) => None,
                (None, Some(status)) => {
                    panic!("ended with {status} before {words:?}:\n{said}{}", self.stderr())
                }
            }
        })
        .await
    }

    /// Sends the signal of this name.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap();
        assert!(sent.success(), "{name} can't be sent");
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = found("the process to end", || self.child.try_wait().unwrap()).await;
        self.unwatch();
        status
    }

    /// Ends it with a signal that it can't catch, and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        // Before its number is free for another process.
        self.unwatch();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn unwatch(&mut self) {
        self.watchdog.kill().ok();
        self.watchdog.wait().ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}{}", self.stdout(), self.stderr());
        }
        // Both may have ended before; there is nothing more to do then.
        self.unwatch();
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

//! The Redis server of the test process.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// One server, gone with this process however it ends.
pub(crate) struct RedisServer {
    url: String,
    /// When its standard input ends, as it does with this process, it ends the server and removes
    /// the folder.
    watchdog: Child,
}

const WATCHDOG: &str = r#"
trap '' INT HUP
dir=$1; shift
"$@" </dev/null 2>&1 &
exec >/dev/null 2>&1
cat
kill -9 $!
rm -rf "$dir"
"#;

const ATTEMPTS: u32 = 10;

/// The page that says what a broker may do on its Redis.
const PAGE: &str = include_str!("../../docs/operations/redis.md");

/// The URL of a server that all cases share; each has a namespace of its own in it.
pub(crate) fn url() -> &'static str {
    static SERVER: OnceLock<RedisServer> = OnceLock::new();
    SERVER.get_or_init(RedisServer::start).url()
}

impl RedisServer {
    /// A server of one's own.
    pub(crate) fn start() -> Self {
        start()
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends the server, and waits until it is gone.
    pub(crate) fn end(mut self) {
        drop(self.watchdog.stdin.take());
        self.watchdog.wait().unwrap();
    }
}

fn start() -> RedisServer {
    if let Err(error) = Command::new("redis-server").arg("--version").output() {
        panic!(
            "these tests need redis-server on the PATH ({error}): install it with \
             `apt install redis-server`, `dnf install redis` or `brew install redis`"
        );
    }
    let mut why = String::new();
    // Somebody else may take a free port before the server does.
    for _ in 0..ATTEMPTS {
        match launch() {
            Ok(server) => return server,
            Err(output) => why = output,
        }
    }
    panic!("redis-server does not start:\n{why}");
}

/// The user of the documentation, so that brokers are tested with the rights that it gives them, but
/// in any namespace.
fn documented_user() -> Vec<String> {
    let command = PAGE.lines().find_map(|line| line.strip_prefix("ACL SETUSER "));
    let rules = command.unwrap().split(' ');
    rules.map(|rule| rule.replace("{lessor", "{*").replace("&lessor", "&*")).collect()
}

/// Starts a server on a free port; when it ends instead, what it said.
fn launch() -> Result<RedisServer, String> {
    let dir = tempfile::Builder::new().prefix("lessor-e2e-").tempdir().unwrap().keep();
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let mut watchdog = Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(&dir)
        .args(["redis-server", "--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(&dir)
        .arg("--user")
        .args(documented_user())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(watchdog.stdout.take().unwrap()).lines();
    let server = RedisServer { url: format!("redis://lessor:PASSWORD@127.0.0.1:{port}"), watchdog };
    let mut output = String::new();
    for line in lines {
        let line = line.unwrap();
        if line.contains("Ready to accept connections") {
            return Ok(server);
        }
        output.push_str(&line);
        output.push('\n');
    }
    server.end();
    Err(output)
}

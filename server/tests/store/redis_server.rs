//! Real Redis servers: started by the tests, gone with the test process however it ends.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

/// One Redis server with a folder of its own.
pub(crate) struct RedisServer {
    port: u16,
    options: Vec<String>,
    dir: TempDir,
    /// A server lives as long as the standard input of its watchdog.
    watchdogs: Vec<Child>,
}

/// Runs the server until standard input ends, which it does when this process does. The signals of
/// a Ctrl-C must not end the watchdog before it has cleaned up.
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

impl RedisServer {
    /// Starts a server with these command line options.
    pub(crate) fn start(options: &[&str]) -> Self {
        if let Err(error) = Command::new("redis-server").arg("--version").output() {
            panic!(
                "these tests need redis-server on the PATH ({error}): install it with \
                 `apt install redis-server`, `dnf install redis` or `brew install redis`"
            );
        }
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let mut why = String::new();
        // Somebody may take a free port before the server does.
        for _ in 0..ATTEMPTS {
            let dir = tempfile::Builder::new().prefix("lessor-redis-").tempdir().unwrap();
            let port = free_port();
            match launch(port, dir.path(), &options) {
                Ok(watchdog) => return Self { port, options, dir, watchdogs: vec![watchdog] },
                Err(output) => why = output,
            }
        }
        panic!("redis-server does not start:\n{why}");
    }

    /// The one server that most cases share.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<RedisServer> = OnceLock::new();
        SERVER.get_or_init(|| Self::start(&[]))
    }

    /// What a store opens.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// A connection for the test itself.
    pub(crate) fn connection(&self) -> redis::Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// Ends the server the polite way.
    pub(crate) fn stop(&mut self) {
        let mut connection = self.connection();
        // The reply to a shutdown that worked is a closed connection.
        let refused = redis::cmd("SHUTDOWN").query::<String>(&mut connection);
        assert!(refused.is_err(), "{refused:?}");
        poll("the server to leave its port", || TcpListener::bind(self.address()).is_ok());
    }

    /// Starts a stopped server again, on the same port and with what it had saved.
    pub(crate) fn start_again(&mut self) {
        let watchdog = launch(self.port, self.dir.path(), &self.options);
        self.watchdogs.push(watchdog.unwrap());
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Three masters that share the slots.
pub(crate) struct RedisCluster([RedisServer; 3]);

impl RedisCluster {
    /// The one cluster that all cases share.
    pub(crate) fn shared() -> &'static Self {
        static CLUSTER: OnceLock<RedisCluster> = OnceLock::new();
        CLUSTER.get_or_init(Self::start)
    }

    /// What a store opens.
    pub(crate) fn url(&self) -> String {
        let addresses: Vec<String> = self.0.iter().map(RedisServer::address).collect();
        format!("redis-cluster://{}", addresses.join(","))
    }

    /// Connections to each master for the test itself.
    pub(crate) fn connections(&self) -> impl Iterator<Item = redis::Connection> {
        self.0.iter().map(RedisServer::connection)
    }

    fn start() -> Self {
        const SLOTS: u32 = 16_384;
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        let cluster = Self([(); 3].map(|()| RedisServer::start(&options)));
        let firsts = [0, SLOTS / 3, SLOTS * 2 / 3, SLOTS];
        for (index, mut connection) in cluster.connections().enumerate() {
            let slots: Vec<u32> = (firsts[index]..firsts[index + 1]).collect();
            let mut tell = |command: &mut redis::Cmd| command.exec(&mut connection).unwrap();
            // Each needs an epoch of its own before they meet, or they first have to argue.
            tell(redis::cmd("CLUSTER").arg("SET-CONFIG-EPOCH").arg(index + 1));
            tell(redis::cmd("CLUSTER").arg("ADDSLOTS").arg(slots));
            tell(redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(cluster.0[0].port));
        }
        for mut connection in cluster.connections() {
            poll("the cluster to form", || {
                let ask = redis::cmd("CLUSTER").arg("INFO").query::<String>(&mut connection);
                let info = ask.unwrap();
                let signs = ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"];
                signs.iter().all(|sign| info.contains(sign))
            });
        }
        cluster
    }
}

/// Waits until `done`, looking again and again, and gives up in the end.
fn poll(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited too long for {what}");
}

/// Starts a server and returns once it takes connections, or with its output if it ends first.
fn launch(port: u16, dir: &Path, options: &[String]) -> Result<Child, String> {
    let mut watchdog = Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(dir)
        .args(["redis-server", "--bind", "127.0.0.1", "--save", "", "--port"])
        .arg(port.to_string())
        .arg("--dir")
        .arg(dir)
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut output = String::new();
    let mut lines = BufReader::new(watchdog.stdout.take().unwrap());
    // The server alone holds the other end, so this ends when it does.
    while lines.read_line(&mut output).unwrap() > 0 {
        if output.contains("Ready to accept connections") {
            return Ok(watchdog);
        }
    }
    Err(output)
}

/// A port that is free now, and whose neighbour for the cluster's own talk is free too.
fn free_port() -> u16 {
    const CLUSTER_BUS: u16 = 10_000;
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bus = port.checked_add(CLUSTER_BUS);
        if bus.is_some_and(|bus| TcpListener::bind(("127.0.0.1", bus)).is_ok()) {
            return port;
        }
    }
}

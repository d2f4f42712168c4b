//! Real Redis servers: started by the tests, gone with the test process however it ends.

use std::collections::HashMap;
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
        let (port, dir, watchdog) = somewhere(|port, dir| launch(port, dir, &options));
        Self { port, options, dir, watchdogs: vec![watchdog] }
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

/// A server that takes writes, one that follows it, and three sentinels that watch them.
pub(crate) struct RedisSentinels {
    /// The one that takes writes at first, and its follower.
    pub(crate) servers: [RedisServer; 2],
    sentinels: Vec<(u16, TempDir, Child)>,
}

impl RedisSentinels {
    pub(crate) fn start() -> Self {
        let first = RedisServer::start(&[]);
        let second = RedisServer::start(&["--replicaof", "127.0.0.1", &first.port.to_string()]);
        // Sentinels look for followers every ten seconds; the first look must find this one.
        let mut connection = first.connection();
        poll("the second server to follow", || {
            let ask = redis::cmd("INFO").arg("replication").query::<String>(&mut connection);
            ask.unwrap().contains("state=online")
        });
        let watch = format!(
            "sentinel monitor main 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds main 300\n\
             sentinel failover-timeout main 3000\n",
            first.port
        );
        let sentinel = |port: u16, dir: &Path| {
            let file = dir.join("sentinel.conf");
            std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n{watch}")).unwrap();
            let file = file.to_str().unwrap();
            begin(dir, &["redis-server", file, "--sentinel"], "+monitor master")
        };
        let sentinels = Self {
            servers: [first, second],
            sentinels: (0..3).map(|_| somewhere(sentinel)).collect(),
        };
        for (port, ..) in &sentinels.sentinels {
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
            let mut connection = client.get_connection().unwrap();
            poll("the sentinels to know all", || {
                let ask = redis::cmd("SENTINEL").arg("MASTER").arg("main").clone();
                let master: HashMap<String, String> = ask.query(&mut connection).unwrap();
                [("num-slaves", "1"), ("num-other-sentinels", "2"), ("flags", "master")]
                    .iter()
                    .all(|(key, value)| master.get(*key).is_some_and(|it| it == value))
            });
        }
        sentinels
    }

    /// What a store opens.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|(port, ..)| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{}/main", hosts.join(","))
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
    let (port, folder) = (port.to_string(), dir.to_str().unwrap());
    let mut command = vec!["redis-server", "--bind", "127.0.0.1", "--save", "", "--port", &port];
    command.extend(["--dir", folder]);
    command.extend(options.iter().map(String::as_str));
    begin(dir, &command, "Ready to accept connections")
}

/// Starts something on a free port, in a folder of its own. Somebody may take the port before.
fn somewhere(start: impl Fn(u16, &Path) -> Result<Child, String>) -> (u16, TempDir, Child) {
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        let dir = tempfile::Builder::new().prefix("lessor-redis-").tempdir().unwrap();
        let port = free_port();
        match start(port, dir.path()) {
            Ok(watchdog) => return (port, dir, watchdog),
            Err(output) => why = output,
        }
    }
    panic!("redis-server does not start:\n{why}");
}

/// Runs a command until this process ends; returns once it says `ready`, or with its output if it
/// ends first.
fn begin(dir: &Path, command: &[&str], ready: &str) -> Result<Child, String> {
    let mut watchdog = Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(dir)
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut output = String::new();
    let mut lines = BufReader::new(watchdog.stdout.take().unwrap());
    // The server alone holds the other end, so this ends when it does.
    while lines.read_line(&mut output).unwrap() > 0 {
        if output.contains(ready) {
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

//! One server or a cluster behind one connection.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::io::tcp::TcpSettings;
use redis::{Client, Cmd, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Value};

use crate::store::{Error, Result};

/// A call that gets no answer for so long has failed: its caller is told to retry.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// A server that takes longer to connect is down.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// The connection that carries all calls; cheap to clone, calls share one socket per server.
#[derive(Clone)]
pub(super) enum Link {
    One(ConnectionManager),
    Cluster(ClusterConnection),
}

/// How to reach the servers.
#[derive(Clone)]
pub(super) struct Address {
    /// One server, or some of a cluster's.
    nodes: Vec<String>,
    is_cluster: bool,
}

impl Address {
    /// Takes `redis://…`, `rediss://…`, `redis-cluster://…` or `rediss-cluster://…`; a cluster's
    /// servers are separated by commas.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let (plain, is_cluster) = match scheme {
            "redis" | "rediss" => (scheme, false),
            "redis-cluster" => ("redis", true),
            "rediss-cluster" => ("rediss", true),
            _ => return Err(Error::Unusable(format!("{scheme} is no scheme of a Redis store"))),
        };
        let (credentials, hosts) = match rest.rsplit_once('@') {
            Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
            None => (String::new(), rest),
        };
        let nodes = if is_cluster {
            hosts.split(',').map(|host| format!("{plain}://{credentials}{host}")).collect()
        } else {
            vec![format!("{plain}://{rest}")]
        };
        Ok(Self { nodes, is_cluster })
    }

    /// Connects; fails when no server answers.
    pub(super) async fn connect(&self) -> RedisResult<Link> {
        // TLS needs one crypto library named, or it panics; somebody may have named it before.
        let _before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        if self.is_cluster {
            let client = ClusterClient::builder(self.nodes.clone())
                .tcp_settings(tcp())
                .connection_timeout(CONNECT_WITHIN)
                .response_timeout(ANSWER_WITHIN)
                .overall_response_timeout(Some(ANSWER_WITHIN))
                .retries(2)
                .build()?;
            return Ok(Link::Cluster(client.get_async_connection().await?));
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN))
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200));
        let client = open(&self.nodes[0])?;
        Ok(Link::One(ConnectionManager::new_with_config(client, config).await?))
    }

    /// A connection of its own for messages. In a cluster any server will do, since messages reach
    /// all; `turn` chooses, so that a dead one is passed over at the next turn.
    pub(super) async fn listen(&self, turn: usize) -> RedisResult<PubSub> {
        let client = open(&self.nodes[turn % self.nodes.len()])?;
        let connecting = client.get_async_pubsub();
        tokio::time::timeout(CONNECT_WITHIN, connecting).await.map_err(|_| timed_out())?
    }
}

impl Link {
    /// Sends a command and waits for its answer, in all no longer than a caller should wait.
    pub(super) async fn ask(&self, command: &Cmd) -> RedisResult<Value> {
        let asking = async {
            match self {
                Self::One(connection) => command.query_async(&mut connection.clone()).await,
                Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, asking).await.map_err(|_| timed_out())?
    }
}

fn open(url: &str) -> RedisResult<Client> {
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp()))
}

/// Calls are small and many are under way at once: none waits for the acknowledgement of the one
/// before it (Nagle's algorithm), or two would not travel together.
fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn timed_out() -> RedisError {
    RedisError::from((ErrorKind::Io, "the server did not answer in time"))
}

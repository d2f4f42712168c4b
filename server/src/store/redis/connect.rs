//! One server, a cluster, or the server that sentinels name, behind one connection.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, ConnectionAddr, ErrorKind, RedisError, RedisResult, Value};

use super::address::{self, Address};

/// A call that gets no answer for so long has failed: its caller is told to retry.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);

/// A server that takes longer to connect is down.
const CONNECT_WITHIN: Duration = Duration::from_millis(500);

/// The connection that carries all calls; cheap to clone, calls share one socket per server.
#[derive(Clone)]
pub(super) enum Link {
    One(ConnectionManager),
    Cluster(ClusterConnection),
    Watched(Arc<RwLock<Primary>>),
}

/// The server that takes writes, as sentinels named it last.
pub(super) struct Primary {
    address: ConnectionAddr,
    connection: ConnectionManager,
}

impl Primary {
    async fn connect(client: Client) -> RedisResult<Self> {
        let address = client.get_connection_info().addr().clone();
        Ok(Self { address, connection: manage(client).await? })
    }
}

impl Address {
    /// Connects; fails when no server answers.
    pub(super) async fn connect(&self) -> RedisResult<Link> {
        match self {
            Self::One(client) => Ok(Link::One(manage(client.clone()).await?)),
            Self::Cluster(nodes) => {
                let client = address::cluster(nodes)
                    .connection_timeout(CONNECT_WITHIN)
                    .response_timeout(ANSWER_WITHIN)
                    .overall_response_timeout(Some(ANSWER_WITHIN))
                    .retries(2)
                    .build()?;
                Ok(Link::Cluster(client.get_async_connection().await?))
            }
            Self::Watched(sentinels) => {
                let primary = Primary::connect(sentinels.primary().await?).await?;
                Ok(Link::Watched(Arc::new(RwLock::new(primary))))
            }
        }
    }

    /// A connection of its own for messages. In a cluster any server will do, since messages reach
    /// all; `turn` chooses, so that a dead one is passed over at the next turn. Where sentinels
    /// name another server than `link` leads to, the link is moved there.
    pub(super) async fn listen(&self, turn: usize, link: &Link) -> RedisResult<PubSub> {
        let client = match self {
            Self::One(client) => client.clone(),
            Self::Cluster(nodes) => address::open(&nodes[turn % nodes.len()])?,
            Self::Watched(sentinels) => {
                let client = sentinels.primary().await?;
                link.follow(&client).await?;
                client
            }
        };
        let connecting = client.get_async_pubsub();
        tokio::time::timeout(CONNECT_WITHIN, connecting).await.map_err(|_| timed_out())?
    }
}

async fn manage(client: Client) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN))
        .set_number_of_retries(1)
        .set_min_delay(Duration::from_millis(20))
        .set_max_delay(Duration::from_millis(200));
    ConnectionManager::new_with_config(client, config).await
}

impl Link {
    /// Sends a command and waits for its answer, in all no longer than a caller should wait.
    pub(super) async fn ask(&self, command: &Cmd) -> RedisResult<Value> {
        let asking = async {
            match self {
                Self::One(connection) => command.query_async(&mut connection.clone()).await,
                Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
                Self::Watched(primary) => {
                    let mut connection = primary.read().connection.clone();
                    command.query_async(&mut connection).await
                }
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, asking).await.map_err(|_| timed_out())?
    }

    /// True when calls are carried out in the order in which they were begun.
    pub(super) fn is_orderly(&self) -> bool {
        !matches!(self, Self::Cluster(_))
    }

    /// Moves to the server of `client` if another one took writes before.
    async fn follow(&self, client: &Client) -> RedisResult<()> {
        let Self::Watched(primary) = self else { return Ok(()) };
        let address = client.get_connection_info().addr();
        if primary.read().address == *address {
            return Ok(());
        }
        tracing::info!("the sentinels name another server: {address}");
        let moved = Primary::connect(client.clone()).await?;
        *primary.write() = moved;
        Ok(())
    }
}

pub(super) fn timed_out() -> RedisError {
    RedisError::from((ErrorKind::Io, "the server did not answer in time"))
}

//! Where the servers are: what the URL of a store says.

use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::{Client, IntoConnectionInfo, RedisResult};

use super::sentinel::Sentinels;
use crate::store::{Error, Result};

/// The servers of a store.
pub(super) enum Address {
    One(Client),
    /// Some servers of a cluster.
    Cluster(Vec<String>),
    /// One server, which changes.
    Watched(Sentinels),
}

impl Address {
    /// Takes `redis://…` for one server, `redis-cluster://…` for a cluster of which some servers
    /// are named, and `redis-sentinel://…` for sentinels and their service; each with TLS as
    /// `rediss`. Servers are separated by commas.
    pub(super) fn parse(url: &str) -> Result<Self> {
        // TLS needs one crypto library named, or it panics; somebody may have named it before.
        let _before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let (plain, kind) = scheme.split_once('-').unwrap_or((scheme, ""));
        let parsed = match (plain, kind) {
            ("redis" | "rediss", "") => open(url).map(Self::One),
            ("redis" | "rediss", "cluster") => {
                let (credentials, hosts) = split(rest);
                let node = |host| format!("{plain}://{credentials}{host}");
                Ok(Self::Cluster(hosts.split(',').map(node).collect()))
            }
            ("redis" | "rediss", "sentinel") => Sentinels::parse(plain, rest).map(Self::Watched),
            _ => return Err(Error::Unusable(format!("{scheme} is no scheme of a Redis store"))),
        };
        parsed.map_err(|error| Error::Unusable(format!("its URL can't be used: {error}")))
    }
}

/// The credentials with their `@`, or nothing, and what follows. A password may hold an `@`.
pub(super) fn split(rest: &str) -> (&str, &str) {
    rest.split_at(rest.rfind('@').map_or(0, |at| at + 1))
}

/// A client of the server that a `redis://…` or `rediss://…` names.
pub(super) fn open(url: &str) -> RedisResult<Client> {
    Client::open(url.into_connection_info()?.set_tcp_settings(tcp()))
}

/// A client of a cluster, to be given its limits of time.
pub(super) fn cluster(nodes: &[String]) -> redis::cluster::ClusterClientBuilder {
    ClusterClient::builder(nodes.to_vec()).tcp_settings(tcp())
}

/// Calls are small and many are under way at once: none waits for the acknowledgement of the one
/// before it (Nagle's algorithm), or two would not travel together.
pub(super) fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

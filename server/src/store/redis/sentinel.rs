//! Redis Sentinel: one server takes the writes, and sentinels say which one it is now.

use std::time::Duration;

use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{Client, ConnectionInfo, IntoConnectionInfo, RedisError, RedisResult, TlsMode};

use super::address::{split, tcp};
use super::connect::timed_out;

/// Sentinels that take longer to name a server that answers do not know one.
const FIND_WITHIN: Duration = Duration::from_secs(3);

/// Sentinels and the service that they watch.
pub(super) struct Sentinels {
    nodes: Vec<ConnectionInfo>,
    service: String,
    /// How its servers are reached, wherever they are.
    server: SentinelNodeConnectionInfo,
}

impl Sentinels {
    /// Takes what follows the scheme of
    /// `redis-sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT…]/SERVICE[/DB][?…]`. The credentials
    /// are those of the servers; `sentinel_user` and `sentinel_password` in the query are those of
    /// the sentinels.
    pub(super) fn parse(scheme: &str, rest: &str) -> RedisResult<Self> {
        let (credentials, rest) = split_query_last(rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() {
            return Err(wrong("it names no service, as in redis-sentinel://HOST:PORT/SERVICE"));
        }
        let (mut user, mut password) = ("", None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sentinel_user", value)) => user = value,
                Some(("sentinel_password", value)) => password = Some(value),
                _ => return Err(wrong("its query takes sentinel_user and sentinel_password only")),
            }
        }
        let own = password.map_or(String::new(), |password| format!("{user}:{password}@"));
        let nodes = hosts.split(',').map(|host| {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            let port = if has_port { "" } else { ":26379" };
            let info = format!("{scheme}://{own}{host}{port}").into_connection_info()?;
            Ok(info.set_tcp_settings(tcp()))
        });
        // The host is a stand-in: only the credentials and the database are taken.
        let like = format!("{scheme}://{credentials}host/{database}").into_connection_info()?;
        let mut server = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(like.redis_settings().clone())
            .set_tcp_settings(tcp());
        if scheme == "rediss" {
            server = server.set_tls_mode(TlsMode::Secure);
        }
        Ok(Self { nodes: nodes.collect::<RedisResult<_>>()?, service: service.to_owned(), server })
    }

    /// The server that takes writes now, and says so itself.
    pub(super) async fn primary(&self) -> RedisResult<Client> {
        let mut sentinels = Sentinel::build(self.nodes.clone())?;
        let asking = sentinels.async_master_for(&self.service, Some(&self.server));
        tokio::time::timeout(FIND_WITHIN, asking).await.map_err(|_| timed_out())?
    }
}

/// The credentials, and what follows them; a password in the query may hold an `@`.
fn split_query_last(rest: &str) -> (&str, &str) {
    let end = rest.find('?').unwrap_or(rest.len());
    let credentials = split(&rest[..end]).0;
    (credentials, &rest[credentials.len()..])
}

fn wrong(why: &'static str) -> RedisError {
    RedisError::from((redis::ErrorKind::InvalidClientConfig, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> RedisResult<Sentinels> {
        Sentinels::parse("redis", rest)
    }

    #[test]
    fn servers_and_sentinels_have_credentials_of_their_own() {
        let url = "ann:s%40cret@one:1234,two/main/3?sentinel_user=bob&sentinel_password=w%40tch";
        let sentinels = parse(url).unwrap();
        assert_eq!(sentinels.service, "main");
        let shown: Vec<String> =
            sentinels.nodes.iter().map(|node| node.addr().to_string()).collect();
        assert_eq!(shown, ["one:1234", "two:26379"]);
        for node in &sentinels.nodes {
            let settings = node.redis_settings();
            assert_eq!((settings.username(), settings.password()), (Some("bob"), Some("w@tch")));
        }
        let server = format!("{:?}", sentinels.server);
        assert!(server.contains("ann") && server.contains("db: 3"), "{server}");
    }

    #[test]
    fn a_url_without_a_service_or_with_an_unknown_query_is_refused() {
        for (rest, why) in [
            ("one:26379", "names no service"),
            ("one:26379/", "names no service"),
            ("one:26379/main?user=x", "its query takes"),
            ("one:26379/main/first", "database"),
        ] {
            let error = parse(rest).err().unwrap().to_string();
            assert!(error.contains(why), "{rest}: {error}");
        }
    }
}

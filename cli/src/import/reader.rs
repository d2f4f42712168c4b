//! Reads a Redis in small steps: no command of these takes long, and none writes.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, cmd};

use crate::failure::Usage;

/// How many entries of a list or a set one command reads.
const PAGE: isize = 1000;
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Reader {
    connection: MultiplexedConnection,
    place: String,
}

/// Which end of a list is the next to run.
#[derive(Clone, Copy)]
pub(super) enum Next {
    First,
    Last,
}

impl Reader {
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        // TLS needs one crypto library named; the client of the broker may have done it.
        let _before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client =
            Client::open(url).map_err(|error| Usage(format!("--from can't be used: {error}")))?;
        let info = client.get_connection_info();
        let place = format!("{}/{}", info.addr(), info.redis_settings().db());
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .with_context(|| format!("can't reach the Redis at {place}"))?;
        Ok(Self { connection, place })
    }

    /// Where it is, without credentials.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) async fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> anyhow::Result<T> {
        let answer = command.query_async(&mut self.connection).await;
        answer.with_context(|| format!("the Redis at {} did not answer as expected", self.place))
    }

    pub(super) async fn ask_all<T: FromRedisValue>(
        &mut self,
        commands: &Pipeline,
    ) -> anyhow::Result<T> {
        let answer = commands.query_async(&mut self.connection).await;
        answer.with_context(|| format!("the Redis at {} did not answer as expected", self.place))
    }

    /// What stands for `*` in the keys `before*after`, sorted.
    pub(super) async fn names(&mut self, before: &str, after: &str) -> anyhow::Result<Vec<String>> {
        let pattern = format!("{}*{}", literal(before), literal(after));
        let (mut names, mut cursor) = (HashSet::new(), 0_u64);
        loop {
            let scan =
                cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE).take();
            let (next, keys): (u64, Vec<Vec<u8>>) = self.ask(&scan).await?;
            names.extend(keys.iter().filter_map(|key| {
                let key = std::str::from_utf8(key).ok()?;
                Some(key.strip_prefix(before)?.strip_suffix(after)?.to_owned())
            }));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The entries of a list, the next to run first. Entries that are added meanwhile make none be
    /// missed, for it is read from the end where they are added.
    pub(super) async fn list(&mut self, key: &str, next: Next) -> anyhow::Result<Vec<String>> {
        let (mut entries, mut seen) = (Vec::new(), HashSet::new());
        let mut begin = 0;
        loop {
            let (from, to) = match next {
                Next::Last => (begin, begin + PAGE - 1),
                Next::First => (-begin - PAGE, -begin - 1),
            };
            let page: Vec<Vec<u8>> = self.ask(cmd("LRANGE").arg(key).arg(from).arg(to)).await?;
            let read = page.len();
            let mut page: Vec<_> = page.into_iter().map(text).collect();
            if matches!(next, Next::First) {
                page.reverse();
            }
            entries.extend(page.into_iter().filter(|entry| seen.insert(entry.clone())));
            begin += PAGE;
            if read.cast_signed() < PAGE {
                break;
            }
        }
        entries.reverse();
        Ok(entries)
    }

    /// The entries of a sorted set with their scores, the lowest first. It is read from score to
    /// score, so that one that goes meanwhile makes no other be missed.
    pub(super) async fn sorted(&mut self, key: &str) -> anyhow::Result<Vec<(String, f64)>> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        let (mut score, mut same) = (f64::NEG_INFINITY, 0);
        loop {
            let from = if score.is_finite() { score.to_string() } else { "-inf".to_owned() };
            let range = cmd("ZRANGEBYSCORE")
                .arg(key)
                .arg(from)
                .arg("+inf")
                .arg("WITHSCORES")
                .arg("LIMIT")
                .arg(same)
                .arg(PAGE)
                .take();
            let page: Vec<(Vec<u8>, f64)> = self.ask(&range).await?;
            let read = page.len();
            for (entry, at) in page {
                // Where the scores are equal, so many are passed over next time.
                #[expect(clippy::float_cmp, reason = "the very same score")]
                let again = at == score;
                same = if again { same + 1 } else { 1 };
                score = at;
                let entry = text(entry);
                if seen.insert(entry.clone()) {
                    entries.push((entry, at));
                }
            }
            if read.cast_signed() < PAGE {
                return Ok(entries);
            }
        }
    }
}

/// Ids are text; one that is not names no job that could be read.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A pattern that matches this text only.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for it in text.chars() {
        if matches!(it, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(it);
    }
    pattern
}

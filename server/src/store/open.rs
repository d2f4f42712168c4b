//! Store URL → store.

use std::path::Path;
use std::sync::Arc;

use super::redis::{RedisOptions, RedisStore};
use super::sqlite::{SqliteStore, Synchronous};
use super::{Error, Result, Store};

/// How a store is opened, beside its URL.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Keeps several products apart in one Redis.
    pub namespace: String,
    /// When a write to SQLite is on the disk.
    pub synchronous: Synchronous,
    /// Work even where Redis may evict keys when memory runs out.
    pub allow_eviction: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            namespace: "lessor".to_owned(),
            synchronous: Synchronous::Full,
            allow_eviction: false,
        }
    }
}

/// What a URL names.
enum Kind<'a> {
    Memory,
    File(&'a Path),
    Redis,
}

/// Reads a URL; the error is the rest of a sentence that begins with it, and repeats none of it.
fn kind(url: &str) -> std::result::Result<Kind<'_>, &'static str> {
    match url.split_once(':') {
        Some(("sqlite", ":memory:")) => Ok(Kind::Memory),
        Some(("sqlite", "")) => Err("must name a file, such as sqlite:/var/lib/lessor.db"),
        Some(("sqlite", path)) => {
            Ok(Kind::File(Path::new(path.strip_prefix("//").unwrap_or(path))))
        }
        Some((
            "redis" | "rediss" | "redis-cluster" | "rediss-cluster" | "redis-sentinel"
            | "rediss-sentinel",
            _,
        )) => Ok(Kind::Redis),
        _ => Err(
            "must begin with sqlite:, redis://, rediss://, redis-cluster:// or redis-sentinel://",
        ),
    }
}

/// Whether `url` is one that [`open`] takes; if not, the rest of a sentence that begins with it.
pub fn check(url: &str) -> std::result::Result<(), &'static str> {
    kind(url).map(drop)
}

/// True when `url` names a store that is gone with the process.
pub fn is_in_memory(url: &str) -> bool {
    matches!(kind(url), Ok(Kind::Memory))
}

/// Opens the store that `url` names: `sqlite:PATH`, `sqlite::memory:`, `redis://…`,
/// `redis-cluster://…` or `redis-sentinel://…`, the latter three also with TLS as `rediss…`.
pub async fn open(url: &str, options: &OpenOptions) -> Result<Arc<dyn Store>> {
    match kind(url).map_err(|why| Error::Unusable(format!("its URL {why}")))? {
        Kind::Memory => Ok(SqliteStore::in_memory().await?),
        Kind::File(path) => Ok(SqliteStore::open(path, options.synchronous).await?),
        Kind::Redis => {
            let options = RedisOptions {
                namespace: options.namespace.clone(),
                allow_eviction: options.allow_eviction,
            };
            Ok(RedisStore::open(url, &options).await?)
        }
    }
}

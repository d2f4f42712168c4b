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

/// Opens the store that `url` names: `sqlite:PATH`, `sqlite::memory:`, `redis://…`, `rediss://…`,
/// `redis-cluster://…` or `rediss-cluster://…`.
pub async fn open(url: &str, options: &OpenOptions) -> Result<Arc<dyn Store>> {
    match url.split_once(':') {
        Some(("sqlite", ":memory:")) => Ok(SqliteStore::in_memory().await?),
        Some(("sqlite", path)) if !path.is_empty() => {
            let path = path.strip_prefix("//").unwrap_or(path);
            Ok(SqliteStore::open(Path::new(path), options.synchronous).await?)
        }
        Some(("redis" | "rediss" | "redis-cluster" | "rediss-cluster", _)) => {
            let options = RedisOptions {
                namespace: options.namespace.clone(),
                allow_eviction: options.allow_eviction,
            };
            Ok(RedisStore::open(url, &options).await?)
        }
        Some(("redis-sentinel", _)) => {
            Err(Error::Unusable("Redis Sentinel is not supported yet".to_owned()))
        }
        _ => Err(Error::Unusable(
            "its URL must begin with sqlite:, redis://, rediss:// or redis-cluster://".to_owned(),
        )),
    }
}

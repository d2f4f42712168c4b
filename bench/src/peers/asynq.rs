//! Asynq on Redis, driven by Go.

use super::running::{Running, Servers};
use super::tools::Tools;
use crate::driver::Driver;
use crate::machine::{Persistence, Redis};

pub(super) async fn start(tools: &Tools, durable: bool) -> anyhow::Result<Running> {
    let persistence = if durable { Persistence::Everysec } else { Persistence::No };
    let redis = Redis::start(persistence).await?;
    let driver = Driver {
        command: vec![tools.go.join("asynq").into()],
        last: Vec::new(),
        address: redis.url(),
    };
    Ok(Running { driver, servers: Servers::Redis(redis) })
}

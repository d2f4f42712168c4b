//! Lessor, with everything on that is on by default. Its driver is its own command line.

use super::running::{Running, Servers};
use super::subject::Store;
use super::tools::Tools;
use crate::driver::Driver;
use crate::machine::{Machine, Persistence, Redis};

pub(super) async fn start(tools: &Tools, store: Store) -> anyhow::Result<Running> {
    let machine = Machine::new(tools.binary.clone())?;
    let servers = match store {
        Store::Redis | Store::Everysec => {
            let everysec = store == Store::Everysec;
            let persistence = if everysec { Persistence::Everysec } else { Persistence::No };
            let redis = Redis::start(persistence).await?;
            Servers::Broker(machine.broker(&redis.url()).await?, redis)
        }
        Store::Sqlite => {
            let folder = tempfile::tempdir()?;
            let url = format!("sqlite:{}", folder.path().join("bench.db").display());
            Servers::Embedded(machine.broker(&url).await?, folder)
        }
    };
    let (Servers::Broker(broker, _) | Servers::Embedded(broker, _)) = &servers else {
        unreachable!("one of the two was made above");
    };
    let driver = Driver {
        command: vec![tools.binary.clone().into(), "bench".into()],
        last: vec!["-o", "json"],
        address: broker.url().to_owned(),
    };
    Ok(Running { driver, servers })
}

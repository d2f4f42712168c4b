//! `lessor status`: how the broker and its store are.

use clap::Args;
use lessor::{Client, StoreStatus};

use crate::failure::Exit;
use crate::output::{Output, facts, show};

/// Print how the broker and its store are, and what the broker can do.
///
/// Exits with 6 when the store takes no writes. `lessor doctor` looks at a store without a broker.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor status
  lessor status -o json | jq -r '.warnings[]?'")]
pub(crate) struct Status {}

impl Status {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let status = client.store_status().await?;
        out.message("StoreStatus", &status, || {
            let StoreStatus { store, store_version, broker_version, epoch, .. } = status.clone();
            facts([
                ("Broker", broker_version),
                ("Store", format!("{store} {store_version}")),
                ("Ready", if status.ready { "yes" } else { "no" }.to_owned()),
                ("Round trip", show(status.ping.as_ref())),
                ("Store time", show(status.store_time.as_ref())),
                ("Epoch", epoch),
                ("Features", status.features.join(", ")),
                ("Warnings", status.warnings.join("; ")),
            ])
        })?;
        if status.ready { Ok(()) } else { Err(Exit(6).into()) }
    }
}

//! `lessor doctor`: is the store fit to keep jobs?

use std::time::Duration;

use clap::Args;
use lessor_server::config::RawConfig;
use lessor_server::store::{Status, open};
use serde::Serialize;

use crate::output::{Format, Output};
use crate::settings::Settings;

const EXAMPLE: &str = "\
Example:
  lessor doctor --store redis://127.0.0.1:6379";

/// Check that the store can be reached and is set up to keep jobs.
///
/// Reads the same flags, variables and file as `lessor serve`. Exits with 0 when the store is fit,
/// also with warnings, and with 1 when it is not.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Doctor {
    #[command(flatten)]
    settings: Settings,
}

/// What was found.
#[derive(Serialize)]
struct Findings {
    store: String,
    version: String,
    epoch: String,
    queues: usize,
    clock_offset_millis: i64,
    warnings: Vec<String>,
}

impl Doctor {
    pub(crate) fn run(self, out: &mut Output) -> anyhow::Result<()> {
        let config = self.settings.load(RawConfig::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let findings = runtime.block_on(async {
            let url = &config.store.url;
            let store = open::open(url.expose(), &config.store.options).await?;
            let Status { version, epoch, warnings } = store.status().await?;
            let queues = store.queues().await?.len();
            let clock_offset_millis = offset(store.time().await?.as_millis())?;
            store.close().await;
            let store = url.to_string();
            anyhow::Ok(Findings { store, version, epoch, queues, clock_offset_millis, warnings })
        })?;
        match out.format() {
            Format::Json => out.document(&findings),
            Format::Jsonl => out.line(&findings),
            Format::Table => out.text(&findings.text()),
        }
    }
}

/// By how much the store's clock is ahead of this host's.
#[expect(clippy::disallowed_methods, reason = "the host's clock is what is looked at")]
fn offset(store_millis: u64) -> anyhow::Result<i64> {
    let host = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let store = Duration::from_millis(store_millis);
    let ahead = i64::try_from(store.as_millis())? - i64::try_from(host.as_millis())?;
    Ok(ahead)
}

impl Findings {
    fn text(&self) -> String {
        let mut text = format!(
            "store    {}\nversion  {}\nepoch    {}\nqueues   {}\nclock    {} ms ahead of this host",
            self.store, self.version, self.epoch, self.queues, self.clock_offset_millis
        );
        for warning in &self.warnings {
            text.push_str("\nwarning  ");
            text.push_str(warning);
        }
        text.push_str("\nThe store is fit to keep jobs.");
        text
    }
}

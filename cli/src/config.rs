//! `lessor config`: the settings of a broker, without a broker.

use clap::{Args, Subcommand};
use lessor_server::config::RawConfig;

use crate::output::Output;
use crate::settings::Settings;

const REFERENCE: &str = include_str!("../../config.reference.toml");

const CHECK_EXAMPLE: &str = "\
Example:
  lessor config check --config lessor.toml";

const TEMPLATE_EXAMPLE: &str = "\
Example:
  lessor config template > lessor.toml";

/// Check settings, or print a file to begin with.
#[derive(Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(Check),
    Template(Template),
}

/// Check the settings that `lessor serve` would start with.
///
/// Reads the same file, variables and flags, and neither opens the store nor listens. Exits with 0
/// when they hold, and with 78 when one is refused.
#[derive(Args)]
#[command(after_help = CHECK_EXAMPLE)]
struct Check {
    #[command(flatten)]
    settings: Settings,
}

/// Print a configuration file with every key, its default and what it means.
#[derive(Args)]
#[command(after_help = TEMPLATE_EXAMPLE)]
struct Template {}

impl Config {
    pub(crate) fn run(self, out: &mut Output) -> anyhow::Result<()> {
        match self.command {
            Command::Check(check) => {
                let config = check.settings.load(RawConfig::default())?;
                out.text(&format!("The settings hold. Jobs would be in {}.", config.store.url))
            }
            Command::Template(Template {}) => out.text(REFERENCE.trim_end()),
        }
    }
}

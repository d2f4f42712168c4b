//! `lessor token`: credentials of callers.

use clap::{Args, Subcommand};
use lessor_server::auth::secret::{self, Digest};
use serde::Serialize;

use crate::output::{Format, Output};

const EXAMPLE: &str = "\
Example:
  lessor token new
  lessor token new -o json | jq -r .token > token.txt";

/// Make credentials of callers.
#[derive(Subcommand)]
pub(crate) enum Command {
    New(New),
}

/// Make a bearer token.
///
/// Shows the token, which the caller sends, and its digest, which stands in the broker's file of
/// identities. The token is shown once and kept nowhere. Needs no broker.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct New {}

#[derive(Serialize)]
struct Made {
    token: String,
    digest: String,
}

impl Command {
    pub(crate) fn run(self, out: &mut Output) -> anyhow::Result<()> {
        let Self::New(New {}) = self;
        let failed = |_| anyhow::anyhow!("this machine gives no random numbers");
        let token = secret::generate().map_err(failed)?;
        let digest = Digest::of(&token).to_string();
        let made = Made { token, digest };
        match out.format() {
            Format::Json => out.document(&made),
            Format::Jsonl => out.line(&made),
            Format::Table => {
                let Made { token, digest } = made;
                out.text(&format!("Token   {token}\nDigest  {digest}\n"))
            }
        }
    }
}

//! `lessor token`: credentials of callers.

use clap::{Args, Subcommand};
use lessor_server::auth::secret::{self, Digest};
use lessor_server::push;
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
    Secret(Secret),
}

/// Make a bearer token.
///
/// Shows the token, which the caller sends, and its digest, which stands in the broker's file of
/// identities. The token is shown once and kept nowhere. Needs no broker.
#[derive(Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct New {}

/// Make a secret to sign requests with.
///
/// For `lessor queue update --push-secret` and the endpoint that requests are sent to (Standard
/// Webhooks). It is shown once and kept nowhere. Needs no broker.
#[derive(Args)]
#[command(after_help = "\
Example:
  lessor token secret -o json | jq -r .secret")]
pub(crate) struct Secret {}

#[derive(Serialize)]
struct MadeSecret {
    secret: String,
    fingerprint: String,
}

#[derive(Serialize)]
struct Made {
    token: String,
    digest: String,
}

impl Command {
    pub(crate) fn run(self, out: &mut Output) -> anyhow::Result<()> {
        let failed = |_| anyhow::anyhow!("this machine gives no random numbers");
        match self {
            Self::New(New {}) => {
                let token = secret::generate().map_err(failed)?;
                let digest = Digest::of(&token).to_string();
                let text = format!("Token   {token}\nDigest  {digest}\n");
                show(out, &Made { token, digest }, &text)
            }
            Self::Secret(Secret {}) => {
                let (secret, fingerprint) = push::generate_secret().map_err(failed)?;
                let text = format!("Secret       {secret}\nFingerprint  {fingerprint}\n");
                show(out, &MadeSecret { secret, fingerprint }, &text)
            }
        }
    }
}

fn show(out: &mut Output, made: &impl Serialize, text: &str) -> anyhow::Result<()> {
    match out.format() {
        Format::Json => out.document(made),
        Format::Jsonl => out.line(made),
        Format::Table => out.text(text),
    }
}

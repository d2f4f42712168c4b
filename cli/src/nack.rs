//! `lessor nack`: a leased job is not done.

use std::time::Duration;

use clap::Args;
use lessor::Client;

use crate::input::Checkpoint;
use crate::output::{Output, settled};

const EXAMPLES: &str = r#"Examples:
  lessor nack "$token" --code HTTP_503 --message 'the mail server is down'
  lessor nack "$token" --delay 5m --checkpoint-json '{"row": 300}'
  lessor nack "$token" --dead --code BAD_ADDRESS"#;

/// Say that a leased job is not done.
///
/// Without a flag the attempt has failed, and the job's policy decides when it is tried again.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Nack {
    /// The lease's token, as `lease` printed it.
    token: String,

    #[command(flatten)]
    fate: Fate,

    /// What went wrong, as one word that a retry policy may name.
    #[arg(long, value_name = "WORD")]
    code: Option<String>,

    /// What went wrong, as a sentence.
    #[arg(long, value_name = "TEXT")]
    message: Option<String>,

    #[command(flatten)]
    checkpoint: Checkpoint,
}

#[derive(Args)]
#[group(multiple = false)]
struct Fate {
    /// The attempt failed; if the policy allows another one, it comes after this pause.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    delay: Option<Duration>,

    /// It is too early for this job: offer it again after this pause. The attempt does not count.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    snooze: Option<Duration>,

    /// Give it to another worker, at once. The attempt does not count.
    #[arg(long)]
    release: bool,

    /// Never try it again.
    #[arg(long)]
    dead: bool,
}

impl Nack {
    pub(crate) async fn run(self, client: &Client, out: &mut Output) -> anyhow::Result<()> {
        let mut nack = self.fate.into_nack();
        if self.code.is_some() || self.message.is_some() {
            nack = nack.failure(self.code.unwrap_or_default(), self.message.unwrap_or_default());
        }
        if let Some(checkpoint) = self.checkpoint.read()? {
            nack = nack.checkpoint(checkpoint);
        }
        let reply = client.nack(self.token, nack).await?;
        out.message("NackResponse", &reply, || settled(reply.job.as_deref(), reply.outcome()))
    }
}

impl Fate {
    fn into_nack(self) -> lessor::Nack {
        match self {
            Self { delay: Some(delay), .. } => lessor::Nack::retry_after(delay),
            Self { snooze: Some(delay), .. } => lessor::Nack::snooze(delay),
            Self { release: true, .. } => lessor::Nack::release(),
            Self { dead: true, .. } => lessor::Nack::dead(),
            _ => lessor::Nack::retry(),
        }
    }
}

//! `lessor completions`: what a shell needs to complete our commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Cli;
use crate::output::Output;

const EXAMPLES: &str = "\
Example:
  source <(lessor completions bash)";

/// Print the completion script for a shell.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Completions {
    /// The shell to complete in.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, out: &mut Output) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "lessor", &mut script);
        out.text(String::from_utf8(script)?.trim_end())
    }
}

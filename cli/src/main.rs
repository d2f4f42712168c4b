//! The `lessor` binary. One file per command; what they share is how they connect ([`client`]),
//! print ([`output`]), read ([`input`]) and fail ([`failure`]).

mod ack;
mod advance;
mod batch;
mod bench;
mod bulk;
mod cancel;
mod client;
mod completions;
mod config;
mod doctor;
mod each;
mod enqueue;
mod explain;
mod extend;
mod failure;
mod get;
mod import;
mod input;
mod jobs;
mod lease;
mod nack;
mod output;
mod policy;
mod progress;
mod purge;
mod queue;
mod queues;
mod repair;
mod room;
mod schedule;
mod schedules;
mod selection;
mod serve;
mod settings;
mod status;
mod template;
mod token;
mod top;
mod trial;
mod update;
mod wait;
mod watch;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::output::{Format, Output};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 bad request, 3 not found, 4 conflict or lost lease, \
5 not allowed, 6 not available or too late, 78 bad configuration, 130 interrupted.";

/// A job broker: producers enqueue jobs, workers lease and settle them.
#[derive(Parser)]
#[command(name = "lessor", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    connection: client::Connection,

    /// How to print: a table for people, JSON as the protocol maps it, or one JSON per line.
    ///
    /// Default: table on a terminal, else json. With json a command prints the broker's reply, or a
    /// list of them where it takes several names; with jsonl it prints one line for each job, queue
    /// or event in it.
    #[arg(
        short,
        long,
        global = true,
        help_heading = client::GLOBAL_OPTIONS,
        value_enum,
        value_name = "FORMAT"
    )]
    output: Option<Format>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Client(Box<client::Command>),
    Serve(Box<serve::Serve>),
    Config(config::Config),
    Doctor(doctor::Doctor),
    #[command(subcommand)]
    Token(token::Command),
    Completions(completions::Completions),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Client(command) => {
            client::run(&cli.connection, *command, &mut Output::new(cli.output)?)
        }
        Command::Serve(command) => command.run(),
        Command::Config(command) => command.run(&mut Output::new(cli.output)?),
        Command::Token(command) => command.run(&mut Output::new(cli.output)?),
        Command::Doctor(command) => command.run(&mut Output::new(cli.output)?),
        Command::Completions(command) => command.run(&mut Output::new(cli.output)?),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_shows_how_it_is_used() {
        let mut root = Cli::command();
        root.build();
        let mut commands = vec![root];
        while let Some(command) = commands.pop() {
            let name = command.get_bin_name().unwrap_or_default().to_owned();
            assert!(command.get_about().is_some(), "{name} says what it is for");
            let below: Vec<_> = command.get_subcommands().cloned().collect();
            if below.is_empty() && !name.contains("help") {
                let help = command.get_after_long_help().or(command.get_after_help());
                let help = help.map(ToString::to_string).unwrap_or_default();
                assert!(
                    help.contains(&format!("{name} ")) || help.contains(&format!("{name}\n")),
                    "{name}: {help}"
                );
            }
            commands.extend(below);
        }
    }
}

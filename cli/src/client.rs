//! What the client commands share: how they reach the broker and how they are interrupted.

use std::time::Duration;

use clap::{Args, Subcommand};
use lessor::Client;

use crate::failure::Interrupted;
use crate::output::Output;
use crate::{
    ack, advance, batch, bench, bulk, cancel, enqueue, explain, extend, get, jobs, lease, nack,
    purge, queue, queues, repair, schedule, schedules, status, top, trial, update, wait, watch,
    workers,
};

/// Where the help shows the options that every command has.
pub(crate) const GLOBAL_OPTIONS: &str = "Global options";

#[derive(Args)]
pub(crate) struct Connection {
    /// The broker's address.
    #[arg(
        long,
        alias = "address",
        global = true,
        help_heading = GLOBAL_OPTIONS,
        env = "LESSOR_SERVER",
        default_value = "http://127.0.0.1:7077",
        value_name = "URL"
    )]
    server: String,

    /// How long a call may take, beyond the time that it waits for jobs.
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL_OPTIONS,
        default_value = "10s",
        value_name = "DURATION",
        value_parser = humantime::parse_duration
    )]
    timeout: Duration,
}

impl Connection {
    pub(crate) fn server(&self) -> &str {
        &self.server
    }
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Enqueue(Box<enqueue::Enqueue>),
    EnqueueBatch(batch::Batch),
    Get(get::Get),
    Wait(wait::Wait),
    Jobs(jobs::Jobs),
    Explain(explain::Explain),
    Cancel(cancel::Cancel),
    Retry(repair::Retry),
    Promote(repair::Promote),
    Update(update::Update),
    Revoke(repair::Revoke),
    Delete(repair::Delete),
    Lease(lease::Lease),
    Ack(ack::Ack),
    Nack(nack::Nack),
    Extend(extend::Extend),
    Watch(watch::Watch),
    #[command(subcommand)]
    Bulk(bulk::Command),
    Purge(purge::Purge),
    Queues(queues::Queues),
    Health(queues::Health),
    Top(top::Top),
    #[command(subcommand)]
    Queue(queue::Command),
    Schedules(schedules::Schedules),
    #[command(subcommand)]
    Schedule(schedule::Command),
    Workers(workers::Workers),
    #[command(subcommand)]
    Worker(workers::Command),
    Status(status::Status),
    Advance(advance::Advance),
    Try(trial::Try),
    Bench(bench::Bench),
}

pub(crate) fn run(
    connection: &Connection,
    command: Command,
    out: &mut Output,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::builder(&connection.server).timeout(connection.timeout).connect()?;
        tokio::select! {
            // The command first: it may have a word to say when it is interrupted.
            biased;
            done = command.run(connection, &client, out) => done,
            interrupt = tokio::signal::ctrl_c() => interrupt.map_err(Into::into).and(Err(Interrupted.into())),
        }
    })
}

impl Command {
    async fn run(
        self,
        connection: &Connection,
        client: &Client,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        match self {
            Self::Enqueue(command) => command.run(client, out).await,
            Self::EnqueueBatch(command) => command.run(client, out).await,
            Self::Get(command) => command.run(client, out).await,
            Self::Wait(command) => command.run(client, out).await,
            Self::Jobs(command) => command.run(client, out).await,
            Self::Explain(command) => command.run(client, out).await,
            Self::Cancel(command) => command.run(client, out).await,
            Self::Retry(command) => command.run(client, out).await,
            Self::Promote(command) => command.run(client, out).await,
            Self::Update(command) => command.run(client, out).await,
            Self::Revoke(command) => command.run(client, out).await,
            Self::Delete(command) => command.run(client, out).await,
            Self::Lease(command) => command.run(client, out).await,
            Self::Ack(command) => command.run(client, out).await,
            Self::Nack(command) => command.run(client, out).await,
            Self::Extend(command) => command.run(client, out).await,
            Self::Watch(command) => command.run(client, out).await,
            Self::Bulk(command) => command.run(client, out).await,
            Self::Purge(command) => command.run(client, out).await,
            Self::Queues(command) => command.run(client, out).await,
            Self::Health(command) => command.run(client, out).await,
            Self::Top(command) => command.run(client, out).await,
            Self::Queue(command) => command.run(client, out).await,
            Self::Schedules(command) => command.run(client, out).await,
            Self::Schedule(command) => command.run(client, out).await,
            Self::Workers(command) => command.run(client, out).await,
            Self::Worker(command) => command.run(client, out).await,
            Self::Status(command) => command.run(client, out).await,
            Self::Advance(command) => command.run(client, out).await,
            Self::Try(command) => command.run(client, out).await,
            Self::Bench(command) => command.run(connection, client, out).await,
        }
    }
}

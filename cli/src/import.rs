//! `lessor import`: jobs that wait in another queue become jobs here.
//!
//! A [`Source`](source::Source) knows one kind of store: what waits in it, and what a job of it is
//! in our words. Everything else is the same for all: names and request ids ([`identity`]), writing
//! ([`mod@write`]) and what the user is told ([`report`]). A store is only ever read.

mod bull;
mod identity;
mod reader;
mod report;
mod retry;
mod rq;
mod run;
mod source;
mod sqlite;
mod write;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lessor::Client;

use crate::client::Connection;
use crate::output::Output;

/// Take over the jobs that wait in another queue.
///
/// Without --execute nothing is written: the command shows what it would do. The other store is
/// only read; nothing in it is changed or deleted. A command that is repeated, also after it was
/// interrupted, makes no job twice.
///
/// Stop the other system's producers and workers first, or wait until nothing of it is active: what
/// one of its workers takes meanwhile would run there and here.
#[derive(Subcommand)]
pub(crate) enum Command {
    Bullmq(Bullmq),
    Bull(Bull),
    Rq(Rq),
    Sqlite(Sqlite),
}

impl Command {
    pub(crate) async fn run(
        self,
        connection: &Connection,
        client: &Client,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        let server = connection.server();
        match self {
            Self::Bullmq(Bullmq { store, prefix, which }) => {
                let source = bull::Store::new(bull::Kind::BullMq, store.connect().await?, prefix);
                run::run(source, &which, server, client, out).await
            }
            Self::Sqlite(Sqlite { from, table, columns, states, lower_first, which }) => {
                let source = sqlite::Store::open(&from, &table, &columns, states, lower_first)?;
                run::run(source, &which, server, client, out).await
            }
            Self::Rq(Rq { store, prefix, which }) => {
                let source = rq::Store::new(store.connect().await?, prefix);
                run::run(source, &which, server, client, out).await
            }
            Self::Bull(Bull { store, prefix, which }) => {
                let source = bull::Store::new(bull::Kind::Bull, store.connect().await?, prefix);
                run::run(source, &which, server, client, out).await
            }
        }
    }
}

/// Where the other queue's Redis is.
#[derive(Args)]
struct RedisStore {
    /// Its Redis: `redis://USER:PASSWORD@HOST:PORT/DATABASE`, or `rediss://` with TLS.
    #[arg(long, value_name = "URL", env = "LESSOR_IMPORT_FROM", hide_env_values = true)]
    from: String,
}

impl RedisStore {
    async fn connect(&self) -> anyhow::Result<reader::Reader> {
        reader::Reader::connect(&self.from).await
    }
}

/// What is taken over, and where to.
#[derive(Args)]
struct Which {
    /// Only this queue; may be given many times. Default: all that are found.
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<String>,

    /// The queue that all jobs go to. Default: the one of the same name.
    #[arg(long, value_name = "QUEUE")]
    to_queue: Option<String>,

    /// Enqueue the jobs. Without it they are only counted and shown.
    #[arg(long)]
    execute: bool,
}

/// Take over the jobs of BullMQ.
///
/// Jobs that wait, also delayed and prioritized ones, with their name, data, attempts, backoff,
/// priority and deduplication. What runs, has ended, or belongs to a flow or a scheduler is left
/// out, and counted.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor import bullmq --from redis://127.0.0.1:6379
  lessor import bullmq --from redis://127.0.0.1:6379 --queue emails --execute
  lessor import bullmq --from rediss://default:secret@eu1.example.com:6379 --prefix shop -o json")]
pub(crate) struct Bullmq {
    #[command(flatten)]
    store: RedisStore,

    /// What the names of its keys begin with.
    #[arg(long, value_name = "PREFIX", default_value = "bull")]
    prefix: String,

    #[command(flatten)]
    which: Which,
}

/// Take over the jobs of Bull.
///
/// Jobs that wait, also delayed ones, with their name, data, attempts, backoff, priority and
/// timeout. What runs, has ended or repeats is left out, and counted.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor import bull --from redis://127.0.0.1:6379
  lessor import bull --from redis://127.0.0.1:6379 --queue webhooks --to-queue hooks --execute")]
pub(crate) struct Bull {
    #[command(flatten)]
    store: RedisStore,

    /// What the names of its keys begin with.
    #[arg(long, value_name = "PREFIX", default_value = "bull")]
    prefix: String,

    #[command(flatten)]
    which: Which,
}

/// Take over the jobs of RQ.
///
/// Jobs that are queued or scheduled, with their function as type, their arguments as JSON, their
/// retries, timeout and lifetimes. Pickled arguments are read without running anything; jobs with
/// arguments that are no plain data are left out, and named.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor import rq --from redis://127.0.0.1:6379
  lessor import rq --from redis://127.0.0.1:6379 --queue document_processing --execute")]
pub(crate) struct Rq {
    #[command(flatten)]
    store: RedisStore,

    /// What the names of its keys begin with.
    #[arg(long, value_name = "PREFIX", default_value = "rq")]
    prefix: String,

    #[command(flatten)]
    which: Which,
}

/// Take over the jobs in a table of a SQLite database.
///
/// The table's columns are found by their usual names, such as job_type, data or scheduled_for; the
/// first line of the answer shows which. Name others with --map. The database is opened read-only.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  lessor import sqlite --from app.db --table jobs
  lessor import sqlite --from app.db --table llm_jobs --to-queue llm --execute
  lessor import sqlite --from app.db --table work --map type=kind,payload=body,owner= \\
      --where-status new,later --lower-first")]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
pub(crate) struct Sqlite {
    /// The file of the database.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    /// The table of jobs.
    #[arg(long, value_name = "TABLE")]
    table: String,

    /// Which columns hold what, such as type=job_type; FIELD= for none. The fields are id, queue,
    /// type, payload, status, priority, attempts, max-attempts, run-at, created-at, owner,
    /// timeout-ms, backoff-ms, parent and dependencies.
    #[arg(
        long = "map",
        value_name = "FIELD=COLUMN",
        value_delimiter = ',',
        value_parser = sqlite::parse_pair
    )]
    columns: Vec<(sqlite::Field, String)>,

    /// The states of jobs that wait.
    #[arg(
        long = "where-status",
        value_name = "STATES",
        value_delimiter = ',',
        default_value = "pending,queued,waiting,delayed,scheduled"
    )]
    states: Vec<String>,

    /// The lower number of a priority runs sooner. Default: the greater.
    #[arg(long)]
    lower_first: bool,

    #[command(flatten)]
    which: Which,
}

//! What the client commands share: how they reach the broker and how they are interrupted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use lessor::Client;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::failure::Interrupted;
use crate::output::Output;
use crate::{
    ack, advance, batch, bench, bulk, cancel, enqueue, explain, extend, get, import, jobs, lease,
    nack, purge, queue, queues, repair, schedule, schedules, status, top, trial, update, wait,
    watch, workers,
};

/// As the client has it: h2 closes a connection that holds too many small unread frames.
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Where the help shows the options that every command has.
pub(crate) const GLOBAL_OPTIONS: &str = "Global options";

#[derive(Args)]
#[expect(clippy::doc_markdown, reason = "a help text is no Markdown")]
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

    /// A file with the token that the broker knows you by. LESSOR_TOKEN may hold the token itself.
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL_OPTIONS,
        env = "LESSOR_TOKEN_FILE",
        value_name = "FILE"
    )]
    token_file: Option<PathBuf>,

    /// The authority of the broker's certificate, as PEM. Default: those that the system trusts.
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL_OPTIONS,
        env = "LESSOR_CA",
        value_name = "FILE"
    )]
    ca: Option<PathBuf>,

    /// The certificate that the broker knows you by, as PEM.
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL_OPTIONS,
        env = "LESSOR_CLIENT_CERT",
        value_name = "FILE",
        requires = "client_key"
    )]
    client_cert: Option<PathBuf>,

    /// The key of that certificate, as PEM.
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL_OPTIONS,
        env = "LESSOR_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_cert"
    )]
    client_key: Option<PathBuf>,
}

impl Connection {
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// A connection of its own, without the client around it.
    pub(crate) fn channel(&self) -> anyhow::Result<Bare> {
        let endpoint = Endpoint::from_shared(self.server.clone())?
            .tcp_nodelay(true)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let endpoint = if endpoint.uri().scheme_str() == Some("https") {
            let tls = match &self.ca {
                Some(path) => {
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?))
                }
                None => ClientTlsConfig::new().with_enabled_roots(),
            };
            endpoint.tls_config(match (&self.client_cert, &self.client_key) {
                (Some(cert), Some(key)) => {
                    tls.identity(Identity::from_pem(read(cert)?, read(key)?))
                }
                _ => tls,
            })?
        } else {
            endpoint
        };
        let header = self.token()?.map(|token| format!("Bearer {token}").parse()).transpose();
        let header = header.context("the token does not fit a header")?;
        Ok(Bare::new(endpoint.connect_lazy(), Bearer(header)))
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        let token = match &self.token_file {
            Some(path) => Some(read(path)?),
            None => std::env::var("LESSOR_TOKEN").ok(),
        };
        Ok(token.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()))
    }

    /// A client that calls as these options say.
    pub(crate) fn connect(&self) -> anyhow::Result<Client> {
        self.connect_within(self.timeout)
    }

    /// As [`connect`](Self::connect), with another time for each call.
    pub(crate) fn connect_within(&self, timeout: Duration) -> anyhow::Result<Client> {
        let mut builder = Client::builder(&self.server).timeout(timeout);
        if let Some(token) = self.token()? {
            builder = builder.token(token);
        }
        if let Some(path) = &self.ca {
            builder = builder.ca_certificate(read(path)?);
        }
        if let (Some(cert), Some(key)) = (&self.client_cert, &self.client_key) {
            builder = builder.tls_identity(read(cert)?, read(key)?);
        }
        Ok(builder.connect()?)
    }
}

/// Sends the token with each call, if there is one.
#[derive(Clone)]
pub(crate) struct Bearer(Option<AsciiMetadataValue>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// A connection that knows its token.
pub(crate) type Bare = InterceptedService<Channel, Bearer>;

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
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
    #[command(subcommand)]
    Import(import::Command),
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
        let client = connection.connect()?;
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
            Self::Import(command) => Box::pin(command.run(connection, client, out)).await,
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

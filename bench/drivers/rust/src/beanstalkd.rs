//! beanstalkd: a line protocol over TCP, one connection a caller.
//!
//! It has no bulk command, so a bulk call is that many `put`s written at once. The queue is a tube.

use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::measure::{self, Cpu, Pace, Tally, Tickets};
use crate::{Role, Run, Workload};

/// Lower is sooner; any number will do where only one is used.
const PRIORITY: usize = 1000;
const SECONDS_TO_RUN: u32 = 60;

pub(crate) async fn drive(run: Run) -> anyhow::Result<()> {
    let run = Arc::new(run);
    let (cpu, tally) = match (run.role, run.workload) {
        (Role::Worker, _) => work(&run).await?,
        (Role::Producer, Workload::W4) => pace(&run).await?,
        (Role::Producer, _) => produce(&run).await?,
    };
    measure::report(&run, &tally, &cpu)
}

async fn produce(run: &Arc<Run>) -> anyhow::Result<(Cpu, Tally)> {
    let connections = connect_all(run).await?;
    let (cpu, tickets) = (Cpu::now()?, Arc::new(Tickets::new(run.jobs)));
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let (run, tickets) = (run.clone(), tickets.clone());
        tasks.spawn(async move {
            let mut tally = Tally::new()?;
            while let Some(jobs) = tickets.take(run.jobs_a_call()) {
                let began = measure::now()?;
                connection.put(&run, jobs).await?;
                tally.called(began)?;
            }
            Ok(tally)
        });
    }
    Ok((cpu, measure::gather(tasks).await?))
}

async fn pace(run: &Run) -> anyhow::Result<(Cpu, Tally)> {
    let mut connection = Connection::open(run).await?;
    let (cpu, mut tally, mut pace) = (Cpu::now()?, Tally::new()?, Pace::new(run.rate)?);
    for job in 0..run.jobs {
        pace.turn().await?;
        let began = measure::now()?;
        connection.put(run, job..=job).await?;
        tally.called(began)?;
    }
    Ok((cpu, tally))
}

async fn work(run: &Arc<Run>) -> anyhow::Result<(Cpu, Tally)> {
    let connections = connect_all(run).await?;
    let (cpu, tickets) = (Cpu::now()?, Arc::new(Tickets::new(run.jobs)));
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let tickets = tickets.clone();
        tasks.spawn(async move {
            let (mut tally, mut body) = (Tally::new()?, Vec::new());
            while tickets.take(1).is_some() {
                let id = connection.reserve(&mut body).await?;
                tally.received(&body)?;
                connection.delete(id).await?;
                tally.done()?;
            }
            Ok(tally)
        });
    }
    measure::ready();
    Ok((cpu, measure::gather(tasks).await?))
}

async fn connect_all(run: &Run) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(run.in_flight);
    for _ in 0..run.in_flight {
        connections.push(Connection::open(run).await?);
    }
    Ok(connections)
}

struct Connection {
    stream: BufReader<TcpStream>,
    line: String,
}

impl Connection {
    async fn open(run: &Run) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&run.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream: BufReader::new(stream), line: String::new() };
        let tube = &run.queue;
        connection.send(format!("use {tube}\r\nwatch {tube}\r\n").as_bytes()).await?;
        ensure!(connection.answer().await?.starts_with("USING "), "the tube is not used");
        ensure!(connection.answer().await?.starts_with("WATCHING "), "the tube is not watched");
        Ok(connection)
    }

    async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    async fn answer(&mut self) -> anyhow::Result<&str> {
        self.line.clear();
        let read = self.stream.read_line(&mut self.line).await?;
        ensure!(read > 0, "beanstalkd closed the connection");
        Ok(self.line.trim_end())
    }

    async fn put(
        &mut self,
        run: &Run,
        jobs: impl Iterator<Item = usize> + Clone,
    ) -> anyhow::Result<()> {
        let (mut commands, delay) = (String::new(), run.delay);
        for job in jobs.clone() {
            let priority = PRIORITY + job % usize::from(run.priorities.max(1));
            let payload = String::from_utf8(measure::payload(run.payload)?)?;
            let bytes = payload.len();
            write!(commands, "put {priority} {delay} {SECONDS_TO_RUN} {bytes}\r\n{payload}\r\n")?;
        }
        self.send(commands.as_bytes()).await?;
        for _ in jobs {
            let answer = self.answer().await?;
            ensure!(answer.starts_with("INSERTED "), "a put was answered by {answer}");
        }
        Ok(())
    }

    /// The next job's id; its payload goes to `body`.
    async fn reserve(&mut self, body: &mut Vec<u8>) -> anyhow::Result<u64> {
        self.send(b"reserve\r\n").await?;
        let answer = self.answer().await?;
        let ["RESERVED", id, bytes] = answer.split(' ').collect::<Vec<_>>()[..] else {
            bail!("a reserve was answered by {answer}");
        };
        let (id, bytes): (u64, usize) = (id.parse()?, bytes.parse()?);
        body.resize(bytes + 2, 0);
        self.stream.read_exact(body).await.context("a job's body")?;
        Ok(id)
    }

    async fn delete(&mut self, id: u64) -> anyhow::Result<()> {
        self.send(format!("delete {id}\r\n").as_bytes()).await?;
        let answer = self.answer().await?;
        ensure!(answer == "DELETED", "a delete was answered by {answer}");
        Ok(())
    }
}

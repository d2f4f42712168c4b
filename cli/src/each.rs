//! The same call for several things, each of which may fail alone.

use clap::Args;
use comfy_table::Table;
use lessor::proto::{Job, Worker};
use lessor::{Action, Client, Code, Queue, Schedule};
use prost::Message;
use serde::Serialize;

use crate::failure::{self, Exit};
use crate::output::{Format, Output};
use crate::{jobs, queue, schedules, workers};

/// Why something is done, and to what version of a thing.
#[derive(Args)]
pub(crate) struct Note {
    /// Why, for the event that tells of it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,

    /// Only if it still has this etag, as its `get` prints it.
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

impl Note {
    /// The action on the thing of this name.
    pub(crate) fn on(&self, name: String) -> Action {
        Action::on(name).reason(&self.reason).etag(&self.etag)
    }
}

/// Calls for one after the other, tells the failures as they come, and prints what the others have
/// become: messages of type `M::NAME`. Without a broker there is no point in going on.
pub(crate) async fn each<M, F>(
    client: &Client,
    names: Vec<String>,
    out: &mut Output,
    call: impl Fn(Client, String) -> F,
) -> anyhow::Result<()>
where
    M: Listed,
    F: Future<Output = lessor::Result<M>>,
{
    let (done, failed) = attempt(client, names, call).await;
    if !done.is_empty() {
        out.messages(M::NAME, &done, || M::table(&done))?;
    }
    failed
}

/// A message that is printed in lists.
pub(crate) trait Listed: Message + Sized {
    /// Its name in the protocol.
    const NAME: &'static str;

    /// One line for each.
    fn table(each: &[Self]) -> Table;
}

impl Listed for Job {
    const NAME: &'static str = "Job";

    fn table(each: &[Self]) -> Table {
        jobs::table(each)
    }
}

impl Listed for Queue {
    const NAME: &'static str = "Queue";

    fn table(each: &[Self]) -> Table {
        queue::table(each)
    }
}

impl Listed for Schedule {
    const NAME: &'static str = "Schedule";

    fn table(each: &[Self]) -> Table {
        schedules::table(each)
    }
}

impl Listed for Worker {
    const NAME: &'static str = "Worker";

    fn table(each: &[Self]) -> Table {
        workers::table(each)
    }
}

/// As [`each`] for calls that answer nothing.
pub(crate) async fn each_deleted<F>(
    client: &Client,
    names: Vec<String>,
    out: &mut Output,
    call: impl Fn(Client, String) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = lessor::Result<()>>,
{
    let (done, failed) = attempt(client, names, |client, name| {
        let call = call(client, name.clone());
        async move { call.await.map(|()| Deleted { deleted: name }) }
    })
    .await;
    match out.format() {
        Format::Table => {
            done.iter().try_for_each(|it| out.text(&format!("deleted {}", it.deleted)))?;
        }
        Format::Json | Format::Jsonl if done.is_empty() => {}
        Format::Json | Format::Jsonl => out.values(&done)?,
    }
    failed
}

/// The broker's reply is empty, so this says what it was for.
#[derive(Serialize)]
struct Deleted {
    deleted: String,
}

/// What the calls answered, and whether all of them did.
async fn attempt<T, F>(
    client: &Client,
    names: Vec<String>,
    call: impl Fn(Client, String) -> F,
) -> (Vec<T>, anyhow::Result<()>)
where
    F: Future<Output = lessor::Result<T>>,
{
    let (mut done, mut first) = (Vec::new(), None);
    let several = names.len() > 1;
    for name in names {
        match call(client.clone(), name.clone()).await {
            Ok(reply) => done.push(reply),
            Err(error) if !several => return (done, Err(error.into())),
            Err(error) => {
                eprintln!("lessor: {name}: {}", failure::sentence(&error));
                first.get_or_insert(failure::exit_code(error.code()));
                if matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded) {
                    break;
                }
            }
        }
    }
    (done, first.map_or(Ok(()), |code| Err(Exit(code).into())))
}

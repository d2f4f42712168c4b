//! The same call for several jobs, each of which may fail alone.

use lessor::{Client, Code, Job};

use crate::failure::{self, Exit};
use crate::jobs;
use crate::output::Output;

/// Calls for one job after the other, tells the failures as they come, and prints what the jobs
/// have become. Without a broker there is no point in going on.
pub(crate) async fn each<F>(
    client: &Client,
    names: Vec<String>,
    out: &mut Output,
    call: impl Fn(Client, String) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = lessor::Result<Job>>,
{
    let (done, failed) = attempt(client, names, call).await;
    if !done.is_empty() {
        out.messages("Job", &done, || jobs::table(&done))?;
    }
    failed
}

/// What the calls answered, and whether all of them did.
pub(crate) async fn attempt<T, F>(
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

//! The reads.

use rusqlite::params;

use super::batch::{self, Batch};
use super::row::{Failure, Jobs, Portion, corrupt, integer};
use crate::clock::Timestamp;
use crate::job::{Job, JobName, QueueName};

/// Reads one job.
pub(super) fn get(batch: &mut Batch<'_>, name: &JobName) -> Result<Option<Job>, Failure> {
    let Some(call) = batch.call(&name.queue)? else { return Ok(None) };
    let select = concat!(include_str!("sql/job.sql"), include_str!("sql/get.sql"));
    let select = call.db.prepare_cached(select)?;
    let params = params![call.queue.id, name.id.as_str()];
    let found = Jobs::of(call.db, call.name).find(select, params)?;
    Ok(found.map(|found| found.job))
}

/// Leased jobs whose visibility timeout has ended, then pending jobs whose expiry has passed.
pub(super) fn overdue(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Job>, Failure> {
    let Some(call) = batch.call(queue)? else { return Ok(Vec::new()) };
    let mut portion = Portion::of(limit);
    let mut found = Vec::new();
    for select in [
        concat!(include_str!("sql/job.sql"), include_str!("sql/overdue.sql")),
        concat!(include_str!("sql/job.sql"), include_str!("sql/lapsed.sql")),
    ] {
        let select = call.db.prepare_cached(select)?;
        let params = params![call.queue.id, integer(now)];
        let jobs = Jobs::of(call.db, call.name);
        found.extend(jobs.read(select, params, |found| portion.is_full_before(found))?);
    }
    Ok(found.into_iter().map(|found| found.job).collect())
}

/// When the next thing in the queue falls due.
pub(super) fn next_due(
    batch: &mut Batch<'_>,
    queue: &QueueName,
) -> Result<Option<Timestamp>, Failure> {
    let Some(call) = batch.call(queue)? else { return Ok(None) };
    Ok(batch::next_due(call.db, call.queue.id)?)
}

/// The queues that ever had a job or settings. A queue whose first insert was refused has a row, but no job
/// was ever in it.
pub(super) fn queues(batch: &mut Batch<'_>) -> Result<Vec<QueueName>, Failure> {
    batch.save()?;
    let select = "select name from queue where inserted > 0 or settings is not null order by name";
    let mut select = batch.db().prepare_cached(select)?;
    let mut rows = select.query([])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        names.push(QueueName::parse(&name).map_err(|why| corrupt(&name, why))?);
    }
    Ok(names)
}

/// Writes, without changing anything.
pub(super) fn try_write(batch: &mut Batch<'_>) -> Result<(), Failure> {
    batch.db().prepare_cached("update meta set value = value where key = 'epoch'")?.execute([])?;
    Ok(())
}

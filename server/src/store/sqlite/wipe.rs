//! `wipe`: forgets a queue.

use rusqlite::params;

use super::batch::{Batch, Call};
use super::forget::{Doomed, delete};
use super::row::{Failure, corrupt, state, whole};
use crate::job::QueueName;

/// How many rows beside jobs one call forgets of each kind at most, so that no other call waits
/// long.
const MOST: i64 = 5_000;

/// Forgets up to `limit` jobs, and when none is left, what else there is of the queue. True when
/// all is gone.
pub(super) fn wipe(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    limit: usize,
) -> Result<bool, Failure> {
    let Some(mut call) = batch.call(queue)? else { return Ok(true) };
    forget_jobs(&mut call, whole(limit))?;
    if call.queue.all_jobs() > 0 {
        call.done();
        return Ok(false);
    }
    for table in [
        "delete from request where queue = ?1 and id in
          (select id from request where queue = ?1 limit ?2)",
        "delete from dedup where queue = ?1 and key in
          (select key from dedup where queue = ?1 limit ?2)",
        "delete from replay where queue = ?1 and id in
          (select id from replay where queue = ?1 limit ?2)",
        "delete from event where event in
          (select event from event where queue = ?1 limit ?2)",
    ] {
        let gone = call.db.prepare_cached(table)?.execute(params![call.queue.id, MOST])?;
        if whole(gone) == MOST {
            call.done();
            return Ok(false);
        }
    }
    call.db.prepare_cached("delete from queue where queue = ?1")?.execute([call.queue.id])?;
    batch.queue_is_gone(queue);
    Ok(true)
}

fn forget_jobs(call: &mut Call<'_>, limit: i64) -> Result<(), Failure> {
    let find = "select job, state, bytes, terms, deliveries from job where queue = ?1 limit ?2";
    let mut find = call.db.prepare_cached(find)?;
    let jobs = find
        .query_map([call.queue.id, limit], |row| row.try_into())?
        .collect::<Result<Vec<(i64, String, i64, i64, u32)>, _>>()?;
    for (row, letter, bytes, terms, deliveries) in jobs {
        let state = state(&letter).map_err(|why| corrupt(call.name, why))?;
        call.db.prepare_cached("delete from behind where job = ?1")?.execute([row])?;
        delete(call.db, &Doomed { row, terms, deliveries, has_details: true })?;
        call.queue.lose(state, bytes);
    }
    Ok(())
}

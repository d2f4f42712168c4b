//! `purge`: forgets what has had its time.

use rusqlite::params;

use super::batch::Batch;
use super::forget::forget;
use super::memory::Memory;
use super::row::{Failure, integer, whole};
use crate::clock::Timestamp;
use crate::job::{QueueName, State};
use crate::store::EVENT_MEMORY;

/// About how many rows beside jobs one purge takes of each kind, so that no other call waits long.
const MOST: usize = 5_000;

/// Forgets up to `limit` finished jobs, and what else is past its time. Answers how many jobs.
pub(super) fn purge(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    now: Timestamp,
    limit: usize,
) -> Result<usize, Failure> {
    let Some(mut call) = batch.call(queue)? else { return Ok(0) };
    let limit = whole(limit);
    let mut gone = 0;
    for state in State::ALL.into_iter().filter(|state| state.is_terminal()) {
        if gone < limit && call.queue.jobs(state) > 0 {
            gone += forget(&mut call, state, integer(now), limit - gone)?;
        }
    }
    for memory in Memory::ALL {
        memory.fade(&call, MOST, now)?;
    }
    call.db.prepare_cached(include_str!("sql/purge_events.sql"))?.execute(params![
        call.queue.id,
        integer(now.before(EVENT_MEMORY)),
        whole(MOST)
    ])?;
    call.finish(now)?;
    Ok(usize::try_from(gone).unwrap_or_default())
}

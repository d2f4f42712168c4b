//! Forgetting jobs with all that belongs to them.

use rusqlite::{Connection, params};

use super::batch::Call;
use super::row::{letter, whole};
use super::term;
use crate::job::{Keep, State};

/// Forgets those finished jobs of the queue that are too many in `state`, earliest to go first.
pub(super) fn trim(call: &mut Call<'_>, state: State, keep: Keep) -> rusqlite::Result<()> {
    let Some(count) = keep.count else { return Ok(()) };
    let surplus = call.queue.jobs(state) - i64::from(count);
    if surplus > 0 {
        forget(call, state, i64::MAX, surplus)?;
    }
    Ok(())
}

/// Forgets up to `limit` finished jobs in `state` whose time came by `until`. Answers how many.
pub(super) fn forget(
    call: &mut Call<'_>,
    state: State,
    until: i64,
    limit: i64,
) -> rusqlite::Result<i64> {
    let mut select = call.db.prepare_cached(include_str!("sql/purge.sql"))?;
    let gone = select
        .query_map(params![call.queue.id, letter(state), until, limit], |row| row.try_into())?
        .collect::<Result<Vec<(i64, i64)>, _>>()?;
    // One by one: `in (select …)` would build a table of its own, for a single job mostly.
    for (row, terms) in &gone {
        delete(call.db, *row, *terms)?;
        // The bytes of finished jobs are not counted.
        call.queue.lose(state, 0);
    }
    Ok(whole(gone.len()))
}

/// Deletes a job that has so many terms, and all that belongs to it; what no cascade reaches comes
/// first.
pub(super) fn delete(db: &Connection, row: i64, terms: i64) -> rusqlite::Result<()> {
    term::remove(db, row, terms)?;
    db.prepare_cached("delete from attempt where job = ?1")?.execute([row])?;
    db.prepare_cached("delete from job where job = ?1")?.execute([row])?;
    Ok(())
}

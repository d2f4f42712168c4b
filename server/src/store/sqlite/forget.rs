//! Forgetting jobs with all that belongs to them.

use rusqlite::{Connection, params};

use super::batch::Call;
use super::row::{letter, whole};
use super::term;
use crate::job::State;

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
        .collect::<Result<Vec<(i64, i64, u32)>, _>>()?;
    // One by one: `in (select …)` would build a table of its own, for a few jobs mostly.
    for (row, terms, deliveries) in &gone {
        delete(call.db, *row, *terms, *deliveries)?;
        // The bytes of finished jobs are not counted.
        call.queue.lose(state, 0);
    }
    Ok(whole(gone.len()))
}

/// Deletes a job that has so many terms and was leased so often, and all that belongs to it.
pub(super) fn delete(
    db: &Connection,
    row: i64,
    terms: i64,
    deliveries: u32,
) -> rusqlite::Result<()> {
    term::remove(db, row, terms)?;
    // Only a second lease puts an attempt aside.
    if deliveries > 1 {
        db.prepare_cached("delete from attempt where job = ?1")?.execute([row])?;
    }
    for part in [
        "delete from spec where job = ?1",
        "delete from detail where job = ?1",
        "delete from job where job = ?1",
    ] {
        db.prepare_cached(part)?.execute([row])?;
    }
    Ok(())
}

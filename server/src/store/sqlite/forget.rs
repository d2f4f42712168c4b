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
    if gone.is_empty() {
        return Ok(0);
    }
    // Most jobs leave no details, and mostly there are none at all.
    let has_details = call
        .db
        .prepare_cached("select exists (select 1 from detail)")?
        .query_row([], |row| row.get(0))?;
    // One by one: `in (select …)` would build a table of its own, for a few jobs mostly.
    for (row, terms, deliveries) in &gone {
        delete(
            call.db,
            &Doomed { row: *row, terms: *terms, deliveries: *deliveries, has_details },
        )?;
        // The bytes of finished jobs are not counted.
        call.queue.lose(state, 0);
    }
    Ok(whole(gone.len()))
}

/// A job that goes with all that belongs to it.
pub(super) struct Doomed {
    pub(super) row: i64,
    /// How many terms it has.
    pub(super) terms: i64,
    /// How often it was leased.
    pub(super) deliveries: u32,
    /// It may have left details.
    pub(super) has_details: bool,
}

/// Deletes a job and all that belongs to it.
pub(super) fn delete(db: &Connection, job: &Doomed) -> rusqlite::Result<()> {
    term::remove(db, job.row, job.terms)?;
    // Only a second lease puts an attempt aside.
    if job.deliveries > 1 {
        db.prepare_cached("delete from attempt where job = ?1")?.execute([job.row])?;
    }
    if job.has_details {
        db.prepare_cached("delete from detail where job = ?1")?.execute([job.row])?;
    }
    for part in ["delete from spec where job = ?1", "delete from job where job = ?1"] {
        db.prepare_cached(part)?.execute([job.row])?;
    }
    Ok(())
}

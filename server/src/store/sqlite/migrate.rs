//! The schema and its versions: `user_version` counts the migrations that a file has had.

use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::open::unusable;
use super::row::{blob, whole};
use super::term;
use crate::store::Result;
use crate::store::record::decode_spec;

/// One step from a version of the schema to the next.
struct Migration {
    /// The tables.
    sql: &'static str,
    /// What `SQL` can't do for the rows there are.
    fill: fn(&Transaction<'_>) -> rusqlite::Result<()>,
}

/// All migrations in order; never changed once released, only added to.
const MIGRATIONS: [Migration; 3] = [
    Migration { sql: include_str!("migrations/0001_jobs.sql"), fill: |_| Ok(()) },
    Migration { sql: include_str!("migrations/0002_life.sql"), fill: copy_from_specs },
    Migration { sql: include_str!("migrations/0003_lean.sql"), fill: |_| Ok(()) },
];

/// Marks the file as this program's, `Lssr` in ASCII.
const APPLICATION: i32 = 0x4c73_7372;

/// Refuses a file that is not a store, or one of a newer broker. Changes nothing. Answers how many
/// migrations the file has had.
pub(super) fn check(db: &Connection, path: &Path) -> Result<usize> {
    let wrong = |error: rusqlite::Error| unusable(path, &error);
    let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let tables: i64 =
        db.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).map_err(wrong)?;
    if tables > 0 && number("application_id").map_err(wrong)? != APPLICATION {
        return Err(unusable(path, &"it is a database of another program"));
    }
    let version = number("user_version").map_err(wrong)?;
    let done = usize::try_from(version).map_err(|_| unusable(path, &"its version is negative"))?;
    if done > MIGRATIONS.len() {
        let newest = MIGRATIONS.len();
        let why = format!("a newer broker wrote it: schema {done}, this one knows {newest}");
        return Err(unusable(path, &why));
    }
    Ok(done)
}

/// Brings the schema of `db`, which has had `done` migrations, to the newest version.
pub(super) fn migrate(db: &mut Connection, done: usize) -> rusqlite::Result<()> {
    for (version, migration) in (1..).zip(&MIGRATIONS).skip(done) {
        apply(db, version, migration)?;
    }
    Ok(())
}

fn apply(db: &mut Connection, version: i32, migration: &Migration) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration.sql)?;
    (migration.fill)(&transaction)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

/// Fills the columns and rows that repeat what the specs of jobs say. Of a job whose spec can't be
/// read only the size is known.
fn copy_from_specs(db: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut jobs =
        db.prepare("select j.job, j.queue, s.body from job j join spec s using (job)")?;
    let mut change =
        db.prepare("update job set bytes = ?2, type = ?3, terms = ?4 where job = ?1")?;
    let mut rows = jobs.query([])?;
    while let Some(row) = rows.next()? {
        let (job, queue): (i64, i64) = (row.get(0)?, row.get(1)?);
        let body = blob(row.get_ref(2)?);
        let bytes = whole(body.len());
        let spec = decode_spec(body).unwrap_or_default();
        let terms = term::add(db, queue, job, &spec)?;
        change.execute(params![job, bytes, spec.job_type, terms])?;
    }
    db.execute(
        "update queue set bytes = (
          select coalesce(sum(bytes), 0) from job
          where job.queue = queue.queue and ended is null
        )",
        [],
    )?;
    Ok(())
}

//! The schema and its versions: `user_version` counts the migrations that a file has had.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::open::unusable;
use crate::store::Result;

/// All migrations in order; never changed once released, only added to.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_jobs.sql")];

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
    for (version, migration) in (1..).zip(MIGRATIONS).skip(done) {
        apply(db, version, migration)?;
    }
    Ok(())
}

fn apply(db: &mut Connection, version: i32, migration: &str) -> rusqlite::Result<()> {
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

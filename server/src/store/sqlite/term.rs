//! The terms by which jobs are found: labels and the owner.

use rusqlite::{Connection, params};

use super::row::integer;
use crate::job::Spec;

/// The name of the term that an owner is; no label has it.
pub(super) const OWNER: &str = "";

/// Adds the terms of a new spec. Answers how many there are, which the job's row remembers, so
/// that jobs without any cost nothing.
pub(super) fn add(db: &Connection, queue: i64, job: i64, spec: &Spec) -> rusqlite::Result<i64> {
    let labels = spec.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let owner = (!spec.owner.is_empty()).then_some((OWNER, spec.owner.as_str()));
    let mut added = 0;
    for (name, value) in labels.chain(owner) {
        let sql = "insert into term (queue, name, value, created, job) values (?1, ?2, ?3, ?4, ?5)";
        let created = integer(spec.created);
        db.prepare_cached(sql)?.execute(params![queue, name, value, created, job])?;
        added += 1;
    }
    Ok(added)
}

/// Removes the terms of a job that has so many.
pub(super) fn remove(db: &Connection, job: i64, terms: i64) -> rusqlite::Result<()> {
    if terms > 0 {
        db.prepare_cached("delete from term where job = ?1")?.execute([job])?;
    }
    Ok(())
}

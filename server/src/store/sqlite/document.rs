//! Documents: small records of the namespace, beside its queues.

use rusqlite::{OptionalExtension, Row, params};

use super::batch::Batch;
use super::row::{Failure, blob, whole};
use crate::store::{Document, Guarded, Kind, Put};

/// All documents of a kind, by key.
pub(super) fn documents(batch: &mut Batch<'_>, kind: Kind) -> Result<Vec<Document>, Failure> {
    let select = "select key, revision, body from document where kind = ?1 order by key";
    let mut select = batch.db().prepare_cached(select)?;
    let documents = select.query_map([word(kind)], read)?.collect::<Result<_, _>>()?;
    Ok(documents)
}

/// Reads one document.
pub(super) fn document(
    batch: &mut Batch<'_>,
    kind: Kind,
    key: &str,
) -> Result<Option<Document>, Failure> {
    let select = "select key, revision, body from document where kind = ?1 and key = ?2";
    let mut select = batch.db().prepare_cached(select)?;
    Ok(select.query_row([word(kind), key], read).optional()?)
}

/// Writes documents, each if its expectation holds.
pub(super) fn put(
    batch: &mut Batch<'_>,
    kind: Kind,
    puts: &[Put],
) -> Result<Vec<Guarded>, Failure> {
    let mut answers = Vec::with_capacity(puts.len());
    for put in puts {
        answers.push(put_one(batch, kind, put)?);
    }
    if kind.is_told() && answers.contains(&Guarded::Applied) {
        batch.tell_documents(kind);
    }
    Ok(answers)
}

fn put_one(batch: &mut Batch<'_>, kind: Kind, put: &Put) -> Result<Guarded, Failure> {
    let db = batch.db();
    let find = "select revision from document where kind = ?1 and key = ?2";
    let find = db
        .prepare_cached(find)?
        .query_row([word(kind), &put.key], |row| row.get::<_, i64>(0))
        .optional()?;
    let revision = find.unwrap_or(0);
    if put.expected.is_some_and(|expected| whole(expected) != revision) {
        return Ok(Guarded::Lost);
    }
    if let Some(body) = &put.body {
        let write = "insert or replace into document (kind, key, revision, body)
          values (?1, ?2, ?3, ?4)";
        let params = params![word(kind), put.key, revision + 1, &body[..]];
        db.prepare_cached(write)?.execute(params)?;
    } else {
        let delete = "delete from document where kind = ?1 and key = ?2";
        db.prepare_cached(delete)?.execute([word(kind), &put.key])?;
    }
    Ok(Guarded::Applied)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        key: row.get(0)?,
        revision: row.get::<_, i64>(1)?.cast_unsigned(),
        body: blob(row.get_ref(2)?),
    })
}

/// The stored form of a kind.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Schedule => "schedule",
        Kind::Worker => "worker",
        Kind::Drain => "drain",
        Kind::Sink => "sink",
    }
}

//! The event log of a queue.

use rusqlite::{Rows, params};

use super::batch::{Batch, Call};
use super::row::{Failure, blob, corrupt, integer, whole};
use crate::clock::Timestamp;
use crate::job::QueueName;
use crate::store::record::{count_events, decode_events};
use crate::store::{EVENTS_KEPT, Entry, LogStart, Position};

/// Writes the events of `call` as one entry, and drops the oldest entries when there are too many
/// events.
///
/// An entry's place is its time and number. A call with an earlier `now` than the one before it
/// takes that one's, so that both rise together and one index serves reading by either.
pub(super) fn append(call: &mut Call<'_>, now: Timestamp) -> rusqlite::Result<()> {
    call.queue.logged += 1;
    call.queue.logged_at = call.queue.logged_at.max(integer(now));
    call.queue.told += whole(count_events(&call.log));
    call.db.prepare_cached(include_str!("sql/append.sql"))?.execute(params![
        call.queue.id,
        call.queue.logged,
        call.queue.logged_at,
        call.log,
        call.queue.told,
    ])?;
    let too_old = call.queue.told.saturating_sub(whole(EVENTS_KEPT));
    if too_old > 0 { trim(call, too_old) } else { Ok(()) }
}

/// Drops the two oldest entries if what they tell is `too_old` or earlier in the count of events. Two,
/// so that a log that grows by one entry a call comes down to its size.
fn trim(call: &Call<'_>, too_old: i64) -> rusqlite::Result<()> {
    let mut find = call.db.prepare_cached(include_str!("sql/oldest_events.sql"))?;
    let oldest = find
        .query_map([call.queue.id], |row| row.try_into())?
        .collect::<rusqlite::Result<Vec<(i64, i64)>>>()?;
    let mut delete = call.db.prepare_cached("delete from event where event = ?1")?;
    for (event, upto) in oldest {
        if upto <= too_old {
            delete.execute([event])?;
        }
    }
    Ok(())
}

/// Reads up to `limit` entries.
pub(super) fn read(
    batch: &mut Batch<'_>,
    name: &QueueName,
    from: LogStart,
    limit: usize,
) -> Result<Vec<Entry>, Failure> {
    let Some(call) = batch.call(name)? else { return Ok(Vec::new()) };
    // Numbers begin with 1, so number 0 stands before all entries of a time.
    let (at, number) = match from {
        LogStart::Oldest => (0, 0),
        LogStart::Time(at) => (integer(at), 0),
        LogStart::After(position) => (whole(position.entry.0), whole(position.entry.1)),
    };
    let mut select = call.db.prepare_cached(include_str!("sql/log.sql"))?;
    entries(name, select.query(params![call.queue.id, at, number, whole(limit)])?)
}

/// Reads the newest `limit` entries, oldest first.
pub(super) fn recent(
    batch: &mut Batch<'_>,
    name: &QueueName,
    limit: usize,
) -> Result<Vec<Entry>, Failure> {
    let Some(call) = batch.call(name)? else { return Ok(Vec::new()) };
    let mut select = call.db.prepare_cached(include_str!("sql/recent.sql"))?;
    let mut entries = entries(name, select.query(params![call.queue.id, whole(limit)])?)?;
    entries.reverse();
    Ok(entries)
}

fn entries(name: &QueueName, mut rows: Rows<'_>) -> Result<Vec<Entry>, Failure> {
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let position = position(row.get(0)?, row.get(1)?);
        let events = decode_events(name, blob(row.get_ref(2)?));
        let events = events.map_err(|why| {
            corrupt(format_args!("entry {} of the log of {name}", position.number), why)
        })?;
        entries.push(Entry { position, events });
    }
    Ok(entries)
}

/// The position of the newest entry there ever was.
pub(super) fn end(batch: &mut Batch<'_>, name: &QueueName) -> Result<Position, Failure> {
    let call = batch.call(name)?;
    Ok(call
        .map_or_else(Position::default, |call| position(call.queue.logged_at, call.queue.logged)))
}

fn position(at: i64, number: i64) -> Position {
    let number = number.cast_unsigned();
    Position { entry: (at.cast_unsigned(), number), number }
}

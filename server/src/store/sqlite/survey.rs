//! `survey` and `ahead`: what a queue holds, and where a job stands in it, without counting jobs.

use rusqlite::{OptionalExtension, params};

use super::batch::{Batch, Call};
use super::queue::count;
use super::row::{Failure, time};
use crate::clock::Timestamp;
use crate::job::{JobName, QueueName, State};
use crate::store::Survey;

/// Up to so many jobs ahead are counted; more are estimated.
const COUNTED: i64 = 1000;

/// What a queue holds.
pub(super) fn survey(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    now: Timestamp,
) -> Result<Survey, Failure> {
    let Some(call) = batch.call(queue)? else { return Ok(Survey::default()) };
    let oldest: Option<i64> = if call.queue.jobs(State::Ready) > 0 {
        let mut find = call.db.prepare_cached(include_str!("sql/oldest_ready.sql"))?;
        find.query_row([call.queue.id], |row| row.get(0))?
    } else {
        None
    };
    Ok(Survey {
        counts: call.queue.counts(),
        totals: call.queue.totals(),
        minute: call.queue.lately.minute(now),
        oldest_ready: oldest.map(time),
        bytes: count(call.queue.bytes),
    })
}

/// How many ready jobs would be claimed before this one; 0 when it is not ready.
pub(super) fn ahead(batch: &mut Batch<'_>, name: &JobName) -> Result<u64, Failure> {
    let Some(call) = batch.call(&name.queue)? else { return Ok(0) };
    let find = "select priority, place from job where queue = ?1 and id = ?2 and state = 'R'";
    let stands: Option<(i64, i64)> = call
        .db
        .prepare_cached(find)?
        .query_row(params![call.queue.id, name.id.as_str()], |row| row.try_into())
        .optional()?;
    let Some((priority, place)) = stands else { return Ok(0) };
    let mut count_some = call.db.prepare_cached(include_str!("sql/ahead.sql"))?;
    let counted: i64 = count_some
        .query_row(params![call.queue.id, priority, place, COUNTED + 1], |row| row.get(0))?;
    Ok(count(if counted <= COUNTED { counted } else { estimate(&call, priority, place)? }))
}

/// As if the ready jobs were spread evenly over the places between the first and the last one of
/// each priority.
fn estimate(call: &Call<'_>, priority: i64, place: i64) -> Result<i64, Failure> {
    let mut select = call.db.prepare_cached(include_str!("sql/lines.sql"))?;
    let mut rows = select.query([call.queue.id])?;
    let (mut ahead, mut all) = (0_i128, 0_i128);
    while let Some(row) = rows.next()? {
        let (line, first, last): (i64, i64, i64) = row.try_into()?;
        let places = i128::from(last) - i128::from(first) + 1;
        all += places;
        ahead += match line.cmp(&priority) {
            std::cmp::Ordering::Greater => places,
            std::cmp::Ordering::Equal => i128::from(place) - i128::from(first),
            std::cmp::Ordering::Less => 0,
        };
    }
    let ready = call.queue.jobs(State::Ready);
    let share = i128::from(ready) * ahead / all.max(1);
    Ok(i64::try_from(share).unwrap_or(ready).clamp(COUNTED + 1, ready.max(COUNTED + 1)))
}

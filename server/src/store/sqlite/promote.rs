//! `promote`: jobs whose time has come become ready.

use rusqlite::params;

use super::batch::{Batch, Call};
use super::row::{Failure, blob, corrupt, integer, state, whole};
use crate::clock::Timestamp;
use crate::job::{Event, EventKind, JobId, JobName, QueueName, State};
use crate::store::record::{decode_spec, encode_event};

/// A job that becomes ready, and what is told about it.
struct Due {
    row: i64,
    from: State,
    event: Event,
}

/// Makes up to `limit` jobs ready whose time has come.
pub(super) fn promote(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    now: Timestamp,
    limit: usize,
) -> Result<usize, Failure> {
    let Some(mut call) = batch.call(queue)? else { return Ok(0) };
    if call.queue.jobs(State::Scheduled) + call.queue.jobs(State::Retrying) == 0 {
        return Ok(0);
    }
    let due = due(&call, now, limit)?;
    for job in &due {
        let place = call.queue.next_back();
        // `at` stays: it is since when the job may run.
        call.db
            .prepare_cached("update job set state = 'R', place = ?2 where job = ?1")?
            .execute(params![job.row, place])?;
        call.queue.step(job.from, State::Ready);
        call.log.extend(encode_event(&job.event));
    }
    call.finish(now)?;
    Ok(due.len())
}

fn due(call: &Call<'_>, now: Timestamp, limit: usize) -> Result<Vec<Due>, Failure> {
    let mut select = call.db.prepare_cached(include_str!("sql/promote.sql"))?;
    let mut rows = select.query(params![call.queue.id, integer(now), whole(limit)])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(1)?;
        let id = JobId::parse(&id).map_err(|why| corrupt(call.name, why))?;
        let name = JobName { queue: call.name.clone(), id };
        let from: String = row.get(2)?;
        let from = state(&from).map_err(|why| corrupt(&name, why))?;
        let mut event =
            Event::new(EventKind::Ready, now, name.queue.clone(), name.id, State::Ready);
        event.from = Some(from);
        event.attempt = row.get(3)?;
        // An unreadable spec is left for the claim to find.
        if let Ok(spec) = decode_spec(blob(row.get_ref(4)?)) {
            event.job_type = spec.job_type;
            event.labels = spec.labels;
            event.trace_context = spec.trace_context;
        }
        due.push(Due { row: row.get(0)?, from, event });
    }
    Ok(due)
}

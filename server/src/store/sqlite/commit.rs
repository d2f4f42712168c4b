//! `commit` and `extend`: guarded moves.

use rusqlite::{Connection, params};

use super::batch::{Batch, Call};
use super::row::{Failure, integer, letter, whole};
use super::standing::Standing;
use crate::clock::Timestamp;
use crate::job::{Attempt, HISTORY, Keep, Place, QueueName, State, Transition};
use crate::store::record::{encode_attempt, encode_failure, encode_payload, encode_progress};
use crate::store::{Commit, Extended, Extension, Guarded};

/// Applies the transitions whose guard holds, in order.
pub(super) fn commit(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    commits: &[Commit],
    now: Timestamp,
) -> Result<Vec<Guarded>, Failure> {
    guarded(
        batch,
        queue,
        commits,
        now,
        Guarded::Lost,
        |call, Commit { transition, .. }: &Commit| match Standing::find(call, &transition.name.id)?
        {
            Some(job) if job.allows(transition.guard) => apply(call, &job, transition),
            _ => Ok(Guarded::Lost),
        },
    )
}

/// Moves the ends of leases that are held, in order.
pub(super) fn extend(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    extensions: &[Extension],
    now: Timestamp,
) -> Result<Vec<Extended>, Failure> {
    guarded(batch, queue, extensions, now, Extended::Lost, |call, extension: &Extension| {
        match Standing::find(call, &extension.id)? {
            Some(job) if job.is_held(extension.secret) => prolong(call, &job, extension),
            _ => Ok(Extended::Lost),
        }
    })
}

fn guarded<M, O: Clone>(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    moves: &[M],
    now: Timestamp,
    lost: O,
    make: impl Fn(&mut Call<'_>, &M) -> Result<O, Failure>,
) -> Result<Vec<O>, Failure> {
    let Some(mut call) = batch.call(queue)? else { return Ok(vec![lost; moves.len()]) };
    let mut answers = Vec::with_capacity(moves.len());
    for one in moves {
        answers.push(make(&mut call, one)?);
    }
    call.finish(now)?;
    Ok(answers)
}

fn prolong(
    call: &mut Call<'_>,
    job: &Standing,
    extension: &Extension,
) -> Result<Extended, Failure> {
    let until = extension.until.unwrap_or(job.at);
    call.falls_due(until)?;
    call.db
        .prepare_cached("update job set at = ?2 where job = ?1")?
        .execute(params![job.row, integer(until)])?;
    let left = Left {
        progress: extension.progress.as_ref().map(encode_progress),
        checkpoint: extension.checkpoint.as_ref().map(encode_payload),
        ..Left::default()
    };
    left.save(call, job.row)?;
    if let Some(event) = &extension.event {
        job.tell(call, event)?;
    }
    Ok(Extended::Held { until, cancel: None })
}

fn apply(call: &mut Call<'_>, job: &Standing, transition: &Transition) -> Result<Guarded, Failure> {
    job.tell(call, &transition.event)?;
    if let Some(key) = &transition.free_dedup {
        call.db.prepare_cached(include_str!("sql/free.sql"))?.execute(params![
            call.queue.id,
            key.as_str(),
            transition.name.id.as_str()
        ])?;
    }
    call.queue.lose(job.state, 1);
    if transition.to.is_terminal() && transition.keep.nothing() {
        delete(call.db, job.row)?;
        return Ok(Guarded::Applied);
    }
    call.queue.gain(transition.to, 1);
    change(call, job, transition)?;
    if let Some(attempt) = &transition.attempt {
        record(call, job, attempt)?;
    }
    let left = Left {
        checkpoint: transition.checkpoint.as_ref().map(encode_payload),
        failure: transition.failure.as_ref().map(encode_failure),
        result: transition.result.as_ref().map(encode_payload),
        ..Left::default()
    };
    left.save(call, job.row)?;
    if transition.to.is_terminal() {
        trim(call, transition.to, transition.keep)?;
    }
    Ok(Guarded::Applied)
}

/// Rewrites the row of the job.
fn change(call: &mut Call<'_>, job: &Standing, transition: &Transition) -> rusqlite::Result<()> {
    let (priority, place) = if transition.to == State::Ready {
        match transition.place {
            Place::Front => (Some(transition.line.priority), Some(call.queue.next_front())),
            Place::Back => (Some(transition.line.priority), Some(call.queue.next_back())),
        }
    } else {
        call.falls_due(transition.at)?;
        (None, None)
    };
    call.db.prepare_cached(include_str!("sql/commit.sql"))?.execute(params![
        job.row,
        letter(transition.to),
        integer(transition.at),
        transition.counters.deliveries,
        transition.counters.attempts,
        transition.counters.lease_losses,
        transition.started.map(integer),
        transition.ended.map(integer),
        priority,
        place,
    ])?;
    Ok(())
}

/// Adds to the history. A second record of the same lease replaces the first: a late ack.
fn record(call: &Call<'_>, job: &Standing, attempt: &Attempt) -> rusqlite::Result<()> {
    let body = match (&attempt.worker, &job.worker) {
        (None, Some(worker)) => {
            encode_attempt(&Attempt { worker: Some(worker.clone()), ..attempt.clone() })
        }
        _ => encode_attempt(attempt),
    };
    call.db
        .prepare_cached("insert or replace into attempt (job, delivery, body) values (?1, ?2, ?3)")?
        .execute(params![job.row, attempt.delivery, body])?;
    if attempt.delivery > HISTORY {
        call.db
            .prepare_cached(include_str!("sql/trim_attempts.sql"))?
            .execute(params![job.row, HISTORY])?;
    }
    Ok(())
}

/// Forgets those finished jobs of the queue that are too many in `state`, earliest to go first.
fn trim(call: &mut Call<'_>, state: State, keep: Keep) -> rusqlite::Result<()> {
    let Some(count) = keep.count else { return Ok(()) };
    let surplus = call.queue.jobs(state) - i64::from(count);
    if surplus > 0 {
        forget(call, state, i64::MAX, surplus)?;
    }
    Ok(())
}

/// Forgets up to `limit` jobs in `state` whose time came by `until`. Answers how many.
pub(super) fn forget(
    call: &mut Call<'_>,
    state: State,
    until: i64,
    limit: i64,
) -> rusqlite::Result<i64> {
    let mut select = call.db.prepare_cached(include_str!("sql/purge.sql"))?;
    let gone = select
        .query_map(params![call.queue.id, letter(state), until, limit], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    // One by one: `in (select …)` would build a table of its own, for a single job mostly.
    for row in &gone {
        delete(call.db, *row)?;
    }
    let gone = whole(gone.len());
    call.queue.lose(state, gone);
    Ok(gone)
}

/// Deletes a job and all that belongs to it; what no cascade reaches comes first.
fn delete(db: &Connection, row: i64) -> rusqlite::Result<()> {
    db.prepare_cached("delete from attempt where job = ?1")?.execute([row])?;
    db.prepare_cached("delete from job where job = ?1")?.execute([row])?;
    Ok(())
}

/// What a move leaves behind, encoded.
#[derive(Default)]
struct Left {
    progress: Option<Vec<u8>>,
    checkpoint: Option<Vec<u8>>,
    failure: Option<Vec<u8>>,
    result: Option<Vec<u8>>,
}

impl Left {
    /// Replaces the parts that are given, if any is.
    fn save(&self, call: &Call<'_>, row: i64) -> rusqlite::Result<()> {
        let Self { progress, checkpoint, failure, result } = self;
        if [progress, checkpoint, failure, result].into_iter().all(Option::is_none) {
            return Ok(());
        }
        call.db
            .prepare_cached(include_str!("sql/detail.sql"))?
            .execute(params![row, progress, checkpoint, failure, result])?;
        Ok(())
    }
}

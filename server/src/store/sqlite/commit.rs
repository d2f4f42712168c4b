//! `commit`: guarded moves.

use rusqlite::params;

use super::batch::{Batch, Call};
use super::dedup;
use super::forget::{Doomed, delete};
use super::insert;
use super::row::{Failure, integer, letter, whole};
use super::standing::{Standing, told};
use super::term;
use crate::clock::Timestamp;
use crate::job::{Attempt, HISTORY, Outcome, Place, QueueName, Spec, State, Transition};
use crate::store::record::{
    decode_attempt, encode_attempt, encode_failure, encode_payload, encode_spec,
};
use crate::store::{Commit, Guarded, Insert, Room};

/// Applies the transitions whose guard holds, in order.
pub(super) fn commit(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    commits: &[Commit],
    now: Timestamp,
) -> Result<Vec<Guarded>, Failure> {
    each(batch, queue, commits, now, &Guarded::Lost, |call, Commit { transition, then }| {
        match Standing::find(call, &transition.name.id)? {
            Some(job) if job.allows(transition) => apply_with(call, &job, transition, then, now),
            _ => Ok(Guarded::Lost),
        }
    })
}

/// Makes moves in one call on a queue; all are `lost` when there is no such queue.
pub(super) fn each<M, O: Clone>(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    moves: &[M],
    now: Timestamp,
    lost: &O,
    make: impl Fn(&mut Call<'_>, &M) -> Result<O, Failure>,
) -> Result<Vec<O>, Failure> {
    let Some(mut call) = batch.call(queue)? else { return Ok(vec![lost.clone(); moves.len()]) };
    let mut answers = Vec::with_capacity(moves.len());
    for one in moves {
        answers.push(make(&mut call, one)?);
    }
    call.finish(now)?;
    Ok(answers)
}

/// Makes a move with the jobs that come to be by it, all or nothing.
fn apply_with(
    call: &mut Call<'_>,
    job: &Standing,
    transition: &Transition,
    then: &[Insert],
    now: Timestamp,
) -> Result<Guarded, Failure> {
    if then.is_empty() {
        apply(call, job, transition, now)?;
        return Ok(Guarded::Applied);
    }
    let mark = call.mark()?;
    let mut answer = Guarded::Applied;
    apply(call, job, transition, now)?;
    for (index, one) in then.iter().enumerate() {
        let why = insert::insert_one(call, one, Room::default(), now)?;
        if why.refuses() {
            call.rewind(&mark)?;
            answer = Guarded::Refused { index, why };
            break;
        }
    }
    call.release()?;
    insert::fade(call, 0, then, now)?;
    Ok(answer)
}

/// Makes a move whose guard holds.
pub(super) fn apply(
    call: &mut Call<'_>,
    job: &Standing,
    transition: &Transition,
    now: Timestamp,
) -> Result<(), Failure> {
    job.tell(call, &transition.event)?;
    count(call, job, transition, now);
    call.queue.lose(job.state, job.bytes);
    if (job.state, transition.to) == (State::Ready, State::Expired) {
        call.queue.choked = false;
    }
    if let Some(key) = &transition.free_dedup {
        dedup::free(call, key, &transition.name.id)?;
    }
    let gone =
        transition.keep.nothing() && (transition.to.is_terminal() || transition.to == job.state);
    if job.state == State::Blocked && (gone || transition.to != State::Blocked) {
        dedup::leave_line(call, job.row)?;
    }
    if gone {
        let Standing { row, terms, deliveries, .. } = *job;
        delete(call.db, &Doomed { row, terms, deliveries, has_details: true })?;
    } else {
        let bytes = match &transition.spec {
            Some(spec) => respec(call, job, spec)?,
            None => job.bytes,
        };
        call.queue.gain(transition.to, bytes);
        let attempt = match &transition.attempt {
            Some(attempt) => record(call, job, attempt)?,
            None => None,
        };
        change(call, job, transition, attempt.as_deref())?;
        let left = Left {
            checkpoint: transition.checkpoint.as_ref().map(encode_payload),
            failure: transition.failure.as_ref().map(encode_failure),
            result: transition.result.as_ref().map(encode_payload),
            ..Left::default()
        };
        left.save(call, job.row)?;
    }
    if gone || transition.to.is_terminal() {
        dedup::unblock(call, job.row, now)?;
    }
    if transition.to.is_terminal() && !gone {
        call.keep(transition.to, transition.keep);
    }
    Ok(())
}

/// Counts what became of the job, for the survey.
fn count(call: &mut Call<'_>, job: &Standing, transition: &Transition, now: Timestamp) {
    let outcome = transition.attempt.as_ref().map(|attempt| attempt.outcome);
    if outcome == Some(Outcome::LeaseExpired) {
        call.queue.lease_expired_ever += 1;
    }
    match transition.to {
        // What is deleted moves to the state it has.
        to if to == job.state => return,
        State::Succeeded => call.queue.succeeded_ever += 1,
        State::Dead => call.queue.dead_ever += 1,
        _ => return,
    }
    call.queue.lately.finished(now);
}

/// Replaces the spec of a job and what repeats it. Answers the size of its record.
fn respec(call: &mut Call<'_>, job: &Standing, spec: &Spec) -> rusqlite::Result<i64> {
    let body = encode_spec(spec);
    let bytes = whole(body.len());
    call.db
        .prepare_cached("update spec set body = ?2 where job = ?1")?
        .execute(params![job.row, body])?;
    term::remove(call.db, job.row, job.terms)?;
    let terms = term::add(call.db, call.queue.id, job.row, spec)?;
    call.db.prepare_cached(include_str!("sql/respec.sql"))?.execute(params![
        job.row,
        spec.priority,
        spec.job_type,
        bytes,
        terms,
        told(spec)
    ])?;
    Ok(bytes)
}

/// Rewrites the row of the job, with a newest attempt if there is one.
fn change(
    call: &mut Call<'_>,
    job: &Standing,
    transition: &Transition,
    attempt: Option<&[u8]>,
) -> rusqlite::Result<()> {
    let Transition { to, at, .. } = *transition;
    let place = match (to, transition.place) {
        // It became ready no more anew than before: it stays where it is in its line.
        (State::Ready, _) if job.state == State::Ready && job.at == at => None,
        (State::Ready, Place::Front) => Some(call.queue.next_front()),
        (State::Ready, Place::Back) => Some(call.queue.next_back()),
        _ => None,
    };
    let expires = transition.expires.filter(|_| to.is_pending());
    for due in expires.into_iter().chain(falls_due(to, at)) {
        call.falls_due(due)?;
    }
    call.db.prepare_cached(include_str!("sql/commit.sql"))?.execute(params![
        job.row,
        letter(to),
        integer(at),
        transition.counters.deliveries,
        transition.counters.attempts,
        transition.counters.lease_losses,
        transition.started.map(integer),
        transition.ended.map(integer),
        place,
        expires.map(integer),
        attempt,
    ])?;
    Ok(())
}

/// When a job in `state` with the time `at` falls due by that.
pub(super) fn falls_due(state: State, at: Timestamp) -> Option<Timestamp> {
    (!matches!(state, State::Ready | State::Blocked)).then_some(at)
}

/// Adds to the history; a second record of the same lease replaces the first: a late ack. Answers
/// what the job's row is to keep as its newest attempt; those before it have rows of their own.
fn record(call: &Call<'_>, job: &Standing, attempt: &Attempt) -> rusqlite::Result<Option<Vec<u8>>> {
    let body = match (&attempt.worker, &job.worker) {
        (None, Some(worker)) => {
            encode_attempt(&Attempt { worker: Some(worker.clone()), ..attempt.clone() })
        }
        _ => encode_attempt(attempt),
    };
    // One that can't be read is given up for the new one.
    let newest =
        job.attempt.as_ref().and_then(|body| Some((body, decode_attempt(body.clone()).ok()?)));
    match newest {
        Some((old, before)) if before.delivery < attempt.delivery => {
            put_aside(call, job.row, before.delivery, old)?;
            Ok(Some(body))
        }
        Some((_, after)) if after.delivery > attempt.delivery => {
            put_aside(call, job.row, attempt.delivery, &body)?;
            Ok(None)
        }
        _ => Ok(Some(body)),
    }
}

/// Keeps an attempt that is not the newest.
fn put_aside(call: &Call<'_>, row: i64, delivery: u32, body: &[u8]) -> rusqlite::Result<()> {
    call.db
        .prepare_cached("insert or replace into attempt (job, delivery, body) values (?1, ?2, ?3)")?
        .execute(params![row, delivery, body])?;
    if delivery >= HISTORY {
        call.db
            .prepare_cached(include_str!("sql/trim_attempts.sql"))?
            .execute(params![row, HISTORY - 1])?;
    }
    Ok(())
}

/// What a move leaves behind, encoded.
#[derive(Default)]
pub(super) struct Left {
    /// The job's progress.
    pub(super) progress: Option<Vec<u8>>,
    /// Its checkpoint.
    pub(super) checkpoint: Option<Vec<u8>>,
    /// Its last failure.
    pub(super) failure: Option<Vec<u8>>,
    /// Its result.
    pub(super) result: Option<Vec<u8>>,
}

impl Left {
    /// Replaces the parts that are given, if any is.
    pub(super) fn save(&self, call: &Call<'_>, row: i64) -> rusqlite::Result<()> {
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

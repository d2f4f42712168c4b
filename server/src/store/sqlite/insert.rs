//! `insert`: each job once.

use rusqlite::{OptionalExtension, params};

use super::batch::{Batch, Call};
use super::memory::Memory;
use super::row::{Failure, bits, corrupt, integer, letter, state};
use super::standing::add_spec;
use crate::clock::Timestamp;
use crate::job::{Dedup, DedupScope, Event, EventKind, Job, JobId, JobName, QueueName, State};
use crate::store::record::{encode_event, encode_spec};
use crate::store::{Group, Insert, Inserted, REQUEST_MEMORY, Request, created};

/// Inserts `groups`, each as a whole or not at all.
pub(super) fn insert(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    groups: &[Group],
    now: Timestamp,
) -> Result<Vec<Vec<Inserted>>, Failure> {
    let mut call = batch.call_new(queue)?;
    let mut answers = Vec::with_capacity(groups.len());
    for group in groups {
        answers.push(match group.inserts.as_slice() {
            // A refused job leaves nothing behind, so there is nothing to undo.
            [one] => vec![insert_one(&mut call, one, now)?],
            many => insert_group(&mut call, many, now)?,
        });
    }
    let inserts = || groups.iter().flat_map(|group| &group.inserts);
    let requests = inserts().filter(|insert| insert.request.is_some()).count();
    if requests > 0 {
        Memory::Requests.fade(&call, requests, now)?;
    }
    let keys = inserts().filter(|insert| insert.job.spec.dedup.is_some()).count();
    if keys > 0 {
        Memory::Keys.fade(&call, keys, now)?;
    }
    call.finish(now)?;
    Ok(answers)
}

fn insert_group(
    call: &mut Call<'_>,
    group: &[Insert],
    now: Timestamp,
) -> Result<Vec<Inserted>, Failure> {
    let mark = call.mark()?;
    let mut outcomes = Vec::with_capacity(group.len());
    for insert in group {
        outcomes.push(insert_one(call, insert, now)?);
    }
    if outcomes.iter().any(Inserted::refuses) {
        call.rewind(&mark)?;
        for outcome in outcomes.iter_mut().filter(|outcome| !outcome.refuses()) {
            *outcome = Inserted::Withheld;
        }
    }
    call.release()?;
    Ok(outcomes)
}

fn insert_one(call: &mut Call<'_>, insert: &Insert, now: Timestamp) -> Result<Inserted, Failure> {
    let Insert { job, chosen_id, request, .. } = insert;
    if let Some(request) = request
        && let Some(known) = known_request(call, *request, now)?
    {
        return Ok(known);
    }
    if *chosen_id && let Some(state) = state_of(call, &job.name.id)? {
        return Ok(Inserted::Exists(state));
    }
    if let Some(dedup) = &job.spec.dedup
        && let Some(holder) = holder(call, dedup, now)?
    {
        let kind = EventKind::Deduplicated;
        let mut event = Event::new(kind, now, call.name.clone(), holder.id.clone(), holder.state);
        add_spec(call.db, holder.row, &mut event)?;
        call.log.extend(encode_event(&event));
        remember(call, *request, &holder.id, now)?;
        return Ok(Inserted::Duplicate(holder.id));
    }
    if !add(call, job)? {
        // A generated id that is taken: the same answer, rather than a job lost in silence.
        let taken = state_of(call, &job.name.id)?;
        return Ok(Inserted::Exists(taken.unwrap_or(job.state)));
    }
    if let Some(dedup) = &job.spec.dedup {
        hold(call, dedup, &job.name.id, now)?;
    }
    call.log.extend(encode_event(&created(insert)));
    remember(call, *request, &job.name.id, now)?;
    Ok(Inserted::New)
}

/// What a request that was carried out before is answered.
fn known_request(
    call: &Call<'_>,
    request: Request,
    now: Timestamp,
) -> Result<Option<Inserted>, Failure> {
    let mut find = call.db.prepare_cached(
        "select digest, job from request where queue = ?1 and id = ?2 and until > ?3",
    )?;
    let known: Option<(i64, String)> = find
        .query_row(params![call.queue.id, request.id.as_bytes(), integer(now)], |row| {
            row.try_into()
        })
        .optional()?;
    let Some((digest, job)) = known else { return Ok(None) };
    Ok(Some(if digest == bits(request.digest) {
        Inserted::Replayed(id(call, &job)?)
    } else {
        Inserted::RequestReused
    }))
}

/// The state of the job of that id, if there is one.
fn state_of(call: &Call<'_>, id: &JobId) -> Result<Option<State>, Failure> {
    let mut find = call.db.prepare_cached("select state from job where queue = ?1 and id = ?2")?;
    let found: Option<String> =
        find.query_row(params![call.queue.id, id.as_str()], |row| row.get(0)).optional()?;
    let name = || JobName { queue: call.name.clone(), id: id.clone() };
    found.map(|letter| state(&letter).map_err(|why| corrupt(name(), why))).transpose()
}

/// The job that holds a dedup key.
struct Holder {
    row: i64,
    id: JobId,
    state: State,
}

/// The job that holds the key now, if one does.
fn holder(call: &Call<'_>, dedup: &Dedup, now: Timestamp) -> Result<Option<Holder>, Failure> {
    let mut find = call.db.prepare_cached(include_str!("sql/holder.sql"))?;
    let held: Option<(i64, String, String)> = find
        .query_row(params![call.queue.id, dedup.key.as_str(), integer(now)], |row| row.try_into())
        .optional()?;
    let Some((row, job, letter)) = held else { return Ok(None) };
    let state = state(&letter).map_err(|why| corrupt(call.name, why))?;
    Ok(Some(Holder { row, id: id(call, &job)?, state }))
}

fn hold(call: &Call<'_>, dedup: &Dedup, job: &JobId, now: Timestamp) -> rusqlite::Result<()> {
    let (until_finished, until) = match dedup.scope {
        DedupScope::UntilStarted { cap } | DedupScope::UntilFinished { cap } => {
            (true, cap.map(|cap| now.after(cap)))
        }
        DedupScope::Window(window) => (false, Some(now.after(window))),
    };
    call.db.prepare_cached(include_str!("sql/hold.sql"))?.execute(params![
        call.queue.id,
        dedup.key.as_str(),
        job.as_str(),
        until_finished,
        until.map(integer),
    ])?;
    Ok(())
}

/// Writes the job; false when its id is taken.
fn add(call: &mut Call<'_>, job: &Job) -> rusqlite::Result<bool> {
    let place = if job.state == State::Ready {
        call.queue.next_back()
    } else {
        call.falls_due(job.at)?;
        0
    };
    let added = call.db.prepare_cached(include_str!("sql/insert.sql"))?.execute(params![
        call.queue.id,
        job.name.id.as_str(),
        letter(job.state),
        integer(job.at),
        job.spec.priority,
        place,
    ])?;
    if added == 0 {
        return Ok(false);
    }
    call.db
        .prepare_cached("insert into spec (job, body) values (?1, ?2)")?
        .execute(params![call.db.last_insert_rowid(), encode_spec(&job.spec)])?;
    call.queue.gain(job.state, 1);
    call.queue.inserted += 1;
    Ok(true)
}

fn remember(
    call: &Call<'_>,
    request: Option<Request>,
    job: &JobId,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Some(request) = request else { return Ok(()) };
    call.db.prepare_cached(include_str!("sql/remember_request.sql"))?.execute(params![
        call.queue.id,
        request.id.as_bytes(),
        bits(request.digest),
        job.as_str(),
        integer(now.after(REQUEST_MEMORY)),
    ])?;
    Ok(())
}

fn id(call: &Call<'_>, text: &str) -> Result<JobId, Failure> {
    JobId::parse(text).map_err(|why| corrupt(call.name, why))
}

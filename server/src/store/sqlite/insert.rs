//! `insert`: each job once.

use rusqlite::{OptionalExtension, params};

use super::batch::{Batch, Call};
use super::commit::falls_due;
use super::dedup;
use super::memory::Memory;
use super::queue::count;
use super::request::{self, Made};
use super::row::{Failure, corrupt, integer, lease_columns, letter, state, whole};
use super::standing::told;
use super::term;
use crate::clock::Timestamp;
use crate::job::{Job, JobId, JobName, QueueName, State};
use crate::store::record::{encode_event, encode_spec};
use crate::store::{Group, Insert, Inserted, Room, created};

/// Inserts `groups`, one after the other.
pub(super) fn insert(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    groups: &[Group],
    now: Timestamp,
) -> Result<Vec<Vec<Inserted>>, Failure> {
    let mut call = batch.call_new(queue)?;
    let answers = insert_in(&mut call, groups, now)?;
    call.finish(now)?;
    Ok(answers)
}

/// As [`insert`], in a call that does more.
pub(super) fn insert_in(
    call: &mut Call<'_>,
    groups: &[Group],
    now: Timestamp,
) -> Result<Vec<Vec<Inserted>>, Failure> {
    let mut answers = Vec::with_capacity(groups.len());
    for group in groups {
        answers.push(insert_group(call, group, now)?);
    }
    let requests = groups.iter().filter(|group| group.request.is_some()).count();
    fade(call, requests, groups.iter().flat_map(|group| &group.inserts), now)?;
    Ok(answers)
}

/// Forgets what was remembered of others, after some were added: so many requests beside those of
/// single jobs.
pub(super) fn fade<'i>(
    call: &Call<'_>,
    mut requests: usize,
    inserts: impl IntoIterator<Item = &'i Insert>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut keys = 0;
    for insert in inserts {
        requests += usize::from(insert.request.is_some());
        keys += usize::from(insert.job.spec.dedup.is_some());
    }
    if requests > 0 {
        Memory::Requests.fade(call, requests, now)?;
    }
    if keys > 0 {
        Memory::Keys.fade(call, keys, now)?;
    }
    Ok(())
}

fn insert_group(
    call: &mut Call<'_>,
    group: &Group,
    now: Timestamp,
) -> Result<Vec<Inserted>, Failure> {
    let Some(request) = group.request else {
        return insert_jobs(call, group, &Made::default(), now);
    };
    let Some(mut made) = Made::by(call, request, now)? else {
        return Ok(vec![Inserted::RequestReused; group.inserts.len()]);
    };
    let outcomes = insert_jobs(call, group, &made, now)?;
    if made.note(&outcomes) {
        made.remember(call, request, now)?;
    }
    Ok(outcomes)
}

/// Inserts the jobs of a group but those that were `made` before.
fn insert_jobs(
    call: &mut Call<'_>,
    group: &Group,
    made: &Made,
    now: Timestamp,
) -> Result<Vec<Inserted>, Failure> {
    // A refused job leaves nothing behind, so alone there is nothing to undo.
    let mark = if group.atomic && group.inserts.len() > 1 { Some(call.mark()?) } else { None };
    let mut outcomes = Vec::with_capacity(group.inserts.len());
    for (index, insert) in group.inserts.iter().enumerate() {
        outcomes.push(if made.has(index) {
            Inserted::Replayed(insert.job.name.id.clone())
        } else {
            insert_one(call, insert, group.room, now)?
        });
    }
    if let Some(mark) = mark {
        if outcomes.iter().any(Inserted::refuses) {
            call.rewind(&mark)?;
            for outcome in outcomes.iter_mut().filter(|outcome| !outcome.refuses()) {
                *outcome = Inserted::Withheld;
            }
        }
        call.release()?;
    }
    Ok(outcomes)
}

/// Inserts one job, or finds out why not.
pub(super) fn insert_one(
    call: &mut Call<'_>,
    insert: &Insert,
    room: Room,
    now: Timestamp,
) -> Result<Inserted, Failure> {
    let Insert { job, chosen_id, request, .. } = insert;
    if let Some(request) = request
        && let Some(known) = request::known(call, *request, now)?
    {
        return Ok(known);
    }
    // With nothing to come before it, the insert itself finds out whether the id is taken.
    let looks = job.spec.dedup.is_some() || room != Room::default();
    if *chosen_id
        && looks
        && let Some(state) = state_of(call, &job.name.id)?
    {
        return Ok(Inserted::Exists(state));
    }
    if let Some(dedup) = &job.spec.dedup
        && let Some(holder) = dedup::holder(call, &dedup.key, now)?
    {
        return dedup::meet(call, insert, holder, room, now);
    }
    let (outcome, row) = create(call, insert, job.state, room, now)?;
    if let Some(dedup) = &job.spec.dedup
        && row.is_some()
    {
        dedup::hold(call, dedup, &job.name.id, now)?;
    }
    Ok(outcome)
}

/// Makes the job in `state`, if there is room and its id is free. Answers its row, too.
pub(super) fn create(
    call: &mut Call<'_>,
    insert: &Insert,
    state: State,
    room: Room,
    now: Timestamp,
) -> Result<(Inserted, Option<i64>), Failure> {
    let job = &insert.job;
    let spec = encode_spec(&job.spec);
    let full = |most: Option<u64>, held: i64| most.is_some_and(|most| count(held) > most);
    if full(room.jobs, call.queue.unfinished() + 1)
        || full(room.bytes, call.queue.bytes + whole(spec.len()))
    {
        return Ok((Inserted::Full(room), None));
    }
    let straight = call.takers.as_ref().and_then(|takers| takers.lease(job, spec.len()));
    let (as_written, its_state) = match &straight {
        Some(straight) => (straight.job(), State::Leased),
        None => (job, state),
    };
    let Some(row) = add(call, as_written, its_state, &spec)? else {
        // A generated id that is taken: the same answer, rather than a job lost in silence.
        let taken = state_of(call, &job.name.id)?;
        return Ok((Inserted::Exists(taken.unwrap_or(state)), None));
    };
    if let (Some(takers), Some(straight)) = (&mut call.takers, straight) {
        takers.give(straight, row);
    }
    call.queue.lately.enqueued(now);
    let mut event = created(insert);
    event.to = Some(state);
    call.log.extend(encode_event(&event));
    request::remember(call, insert.request, &job.name.id, now)?;
    Ok((Inserted::New, Some(row)))
}

/// The state of the job of that id, if there is one.
fn state_of(call: &Call<'_>, id: &JobId) -> Result<Option<State>, Failure> {
    let mut find = call.db.prepare_cached("select state from job where queue = ?1 and id = ?2")?;
    let found: Option<String> =
        find.query_row(params![call.queue.id, id.as_str()], |row| row.get(0)).optional()?;
    let name = || JobName { queue: call.name.clone(), id: id.clone() };
    found.map(|letter| state(&letter).map_err(|why| corrupt(name(), why))).transpose()
}

/// Writes the job and answers its row; `None` when its id is taken.
fn add(call: &mut Call<'_>, job: &Job, state: State, spec: &[u8]) -> rusqlite::Result<Option<i64>> {
    let place = if state == State::Ready { call.queue.next_back() } else { 0 };
    for due in job.spec.expires.into_iter().chain(falls_due(state, job.at)) {
        call.falls_due(due)?;
    }
    let bytes = whole(spec.len());
    let (secret, worker, started, duration) = lease_columns(job);
    let added = call.db.prepare_cached(include_str!("sql/insert.sql"))?.execute(params![
        call.queue.id,
        job.name.id.as_str(),
        letter(state),
        integer(job.at),
        job.spec.priority,
        place,
        job.spec.job_type,
        bytes,
        job.spec.expires.map(integer),
        told(&job.spec),
        job.counters.deliveries,
        job.counters.attempts,
        job.started.map(integer),
        secret,
        worker,
        started,
        duration,
    ])?;
    if added == 0 {
        return Ok(None);
    }
    let row = call.db.last_insert_rowid();
    call.db
        .prepare_cached("insert into spec (job, body) values (?1, ?2)")?
        .execute(params![row, spec])?;
    let terms = term::add(call.db, call.queue.id, row, &job.spec)?;
    if terms > 0 {
        call.db
            .prepare_cached("update job set terms = ?2 where job = ?1")?
            .execute([row, terms])?;
    }
    call.queue.gain(state, bytes);
    call.queue.inserted += 1;
    Ok(Some(row))
}

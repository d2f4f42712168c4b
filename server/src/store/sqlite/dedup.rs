//! Dedup keys: who holds one, what a later job with the same key does, and who waits for whom.

use rusqlite::{OptionalExtension, params};

use super::batch::Call;
use super::commit::{apply, falls_due};
use super::insert::create;
use super::request::remember;
use super::row::{Failure, Jobs, blob, corrupt, integer, letter, state, time};
use super::standing::{Standing, add_spec};
use crate::clock::Timestamp;
use crate::job::{
    Dedup, DedupKey, DedupScope, Event, EventKind, JobId, OnDuplicate, State, operate,
};
use crate::store::record::{decode_spec, encode_event};
use crate::store::{Insert, Inserted, Room, on_duplicate};

/// The job that holds a dedup key.
pub(super) struct Holder {
    row: i64,
    id: JobId,
    state: State,
    /// It was leased before.
    started: bool,
}

/// The job that holds the key now, if one does.
pub(super) fn holder(
    call: &Call<'_>,
    key: &DedupKey,
    now: Timestamp,
) -> Result<Option<Holder>, Failure> {
    let mut find = call.db.prepare_cached(include_str!("sql/holder.sql"))?;
    let held: Option<(i64, String, String, bool, Vec<u8>)> = find
        .query_row(params![call.queue.id, key.as_str(), integer(now)], |row| row.try_into())
        .optional()?;
    let Some((row, job, letter, started, spec)) = held else { return Ok(None) };
    // The one that took the key may be gone, and its id taken by another.
    let is_of = |dedup: Option<Dedup>| dedup.is_some_and(|dedup| dedup.key == *key);
    if decode_spec(spec.into()).is_ok_and(|spec| !is_of(spec.dedup)) {
        return Ok(None);
    }
    let state = state(&letter).map_err(|why| corrupt(call.name, why))?;
    Ok(Some(Holder { row, id: id(call, &job)?, state, started }))
}

/// The key is that of `job` from now on.
pub(super) fn hold(
    call: &Call<'_>,
    dedup: &Dedup,
    job: &JobId,
    now: Timestamp,
) -> rusqlite::Result<()> {
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

/// Gives the key free, if the job holds it and not for a window.
pub(super) fn free(call: &Call<'_>, key: &DedupKey, job: &JobId) -> rusqlite::Result<()> {
    call.db.prepare_cached(include_str!("sql/free.sql"))?.execute(params![
        call.queue.id,
        key.as_str(),
        job.as_str()
    ])?;
    Ok(())
}

/// What becomes of an insert whose key is held.
pub(super) fn meet(
    call: &mut Call<'_>,
    insert: &Insert,
    holder: Holder,
    room: Room,
    now: Timestamp,
) -> Result<Inserted, Failure> {
    let start = (insert.job.state, insert.job.at);
    match on_duplicate(insert) {
        OnDuplicate::Reject => Ok(Inserted::Rejected(holder.id, holder.state)),
        OnDuplicate::Replace if holder.state.is_pending() && !holder.started => {
            replace(call, insert, holder.id, Some(start), now)
        }
        OnDuplicate::RunAfter if holder.state.is_pending() => {
            replace(call, insert, holder.id, None, now)
        }
        OnDuplicate::RunAfter if holder.state == State::Leased => {
            follow(call, insert, holder, room, now)
        }
        _ => give_way(call, insert, holder, now),
    }
}

fn give_way(
    call: &mut Call<'_>,
    insert: &Insert,
    holder: Holder,
    now: Timestamp,
) -> Result<Inserted, Failure> {
    let kind = EventKind::Deduplicated;
    let mut event = Event::new(kind, now, call.name.clone(), holder.id.clone(), holder.state);
    add_spec(call.db, holder.row, &mut event)?;
    call.log.extend(encode_event(&event));
    remember(call, insert.request, &holder.id, now)?;
    Ok(Inserted::Duplicate(holder.id))
}

/// The job with that id does from now on what the insert asks for.
fn replace(
    call: &mut Call<'_>,
    insert: &Insert,
    id: JobId,
    start: Option<(State, Timestamp)>,
    now: Timestamp,
) -> Result<Inserted, Failure> {
    let Some(standing) = Standing::find(call, &id)? else {
        return Err(corrupt(call.name, "the holder of a dedup key is gone"));
    };
    let Some(found) = Jobs::of(call.db, call.name).at_row(standing.row)? else {
        return Err(corrupt(call.name, "the holder of a dedup key is gone"));
    };
    let transition = operate::replace(&found.job, (*insert.job.spec).clone(), start, now);
    apply(call, &standing, &transition, now)?;
    // One that waits behind another does not hold the key yet.
    if let Some(dedup) = &insert.job.spec.dedup
        && standing.state != State::Blocked
    {
        hold(call, dedup, &id, now)?;
    }
    remember(call, insert.request, &id, now)?;
    Ok(Inserted::Replaced(id))
}

/// The insert runs once the holder has ended: as a new job, or as the one that waits already.
fn follow(
    call: &mut Call<'_>,
    insert: &Insert,
    holder: Holder,
    room: Room,
    now: Timestamp,
) -> Result<Inserted, Failure> {
    let find = "select j.id from behind b join job j using (job) where b.holder = ?1";
    let waits: Option<String> =
        call.db.prepare_cached(find)?.query_row([holder.row], |row| row.get(0)).optional()?;
    if let Some(waits) = waits {
        let waits = id(call, &waits)?;
        return replace(call, insert, waits, None, now);
    }
    let (outcome, row) = create(call, insert, State::Blocked, room, now)?;
    let Some(row) = row else { return Ok(outcome) };
    call.db
        .prepare_cached("insert into behind (job, holder, queue, created) values (?1, ?2, ?3, ?4)")?
        .execute(params![row, holder.row, call.queue.id, integer(insert.job.spec.created)])?;
    Ok(Inserted::Behind(holder.id))
}

/// The job waits behind no other any more.
pub(super) fn leave_line(call: &Call<'_>, row: i64) -> rusqlite::Result<()> {
    call.db.prepare_cached("delete from behind where job = ?1")?.execute([row])?;
    Ok(())
}

/// The job in row `ended` has ended: the one that waits behind it may run and takes the key,
/// unless another one has it already.
pub(super) fn unblock(call: &mut Call<'_>, ended: i64, now: Timestamp) -> Result<(), Failure> {
    if call.queue.jobs(State::Blocked) == 0 {
        return Ok(());
    }
    let waits: Option<(i64, String, i64, Vec<u8>)> = call
        .db
        .prepare_cached(include_str!("sql/behind.sql"))?
        .query_row([ended], |row| row.try_into())
        .optional()?;
    let Some((row, text, at, spec)) = waits else { return Ok(()) };
    let (id, at) = (id(call, &text)?, time(at));
    leave_line(call, row)?;
    let (to, kind) = if at > now {
        (State::Scheduled, EventKind::Scheduled)
    } else {
        (State::Ready, EventKind::Ready)
    };
    let at = at.max(now);
    let place = (to == State::Ready).then(|| call.queue.next_back());
    if let Some(due) = falls_due(to, at) {
        call.falls_due(due)?;
    }
    call.db
        .prepare_cached(
            "update job set state = ?2, at = ?3, place = coalesce(?4, place) where job = ?1",
        )?
        .execute(params![row, letter(to), integer(at), place])?;
    call.queue.step(State::Blocked, to);
    let mut event = Event::new(kind, now, call.name.clone(), id.clone(), to);
    event.from = Some(State::Blocked);
    // An unreadable spec is left for the claim to find.
    if let Ok(spec) = decode_spec(blob((&spec[..]).into())) {
        if let Some(dedup) = &spec.dedup
            && holder(call, &dedup.key, now)?.is_none_or(|holder| holder.row == ended)
        {
            hold(call, dedup, &id, now)?;
        }
        event.job_type = spec.job_type;
        event.labels = spec.labels;
        event.trace_context = spec.trace_context;
    }
    call.log.extend(encode_event(&event));
    Ok(())
}

fn id(call: &Call<'_>, text: &str) -> Result<JobId, Failure> {
    JobId::parse(text).map_err(|why| corrupt(call.name, why))
}

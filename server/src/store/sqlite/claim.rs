//! `claim`: takes ready jobs in order and leases them.

use std::collections::BTreeSet;
use std::fmt::Write;

use rusqlite::{CachedStatement, ToSql, params};

use super::batch::{Batch, Call};
use super::dedup;
use super::memory::Memory;
use super::row::{Failure, Found, Jobs, Portion, bits, integer, lease_columns, pass_over};
use crate::clock::Timestamp;
use crate::job::{
    DEFAULT_LEASE_DURATION, DedupScope, Event, EventKind, Job, Lease, QueueName, RequestId, State,
};
use crate::store::record::encode_event;
use crate::store::{CLAIM_MEMORY, Claim, Claimed};

/// So many expired jobs are passed over in search of others; then the sweep has to end them first.
const PASSED: usize = 1000;

/// Reads the ready jobs in order.
pub(super) const READY: &str = concat!(include_str!("sql/job.sql"), include_str!("sql/ready.sql"));

/// Serves `claims` in order.
pub(super) fn claim(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    claims: &[Claim],
    now: Timestamp,
) -> Result<Claimed, Failure> {
    let Some(mut call) = batch.call(queue)? else {
        return Ok(Claimed {
            jobs: vec![Vec::new(); claims.len()],
            exhausted: vec![true; claims.len()],
            gate: None,
        });
    };
    let claimed = claim_in(&mut call, claims, now)?;
    call.finish(now)?;
    Ok(claimed)
}

/// As [`claim`], in a call that does more.
pub(super) fn claim_in(
    call: &mut Call<'_>,
    claims: &[Claim],
    now: Timestamp,
) -> Result<Claimed, Failure> {
    let (mut jobs, mut exhausted) = (Vec::new(), Vec::new());
    for claim in claims {
        let (taken, ended) = serve(call, claim, now)?;
        jobs.push(taken);
        exhausted.push(ended || call.queue.jobs(State::Ready) == 0);
    }
    served(call, claims, jobs, exhausted, now)
}

/// Ends the service of `claims`, which took these jobs.
pub(super) fn served(
    call: &Call<'_>,
    claims: &[Claim],
    jobs: Vec<Vec<Job>>,
    exhausted: Vec<bool>,
    now: Timestamp,
) -> Result<Claimed, Failure> {
    if claims.iter().any(|claim| claim.request.is_some()) {
        Memory::Claims.fade(call, claims.len(), now)?;
    }
    let (ready, leased) = (call.queue.jobs(State::Ready), call.queue.jobs(State::Leased));
    let gate = call.queue.gates.shut(ready, leased, now);
    Ok(Claimed { jobs, exhausted, gate })
}

/// Serves one claim. Answers also whether it saw the end of its line.
fn serve(call: &mut Call<'_>, claim: &Claim, now: Timestamp) -> Result<(Vec<Job>, bool), Failure> {
    if let Some(request) = claim.request {
        let again = replay(call, request)?;
        if !again.is_empty() {
            return Ok((again.into_iter().map(|found| found.job).collect(), false));
        }
    }
    let room = call.queue.gates.room(call.queue.jobs(State::Leased), now);
    let limit = claim.limit.min(room);
    if limit == 0 || call.queue.jobs(State::Ready) == 0 {
        return Ok((Vec::new(), false));
    }
    let (mut taken, ended) = choose(call, claim, limit, now)?;
    if (ended || taken.len() < limit) && !claim.types.is_empty() {
        call.queue.passed_by = true;
    }
    for found in &mut taken {
        lease(call, found, claim, now)?;
    }
    Ok((took(call, claim, taken, now)?, ended))
}

/// Takes note that `claim` took these jobs. Answers them.
pub(super) fn took(
    call: &mut Call<'_>,
    claim: &Claim,
    taken: Vec<Found>,
    now: Timestamp,
) -> Result<Vec<Job>, Failure> {
    call.queue.gates.pass(taken.len(), now);
    if let Some(request) = claim.request {
        remember(call, request, claim, &taken, now)?;
    }
    Ok(taken.into_iter().map(|found| found.job).collect())
}

/// Those jobs of a remembered claim that are still under its leases.
fn replay(call: &Call<'_>, request: RequestId) -> Result<Vec<Found>, Failure> {
    // Most claims are new: do not bother the planner's big join with them.
    if !is_known(call, request)? {
        return Ok(Vec::new());
    }
    let select = concat!(include_str!("sql/job.sql"), include_str!("sql/replay.sql"));
    let select = call.db.prepare_cached(select)?;
    let params = params![call.queue.id, request.as_bytes()];
    Jobs::of(call.db, call.name).read(select, params, |_| false)
}

/// True when a claim with that id is remembered.
pub(super) fn is_known(call: &Call<'_>, request: RequestId) -> Result<bool, Failure> {
    let mut find = call.db.prepare_cached("select 1 from replay where queue = ?1 and id = ?2")?;
    Ok(find.exists(params![call.queue.id, request.as_bytes()])?)
}

/// The next ready jobs, up to `limit` and as many as the claim has room for. Answers also whether
/// it saw that there are no more.
fn choose(
    call: &mut Call<'_>,
    claim: &Claim,
    limit: usize,
    now: Timestamp,
) -> Result<(Vec<Found>, bool), Failure> {
    let types: BTreeSet<&str> = claim.types.iter().map(String::as_str).collect();
    let mut line = line(call, types.len())?;
    let queue = call.queue.id;
    let mut params: Vec<&dyn ToSql> = vec![&queue];
    params.extend(types.iter().map(|one| one as &dyn ToSql));
    let expires = line.column_index("expires")?;
    let mut rows = line.query(&params[..])?;
    let jobs = Jobs::of(call.db, call.name);
    let mut portion = Portion::within(limit, claim.max_bytes);
    let (mut chosen, mut passed) = (Vec::new(), 0);
    let ended = loop {
        // The counters say as well whether that was the last job of any type.
        if chosen.len() == limit && types.is_empty() {
            break false;
        }
        let Some(row) = rows.next()? else { break true };
        if chosen.len() == limit {
            break false;
        }
        let lapses: Option<i64> = row.get(expires)?;
        if lapses.is_some_and(|moment| moment <= integer(now)) {
            passed += 1;
            if passed > PASSED {
                call.queue.choked = true;
                break false;
            }
            continue;
        }
        let job = if types.is_empty() { jobs.one(row).map(Some) } else { jobs.at_row(row.get(0)?) };
        if let Some(found) = pass_over(job)? {
            if portion.is_full_before(&found) {
                break false;
            }
            chosen.push(found);
        }
    };
    Ok((chosen, ended))
}

/// A walk along the ready jobs in the order in which they are claimed, with their expiries: whole
/// jobs, or their rows where the lines of types are merged.
fn line<'c>(call: &Call<'c>, types: usize) -> rusqlite::Result<CachedStatement<'c>> {
    if types == 0 {
        return call.db.prepare_cached(READY);
    }
    call.db.prepare_cached(&line_of_types(types))
}

/// The ready jobs of so many types in order, as rows: their lines are merged.
pub(super) fn line_of_types(types: usize) -> String {
    let mut sql = String::new();
    for parameter in 2..types + 2 {
        let union = if sql.is_empty() { "" } else { "union all " };
        // Writing to a string can't fail.
        let _infallible = write!(
            sql,
            "{union}select job, expires, priority, place from job
             where queue = ?1 and state = 'R' and type = ?{parameter} "
        );
    }
    sql.push_str("order by priority desc, place");
    sql
}

/// Leases a ready job for `claim`. Answers what is told of that.
pub(super) fn leased(job: &mut Job, claim: &Claim, now: Timestamp) -> Event {
    let waited = now.since(job.at);
    let duration =
        claim.lease_duration.or(job.spec.lease_duration).unwrap_or(DEFAULT_LEASE_DURATION);
    job.state = State::Leased;
    job.at = now.after(duration.min(job.attempt_timeout()));
    job.counters = job.counters.leased();
    job.started = job.started.or(Some(now));
    job.lease =
        Some(Lease { secret: claim.secret, worker: claim.worker.clone(), started: now, duration });
    let (queue, id) = (job.name.queue.clone(), job.name.id.clone());
    let mut event = Event::new(EventKind::Leased, now, queue, id, State::Leased);
    event.from = Some(State::Ready);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event.attempt = job.counters.attempts;
    event.worker = Some(claim.worker.clone());
    event.waited = Some(waited);
    event
}

/// Leases one job: the row, the job as it is answered, the event.
fn lease(
    call: &mut Call<'_>,
    found: &mut Found,
    claim: &Claim,
    now: Timestamp,
) -> Result<(), Failure> {
    let job = &mut found.job;
    let event = leased(job, claim, now);
    let (secret, worker, started, duration) = lease_columns(job);
    call.falls_due(job.at)?;
    call.db.prepare_cached(include_str!("sql/claim.sql"))?.execute(params![
        found.row,
        integer(job.at),
        job.counters.deliveries,
        job.counters.attempts,
        job.started.map(integer),
        secret,
        worker,
        started,
        duration,
    ])?;
    call.queue.step(State::Ready, State::Leased);
    if let Some(dedup) = &job.spec.dedup
        && matches!(dedup.scope, DedupScope::UntilStarted { .. })
    {
        dedup::free(call, &dedup.key, &job.name.id)?;
    }
    call.log.extend(encode_event(&event));
    Ok(())
}

/// Remembers what the claim took, so that it can be answered again.
fn remember(
    call: &Call<'_>,
    request: RequestId,
    claim: &Claim,
    taken: &[Found],
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Some(until) = taken.iter().map(|found| found.job.at).max() else { return Ok(()) };
    let mut jobs = String::from("[");
    for (index, found) in taken.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string can't fail.
        let _infallible = write!(jobs, "{comma}{}", found.row);
    }
    jobs.push(']');
    call.db.prepare_cached(include_str!("sql/remember_claim.sql"))?.execute(params![
        call.queue.id,
        request.as_bytes(),
        bits(claim.secret.0),
        jobs,
        integer(until.min(now.after(CLAIM_MEMORY))),
    ])?;
    Ok(())
}

//! `hand_over`: an insert, and the claims behind it, in one call.

use super::batch::{Batch, Call};
use super::claim::{claim_in, is_known, leased, remember};
use super::insert::insert_in;
use super::memory::Memory;
use super::row::{Failure, Found, Portion};
use crate::clock::Timestamp;
use crate::job::{Event, Job, QueueName, State};
use crate::store::record::encode_event;
use crate::store::{Claim, Claimed, Group, Inserted};

/// Inserts `groups`, then serves `claims`.
pub(super) fn hand_over(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    groups: &[Group],
    claims: &[Claim],
    now: Timestamp,
) -> Result<(Vec<Vec<Inserted>>, Claimed), Failure> {
    let mut call = batch.call_new(queue)?;
    if goes_straight(&call, groups, claims, now)? {
        call.takers = Some(Takers::of(claims, now));
    }
    let inserted = insert_in(&mut call, groups, now)?;
    let claimed = match call.takers.take() {
        Some(takers) => takers.served(&mut call)?,
        None => claim_in(&mut call, claims, now)?,
    };
    call.finish(now)?;
    Ok((inserted, claimed))
}

/// True when what is inserted is what would be claimed, in this order, and nothing keeps it back: then
/// it need not be written as ready and read again.
fn goes_straight(
    call: &Call<'_>,
    groups: &[Group],
    claims: &[Claim],
    now: Timestamp,
) -> Result<bool, Failure> {
    let mut jobs = groups.iter().flat_map(|group| &group.inserts).map(|insert| &insert.job);
    let Some(first) = jobs.next() else { return Ok(false) };
    let is_plain = |job: &Job| {
        job.state == State::Ready
            && job.spec.priority == first.spec.priority
            && job.spec.dedup.is_none()
            && job.spec.expires.is_none()
    };
    let wanted = claims.iter().map(|claim| claim.limit).fold(0, usize::saturating_add);
    if !is_plain(first)
        || !jobs.all(is_plain)
        || !claims.iter().all(|claim| claim.types.is_empty())
        || call.queue.jobs(State::Ready) > 0
        || call.queue.gates.room(call.queue.jobs(State::Leased), now) < wanted
    {
        return Ok(false);
    }
    for request in claims.iter().filter_map(|claim| claim.request) {
        if is_known(call, request)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Those who wait for jobs that are being inserted.
pub(super) struct Takers<'c> {
    claims: &'c [Claim],
    now: Timestamp,
    /// The first claim that has room left, and that room.
    next: usize,
    room: Portion,
    /// What was given to which claim, and what is told of it.
    given: Vec<(usize, Found)>,
    told: Vec<u8>,
}

/// Where takers were at some point, to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    next: usize,
    room: Portion,
    given: usize,
    told: usize,
}

/// A job as it is leased in the step that inserts it.
pub(super) struct Straight {
    found: Found,
    event: Event,
    next: usize,
    room: Portion,
}

impl Straight {
    /// The job.
    pub(super) fn job(&self) -> &Job {
        &self.found.job
    }
}

impl<'c> Takers<'c> {
    fn of(claims: &'c [Claim], now: Timestamp) -> Self {
        let room = claims.first().map_or(Portion::of(0), Self::room_of);
        Self { claims, now, next: 0, room, given: Vec::new(), told: Vec::new() }
    }

    fn room_of(claim: &Claim) -> Portion {
        Portion::within(claim.limit, claim.max_bytes)
    }

    /// The new `job`, whose record has so many bytes, as it is leased for the next one who has room for
    /// it; `None`: it stays ready.
    pub(super) fn lease(&self, job: &Job, bytes: usize) -> Option<Straight> {
        let (mut next, mut room) = (self.next, self.room);
        let mut found = Found::new(job, bytes);
        while room.is_full_before(&found) {
            next += 1;
            room = Self::room_of(self.claims.get(next)?);
        }
        let event = leased(&mut found.job, self.claims.get(next)?, self.now);
        Some(Straight { found, event, next, room })
    }

    /// The job was written to that row.
    pub(super) fn give(&mut self, straight: Straight, row: i64) {
        let Straight { found, event, next, room } = straight;
        self.told.extend(encode_event(&event));
        self.given.push((next, Found { row, ..found }));
        (self.next, self.room) = (next, room);
    }

    /// Where they are.
    pub(super) fn mark(&self) -> Mark {
        let Self { next, room, .. } = *self;
        Mark { next, room, given: self.given.len(), told: self.told.len() }
    }

    /// Takes back all that was given since `mark`.
    pub(super) fn rewind(&mut self, mark: Mark) {
        (self.next, self.room) = (mark.next, mark.room);
        self.given.truncate(mark.given);
        self.told.truncate(mark.told);
    }

    /// What each claim got. It is told behind what was inserted.
    fn served(self, call: &mut Call<'_>) -> Result<Claimed, Failure> {
        let Self { claims, now, given, told, .. } = self;
        call.log.extend(told);
        call.queue.gates.pass(given.len(), now);
        let mut taken: Vec<Vec<Found>> = claims.iter().map(|_| Vec::new()).collect();
        for (claim, found) in given {
            taken[claim].push(found);
        }
        for (claim, found) in claims.iter().zip(&taken) {
            if let Some(request) = claim.request {
                remember(call, request, claim, found, now)?;
            }
        }
        if claims.iter().any(|claim| claim.request.is_some()) {
            Memory::Claims.fade(call, claims.len(), now)?;
        }
        let (ready, leased) = (call.queue.jobs(State::Ready), call.queue.jobs(State::Leased));
        let jobs = |found: Vec<Found>| found.into_iter().map(|found| found.job).collect();
        Ok(Claimed {
            jobs: taken.into_iter().map(jobs).collect(),
            exhausted: vec![ready == 0; claims.len()],
            gate: call.queue.gates.shut(ready, leased, now),
        })
    }
}

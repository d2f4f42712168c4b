//! `hand_over`: an insert, and the claims behind it, in one call.

use super::batch::{Batch, Call};
use super::claim::{claim_in, is_known, leased, served, took};
use super::insert::insert_in;
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
        call.takers = Takers::of(claims, now);
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
    turn: Turn,
    /// What was given to which claim, and what is told of it.
    given: Vec<(usize, Found)>,
    told: Vec<u8>,
}

/// The first claim that has room left, and that room.
#[derive(Clone, Copy)]
struct Turn {
    claim: usize,
    room: Portion,
}

impl Turn {
    /// That of `claim`, if there are so many.
    fn of(claims: &[Claim], claim: usize) -> Option<Self> {
        let Claim { limit, max_bytes, .. } = claims.get(claim)?;
        Some(Self { claim, room: Portion::within(*limit, *max_bytes) })
    }
}

/// Where takers were at some point, to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    turn: Turn,
    given: usize,
    told: usize,
}

/// A job as it is leased in the step that inserts it.
pub(super) struct Straight {
    found: Found,
    event: Event,
    /// Whose it is, and what there is room for behind it.
    turn: Turn,
}

impl Straight {
    /// The job.
    pub(super) fn job(&self) -> &Job {
        &self.found.job
    }
}

impl<'c> Takers<'c> {
    /// `None` where nobody waits.
    fn of(claims: &'c [Claim], now: Timestamp) -> Option<Self> {
        let turn = Turn::of(claims, 0)?;
        Some(Self { claims, now, turn, given: Vec::new(), told: Vec::new() })
    }

    /// The new `job`, whose record has so many bytes, as it is leased for the next one who has room for
    /// it; `None`: it stays ready.
    pub(super) fn lease(&self, job: &Job, bytes: usize) -> Option<Straight> {
        let mut turn = self.turn;
        let mut found = Found::new(job, bytes);
        while turn.room.is_full_before(&found) {
            turn = Turn::of(self.claims, turn.claim + 1)?;
        }
        let event = leased(&mut found.job, self.claims.get(turn.claim)?, self.now);
        Some(Straight { found, event, turn })
    }

    /// The job was written to that row.
    pub(super) fn give(&mut self, straight: Straight, row: i64) {
        let Straight { found, event, turn } = straight;
        self.told.extend(encode_event(&event));
        self.given.push((turn.claim, Found { row, ..found }));
        self.turn = turn;
    }

    /// Where they are.
    pub(super) fn mark(&self) -> Mark {
        Mark { turn: self.turn, given: self.given.len(), told: self.told.len() }
    }

    /// Takes back all that was given since `mark`.
    pub(super) fn rewind(&mut self, mark: Mark) {
        self.turn = mark.turn;
        self.given.truncate(mark.given);
        self.told.truncate(mark.told);
    }

    /// What each claim got. It is told behind what was inserted.
    fn served(self, call: &mut Call<'_>) -> Result<Claimed, Failure> {
        let Self { claims, now, given, told, .. } = self;
        call.log.extend(told);
        let mut taken: Vec<Vec<Found>> = claims.iter().map(|_| Vec::new()).collect();
        for (claim, found) in given {
            taken[claim].push(found);
        }
        let mut jobs = Vec::with_capacity(claims.len());
        for (claim, taken) in claims.iter().zip(taken) {
            jobs.push(took(call, claim, taken, now)?);
        }
        let exhausted = vec![call.queue.jobs(State::Ready) == 0; claims.len()];
        served(call, claims, jobs, exhausted, now)
    }
}

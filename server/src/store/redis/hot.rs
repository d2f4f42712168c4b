//! Calls of the scripts for what most jobs need. Each may decline, having done nothing, and then the
//! script for any kind of job does the work.

use std::collections::HashSet;
use std::hash::Hash;

use bytes::Bytes;
use redis::Value;

use super::pages::{self, Records};
use super::scripts::{Call, Ran, is_declined};
use super::{CLAIM_SLACK, RedisStore, arguments, codec, log, reply};
use crate::clock::{Timestamp, millis};
use crate::job::{
    DEFAULT_ATTEMPT_TIMEOUT, DEFAULT_LEASE_DURATION, Guard, QueueName, State, Transition,
};
use crate::store::{
    Claim, Claimed, Commit, EVENTS_KEPT, Group, Guarded, Insert, Inserted, REQUEST_MEMORY, Request,
    Result, record,
};

/// Jobs of one line, in order.
struct Line<'a> {
    priority: i16,
    job_type: &'a str,
    jobs: Vec<&'a Insert>,
}

/// True for what insert.lua can do.
pub(super) fn is_plain(groups: &[Group]) -> bool {
    let inserts = || groups.iter().flat_map(|group| &group.inserts);
    // Of one id that stands twice, the second is taken; of one request, it repeats the first.
    let chosen = || inserts().filter(|insert| insert.chosen_id).map(|insert| &insert.job.name.id);
    let asked = || {
        let of_groups = groups.iter().filter_map(|group| group.request);
        of_groups.chain(inserts().filter_map(|insert| insert.request)).map(|request| request.id)
    };
    inserts().next().is_some()
        && inserts().all(|insert| {
            insert.job.state == State::Ready && !codec::is_indexed(&insert.job.spec)
        })
        // Those that follow from a request rise.
        && (chosen().is_sorted_by(|one, next| one < next) || are_distinct(chosen()))
        && are_distinct(asked())
}

fn are_distinct<T: Eq + Hash>(mut all: impl Iterator<Item = T>) -> bool {
    let Some(first) = all.next() else { return true };
    let mut seen = HashSet::from([first]);
    all.all(|one| seen.insert(one))
}

/// True for what claim.lua can do.
pub(super) fn are_plain(claims: &[Claim]) -> bool {
    // One that repeats another of the same call must find what that one did.
    let mut requests = HashSet::new();
    !claims.is_empty()
        && claims.iter().all(|claim| {
            claim.types.is_empty()
                && claim.limit > 0
                && claim.request.is_none_or(|request| requests.insert(request))
        })
}

/// True for what finish.lua can do.
fn is_plain_end(commits: &[Commit]) -> bool {
    let keep = commits.first().map(|commit| keep(&commit.transition));
    let mut seen = HashSet::with_capacity(commits.len());
    commits.iter().all(|Commit { transition, then }| {
        matches!(transition.guard, Guard::Leased(_))
            && transition.to == State::Succeeded
            && transition.free_dedup.is_none()
            && transition.checkpoint.is_none()
            && transition.attempt.as_ref().is_some_and(|attempt| attempt.worker.is_some())
            && then.is_empty()
            && Some(self::keep(transition)) == keep
            && seen.insert(&transition.name.id)
    })
}

/// How many finished jobs are kept with this one, or that it is forgotten at once.
fn keep(transition: &Transition) -> (bool, Option<u32>) {
    (transition.forgets(), transition.keep.count)
}

/// The groups of ends that follow each other and differ in job and result only: how many there are in
/// each, and the first.
fn alike<'a>(ends: impl Iterator<Item = &'a Transition>) -> Vec<(usize, &'a Transition)> {
    let mut groups: Vec<(usize, &Transition)> = Vec::new();
    for end in ends {
        match groups.last_mut() {
            Some((number, first)) if are_alike(first, end) => *number += 1,
            _ => groups.push((1, end)),
        }
    }
    groups
}

fn are_alike(one: &Transition, other: &Transition) -> bool {
    let course = |end: &Transition| (end.to, end.at, end.counters, end.started, end.ended);
    one.guard == other.guard && course(one) == course(other) && one.attempt == other.attempt
}

/// Ids and records of new jobs.
pub(super) fn records<'i>(inserts: impl Iterator<Item = &'i Insert>) -> Records<'i> {
    inserts
        .map(|Insert { job, .. }| (codec::id_bytes(&job.name.id), codec::new_record(job)))
        .collect()
}

/// Adds how many jobs and bytes the queue may hold, how many these are, and how large the largest is.
pub(super) fn add_sizes(call: &mut Call<'_>, groups: &[Group], records: &Records<'_>) {
    let room = |room: fn(&Group) -> Option<u64>| groups.iter().filter_map(room).min();
    let sizes = || records.iter().map(|(_, record)| record.len());
    call.number(room(|group| group.room.jobs)).number(room(|group| group.room.bytes));
    call.text(records.len()).text(sizes().sum::<usize>()).text(sizes().max().unwrap_or(0));
}

/// Adds what is to be remembered of the requests for these jobs, which are all made: of that of a group
/// nothing more, of that of a job its id.
pub(super) fn add_requests(call: &mut Call<'_>, groups: &[Group]) {
    let of_groups = groups.iter().filter_map(|group| Some((group.request?, Bytes::new())));
    let inserts = groups.iter().flat_map(|group| &group.inserts);
    let of_jobs = inserts.filter_map(|insert| {
        let id = codec::id_bytes(&insert.job.name.id);
        Some((insert.request?, Bytes::copy_from_slice(id.as_ref())))
    });
    let requests: Vec<(Request, Bytes)> = of_groups.chain(of_jobs).collect();
    call.text(requests.len());
    for (Request { id, digest }, made) in requests {
        call.text(id.to_string()).bytes([format!("{digest:016x}").as_bytes(), &made[..]].concat());
    }
}

/// Adds the claims and the leases that they make, which are answered.
pub(super) fn add_claims(
    call: &mut Call<'_>,
    claims: &[Claim],
    now: Timestamp,
) -> Vec<[u8; codec::LEASE]> {
    call.text(millis(CLAIM_SLACK)).text(claims.len());
    let leases: Vec<_> = claims.iter().map(|claim| codec::new_lease(claim, now)).collect();
    for (claim, lease) in claims.iter().zip(&leases) {
        call.text(claim.limit).text(claim.max_bytes).number(claim.lease_duration.map(millis));
        call.bytes(lease).text(claim.worker.as_str());
        call.text(claim.request.map_or(String::new(), |request| request.to_string()));
    }
    leases
}

/// What becomes of groups whose jobs are all inserted.
pub(super) fn all_new(groups: &[Group]) -> Vec<Vec<Inserted>> {
    groups.iter().map(|group| vec![Inserted::New; group.inserts.len()]).collect()
}

impl RedisStore {
    /// Inserts jobs that have nothing special, and tells whether that took a second call; `None`
    /// when it can't be done this way.
    pub(super) async fn insert_plain(
        &self,
        queue: &QueueName,
        groups: &[Group],
        now: Timestamp,
    ) -> Result<Option<(Vec<Vec<Inserted>>, bool)>> {
        let inserts = || groups.iter().flat_map(|group| &group.inserts);
        let mut lines: Vec<Line<'_>> = Vec::new();
        for insert in inserts() {
            let spec = &insert.job.spec;
            let (priority, job_type) = (spec.priority, spec.job_type.as_str());
            let known = lines
                .iter_mut()
                .rev()
                .find(|line| line.priority == priority && line.job_type == job_type);
            match known {
                Some(line) => line.jobs.push(insert),
                None => lines.push(Line { priority, job_type, jobs: vec![insert] }),
            }
        }
        let records = records(lines.iter().flat_map(|line| &line.jobs).copied());
        let mut call = self.call(&self.scripts.insert, queue, now);
        call.text(EVENTS_KEPT).text(millis(REQUEST_MEMORY)).text(&self.origin);
        add_sizes(&mut call, groups, &records);
        call.text(records.len()).text(u8::from(inserts().any(|insert| insert.chosen_id)));
        log::created(inserts()).add(&mut call);
        add_requests(&mut call, groups);
        call.text(lines.len());
        for Line { priority, job_type, jobs } in &lines {
            call.text(format!("{priority}:{job_type}")).text(-priority).text(jobs.len());
        }
        pages::add(&mut call, &records);
        let jobs = lines.iter().flat_map(|line| &line.jobs);
        for (insert, (id, _)) in jobs.zip(&records) {
            let since = insert.job.at.as_millis().to_be_bytes();
            call.bytes([&since[2..], id.as_ref()].concat());
        }
        let Ran { answer, again } = call.run(&self.link).await?;
        if is_declined(&answer) {
            return Ok(None);
        }
        self.register_new(queue, Some(&answer)).await?;
        Ok(Some((all_new(groups), again)))
    }

    /// Claims for workers that take jobs of any type; `None` when that can't be done this way.
    pub(super) async fn claim_plain(
        &self,
        queue: &QueueName,
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Option<Claimed>> {
        let mut call = self.call(&self.scripts.claim, queue, now);
        call.text(EVENTS_KEPT);
        call.text(millis(DEFAULT_LEASE_DURATION)).text(millis(DEFAULT_ATTEMPT_TIMEOUT));
        let leases = add_claims(&mut call, claims, now);
        let answer = call.run(&self.link).await?.answer;
        if is_declined(&answer) {
            return Ok(None);
        }
        self.habits.note_quick_claim(queue);
        let leases = claims.iter().zip(&leases).map(|(claim, lease)| {
            // Its record's size matters to scripts only.
            [&lease[..], &[0; 4], claim.worker.as_str().as_bytes()].concat().into()
        });
        reply::claimed_plain(queue, answer, leases).map(Some)
    }

    /// Ends jobs by acks; `None` when that can't be done this way.
    pub(super) async fn finish(
        &self,
        queue: &QueueName,
        commits: &[Commit],
        now: Timestamp,
    ) -> Result<Option<Vec<Guarded>>> {
        if !is_plain_end(commits) {
            return Ok(None);
        }
        let mut outcomes = vec![Guarded::Applied; commits.len()];
        let mut left: Vec<usize> = (0..commits.len()).collect();
        while !left.is_empty() {
            let transitions = || left.iter().map(|index| &*commits[*index].transition);
            let answer = self.ask_finish(queue, transitions, now).await?;
            if is_declined(&answer) {
                self.habits.note_end(queue);
                return Ok(None);
            }
            let lost = reply::places(answer)?;
            if lost.is_empty() {
                break;
            }
            // Nothing was done: the others are ended without them.
            for place in &lost {
                if let Some(index) = left.get(*place) {
                    outcomes[*index] = Guarded::Lost;
                }
            }
            left.retain(|index| outcomes[*index] == Guarded::Applied);
        }
        Ok(Some(outcomes))
    }

    async fn ask_finish<'a, I>(
        &self,
        queue: &QueueName,
        transitions: impl Fn() -> I,
        now: Timestamp,
    ) -> Result<Value>
    where
        I: Iterator<Item = &'a Transition>,
    {
        let mut call = self.call(&self.scripts.finish, queue, now);
        call.text(EVENTS_KEPT);
        if let Some(transition) = transitions().next() {
            arguments::keep(&mut call, transition);
        }
        call.text(transitions().count());
        log::succeeded(transitions()).add(&mut call);
        let groups = alike(transitions());
        call.text(groups.len());
        for (number, transition) in groups {
            let Transition { guard, at, attempt, .. } = transition;
            let secret = match guard {
                Guard::Leased(secret) | Guard::Overdue { secret, .. } => secret.0,
                Guard::Standing(_) => 0,
            };
            call.text(number).bytes(secret.to_be_bytes());
            match attempt {
                Some(attempt) => call.bytes(codec::last_course(transition, attempt)),
                None => call.text(""),
            };
            call.text(at.as_millis());
        }
        let results = || {
            let placed = (1_usize..).zip(transitions());
            placed.filter_map(|(place, transition)| Some((place, transition.result.as_ref()?)))
        };
        call.text(results().count());
        for (place, result) in results() {
            call.text(place).maybe(Some(record::encode_payload(result)));
        }
        for transition in transitions() {
            call.bytes(codec::id_bytes(&transition.name.id));
        }
        Ok(call.run(&self.link).await?.answer)
    }
}

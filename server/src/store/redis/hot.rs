//! Calls of the scripts for what most jobs need. Each may decline, having done nothing, and then the
//! script for any kind of job does the work.

use std::collections::HashSet;
use std::hash::Hash;

use bytes::Bytes;
use redis::Value;

use super::pages::{self, Records};
use super::scripts::{Call, Ran, is_declined, wide};
use super::{RedisStore, codec, log, reply};
use crate::clock::Timestamp;
use crate::job::{Guard, QueueName, State, Transition};
use crate::store::{
    Claim, Claimed, Commit, Group, Guarded, Insert, Inserted, Request, Result, record,
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

/// How many jobs and bytes the queue may hold, how many these are, how large the largest is, and
/// whether their ids may be taken.
pub(super) fn sizes(groups: &[Group], records: &Records<'_>) -> [u64; 6] {
    let room = |room: fn(&Group) -> Option<u64>| groups.iter().filter_map(room).min();
    let [jobs, bytes] = [room(|group| group.room.jobs), room(|group| group.room.bytes)];
    let sizes = || records.iter().map(|(_, record)| wide(record.len()));
    let chosen = groups.iter().flat_map(|group| &group.inserts).any(|insert| insert.chosen_id);
    [
        jobs.unwrap_or(u64::MAX),
        bytes.unwrap_or(u64::MAX),
        wide(records.len()),
        sizes().sum(),
        sizes().max().unwrap_or(0),
        u64::from(chosen),
    ]
}

/// What is to be remembered of the requests for these jobs, which are all made: of that of a group
/// nothing more, of that of a job its id.
pub(super) fn requests(groups: &[Group]) -> Vec<(Request, Bytes)> {
    let of_groups = groups.iter().filter_map(|group| Some((group.request?, Bytes::new())));
    let inserts = groups.iter().flat_map(|group| &group.inserts);
    let of_jobs = inserts.filter_map(|insert| {
        let id = codec::id_bytes(&insert.job.name.id);
        Some((insert.request?, Bytes::copy_from_slice(id.as_ref())))
    });
    of_groups.chain(of_jobs).collect()
}

/// Adds requests and what is to be remembered of them.
pub(super) fn add_requests(call: &mut Call<'_>, requests: &[(Request, Bytes)]) {
    for (Request { id, digest }, made) in requests {
        call.text(id.to_string()).bytes([format!("{digest:016x}").as_bytes(), &made[..]].concat());
    }
}

/// Arguments for each claim.
pub(super) const CLAIM_ARGUMENTS: usize = 3;

/// Adds the claims and the leases that they make, which are answered.
pub(super) fn add_claims(
    call: &mut Call<'_>,
    claims: &[Claim],
    now: Timestamp,
) -> Vec<[u8; codec::LEASE]> {
    let leases: Vec<_> = claims.iter().map(|claim| codec::new_lease(claim, now)).collect();
    for (claim, lease) in claims.iter().zip(&leases) {
        let [limit, bytes] = [claim.limit, claim.max_bytes].map(|most| wide(most).to_be_bytes());
        call.bytes([&limit[..], &bytes, lease].concat()).text(claim.worker.as_str());
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
        let (told, requests) = (log::created(inserts()), requests(groups));
        let runs = pages::runs(&records);
        let [most, most_bytes, jobs, bytes, largest, chosen] = sizes(groups, &records);
        let [entries, paged] = pages::arguments(&runs);
        let mut call = self.call(&self.scripts.insert, queue, now);
        call.text(&self.origin).numbers([
            most,
            most_bytes,
            jobs,
            bytes,
            largest,
            chosen,
            jobs,
            wide(2 * requests.len()),
            told.arguments(),
            wide(lines.len()),
            entries,
            paged,
        ]);
        add_requests(&mut call, &requests);
        told.add(&mut call);
        for Line { priority, job_type, jobs } in &lines {
            let [score, number] =
                [(-i64::from(*priority)).to_be_bytes(), wide(jobs.len()).to_be_bytes()];
            let name = format!("{priority}:{job_type}");
            call.bytes([&score[..], &number, name.as_bytes()].concat());
        }
        pages::add(&mut call, &records, &runs);
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
        let results = || {
            let placed = (1_usize..).zip(transitions());
            placed.filter_map(|(place, transition)| Some((place, transition.result.as_ref()?)))
        };
        let (told, groups) = (log::succeeded(transitions()), alike(transitions()));
        let keep = groups.first().map(|(_, first)| (first.forgets(), first.keep));
        let [keep, most] = match keep {
            Some((false, keep)) => {
                [keep.count, keep.most()].map(|most| most.map_or(u64::MAX, u64::from))
            }
            _ => [0, 0],
        };
        let mut call = self.call(&self.scripts.finish, queue, now);
        call.numbers([
            keep,
            most,
            wide(transitions().count()),
            told.arguments(),
            wide(groups.len()),
            wide(2 * results().count()),
        ]);
        told.add(&mut call);
        for (number, transition) in groups {
            let Transition { guard, at, attempt, .. } = transition;
            let secret = match guard {
                Guard::Leased(secret) | Guard::Overdue { secret, .. } => secret.0,
                Guard::Standing(_) => 0,
            };
            let course = attempt.as_ref().map(|attempt| codec::last_course(transition, attempt));
            let numbers = [wide(number), at.as_millis(), secret].map(u64::to_be_bytes);
            call.bytes([numbers.as_flattened(), course.as_deref().unwrap_or_default()].concat());
        }
        for (place, result) in results() {
            call.text(place).maybe(Some(record::encode_payload(result)));
        }
        for transition in transitions() {
            call.bytes(codec::id_bytes(&transition.name.id));
        }
        Ok(call.run(&self.link).await?.answer)
    }
}

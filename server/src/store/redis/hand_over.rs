//! Inserts that serve claims in the same call.

use super::hot::{
    CLAIM_ARGUMENTS, add_claims, add_requests, all_new, are_plain, is_plain, records, requests,
    sizes,
};
use super::scripts::{is_declined, wide};
use super::{RedisStore, codec, log, reply};
use crate::clock::Timestamp;
use crate::job::{Job, QueueName};
use crate::store::{Claim, Claimed, Group, Insert, Inserted, Result};

/// True for jobs of one line, without timeouts of their own, with ids of one length.
pub(super) fn is_uniform(groups: &[Group]) -> bool {
    let inserts = || groups.iter().flat_map(|group| &group.inserts);
    let Some(first) = inserts().next() else { return false };
    let shape = |insert: &Insert| {
        let id = &insert.job.name.id;
        (insert.job.spec.priority, id.as_str().len(), id.bits().is_some())
    };
    let is_alike = |insert: &Insert| {
        shape(insert) == shape(first)
            && insert.job.spec.job_type == first.job.spec.job_type
            && !codec::has_timeouts(&insert.job.spec)
    };
    inserts().all(is_alike) && is_plain(groups)
}

impl RedisStore {
    /// Inserts jobs and leases them to those who wait; `None` when it can't be done in one step.
    pub(super) async fn insert_leased(
        &self,
        queue: &QueueName,
        groups: &[Group],
        claims: &[Claim],
        now: Timestamp,
    ) -> Result<Option<(Vec<Vec<Inserted>>, Claimed)>> {
        let inserts = || groups.iter().flat_map(|group| &group.inserts);
        let Some(first) = inserts().next().filter(|_| are_plain(claims) && is_uniform(groups))
        else {
            return Ok(None);
        };
        let records = records(inserts());
        let (priority, job_type) = (first.job.spec.priority, &first.job.spec.job_type);
        let mut call = self.call(&self.scripts.hand_over, queue, now);
        let (told, requests) = (log::created(inserts()), requests(groups));
        let [most, most_bytes, jobs, bytes, largest, chosen] = sizes(groups, &records);
        call.text(&self.origin).numbers([
            most,
            most_bytes,
            jobs,
            bytes,
            largest,
            chosen,
            wide(2 * requests.len()),
            told.arguments(),
            wide(CLAIM_ARGUMENTS * claims.len()),
        ]);
        call.text(-priority).text(format!("{priority}:{job_type}"));
        add_requests(&mut call, &requests);
        told.add(&mut call);
        add_claims(&mut call, claims, now);
        for (id, record) in &records {
            call.bytes(id).bytes(record);
        }
        let answer = call.run(&self.link).await?.answer;
        if is_declined(&answer) {
            self.habits.note_parted(queue);
            return Ok(None);
        }
        let mut jobs = inserts().map(|insert| &insert.job);
        let mut claimed = Claimed::default();
        for (claim, (count, deadline)) in claims.iter().zip(reply::shares(answer)?) {
            let lease = |job: &Job| codec::leased(job, claim, now, deadline);
            claimed.jobs.push(jobs.by_ref().take(count).map(lease).collect());
        }
        claimed.exhausted = vec![jobs.next().is_none(); claims.len()];
        Ok(Some((all_new(groups), claimed)))
    }
}

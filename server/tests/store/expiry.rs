//! What becomes of jobs that have an expiry, and of attempts that take too long.

use std::time::Duration;

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, claim, deduplicated, expired, expiring, extension, ids, kept,
    meeting, nacked, one, scheduled, seconds, spec, tireless,
};
use crate::job::operate;
use crate::job::transition::Disposition;
use crate::job::{EventKind, Failure, OnDuplicate, Outcome, Spec, State};
use crate::store::{Claim, Counts, Inserted};

const MILLISECOND: Duration = Duration::from_millis(1);

every_store!(
    async fn no_job_is_claimed_from_its_expiry_on(queue: Queue) {
        queue.add("a", expiring(at(10))).await;
        queue.add("b", expiring(at(20))).await;
        queue.add("c", spec()).await;
        assert_eq!(ids(&queue.claim(2, at(10)).await), ["b", "c"]);
        assert_eq!(queue.state("a").await, Some(State::Ready), "only a sweep ends it");
        assert_eq!(queue.claim(9, at(11)).await, []);
        queue.add("d", expiring(at(20))).await;
        let last_moment = at(20).before(MILLISECOND);
        assert_eq!(ids(&queue.claim(9, last_moment).await), ["d"]);
    }

    async fn a_claim_is_not_kept_from_the_jobs_behind_the_expired(queue: Queue) {
        let names: Vec<String> = (0..500).map(|n| format!("old-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, expiring(at(5))).await;
        queue.add("live", spec()).await;
        assert_eq!(ids(&queue.claim(1, at(10)).await), ["live"]);
    }

    async fn a_pending_job_is_overdue_from_its_expiry_on(queue: Queue) {
        queue.add("ready", expiring(at(30))).await;
        queue.add("later", Spec { expires: Some(at(20)), ..scheduled(at(15)) }).await;
        let short = Spec { retry: tireless(), ..expiring(at(10)) };
        let retried = queue.add_leased_ahead("retried", short).await;
        queue.apply(nacked(&retried, Disposition::Retry(Some(seconds(500))), at(0)), at(0)).await;
        assert_eq!(queue.overdue(at(10).before(MILLISECOND)).await, []);
        assert_eq!(ids(&queue.overdue(at(10)).await), ["retried"]);
        assert_eq!(ids(&queue.overdue(at(60)).await), ["retried", "later", "ready"]);
        let first = queue.store.overdue(&queue.name, at(60), 1).await.unwrap();
        assert_eq!(ids(&first), ["retried"]);
    }

    async fn an_expiry_is_due(queue: Queue) {
        queue.add("a", expiring(at(30))).await;
        assert_eq!(queue.next_due().await, Some(at(30)));
        queue.add("b", Spec { expires: Some(at(20)), ..scheduled(at(15)) }).await;
        assert_eq!(queue.next_due().await, Some(at(15)));
        queue.promote(at(15)).await;
        assert_eq!(queue.next_due().await, Some(at(20)));
        queue.cancel("b", at(16)).await;
        assert_eq!(queue.next_due().await, Some(at(30)));
    }

    async fn a_leased_job_does_not_expire(queue: Queue) {
        let spec = Spec { retry: tireless(), ..expiring(at(10)) };
        let job = queue.add_leased("a", spec).await;
        assert_eq!(queue.next_due().await, Some(at(30)));
        assert_eq!(queue.overdue(at(20)).await, []);
        queue.extend(extension(&job, at(60)), at(20)).await;
        queue.apply(nacked(&job, Disposition::Retry(None), at(30)), at(30)).await;
        // It waits again, and its time is over.
        assert_eq!(queue.claim(9, at(30)).await, []);
        assert_eq!(queue.next_due().await, Some(at(10)));
        assert_eq!(ids(&queue.overdue(at(30)).await), ["a"]);
    }

    async fn a_finished_job_does_not_expire(queue: Queue) {
        let job = queue.add_leased("a", expiring(at(10))).await;
        queue.apply(acked(&job, at(5)), at(5)).await;
        assert_eq!(queue.overdue(at(60)).await, []);
        assert!(queue.next_due().await > Some(at(60)));
    }

    async fn an_expired_job_is_at_its_end(queue: Queue) {
        queue.add("a", expiring(at(10))).await;
        let job = one(queue.overdue(at(12)).await);
        queue.apply(operate::lapse(&job, at(12)).unwrap(), at(12)).await;
        let job = queue.get("a").await;
        assert_eq!((job.state, job.ended), (State::Expired, Some(at(12))));
        assert_eq!(job.at, at(12).after(job.spec.retention.dead.span));
        assert_eq!(queue.count().await, Counts { expired: 1, ..Counts::default() });
        assert_eq!(queue.overdue(at(60)).await, []);
        assert_eq!(queue.next_due().await, Some(job.at));
        assert_eq!(queue.events().await.pop().unwrap().kind, EventKind::Expired);
        assert_eq!(queue.purge(job.at).await, 1);
    }

    async fn an_expired_job_gives_its_key_free(queue: Queue) {
        let spec = Spec { expires: Some(at(10)), ..deduplicated("key", UNTIL_FINISHED) };
        queue.add("a", spec).await;
        let job = one(queue.overdue(at(10)).await);
        queue.apply(operate::lapse(&job, at(10)).unwrap(), at(10)).await;
        let next = queue.item("b", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(next).await, Inserted::New);
    }

    async fn a_redriven_job_that_had_expired_can_be_leased(queue: Queue) {
        queue.add("a", expiring(at(10))).await;
        let job = one(queue.overdue(at(10)).await);
        queue.apply(operate::lapse(&job, at(10)).unwrap(), at(10)).await;
        queue.redrive("a", at(20)).await;
        assert_eq!((queue.get("a").await.spec.expires, queue.next_due().await), (None, None));
        assert_eq!(ids(&queue.claim(9, at(20)).await), ["a"]);
    }

    async fn a_blocked_job_expires(queue: Queue) {
        queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let behind = meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::RunAfter);
        queue.insert_one(queue.item("a", Spec { expires: Some(at(10)), ..behind })).await;
        assert_eq!(queue.next_due().await, Some(at(10)));
        let job = one(queue.overdue(at(10)).await);
        queue.apply(operate::lapse(&job, at(10)).unwrap(), at(10)).await;
        assert_eq!(queue.state("a").await, Some(State::Expired));
        assert_eq!(queue.next_due().await, Some(at(30)));
    }

    async fn lost_leases_and_expiries_are_overdue_together(queue: Queue) {
        queue.add_leased("leased", spec()).await;
        queue.add("ready", expiring(at(10))).await;
        let mut overdue = queue.overdue(at(60)).await;
        overdue.sort_by(|one, other| one.name.id.as_str().cmp(other.name.id.as_str()));
        assert_eq!(ids(&overdue), ["leased", "ready"]);
    }

    async fn no_lease_is_longer_than_an_attempt_may_take(queue: Queue) {
        queue.add("own", Spec { attempt_timeout: Some(seconds(10)), ..spec() }).await;
        queue.add("asked", Spec { attempt_timeout: Some(seconds(10)), ..spec() }).await;
        queue.add("short", Spec { attempt_timeout: Some(seconds(500)), ..spec() }).await;
        queue.add("usual", spec()).await;
        assert_eq!(queue.claim_one(at(5)).await.at, at(15));
        let wish = |seconds| Claim { lease_duration: Some(seconds), ..claim(1) };
        assert_eq!(one(queue.serve(wish(seconds(60)), at(5)).await).at, at(15));
        assert_eq!(one(queue.serve(wish(seconds(60)), at(5)).await).at, at(65));
        let usual = one(queue.serve(wish(seconds(10_000)), at(5)).await);
        assert_eq!(usual.at, at(5).after(usual.attempt_timeout()));
        assert_eq!(queue.next_due().await, Some(at(15)));
    }

    async fn an_attempt_that_took_too_long_has_failed(queue: Queue) {
        let spec = Spec { attempt_timeout: Some(seconds(10)), ..spec() };
        queue.add_leased("a", spec).await;
        let job = one(queue.overdue(at(10)).await);
        queue.apply(expired(&job, at(10)), at(10)).await;
        let job = queue.get("a").await;
        assert_eq!(job.state, State::Retrying);
        assert_eq!((job.counters.attempts, job.counters.lease_losses), (1, 0));
        assert_eq!(job.details.last_failure.as_ref().unwrap().code, Failure::ATTEMPT_TIMEOUT);
        assert_eq!(job.details.attempts[0].outcome, Outcome::TimedOut);
        assert_eq!(queue.survey(at(10)).await.totals.lease_expired, 0);
    }

    async fn an_expiry_of_a_job_that_leaves_nothing_leaves_nothing(queue: Queue) {
        let retention = kept(Duration::ZERO, None);
        queue.add("a", Spec { retention, ..expiring(at(10)) }).await;
        let job = one(queue.overdue(at(10)).await);
        queue.apply(operate::lapse(&job, at(10)).unwrap(), at(10)).await;
        assert_eq!((queue.find("a").await, queue.next_due().await), (None, None));
        assert_eq!(queue.count().await, Counts::default());
    }
);

impl Queue {
    /// Inserts a new job ahead of all others and claims it at once.
    async fn add_leased_ahead(&self, id: &str, spec: Spec) -> crate::job::Job {
        self.add_leased(id, Spec { priority: 1000, ..spec }).await
    }
}

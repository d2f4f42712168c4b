//! What [`Store::overdue`](crate::store::Store::overdue) promises.

use std::time::Duration;

use crate::fixture::{
    Queue, acked, at, expired, ids, nacked, one, payload, scheduled, seconds, spec, tireless,
};
use crate::job::Spec;
use crate::job::transition::Disposition;

every_store!(
    async fn a_lease_is_overdue_once_its_time_has_come(queue: Queue) {
        queue.add_leased("a", lease_of(10)).await;
        assert_eq!(queue.overdue(at(10).before(Duration::from_millis(1))).await, []);
        assert_eq!(ids(&queue.overdue(at(10)).await), ["a"]);
    }

    async fn an_overdue_job_is_read_as_it_is(queue: Queue) {
        queue.add("a", Spec { payload: Some(payload("work")), retry: tireless(), ..spec() }).await;
        let first = queue.claim_one(at(0)).await;
        queue.apply(nacked(&first, Disposition::Retry(None), at(1)), at(1)).await;
        let second = queue.claim_one(at(2)).await;
        assert_eq!(second.details.attempts.len(), 1);
        assert_eq!(one(queue.overdue(at(60)).await), second);
        assert_eq!(queue.find("a").await, Some(second));
    }

    async fn the_earliest_end_comes_first(queue: Queue) {
        for (id, span) in [("b", 3), ("d", 1), ("a", 4), ("c", 2)] {
            queue.add_leased(id, lease_of(span)).await;
        }
        assert_eq!(ids(&queue.overdue(at(3)).await), ["d", "c", "b"]);
        let first_two = queue.store.overdue(&queue.name, at(60), 2).await.unwrap();
        assert_eq!(ids(&first_two), ["d", "c"]);
        assert_eq!(queue.store.overdue(&queue.name, at(60), 0).await.unwrap(), []);
    }

    async fn reading_the_overdue_takes_nothing_back(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        assert_eq!(queue.overdue(at(60)).await, queue.overdue(at(60)).await);
        queue.apply(acked(&job, at(60)), at(60)).await;
    }

    async fn only_leased_jobs_are_overdue(queue: Queue) {
        queue.add("scheduled", scheduled(at(1))).await;
        let done = queue.add_leased("done", spec()).await;
        queue.apply(acked(&done, at(0)), at(0)).await;
        let retried = queue.add_leased("retried", spec()).await;
        let retry = Disposition::Retry(Some(seconds(1)));
        queue.apply(nacked(&retried, retry, at(0)), at(0)).await;
        let lost = queue.add_leased("lost", spec()).await;
        queue.apply(expired(&lost, at(60)), at(60)).await;
        queue.add("ready", spec()).await;
        assert_eq!(queue.overdue(at(10_000_000)).await, []);
    }

    async fn another_queue_s_leases_are_its_own(queue: Queue) {
        queue.sibling("other").add_leased("a", spec()).await;
        assert_eq!(queue.overdue(at(60)).await, []);
    }
);

fn lease_of(span: u64) -> Spec {
    Spec { lease_duration: Some(seconds(span)), ..spec() }
}

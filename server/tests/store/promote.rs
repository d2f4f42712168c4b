//! What [`Store::promote`](crate::store::Store::promote) promises.

use std::time::Duration;

use crate::fixture::{Queue, at, ids, nacked, priority, scheduled, seconds, spec};
use crate::job::transition::Disposition;
use crate::job::{Job, Spec, State};
use crate::store::Counts;

every_store!(
    async fn a_scheduled_job_becomes_ready_at_its_time(queue: Queue) {
        let job = queue.add("a", scheduled(at(10))).await;
        assert_eq!(queue.promote(at(10).before(Duration::from_millis(1))).await, 0);
        assert_eq!(queue.find("a").await, Some(job.clone()));
        assert_eq!(queue.promote(at(10)).await, 1);
        assert_eq!(queue.find("a").await, Some(Job { state: State::Ready, ..job }));
        assert_eq!(queue.count().await, Counts { ready: 1, ..Counts::default() });
        assert_eq!(queue.promote(at(10)).await, 0);
    }

    async fn a_ready_job_remembers_since_when_it_might_run(queue: Queue) {
        queue.add("a", scheduled(at(10))).await;
        queue.promote(at(60)).await;
        assert_eq!(queue.get("a").await.at, at(10));
    }

    async fn a_retrying_job_becomes_ready_after_its_backoff(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(nacked(&job, Disposition::Retry(Some(seconds(10))), at(0)), at(0)).await;
        let waiting = queue.get("a").await;
        assert_eq!(queue.promote(at(9)).await, 0);
        assert_eq!(queue.promote(at(10)).await, 1);
        assert_eq!(queue.find("a").await, Some(Job { state: State::Ready, ..waiting }));
        assert_eq!(queue.claim_one(at(10)).await.counters.attempts, 2);
    }

    async fn the_earliest_is_promoted_first(queue: Queue) {
        for (id, when) in [("b", 3), ("d", 1), ("a", 4), ("c", 2)] {
            queue.add(id, scheduled(at(when))).await;
        }
        assert_eq!(queue.store.promote(&queue.name, at(60), 2).await.unwrap(), 2);
        assert_eq!(queue.count().await, Counts { ready: 2, scheduled: 2, ..Counts::default() });
        assert_eq!(queue.promote(at(60)).await, 2);
        assert_eq!(ids(&queue.claim(9, at(60)).await), ["d", "c", "b", "a"]);
    }

    async fn jobs_of_the_same_moment_are_promoted_in_the_order_of_their_ids(queue: Queue) {
        queue.add_all(&["b", "B", "a10", "c", "a9", "a"], scheduled(at(1))).await;
        queue.promote(at(1)).await;
        assert_eq!(ids(&queue.claim(9, at(1)).await), ["B", "a", "a10", "a9", "b", "c"]);
    }

    async fn scheduled_and_retrying_jobs_are_promoted_as_one_line(queue: Queue) {
        queue.add_all(&["d", "b"], spec()).await;
        for (job, delay) in queue.claim(2, at(0)).await.iter().zip([1, 3]) {
            let retry = Disposition::Retry(Some(seconds(delay)));
            queue.apply(nacked(job, retry, at(0)), at(0)).await;
        }
        queue.add("c", scheduled(at(2))).await;
        queue.add("a", scheduled(at(4))).await;
        assert_eq!(queue.store.promote(&queue.name, at(60), 3).await.unwrap(), 3);
        assert_eq!(queue.state("a").await, Some(State::Scheduled));
        assert_eq!(ids(&queue.claim(9, at(60)).await), ["d", "c", "b"]);
    }

    async fn promoted_jobs_stand_behind_those_that_were_ready_before(queue: Queue) {
        queue.add("later", scheduled(at(1))).await;
        queue.add("ready", Spec { created: at(5), ..spec() }).await;
        queue.promote(at(5)).await;
        assert_eq!(ids(&queue.claim(9, at(5)).await), ["ready", "later"]);
    }

    async fn a_promoted_job_keeps_its_priority(queue: Queue) {
        queue.add("ready", spec()).await;
        queue.add("urgent", Spec { priority: 5, ..scheduled(at(1)) }).await;
        queue.add("minor", Spec { priority: -5, ..scheduled(at(1)) }).await;
        let retried = queue.add_leased("retried", priority(9)).await;
        queue.apply(nacked(&retried, Disposition::Retry(Some(seconds(1))), at(0)), at(0)).await;
        assert_eq!(queue.promote(at(1)).await, 3);
        assert_eq!(ids(&queue.claim(9, at(1)).await), ["retried", "urgent", "ready", "minor"]);
    }

    async fn a_limit_of_zero_promotes_nothing(queue: Queue) {
        queue.add("a", scheduled(at(1))).await;
        assert_eq!(queue.store.promote(&queue.name, at(1), 0).await.unwrap(), 0);
        assert_eq!(queue.state("a").await, Some(State::Scheduled));
    }

    async fn an_unknown_queue_has_nothing_to_promote(queue: Queue) {
        queue.sibling("other").add("a", scheduled(at(1))).await;
        assert_eq!(queue.promote(at(1)).await, 0);
    }

    async fn a_thousand_jobs_are_promoted_in_one_call(queue: Queue) {
        let names: Vec<String> = (0..1000).map(|n| format!("job-{n:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, scheduled(at(1))).await;
        assert_eq!(queue.promote(at(1)).await, 1000);
        assert_eq!(ids(&queue.claim(3, at(1)).await), ["job-0000", "job-0001", "job-0002"]);
    }
);

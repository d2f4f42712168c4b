//! What the reads of [`Store`](crate::store::Store) promise: `get`, `queues`, `count`, `next_due`,
//! `time` and `status`.

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, acked, at, expired, extension, given_back, kept, nacked, scheduled, seconds, spec,
};
use crate::job::transition::Disposition;
use crate::job::{QueueName, Spec};
use crate::store::Counts;

every_store!(
    async fn a_job_that_never_was_is_not_found(queue: Queue) {
        assert_eq!(queue.find("a").await, None);
        queue.add("a", spec()).await;
        assert_eq!(queue.find("A").await, None);
        assert_eq!(queue.sibling("other").find("a").await, None);
    }

    async fn queues_are_listed_by_name(queue: Queue) {
        assert_eq!(queue.store.queues().await.unwrap(), Vec::<QueueName>::new());
        let mut wanted = Vec::new();
        for suffix in ["b", "B", "a", "10", "9"] {
            let sibling = queue.sibling(suffix);
            sibling.add("a", spec()).await;
            sibling.add("b", spec()).await;
            wanted.push(sibling.name.clone());
        }
        wanted.sort();
        assert_eq!(queue.store.queues().await.unwrap(), wanted);
    }

    async fn a_queue_is_listed_after_its_last_job_is_gone(queue: Queue) {
        let job = queue.add_leased("a", Spec { retention: kept(seconds(0), None), ..spec() }).await;
        queue.apply(acked(&job, at(0)), at(0)).await;
        assert_eq!(queue.count().await, Counts::default());
        assert_eq!(queue.store.queues().await.unwrap(), [queue.name]);
    }

    async fn reads_make_no_queue(queue: Queue) {
        queue.find("a").await;
        queue.count().await;
        queue.claim(1, at(0)).await;
        queue.promote(at(0)).await;
        queue.purge(at(0)).await;
        assert_eq!(queue.store.queues().await.unwrap(), Vec::<QueueName>::new());
    }

    async fn every_state_is_counted(queue: Queue) {
        assert_eq!(queue.count().await, Counts::default());
        let done = queue.add_leased("done", spec()).await;
        queue.apply(acked(&done, at(0)), at(0)).await;
        for id in ["dead", "dead-too"] {
            let dead = queue.add_leased(id, spec()).await;
            queue.apply(nacked(&dead, Disposition::Dead, at(0)), at(0)).await;
        }
        let retried = queue.add_leased("retried", spec()).await;
        let retry = Disposition::Retry(Some(seconds(10)));
        queue.apply(nacked(&retried, retry, at(0)), at(0)).await;
        queue.add_all(&["a", "b", "c"], scheduled(at(10))).await;
        queue.add_leased("leased", spec()).await;
        queue.add_all(&["d", "e"], spec()).await;
        let wanted = Counts {
            scheduled: 3,
            ready: 2,
            leased: 1,
            retrying: 1,
            succeeded: 1,
            dead: 2,
            ..Counts::default()
        };
        assert_eq!(queue.count().await, wanted);
        assert_eq!(queue.sibling("other").count().await, Counts::default());
    }

    async fn nothing_is_due_in_a_queue_without_times(queue: Queue) {
        assert_eq!(queue.next_due().await, None);
        queue.add("ready", spec()).await;
        assert_eq!(queue.next_due().await, None);
        queue.sibling("other").add("a", scheduled(at(10))).await;
        assert_eq!(queue.next_due().await, None);
    }

    async fn the_earliest_time_is_due_next(queue: Queue) {
        queue.add("late", scheduled(at(500))).await;
        assert_eq!(queue.next_due().await, Some(at(500)));
        // The end of a kept job, then of a lease, then of a backoff, then a scheduled start.
        let kept_job =
            queue.add_leased("kept", Spec { retention: kept(seconds(400), None), ..spec() }).await;
        queue.apply(acked(&kept_job, at(0)), at(0)).await;
        assert_eq!(queue.next_due().await, Some(at(400)));
        queue.add_leased("leased", Spec { lease_duration: Some(seconds(300)), ..spec() }).await;
        assert_eq!(queue.next_due().await, Some(at(300)));
        let retried = queue.add_leased("retried", spec()).await;
        assert_eq!(queue.next_due().await, Some(at(30)));
        let retry = Disposition::Retry(Some(seconds(200)));
        queue.apply(nacked(&retried, retry, at(0)), at(0)).await;
        assert_eq!(queue.next_due().await, Some(at(200)));
        queue.add("early", scheduled(at(100))).await;
        assert_eq!(queue.next_due().await, Some(at(100)));
    }

    async fn what_has_happened_is_due_no_more(queue: Queue) {
        queue.add("a", scheduled(at(10))).await;
        queue.promote(at(10)).await;
        assert_eq!(queue.next_due().await, None);
        let job = queue.claim_one(at(10)).await;
        queue.apply(given_back(&job, at(11)), at(11)).await;
        assert_eq!(queue.next_due().await, None);
        let job = queue.claim_one(at(12)).await;
        queue.apply(expired(&job, at(60)), at(60)).await;
        assert_eq!(queue.next_due().await, None);
        let job = queue.claim_one(at(60)).await;
        queue.apply(acked(&job, at(60)), at(60)).await;
        let forgotten = at(60).after(job.spec.retention.succeeded.span);
        assert_eq!(queue.next_due().await, Some(forgotten));
        queue.purge(forgotten).await;
        assert_eq!(queue.next_due().await, None);
    }

    async fn what_is_overdue_stays_due(queue: Queue) {
        queue.add_leased("a", Spec { lease_duration: Some(seconds(10)), ..spec() }).await;
        queue.overdue(at(60)).await;
        assert_eq!(queue.next_due().await, Some(at(10)));
    }

    async fn an_extension_moves_what_is_due(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.extend(extension(&job, at(77)), at(1)).await;
        assert_eq!(queue.next_due().await, Some(at(77)));
    }

    async fn the_store_s_time_goes_forward(queue: Queue) {
        let year_2020 = Timestamp::from_millis(1_577_836_800_000);
        let first = queue.store.time().await.unwrap();
        assert!(first > year_2020, "{first:?}");
        assert!(queue.store.time().await.unwrap() >= first);
    }

    async fn the_status_names_the_store_and_its_epoch(queue: Queue) {
        let status = queue.store.status().await.unwrap();
        assert!(!status.version.is_empty());
        assert!(!status.epoch.is_empty());
        queue.add("a", spec()).await;
        assert_eq!(queue.store.status().await.unwrap().epoch, status.epoch);
    }
);

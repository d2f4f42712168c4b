//! What [`Store::purge`](crate::store::Store::purge) promises.

use std::time::Duration;

use crate::fixture::{Queue, acked, at, deduplicated, kept, nacked, scheduled, seconds, spec};
use crate::job::transition::Disposition;
use crate::job::{DedupScope, Spec, State};
use crate::store::{Counts, Inserted};

every_store!(
    async fn a_finished_job_is_forgotten_when_its_time_has_come(queue: Queue) {
        let acked_job = queue.add_leased("acked", lasting(10)).await;
        let dead_job = queue.add_leased("dead", lasting(20)).await;
        queue.apply(acked(&acked_job, at(0)), at(0)).await;
        queue.apply(nacked(&dead_job, Disposition::Dead, at(0)), at(0)).await;
        assert_eq!(queue.purge(at(10).before(Duration::from_millis(1))).await, 0);
        assert_eq!(queue.count().await, Counts { succeeded: 1, dead: 1, ..Counts::default() });
        assert_eq!(queue.purge(at(10)).await, 1);
        assert_eq!(queue.find("acked").await, None);
        assert_eq!(queue.count().await, Counts { dead: 1, ..Counts::default() });
        assert_eq!(queue.purge(at(20)).await, 1);
        assert_eq!(queue.find("dead").await, None);
        assert_eq!(queue.count().await, Counts::default());
        assert_eq!(queue.purge(at(20)).await, 0);
    }

    async fn unfinished_jobs_are_never_forgotten(queue: Queue) {
        queue.add_leased("leased", spec()).await;
        let retried = queue.add_leased("retried", spec()).await;
        let retry = Disposition::Retry(Some(seconds(1)));
        queue.apply(nacked(&retried, retry, at(0)), at(0)).await;
        queue.add("scheduled", scheduled(at(1))).await;
        queue.add("ready", spec()).await;
        assert_eq!(queue.purge(at(10_000_000)).await, 0);
        let all = Counts { leased: 1, retrying: 1, scheduled: 1, ready: 1, ..Counts::default() };
        assert_eq!(queue.count().await, all);
    }

    async fn no_more_are_forgotten_than_the_limit(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d", "e"], lasting(10)).await;
        for (index, job) in queue.claim(9, at(0)).await.iter().enumerate() {
            let end = match index {
                0 | 1 => nacked(job, Disposition::Dead, at(0)),
                _ => acked(job, at(0)),
            };
            queue.apply(end, at(0)).await;
        }
        let mut purged = Vec::new();
        for limit in [0, 2, 2, 2] {
            purged.push(queue.store.purge(&queue.name, at(60), limit).await.unwrap());
        }
        assert_eq!(purged, [0, 2, 2, 1]);
        assert_eq!(queue.count().await, Counts::default());
    }

    async fn a_forgotten_job_gives_its_id_and_its_key_free(queue: Queue) {
        let window = deduplicated("key", DedupScope::Window(seconds(3600)));
        let short = Spec { retention: kept(seconds(10), None), ..window.clone() };
        let job = queue.add_leased("mine", short).await;
        queue.apply(acked(&job, at(0)), at(0)).await;
        let taken = queue.chosen("mine", window.clone());
        assert_eq!(queue.insert_one(taken.clone()).await, Inserted::Exists(State::Succeeded));
        assert_eq!(queue.purge(at(10)).await, 1);
        assert_eq!(queue.insert_one(taken).await, Inserted::New);
        assert_eq!(queue.count().await, Counts { ready: 1, ..Counts::default() });
    }

    async fn the_jobs_of_another_queue_are_its_own(queue: Queue) {
        let other = queue.sibling("other");
        let job = other.add_leased("a", lasting(10)).await;
        other.apply(acked(&job, at(0)), at(0)).await;
        assert_eq!(queue.purge(at(60)).await, 0);
        assert_eq!(other.state("a").await, Some(State::Succeeded));
    }
);

/// A job that is kept so many seconds after its end.
fn lasting(span: u64) -> Spec {
    Spec { retention: kept(seconds(span), None), ..spec() }
}

//! What [`Store::survey`](crate::store::Store::survey) promises.

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, expired, meeting, nacked, priority, request,
    scheduled, seconds, spec, tireless, typed,
};
use crate::job::transition::Disposition;
use crate::job::{OnDuplicate, Spec};
use crate::store::{Counts, Minute, Survey, Totals};

every_store!(
    async fn an_unknown_queue_has_nothing(queue: Queue) {
        assert_eq!(queue.survey(at(0)).await, Survey::default());
    }

    async fn jobs_of_every_state_are_counted(queue: Queue) {
        let spec = || Spec { retry: tireless(), ..spec() };
        let done = queue.add_leased("done", spec()).await;
        queue.apply(acked(&done, at(0)), at(0)).await;
        let dead = queue.add_leased("dead", spec()).await;
        queue.apply(nacked(&dead, Disposition::Dead, at(0)), at(0)).await;
        let retried = queue.add_leased("retried", spec()).await;
        let later = Disposition::Retry(Some(seconds(10)));
        queue.apply(nacked(&retried, later, at(0)), at(0)).await;
        queue.add_leased("leased", deduplicated("key", UNTIL_FINISHED)).await;
        let behind = meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::RunAfter);
        queue.insert_one(queue.item("blocked", behind)).await;
        queue.add("off", spec()).await;
        queue.cancel("off", at(0)).await;
        queue.add("late", crate::fixture::expiring(at(1))).await;
        let late = crate::job::operate::lapse(&queue.get("late").await, at(1)).unwrap();
        queue.apply(late, at(1)).await;
        queue.add("scheduled", scheduled(at(10))).await;
        queue.add("ready", spec()).await;
        let wanted = Counts {
            scheduled: 1,
            ready: 1,
            leased: 1,
            retrying: 1,
            blocked: 1,
            succeeded: 1,
            dead: 1,
            cancelled: 1,
            expired: 1,
        };
        assert_eq!(queue.survey(at(1)).await.counts, wanted);
    }

    async fn totals_tell_what_happened_and_outlast_the_jobs(queue: Queue) {
        let mut survey = queue.survey(at(0)).await;
        for round in 0..3 {
            let now = at(100 * round);
            let spec = |id: &str| {
                let id = format!("{id}-{round}");
                queue.item(&id, Spec { created: now, retry: tireless(), ..spec() })
            };
            for id in ["done", "dead", "lost"] {
                queue.insert_one(spec(id)).await;
            }
            let jobs = queue.claim(3, now).await;
            queue.apply(acked(&jobs[0], now), now).await;
            queue.apply(nacked(&jobs[1], Disposition::Dead, now), now).await;
            let end = now.after(seconds(30));
            queue.apply(expired(&jobs[2], end), end).await;
            queue.delete(jobs[2].name.id.as_str(), end).await;
            queue.purge(at(100_000_000)).await;
            survey = queue.survey(now).await;
        }
        assert_eq!(survey.counts, Counts::default());
        let wanted = Totals { enqueued: 9, succeeded: 3, dead: 3, lease_expired: 3 };
        assert_eq!(survey.totals, wanted);
    }

    async fn a_lost_lease_that_ends_its_job_counts_as_both(queue: Queue) {
        let mut retry = tireless();
        retry.max_attempts = Some(1);
        let job = queue.add_leased("a", Spec { retry, ..spec() }).await;
        queue.apply(expired(&job, at(30)), at(30)).await;
        let wanted = Totals { enqueued: 1, dead: 1, lease_expired: 1, ..Totals::default() };
        assert_eq!(queue.survey(at(30)).await.totals, wanted);
    }

    async fn what_makes_no_job_is_not_counted_as_enqueued(queue: Queue) {
        let keyed = || deduplicated("key", UNTIL_FINISHED);
        queue.insert_one(queue.asked("a", keyed(), request(1, 1))).await;
        queue.insert_one(queue.asked("b", keyed(), request(1, 1))).await;
        queue.insert_one(queue.item("c", keyed())).await;
        queue.insert_one(queue.item("d", meeting(keyed(), OnDuplicate::Replace))).await;
        queue.insert_one(queue.item("e", meeting(keyed(), OnDuplicate::Reject))).await;
        queue.insert_group(vec![queue.item("f", spec()), queue.chosen("a", spec())]).await;
        let survey = queue.survey(at(0)).await;
        assert_eq!((survey.totals.enqueued, survey.minute.enqueued), (1, 1));
        // One that waits behind another is a job.
        queue.claim_one(at(0)).await;
        queue.insert_one(queue.item("g", meeting(keyed(), OnDuplicate::RunAfter))).await;
        assert_eq!(queue.survey(at(0)).await.totals.enqueued, 2);
    }

    async fn follow_ups_are_counted_as_enqueued(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.follow(acked(&job, at(1)), vec![queue.item("b", spec())], at(1)).await;
        let survey = queue.survey(at(1)).await;
        assert_eq!((survey.totals.enqueued, survey.totals.succeeded), (2, 1));
    }

    async fn the_last_minute_is_about_a_minute(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let jobs = queue.claim(2, at(1)).await;
        queue.apply(acked(&jobs[0], at(2)), at(2)).await;
        queue.apply(nacked(&jobs[1], Disposition::Dead, at(2)), at(2)).await;
        queue.add("d", Spec { created: at(30), ..spec() }).await;
        queue.cancel("d", at(31)).await;
        let minute = |now| {
            let queue = &queue;
            async move { queue.survey(now).await.minute }
        };
        assert_eq!(minute(at(35)).await, Minute { enqueued: 4, finished: 2 });
        assert_eq!(minute(at(80)).await, Minute { enqueued: 1, finished: 0 });
        assert_eq!(minute(at(150)).await, Minute::default());
    }

    async fn the_oldest_ready_job_is_known(queue: Queue) {
        queue.add("urgent", Spec { created: at(30), ..priority(9) }).await;
        queue.add("minor", Spec { created: at(20), ..priority(-9) }).await;
        queue.add("usual", Spec { created: at(40), ..typed("x") }).await;
        queue.add("later", scheduled(at(500))).await;
        assert_eq!(queue.survey(at(50)).await.oldest_ready, Some(at(20)));
        queue.cancel("minor", at(50)).await;
        assert_eq!(queue.survey(at(50)).await.oldest_ready, Some(at(30)));
        assert_eq!(queue.claim_one(at(50)).await.name.id.as_str(), "urgent");
        assert_eq!(queue.survey(at(50)).await.oldest_ready, Some(at(40)));
        queue.claim_one(at(50)).await;
        assert_eq!(queue.survey(at(50)).await.oldest_ready, None);
    }
);

//! What a cancellation means in [`Store::extend`](crate::store::Store::extend) and afterwards.

use crate::fixture::{
    Queue, acked, at, claim, doom, expired, extension, given_back, held, nacked, request_id,
    seconds, spec, tireless,
};
use crate::job::operate;
use crate::job::transition::Disposition;
use crate::job::{Cancel, Event, EventKind, Job, Outcome, Spec, State, Transition};
use crate::store::{Claim, Counts, Extended, Extension, Guarded};

every_store!(
    async fn a_cancellation_cuts_the_lease_and_is_remembered(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let outcome = queue.extend(doom(&job, at(10), "enough"), at(1)).await;
        assert_eq!(outcome, doomed(at(10), at(10)));
        let wanted = Job { at: at(10), cancel: Some(cancel(at(10))), ..job };
        assert_eq!(queue.find("a").await, Some(wanted.clone()));
        assert_eq!(queue.next_due().await, Some(at(10)));
        assert_eq!(queue.overdue(at(9)).await, []);
        assert_eq!(queue.overdue(at(10)).await, [wanted]);
    }

    async fn a_cancellation_does_not_lengthen_the_lease(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let outcome = queue.extend(doom(&job, at(100), "enough"), at(1)).await;
        assert_eq!(outcome, doomed(at(30), at(100)));
        assert_eq!(queue.get("a").await.at, at(30));
        assert_eq!(queue.next_due().await, Some(at(30)));
    }

    async fn heartbeats_learn_of_it_and_do_not_outlast_it(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.extend(doom(&job, at(50), "enough"), at(1)).await;
        for (asked, end) in [(at(40), at(40)), (at(60), at(50)), (at(20), at(20)), (at(50), at(50))]
        {
            assert_eq!(queue.extend(extension(&job, asked), at(2)).await, doomed(end, at(50)));
            assert_eq!(queue.get("a").await.at, end);
        }
    }

    async fn the_earlier_of_two_cancellations_stays(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.extend(doom(&job, at(20), "enough"), at(1)).await;
        let later = queue.extend(doom(&job, at(25), "later"), at(2)).await;
        assert_eq!(later, doomed(at(20), at(20)));
        let again = queue.extend(doom(&job, at(20), "again"), at(2)).await;
        assert_eq!(again, doomed(at(20), at(20)));
        let sooner = queue.extend(doom(&job, at(10), "sooner"), at(3)).await;
        let cancel = Cancel { by: at(10), reason: "sooner".to_owned() };
        assert_eq!(sooner, Extended::Held { until: at(10), cancel: Some(cancel.clone()) });
        assert_eq!(queue.get("a").await.cancel, Some(cancel));
    }

    async fn an_extension_and_a_cancellation_may_come_together(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let both = Extension { until: Some(at(40)), ..doom(&job, at(20), "enough") };
        assert_eq!(queue.extend(both, at(1)).await, doomed(at(20), at(20)));
        let extensions = vec![doom(&job, at(15), "enough"), extension(&job, at(90))];
        let outcomes = queue.store.extend(&queue.name, extensions, at(2)).await.unwrap();
        assert_eq!(outcomes, [doomed(at(15), at(15)), doomed(at(15), at(15))]);
    }

    async fn an_extension_without_an_end_leaves_the_end(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let silent = Extension { until: None, ..extension(&job, at(1)) };
        assert_eq!(queue.extend(silent, at(1)).await, held(at(30)));
        assert_eq!(queue.get("a").await, job);
    }

    async fn a_cancellation_of_a_lost_lease_is_lost(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(given_back(&job, at(1)), at(1)).await;
        assert_eq!(queue.extend(doom(&job, at(10), "enough"), at(2)).await, Extended::Lost);
        assert_eq!(queue.claim_one(at(3)).await.cancel, None);
    }

    async fn a_cancellation_tells_its_event(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let (name, id) = (queue.name.clone(), job.name.id.clone());
        let mut event = Event::new(EventKind::CancelRequested, at(1), name, id, State::Leased);
        "enough".clone_into(&mut event.reason);
        let asked = Extension { event: Some(event), ..doom(&job, at(10), "enough") };
        queue.extend(asked, at(1)).await;
        let told = queue.events().await.pop().unwrap();
        assert_eq!((told.kind, told.reason.as_str()), (EventKind::CancelRequested, "enough"));
        assert_eq!(told.worker, job.lease.map(|lease| lease.worker));
    }

    async fn an_ack_wins_over_a_cancellation(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.extend(doom(&job, at(10), "enough"), at(1)).await;
        queue.apply(acked(&job, at(5)), at(5)).await;
        let done = queue.get("a").await;
        assert_eq!((done.state, done.cancel, done.lease), (State::Succeeded, None, None));
    }

    async fn a_doomed_job_whose_lease_ends_is_cancelled(queue: Queue) {
        queue.add_all(&["a", "b", "c"], Spec { retry: tireless(), ..spec() }).await;
        for job in queue.claim(3, at(0)).await {
            queue.extend(doom(&job, at(10), "enough"), at(1)).await;
            let job = queue.get(job.name.id.as_str()).await;
            let end = match job.name.id.as_str() {
                "a" => expired(&job, at(10)),
                "b" => nacked(&job, Disposition::Retry(None), at(5)),
                _ => operate::revoke(&job, "", at(5)).unwrap(),
            };
            let ended = end.ended;
            queue.apply(end, at(10)).await;
            let job = queue.get(job.name.id.as_str()).await;
            assert_eq!((job.state, job.ended), (State::Cancelled, ended));
            assert_eq!((job.cancel, job.lease), (None, None));
            assert_eq!(job.details.attempts[0].outcome, Outcome::Cancelled);
        }
        assert_eq!(queue.count().await, Counts { cancelled: 3, ..Counts::default() });
        assert_eq!(queue.claim(9, at(60)).await, []);
    }

    async fn what_was_decided_before_a_cancellation_is_lost(queue: Queue) {
        let job = queue.add_leased("a", Spec { retry: tireless(), ..spec() }).await;
        queue.extend(doom(&job, at(10), "enough"), at(1)).await;
        let doomed = queue.get("a").await;
        let ends: [Transition; 6] = [
            nacked(&job, Disposition::Retry(Some(seconds(9))), at(60)),
            nacked(&job, Disposition::Release, at(60)),
            nacked(&job, Disposition::Dead, at(60)),
            given_back(&job, at(60)),
            expired(&job, at(60)),
            operate::revoke(&job, "", at(60)).unwrap(),
        ];
        for end in ends {
            let what = (end.event.kind, end.to);
            assert_eq!(queue.commit(end, at(60)).await, Guarded::Lost, "{what:?}");
            assert_eq!(queue.get("a").await, doomed);
        }
        queue.apply(expired(&doomed, at(60)), at(60)).await;
    }

    async fn a_repeated_claim_shows_that_its_job_is_doomed(queue: Queue) {
        queue.add("a", spec()).await;
        let wish = || Claim { request: Some(request_id(1)), ..claim(1) };
        let job = queue.serve(wish(), at(0)).await.remove(0);
        queue.extend(doom(&job, at(10), "enough"), at(1)).await;
        let again = queue.serve(wish(), at(2)).await.remove(0);
        assert_eq!((again.cancel, again.at), (Some(cancel(at(10))), at(10)));
    }

    async fn another_life_is_not_doomed(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.extend(doom(&job, at(10), "enough"), at(1)).await;
        queue.apply(expired(&queue.get("a").await, at(10)), at(10)).await;
        queue.redrive("a", at(11)).await;
        let job = queue.claim_one(at(12)).await;
        assert_eq!((job.cancel.clone(), job.at), (None, at(42)));
        assert_eq!(queue.extend(extension(&job, at(90)), at(13)).await, held(at(90)));
    }

    async fn a_pending_job_is_cancelled_at_once(queue: Queue) {
        let retried = queue.add_leased("retried", spec()).await;
        let retry = Disposition::Retry(Some(seconds(9)));
        queue.apply(nacked(&retried, retry, at(0)), at(0)).await;
        queue.add("later", crate::fixture::scheduled(at(5))).await;
        queue.add("ready", spec()).await;
        queue.add("next", spec()).await;
        for id in ["retried", "later", "ready"] {
            queue.cancel(id, at(1)).await;
            let job = queue.get(id).await;
            assert_eq!((job.state, job.ended), (State::Cancelled, Some(at(1))));
            assert_eq!(job.at, at(1).after(job.spec.retention.dead.span));
        }
        assert_eq!(queue.count().await, Counts { ready: 1, cancelled: 3, ..Counts::default() });
        assert_eq!(queue.promote(at(60)).await, 0);
        assert_eq!(crate::fixture::ids(&queue.claim(9, at(60)).await), ["next"]);
        let purge = queue.get("ready").await.at;
        assert_eq!(queue.purge(purge).await, 3);
    }
);

fn cancel(by: crate::clock::Timestamp) -> Cancel {
    Cancel { by, reason: "enough".to_owned() }
}

/// The lease is held until then, and the job shall be cancelled by then.
fn doomed(until: crate::clock::Timestamp, by: crate::clock::Timestamp) -> Extended {
    Extended::Held { until, cancel: Some(cancel(by)) }
}

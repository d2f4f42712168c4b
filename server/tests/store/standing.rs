//! What [`Store::commit`](crate::store::Store::commit) promises of moves of jobs that nobody holds:
//! updates, promotions, redrives, deletions.

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, given_back, ids, kept, nacked, payload,
    priority, request, scheduled, seconds, spec, typed,
};
use crate::job::operate::{self, Update};
use crate::job::transition::Disposition;
use crate::job::{Counters, EventKind, Guard, Job, Spec, State, Transition, Version};
use crate::store::{Counts, Guarded, Inserted};

every_store!(
    async fn a_standing_guard_compares_the_whole_version(queue: Queue) {
        queue.add("ready", spec()).await;
        queue.add("later", scheduled(at(500))).await;
        let retried = queue.add_leased_first("retried").await;
        let retry = Disposition::Retry(Some(seconds(500)));
        queue.apply(nacked(&retried, retry, at(0)), at(0)).await;
        let dead = queue.add_leased_first("dead").await;
        queue.apply(nacked(&dead, Disposition::Dead, at(0)), at(0)).await;
        for id in ["ready", "later", "retried", "dead"] {
            let job = queue.get(id).await;
            let version = job.version();
            let other_state =
                if job.state == State::Ready { State::Retrying } else { State::Ready };
            for wrong in [
                Version { state: other_state, ..version },
                Version { at: version.at.after(seconds(1)), ..version },
                Version { deliveries: version.deliveries + 1, ..version },
                Version { revision: version.revision + 1, ..version },
            ] {
                let guard = Guard::Standing(wrong);
                let forged = Transition { guard, ..operate::delete(&job, "", at(1)).unwrap() };
                assert_eq!(queue.commit(forged, at(1)).await, Guarded::Lost, "{id} at {wrong:?}");
                assert_eq!(queue.find(id).await.as_ref(), Some(&job));
            }
            queue.delete(id, at(1)).await;
        }
    }

    async fn what_came_between_makes_a_standing_move_lose(queue: Queue) {
        queue.add("leased", spec()).await;
        let read = queue.get("leased").await;
        let job = queue.claim_one(at(1)).await;
        loses(&queue, operate::cancel(&read, "", at(2)).unwrap()).await;
        queue.apply(given_back(&job, at(3)), at(3)).await;
        loses(&queue, operate::cancel(&read, "", at(4)).unwrap()).await;

        queue.add("promoted", scheduled(at(5))).await;
        let read = queue.get("promoted").await;
        queue.promote(at(5)).await;
        loses(&queue, operate::update(&read, Update::default(), at(6)).unwrap()).await;

        queue.add("updated", spec()).await;
        let read = queue.get("updated").await;
        queue.update("updated", Update::default(), at(1)).await;
        loses(&queue, operate::update(&read, Update::default(), at(6)).unwrap()).await;

        queue.add("gone", spec()).await;
        let read = queue.get("gone").await;
        queue.delete("gone", at(1)).await;
        assert_eq!(
            queue.commit(operate::cancel(&read, "", at(2)).unwrap(), at(2)).await,
            Guarded::Lost
        );
        assert_eq!(queue.find("gone").await, None);
    }

    async fn an_updated_job_is_read_back_as_it_was_updated(queue: Queue) {
        let job = queue.add("a", Spec { payload: Some(payload("old")), ..typed("mail") }).await;
        let update = Update {
            payload: Some(Some(payload("new"))),
            labels: Some([("tenant".to_owned(), "t1".to_owned())].into()),
            retry: Some(crate::fixture::tireless()),
            ..Update::default()
        };
        queue.update("a", update, at(1)).await;
        let wanted = Spec {
            payload: Some(payload("new")),
            labels: [("tenant".to_owned(), "t1".to_owned())].into(),
            retry: crate::fixture::tireless(),
            ..(*job.spec).clone()
        };
        assert_eq!(queue.find("a").await, Some(Job { spec: wanted.into(), revision: 1, ..job }));
        queue.update("a", Update { payload: Some(None), ..Update::default() }, at(2)).await;
        let job = queue.claim_one(at(3)).await;
        assert_eq!((&job.spec.payload, job.revision), (&None, 2));
    }

    async fn an_updated_job_keeps_what_its_attempts_left_behind(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let mut failed = nacked(&job, Disposition::Retry(Some(seconds(9))), at(1));
        failed.checkpoint = Some(payload("half"));
        queue.apply(failed, at(1)).await;
        let before = queue.get("a").await;
        queue.update("a", Update { priority: Some(7), ..Update::default() }, at(2)).await;
        let spec = Spec { priority: 7, ..(*before.spec).clone() };
        assert_eq!(queue.find("a").await, Some(Job { spec: spec.into(), revision: 1, ..before }));
        queue.promote(at(60)).await;
        let job = queue.claim_one(at(60)).await;
        assert_eq!(job.details.checkpoint, Some(payload("half")));
    }

    async fn an_update_that_moves_nothing_keeps_the_place_in_the_line(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let louder = || Update { payload: Some(Some(payload("louder"))), ..Update::default() };
        queue.update("a", louder(), at(1)).await;
        queue.update("b", louder(), at(1)).await;
        queue.update("b", Update { priority: Some(0), ..Update::default() }, at(2)).await;
        queue.update("b", Update { scheduled: Some(at(1)), ..Update::default() }, at(2)).await;
        assert_eq!(queue.in_state(State::Ready).await, ["a", "b", "c"]);
        assert_eq!(ids(&queue.claim(9, at(3)).await), ["a", "b", "c"]);
        assert_eq!(queue.claim(9, at(3)).await, []);
    }

    async fn a_new_priority_puts_a_job_behind_the_others_there(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        queue.add("high", priority(5)).await;
        let to = |level| Update { priority: Some(level), ..Update::default() };
        queue.update("a", to(5), at(1)).await;
        queue.update("b", to(5), at(2)).await;
        queue.update("a", to(0), at(3)).await;
        queue.update("a", to(5), at(3)).await;
        assert_eq!(queue.count().await.ready, 4);
        assert_eq!(queue.in_state(State::Ready).await, ["high", "b", "a", "c"]);
        assert_eq!(ids(&queue.claim(9, at(4)).await), ["high", "b", "a", "c"]);
        assert_eq!(queue.claim(9, at(4)).await, []);
        assert_eq!(queue.count().await, Counts { leased: 4, ..Counts::default() });
    }

    async fn an_update_may_put_a_job_off_and_bring_it_forward(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let to = |moment| Update { scheduled: Some(moment), ..Update::default() };
        queue.update("a", to(at(50)), at(1)).await;
        assert_eq!(
            (queue.state("a").await, queue.next_due().await),
            (Some(State::Scheduled), Some(at(50)))
        );
        assert_eq!(ids(&queue.claim(9, at(2)).await), ["b"]);
        queue.update("a", to(at(20)), at(3)).await;
        assert_eq!(queue.next_due().await, Some(at(20)));
        assert_eq!(queue.promote(at(19)).await, 0);
        queue.update("a", to(at(60)), at(4)).await;
        assert_eq!((queue.promote(at(20)).await, queue.next_due().await), (0, Some(at(32))));
        queue.update("a", to(at(4)), at(5)).await;
        let job = queue.get("a").await;
        assert_eq!((job.state, job.at), (State::Ready, at(5)));
        assert_eq!(ids(&queue.claim(9, at(6)).await), ["a"]);
        assert_eq!(queue.promote(at(100)).await, 0);
    }

    async fn an_update_in_one_millisecond_leaves_no_second_place(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let to = |level| Update { priority: Some(level), ..Update::default() };
        for level in [5, 0, 5, 0, 5] {
            queue.update("a", to(level), at(0)).await;
        }
        let job = queue.claim_one(at(0)).await;
        assert_eq!(job.name.id.as_str(), "a");
        queue.apply(given_back(&job, at(0)), at(0)).await;
        assert_eq!(queue.in_state(State::Ready).await, ["a", "b"]);
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["a", "b"]);
        assert_eq!(queue.claim(9, at(0)).await, []);
    }

    async fn an_update_tells_its_event(queue: Queue) {
        queue.add("a", spec()).await;
        queue.update("a", Update { scheduled: Some(at(50)), ..Update::default() }, at(1)).await;
        let event = queue.events().await.pop().unwrap();
        assert_eq!((event.kind, event.reason.as_str()), (EventKind::Scheduled, "UPDATED"));
    }

    async fn a_promoted_job_is_ready_at_once(queue: Queue) {
        queue.add("first", spec()).await;
        queue.add("later", scheduled(at(500))).await;
        let job = queue.add_leased_first("retried").await;
        queue.apply(nacked(&job, Disposition::Retry(Some(seconds(500))), at(1)), at(1)).await;
        for id in ["later", "retried"] {
            let promoted = operate::promote(&queue.get(id).await, "", at(2)).unwrap();
            queue.apply(promoted, at(2)).await;
            assert_eq!(queue.get(id).await.at, at(2));
        }
        assert_eq!(queue.next_due().await, None);
        assert_eq!(queue.promote(at(1000)).await, 0);
        assert_eq!(ids(&queue.claim(9, at(1000)).await), ["retried", "first", "later"]);
        assert_eq!(queue.claim(9, at(1000)).await, []);
    }

    async fn a_redriven_job_has_another_life(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(nacked(&job, Disposition::Dead, at(5)), at(5)).await;
        queue.redrive("a", at(60)).await;
        let back = queue.get("a").await;
        assert_eq!((back.state, back.at), (State::Ready, at(60)));
        assert_eq!(back.counters, Counters { deliveries: 1, attempts: 0, lease_losses: 0 });
        assert_eq!((back.started, back.ended), (None, None));
        assert_eq!(back.details.attempts.len(), 1, "its history stays");
        assert_eq!(queue.count().await, Counts { ready: 1, ..Counts::default() });
        assert_eq!(queue.next_due().await, None);
        assert_eq!(queue.purge(at(10_000_000)).await, 0);
        let job = queue.claim_one(at(61)).await;
        assert_eq!(job.counters, Counters { deliveries: 2, attempts: 1, lease_losses: 0 });
        assert_eq!(job.started, Some(at(61)));
        queue.apply(acked(&job, at(62)), at(62)).await;
        assert_eq!(queue.count().await, Counts { succeeded: 1, ..Counts::default() });
        assert_eq!(queue.get("a").await.details.attempts.len(), 2);
    }

    async fn a_redriven_job_leaves_the_place_of_a_finished_one(queue: Queue) {
        let spec = Spec { retention: kept(seconds(3600), Some(1)), ..spec() };
        let first = queue.add_leased("first", spec.clone()).await;
        queue.apply(nacked(&first, Disposition::Dead, at(1)), at(1)).await;
        queue.redrive("first", at(2)).await;
        let second = queue.add_leased_first("second").await;
        let mut dead = nacked(&second, Disposition::Dead, at(3));
        dead.keep = spec.retention.dead;
        queue.apply(dead, at(3)).await;
        assert_eq!(queue.state("first").await, Some(State::Ready));
        assert_eq!(queue.count().await, Counts { ready: 1, dead: 1, ..Counts::default() });
    }

    async fn a_deleted_job_leaves_nothing_whatever_its_state(queue: Queue) {
        let tagged =
            || Spec { retention: kept(seconds(3600), None), ..deduplicated("key", UNTIL_FINISHED) };
        let states = ["ready", "scheduled", "retrying", "succeeded", "dead", "cancelled"];
        for (number, state) in (0..).zip(states) {
            let item = Spec { scheduled: (state == "scheduled").then(|| at(500)), ..tagged() };
            let mut item = queue.chosen("a", item);
            item.request = Some(request(number, 1));
            assert_eq!(queue.insert_one(item).await, Inserted::New, "{state}");
            match state {
                "ready" | "scheduled" => {}
                "cancelled" => queue.cancel("a", at(0)).await,
                _ => {
                    let job = queue.claim_one(at(0)).await;
                    let end = match state {
                        "retrying" => nacked(&job, Disposition::Retry(Some(seconds(9))), at(0)),
                        "succeeded" => acked(&job, at(0)),
                        _ => nacked(&job, Disposition::Dead, at(0)),
                    };
                    queue.apply(end, at(0)).await;
                }
            }
            queue.delete("a", at(1)).await;
            assert_eq!(queue.find("a").await, None, "{state}");
            assert_eq!(queue.count().await, Counts::default(), "{state}");
            assert_eq!(queue.next_due().await, None, "{state}");
            assert_eq!(queue.claim(9, at(1)).await, [], "{state}");
            let event = queue.events().await.pop().unwrap();
            assert_eq!(event.kind, EventKind::Purged, "{state}");
        }
    }

    async fn an_update_of_a_job_that_will_leave_nothing_does_not_delete_it(queue: Queue) {
        queue.add("a", Spec { retention: kept(seconds(0), None), ..spec() }).await;
        queue
            .update("a", Update { payload: Some(Some(payload("p"))), ..Update::default() }, at(1))
            .await;
        assert_eq!(queue.get("a").await.spec.payload, Some(payload("p")));
        queue.cancel("a", at(2)).await;
        assert_eq!(queue.find("a").await, None);
        assert_eq!(queue.count().await, Counts::default());
    }

    async fn a_revoked_job_is_next_and_its_worker_has_lost_it(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.add("b", spec()).await;
        queue.apply(operate::revoke(&job, "", at(5)).unwrap(), at(5)).await;
        let back = queue.get("a").await;
        assert_eq!(back.counters, Counters { deliveries: 1, attempts: 0, lease_losses: 0 });
        assert_eq!(queue.commit(acked(&job, at(6)), at(6)).await, Guarded::Lost);
        assert_eq!(ids(&queue.claim(9, at(6)).await), ["a", "b"]);
    }
);

impl Queue {
    /// Inserts a new job ahead of all others and claims it at once.
    async fn add_leased_first(&self, id: &str) -> Job {
        self.add_leased(id, priority(1000)).await
    }
}

/// The move's guard does not hold, and nothing is changed.
async fn loses(queue: &Queue, transition: Transition) {
    let (name, now): (_, Timestamp) = (transition.name.clone(), transition.event.at);
    let before = queue.store.get(&name).await.unwrap();
    assert_eq!(queue.commit(transition, now).await, Guarded::Lost);
    assert_eq!(queue.store.get(&name).await.unwrap(), before);
}

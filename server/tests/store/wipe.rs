//! What [`Store::wipe`](crate::store::Store::wipe) promises.

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, meeting, nacked, request, scheduled, seconds,
    spec,
};
use crate::job::transition::Disposition;
use crate::job::{OnDuplicate, QueueName, Spec, State};
use crate::store::{Index, Inserted, Signal, Survey};

every_store!(
    async fn a_wiped_queue_is_as_if_it_had_never_been(queue: Queue) {
        live(&queue).await;
        while !queue.store.wipe(&queue.name, 100).await.unwrap() {}
        assert_eq!(queue.store.queues().await.unwrap(), Vec::<QueueName>::new());
        assert_eq!(queue.store.settings(&queue.name).await.unwrap(), None);
        assert_eq!(queue.survey(at(60)).await, Survey::default());
        assert_eq!(queue.next_due().await, None);
        assert_eq!(queue.overdue(at(1000)).await, []);
        assert_eq!(queue.promote(at(1000)).await, 0);
        assert_eq!(queue.claim(9, at(1000)).await, []);
        assert!(queue.log().await.is_empty());
        for state in State::ALL {
            assert_eq!(queue.in_state(state).await, [""; 0]);
        }
        assert_eq!(queue.list(&Index::Owner("o".to_owned())).await, [""; 0]);
        assert_eq!(queue.find("a").await, None);
    }

    async fn what_a_wiped_queue_had_is_free_again(queue: Queue) {
        live(&queue).await;
        while !queue.store.wipe(&queue.name, 100).await.unwrap() {}
        let item = queue.chosen("a", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(item).await, Inserted::New);
        assert_eq!(queue.store.queues().await.unwrap(), vec![queue.name.clone()]);
        assert_eq!(queue.claim(9, at(1)).await.len(), 1);
        assert_eq!(queue.survey(at(1)).await.totals.enqueued, 1);
    }

    async fn a_queue_is_wiped_a_part_at_a_time(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d", "e"], spec()).await;
        assert!(!queue.store.wipe(&queue.name, 2).await.unwrap());
        let left = queue.count().await.ready;
        assert!((1..5).contains(&left), "{left} jobs are left");
        let mut rounds = 1;
        while !queue.store.wipe(&queue.name, 2).await.unwrap() {
            rounds += 1;
            assert!(rounds < 9, "it does not end");
        }
        assert_eq!(queue.survey(at(0)).await, Survey::default());
    }

    async fn another_queue_is_left_alone(queue: Queue) {
        let other = queue.sibling("other");
        live(&other).await;
        live(&queue).await;
        let survey = other.survey(at(1)).await;
        while !queue.store.wipe(&queue.name, 100).await.unwrap() {}
        assert_eq!(other.survey(at(1)).await, survey);
        assert_eq!(queue.store.queues().await.unwrap(), vec![other.name.clone()]);
        assert_eq!(other.settings().await.max_jobs, Some(77));
    }

    async fn a_queue_that_is_not_there_is_gone(queue: Queue) {
        assert!(queue.store.wipe(&queue.name, 9).await.unwrap());
        assert_eq!(queue.store.queues().await.unwrap(), Vec::<QueueName>::new());
    }

    async fn a_wiped_queue_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add("a", spec()).await;
        while !queue.store.wipe(&queue.name, 9).await.unwrap() {}
        signals.expect(Signal::Settings(queue.name.clone())).await;
    }
);

/// Jobs of many states, settings and all that may belong to them.
async fn live(queue: &Queue) {
    queue.set(|settings| settings.max_jobs = Some(77), at(0)).await;
    let held = Spec { owner: "o".to_owned(), ..deduplicated("key", UNTIL_FINISHED) };
    assert_eq!(queue.insert_one(queue.asked("a", held, request(1, 1))).await, Inserted::New);
    queue.add_all(&["b", "c", "d", "e"], spec()).await;
    let jobs = queue.claim(4, at(0)).await;
    let behind = meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::RunAfter);
    queue.insert_one(queue.item("blocked", behind)).await;
    queue.apply(acked(&jobs[1], at(0)), at(0)).await;
    queue.apply(nacked(&jobs[2], Disposition::Dead, at(0)), at(0)).await;
    queue.apply(nacked(&jobs[3], Disposition::Retry(Some(seconds(9))), at(0)), at(0)).await;
    queue.add("later", scheduled(at(500))).await;
    queue.add("off", crate::fixture::expiring(at(50))).await;
    queue.cancel("off", at(0)).await;
}

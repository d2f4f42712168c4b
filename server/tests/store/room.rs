//! What [`Room`] promises: a queue takes no more than it has room for.

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, extension, id_of, meeting, nacked, payload,
    request, scheduled, seconds, spec,
};
use crate::job::operate::Update;
use crate::job::transition::Disposition;
use crate::job::{OnDuplicate, Spec};
use crate::store::{Counts, Extension, Inserted, Room};

every_store!(
    async fn a_queue_takes_as_many_jobs_as_there_is_room_for(queue: Queue) {
        for id in ["a", "b"] {
            let outcomes = queue.insert_into(jobs(2), vec![queue.item(id, spec())]).await;
            assert_eq!(outcomes, [Inserted::New]);
        }
        let outcomes = queue.insert_into(jobs(2), vec![queue.item("c", spec())]).await;
        assert!(matches!(outcomes[..], [Inserted::Full(_)]), "{outcomes:?}");
        assert_eq!((queue.find("c").await, queue.count().await.ready), (None, 2));
        let outcomes = queue.insert_into(jobs(3), vec![queue.item("c", spec())]).await;
        assert_eq!(outcomes, [Inserted::New]);
    }

    async fn a_group_that_does_not_fit_stays_out_as_a_whole(queue: Queue) {
        queue.add("a", spec()).await;
        let log = queue.log().await.len();
        let group = || {
            let keyed = deduplicated("key", UNTIL_FINISHED);
            vec![queue.asked("b", keyed, request(1, 1)), queue.item("c", spec())]
        };
        let outcomes = queue.insert_into(jobs(2), group()).await;
        assert!(outcomes.iter().any(|one| matches!(one, Inserted::Full(_))), "{outcomes:?}");
        let kept_out = |one: &Inserted| matches!(one, Inserted::Full(_) | Inserted::Withheld);
        assert!(outcomes.iter().all(kept_out), "{outcomes:?}");
        assert_eq!((queue.find("b").await, queue.find("c").await), (None, None));
        assert_eq!(queue.log().await.len(), log);
        assert_eq!(queue.insert_into(jobs(3), group()).await, [Inserted::New, Inserted::New]);
    }

    async fn groups_of_one_call_share_the_room(queue: Queue) {
        let group =
            |id: &str| crate::store::Group::all_or_none(vec![queue.item(id, spec())], jobs(1));
        let groups = vec![group("a"), group("b")];
        let outcomes = queue.store.insert(&queue.name, groups, at(0)).await.unwrap();
        assert_eq!(outcomes[0], [Inserted::New]);
        assert!(matches!(outcomes[1][..], [Inserted::Full(_)]), "{outcomes:?}");
    }

    async fn unfinished_jobs_of_every_state_take_room(queue: Queue) {
        queue.add("scheduled", scheduled(at(500))).await;
        let retried = queue.add_leased("retried", spec()).await;
        let retry = Disposition::Retry(Some(seconds(500)));
        queue.apply(nacked(&retried, retry, at(0)), at(0)).await;
        queue.add_leased("leased", deduplicated("key", UNTIL_FINISHED)).await;
        let behind = meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::RunAfter);
        queue.insert_one(queue.item("blocked", behind)).await;
        queue.add("ready", spec()).await;
        let one = |id: &str| vec![queue.item(id, spec())];
        let outcomes = queue.insert_into(jobs(5), one("a")).await;
        assert!(matches!(outcomes[..], [Inserted::Full(_)]), "{outcomes:?}");
        assert_eq!(queue.insert_into(jobs(6), one("a")).await, [Inserted::New]);
    }

    async fn every_end_of_a_job_makes_room(queue: Queue) {
        let one = |id: &str| vec![queue.item(id, spec())];
        queue.add_all(&["a", "b", "c", "d"], spec()).await;
        let leased = queue.claim(2, at(0)).await;
        for (round, id) in ["e", "f", "g", "h"].into_iter().enumerate() {
            let full = queue.insert_into(jobs(4), one(id)).await;
            assert!(matches!(full[..], [Inserted::Full(_)]), "{full:?}");
            match round {
                0 => queue.apply(acked(&leased[0], at(1)), at(1)).await,
                1 => queue.apply(nacked(&leased[1], Disposition::Dead, at(1)), at(1)).await,
                2 => queue.cancel("c", at(1)).await,
                _ => queue.delete("d", at(1)).await,
            }
            assert_eq!(queue.insert_into(jobs(4), one(id)).await, [Inserted::New]);
        }
        // The finished ones have made their room already.
        queue.delete("a", at(2)).await;
        queue.purge(at(100_000_000)).await;
        let full = queue.insert_into(jobs(4), one("i")).await;
        assert!(matches!(full[..], [Inserted::Full(_)]), "{full:?}");
        assert_eq!(queue.count().await, Counts { ready: 4, ..Counts::default() });
    }

    async fn a_redriven_job_takes_room_again(queue: Queue) {
        queue.add("a", spec()).await;
        queue.cancel("a", at(1)).await;
        queue.redrive("a", at(2)).await;
        let outcomes = queue.insert_into(jobs(1), vec![queue.item("b", spec())]).await;
        assert!(matches!(outcomes[..], [Inserted::Full(_)]), "{outcomes:?}");
    }

    async fn what_makes_no_job_needs_no_room(queue: Queue) {
        queue.insert_one(queue.asked("a", spec(), request(1, 1))).await;
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let keyed = || deduplicated("key", UNTIL_FINISHED);
        let group = vec![
            queue.asked("x", spec(), request(1, 1)),
            queue.item("y", keyed()),
            queue.item("z", meeting(keyed(), OnDuplicate::Replace)),
        ];
        let wanted = [
            Inserted::Replayed(id_of("a")),
            Inserted::Duplicate(id_of("holder")),
            Inserted::Replaced(id_of("holder")),
        ];
        assert_eq!(queue.insert_into(jobs(2), group).await, wanted);
    }

    async fn a_queue_takes_as_many_bytes_as_there_is_room_for(queue: Queue) {
        queue.add("a", heavy()).await;
        let one = queue.survey(at(0)).await.bytes;
        assert!((10_000..11_000).contains(&one), "{one} bytes of a job of 10000");
        let room = Room { jobs: None, bytes: Some(2 * one + 100) };
        let group = |id: &str| vec![queue.item(id, heavy())];
        assert_eq!(queue.insert_into(room, group("b")).await, [Inserted::New]);
        let outcomes = queue.insert_into(room, group("c")).await;
        assert!(matches!(outcomes[..], [Inserted::Full(_)]), "{outcomes:?}");
        queue.cancel("a", at(1)).await;
        assert_eq!(queue.insert_into(room, group("c")).await, [Inserted::New]);
        assert_eq!(queue.survey(at(1)).await.bytes, 2 * one);
    }

    async fn the_bytes_of_a_queue_are_those_of_its_unfinished_jobs(queue: Queue) {
        assert_eq!(queue.survey(at(0)).await.bytes, 0);
        let job = queue.add_leased("a", heavy()).await;
        let checkpoint = Some(payload(&"c".repeat(5000)));
        queue.extend(Extension { checkpoint, ..extension(&job, at(30)) }, at(1)).await;
        queue.apply(acked(&job, at(2)), at(2)).await;
        assert_eq!(queue.survey(at(2)).await.bytes, 0);
        queue.add("b", heavy()).await;
        let before = queue.survey(at(2)).await.bytes;
        let lighter = Update { payload: Some(Some(payload("p"))), ..Update::default() };
        queue.update("b", lighter, at(3)).await;
        let after = queue.survey(at(3)).await.bytes;
        assert!(before - after > 9000, "{before} bytes became {after}");
        queue.delete("b", at(4)).await;
        assert_eq!(queue.survey(at(4)).await.bytes, 0);
    }

    async fn a_refused_group_takes_no_bytes(queue: Queue) {
        queue.add("taken", spec()).await;
        let before = queue.survey(at(0)).await;
        queue.insert_group(vec![queue.item("a", heavy()), queue.chosen("taken", spec())]).await;
        assert_eq!(queue.survey(at(0)).await, before);
    }
);

fn jobs(jobs: u64) -> Room {
    Room { jobs: Some(jobs), bytes: None }
}

fn heavy() -> Spec {
    Spec { payload: Some(payload(&"p".repeat(10_000))), ..spec() }
}

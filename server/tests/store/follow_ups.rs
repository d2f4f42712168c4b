//! What [`Commit::then`](crate::store::Commit::then) promises.

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, given_back, id_of, ids, meeting, request,
    scheduled, spec,
};
use crate::job::{EventKind, OnDuplicate, State};
use crate::store::{Commit, Counts, Guarded, Inserted};

every_store!(
    async fn follow_ups_come_with_the_move(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let before = queue.log().await.len();
        let then = vec![queue.item("b", spec()), queue.item("c", scheduled(at(50)))];
        assert_eq!(queue.follow(acked(&job, at(1)), then, at(1)).await, Guarded::Applied);
        assert_eq!(queue.state("a").await, Some(State::Succeeded));
        assert_eq!(queue.get("b").await, queue.job("b", spec()));
        let wanted = Counts { ready: 1, scheduled: 1, succeeded: 1, ..Counts::default() };
        assert_eq!(queue.count().await, wanted);
        let log = queue.log().await;
        let told: Vec<EventKind> = log[before..]
            .iter()
            .flat_map(|entry| entry.events.iter().map(|event| event.kind))
            .collect();
        assert_eq!(told, [EventKind::Succeeded, EventKind::Created, EventKind::Created]);
        assert_eq!(log.len(), before + 1);
        assert_eq!(ids(&queue.claim(9, at(2)).await), ["b"]);
    }

    async fn a_lost_move_brings_no_follow_ups(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(given_back(&job, at(1)), at(1)).await;
        let then = vec![queue.asked("b", spec(), request(1, 1))];
        assert_eq!(queue.follow(acked(&job, at(2)), then, at(2)).await, Guarded::Lost);
        assert_eq!(queue.find("b").await, None);
        let again = queue.asked("c", spec(), request(1, 2));
        assert_eq!(queue.insert_one(again).await, Inserted::New, "its request is not remembered");
    }

    async fn a_refused_follow_up_leaves_all_as_it_was(queue: Queue) {
        queue.add("taken", scheduled(at(500))).await;
        let asked = queue.asked("asked", scheduled(at(500)), request(1, 1));
        assert_eq!(queue.insert_one(asked).await, Inserted::New);
        let key = deduplicated("key", UNTIL_FINISHED);
        queue.add("holder", crate::job::Spec { scheduled: Some(at(500)), ..key.clone() }).await;
        let job = queue.add_leased("a", deduplicated("own", UNTIL_FINISHED)).await;
        let reject = meeting(key, OnDuplicate::Reject);
        for (refused, why) in [
            (queue.chosen("taken", spec()), Inserted::Exists(State::Scheduled)),
            (queue.asked("x", spec(), request(1, 2)), Inserted::RequestReused),
            (queue.item("y", reject), Inserted::Rejected(id_of("holder"), State::Scheduled)),
        ] {
            let (survey, log) = (queue.survey(at(0)).await, queue.log().await.len());
            let first = queue.asked("b", deduplicated("new", UNTIL_FINISHED), request(2, 1));
            let then = vec![first, refused, queue.item("c", spec())];
            let outcome = queue.follow(acked(&job, at(1)), then, at(1)).await;
            assert_eq!(outcome, Guarded::Refused { index: 1, why });
            assert_eq!(queue.get("a").await, job);
            assert_eq!((queue.find("b").await, queue.find("c").await), (None, None));
            assert_eq!((queue.survey(at(0)).await, queue.log().await.len()), (survey, log));
            let double = queue.item("z", deduplicated("own", UNTIL_FINISHED));
            assert_eq!(queue.insert_one(double).await, Inserted::Duplicate(id_of("a")));
        }
        let then = vec![queue.asked("b", deduplicated("new", UNTIL_FINISHED), request(2, 9))];
        assert_eq!(queue.follow(acked(&job, at(1)), then, at(1)).await, Guarded::Applied);
    }

    async fn a_follow_up_that_is_known_refuses_nothing(queue: Queue) {
        queue.insert_one(queue.asked("asked", spec(), request(1, 1))).await;
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let jobs = queue.claim(2, at(0)).await;
        let then = vec![
            queue.asked("x", spec(), request(1, 1)),
            queue.item("y", deduplicated("key", UNTIL_FINISHED)),
        ];
        assert_eq!(queue.follow(acked(&jobs[0], at(1)), then, at(1)).await, Guarded::Applied);
        assert_eq!((queue.find("x").await, queue.find("y").await), (None, None));
    }

    async fn follow_ups_see_each_other(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let then = vec![queue.chosen("b", spec()), queue.chosen("b", spec())];
        let outcome = queue.follow(acked(&job, at(1)), then, at(1)).await;
        let why = Inserted::Exists(State::Ready);
        assert_eq!(outcome, Guarded::Refused { index: 1, why });
        assert_eq!((queue.find("b").await, queue.state("a").await), (None, Some(State::Leased)));
    }

    async fn a_follow_up_may_have_the_key_that_the_move_gives_free(queue: Queue) {
        let job = queue.add_leased("a", deduplicated("key", UNTIL_FINISHED)).await;
        let reject = meeting(deduplicated("key", UNTIL_FINISHED), OnDuplicate::Reject);
        let then = vec![queue.item("b", reject)];
        assert_eq!(queue.follow(acked(&job, at(1)), then, at(1)).await, Guarded::Applied);
        assert_eq!(queue.state("b").await, Some(State::Ready));
        let double = queue.item("c", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(double).await, Inserted::Duplicate(id_of("b")));
    }

    async fn the_job_s_own_id_is_taken_still(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let then = vec![queue.chosen("a", spec())];
        let outcome = queue.follow(acked(&job, at(1)), then, at(1)).await;
        assert!(
            matches!(outcome, Guarded::Refused { index: 0, why: Inserted::Exists(_) }),
            "{outcome:?}"
        );
        assert_eq!(queue.get("a").await, job);
    }

    async fn a_refusal_harms_no_other_commit_of_the_call(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let jobs = queue.claim(3, at(0)).await;
        let commits = vec![
            Commit {
                transition: Box::new(acked(&jobs[0], at(1))),
                then: vec![queue.chosen("x", spec())],
            },
            Commit {
                transition: Box::new(acked(&jobs[1], at(1))),
                then: vec![queue.chosen("x", spec())],
            },
            Commit {
                transition: Box::new(acked(&jobs[2], at(1))),
                then: vec![queue.chosen("y", spec())],
            },
        ];
        let outcomes = queue.store.commit(&queue.name, commits, at(1)).await.unwrap();
        let why = Inserted::Exists(State::Ready);
        let refused = Guarded::Refused { index: 0, why };
        assert_eq!(outcomes, [Guarded::Applied, refused, Guarded::Applied]);
        let wanted = Counts { ready: 2, leased: 1, succeeded: 2, ..Counts::default() };
        assert_eq!(queue.count().await, wanted);
    }

    async fn follow_ups_are_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        let job = queue.add_leased("a", spec()).await;
        queue.catch_up(&mut signals).await;
        let then = vec![queue.item("b", spec())];
        queue.follow(acked(&job, at(1)), then, at(1)).await;
        signals.expect(crate::store::Signal::Ready(queue.name.clone())).await;
    }
);

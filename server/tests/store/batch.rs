//! What [`Group::atomic`](crate::store::Group::atomic) and
//! [`Group::request`](crate::store::Group::request) promise.

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, id_of, ids, kept, meeting, one, request,
    request_id, scheduled, seconds, spec,
};
use crate::job::{JobId, JobIds, OnDuplicate, Spec, State};
use crate::store::{Counts, Group, Insert, Inserted, REQUEST_MEMORY, Request, Room};

every_store!(
    async fn jobs_of_a_loose_group_stand_for_themselves(queue: Queue) {
        queue.add("taken", scheduled(at(500))).await;
        queue.add("holder", keyed("key")).await;
        queue.insert_one(queue.asked("first", scheduled(at(500)), request(1, 1))).await;
        let reject = meeting(keyed("key"), OnDuplicate::Reject);
        let group = loose(vec![
            queue.item("a", spec()),
            queue.chosen("taken", spec()),
            queue.item("b", reject),
            queue.item("c", keyed("key")),
            queue.asked("d", spec(), request(1, 1)),
            queue.asked("e", spec(), request(1, 2)),
            queue.item("f", keyed("new")),
            queue.item("g", keyed("new")),
            queue.item("h", spec()),
        ]);
        let wanted = [
            Inserted::New,
            Inserted::Exists(State::Scheduled),
            Inserted::Rejected(id_of("holder"), State::Ready),
            Inserted::Duplicate(id_of("holder")),
            Inserted::Replayed(id_of("first")),
            Inserted::RequestReused,
            Inserted::New,
            Inserted::Duplicate(id_of("f")),
            Inserted::New,
        ];
        let entries = queue.log().await.len();
        assert_eq!(queue.put(group, 0).await, wanted);
        assert_eq!(queue.log().await.len(), entries + 1, "one call, one entry");
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["holder", "a", "f", "h"]);
    }

    async fn a_job_that_meets_one_replaced_in_its_group_is_told_what_that_would_be(queue: Queue) {
        let key = |when, rule| {
            let spec = Spec { scheduled: when, ..keyed("key") };
            meeting(spec, rule)
        };
        queue.add("holder", key(Some(at(500)), OnDuplicate::Keep)).await;
        let items = vec![
            queue.item("a", key(None, OnDuplicate::Replace)),
            queue.item("b", key(None, OnDuplicate::Reject)),
        ];
        let wanted = [Inserted::Withheld, Inserted::Rejected(id_of("holder"), State::Ready)];
        assert_eq!(queue.put(strict(items), 0).await, wanted);
        assert_eq!(queue.state("holder").await, Some(State::Scheduled));
    }

    async fn room_is_counted_for_each_job_of_a_loose_group(queue: Queue) {
        let room = Room { jobs: Some(3), bytes: None };
        queue.add("a", spec()).await;
        queue.add("holder", keyed("key")).await;
        let items =
            vec![queue.item("b", spec()), queue.item("c", spec()), queue.item("d", keyed("key"))];
        let wanted = [Inserted::New, Inserted::Full(room), Inserted::Duplicate(id_of("holder"))];
        assert_eq!(queue.put(Group { room, ..loose(items) }, 0).await, wanted);
        assert_eq!(queue.count().await.ready, 3);
    }

    async fn a_job_too_large_for_the_room_lets_a_smaller_one_in(queue: Queue) {
        let large = || Spec { owner: "o".repeat(2000), ..spec() };
        let room = Room { jobs: None, bytes: Some(1000) };
        let items = vec![queue.item("a", large()), queue.item("b", spec())];
        let wanted = [Inserted::Full(room), Inserted::New];
        assert_eq!(queue.put(Group { room, ..loose(items) }, 0).await, wanted);
    }

    async fn loose_and_strict_groups_share_a_call(queue: Queue) {
        queue.add("taken", spec()).await;
        let pair = |one: &str| vec![queue.item(one, spec()), queue.chosen("taken", spec())];
        let groups = vec![loose(pair("a")), strict(pair("b")), loose(pair("c"))];
        let outcomes = queue.store.insert(&queue.name, groups, at(0)).await.unwrap();
        let exists = Inserted::Exists(State::Ready);
        let wanted = [
            [Inserted::New, exists.clone()],
            [Inserted::Withheld, exists.clone()],
            [Inserted::New, exists],
        ];
        assert_eq!(outcomes, wanted);
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["taken", "a", "c"]);
    }

    async fn a_repeated_batch_answers_the_jobs_it_made(queue: Queue) {
        for (number, group) in [(1, loose as fn(Vec<Insert>) -> Group), (2, strict)] {
            let batch = || queue.batch(number, 7, vec![spec(); 20], group);
            assert_eq!(queue.put(batch(), 0).await, vec![Inserted::New; 20]);
            let survey = queue.survey(at(0)).await;
            assert_eq!(queue.put(batch(), 1).await, replays(number, 0..20));
            assert_eq!(queue.survey(at(0)).await, survey);
        }
    }

    async fn a_repeated_batch_in_the_same_call_answers_the_jobs_it_made(queue: Queue) {
        let batch = || queue.batch(1, 7, vec![spec(); 2], loose);
        let outcomes = queue.store.insert(&queue.name, vec![batch(), batch()], at(0)).await;
        assert_eq!(outcomes.unwrap(), [vec![Inserted::New; 2], replays(1, 0..2)]);
        assert_eq!(queue.count().await.ready, 2);
    }

    async fn a_repeated_batch_makes_the_jobs_that_were_refused(queue: Queue) {
        let room = Room { jobs: Some(3), bytes: None };
        let batch = |room| Group { room, ..queue.batch(1, 7, vec![spec(); 9], loose) };
        let outcomes = queue.put(batch(room), 0).await;
        assert_eq!(outcomes[2..4], [Inserted::New, Inserted::Full(room)]);
        let outcomes = queue.put(batch(Room { jobs: Some(5), ..room }), 1).await;
        assert_eq!(outcomes[..3], replays(1, 0..3));
        assert_eq!(outcomes[3..5], [Inserted::New, Inserted::New]);
        // What the repetition made is remembered with the rest.
        let outcomes = queue.put(batch(Room::default()), 2).await;
        assert_eq!(outcomes[..5], replays(1, 0..5));
        assert_eq!(outcomes[5..], vec![Inserted::New; 4]);
        assert_eq!(queue.put(batch(room), 3).await, replays(1, 0..9));
        assert_eq!(queue.count().await.ready, 9);
    }

    async fn a_batch_of_other_jobs_under_the_same_id_is_refused(queue: Queue) {
        for (number, group) in [(1, loose as fn(Vec<Insert>) -> Group), (2, strict)] {
            queue.put(queue.batch(number, u64::MAX, vec![spec(); 2], group), 0).await;
            let survey = queue.survey(at(0)).await;
            let other = queue.batch(number, u64::MAX - 1, vec![spec(); 3], group);
            assert_eq!(queue.put(other, 0).await, vec![Inserted::RequestReused; 3]);
            assert_eq!(queue.survey(at(0)).await, survey);
            let first = queue.batch(number, u64::MAX, vec![spec(); 2], group);
            assert_eq!(queue.put(first, 1).await, replays(number, 0..2));
        }
    }

    async fn a_strict_batch_that_was_refused_is_made_whole_by_its_repetition(queue: Queue) {
        let room = Room { jobs: Some(1), bytes: None };
        let batch = |room| Group { room, ..queue.batch(1, 7, vec![spec(); 2], strict) };
        let wanted = [Inserted::Withheld, Inserted::Full(room)];
        assert_eq!(queue.put(batch(room), 0).await, wanted);
        assert_eq!(queue.count().await, Counts::default());
        assert_eq!(queue.put(batch(Room::default()), 1).await, vec![Inserted::New; 2]);
    }

    async fn a_batch_is_remembered_for_its_time(queue: Queue) {
        let end = REQUEST_MEMORY.as_secs();
        let batch = || queue.batch(1, 7, vec![spec(); 2], loose);
        queue.put(batch(), 0).await;
        assert_eq!(queue.put(batch(), end - 1).await, replays(1, 0..2));
    }

    async fn a_purge_leaves_what_is_remembered_of_a_batch(queue: Queue) {
        let end = REQUEST_MEMORY.as_secs();
        let batch = || queue.batch(1, 7, vec![spec(); 2], loose);
        queue.put(batch(), 0).await;
        queue.purge(at(end - 1)).await;
        assert_eq!(queue.put(batch(), end - 1).await, replays(1, 0..2));
    }

    async fn jobs_that_are_gone_are_answered_all_the_same(queue: Queue) {
        let fleeting = Spec { retention: kept(seconds(0), None), ..spec() };
        let batch = || queue.batch(1, 7, vec![fleeting.clone(); 2], loose);
        queue.put(batch(), 0).await;
        for job in queue.claim(2, at(1)).await {
            queue.apply(acked(&job, at(1)), at(1)).await;
        }
        assert_eq!(queue.count().await, Counts::default());
        assert_eq!(queue.put(batch(), 2).await, replays(1, 0..2));
    }

    async fn jobs_that_a_key_kept_out_are_decided_anew(queue: Queue) {
        queue.add("holder", keyed("key")).await;
        let batch = || queue.batch(1, 7, vec![spec(), keyed("key"), spec()], loose);
        let holds = Inserted::Duplicate(id_of("holder"));
        assert_eq!(queue.put(batch(), 0).await, [Inserted::New, holds.clone(), Inserted::New]);
        let [first, _, third] = replays(1, 0..3).try_into().unwrap();
        assert_eq!(queue.put(batch(), 1).await, [first.clone(), holds, third.clone()]);
        queue.cancel("holder", at(2)).await;
        assert_eq!(queue.put(batch(), 3).await, [first, Inserted::New, third]);
        assert_eq!(queue.put(batch(), 4).await, replays(1, 0..3));
    }

    async fn a_job_made_behind_a_holder_is_remembered_as_made(queue: Queue) {
        let after = meeting(keyed("key"), OnDuplicate::RunAfter);
        let holder = queue.add_leased("holder", keyed("key")).await;
        let batch = || queue.batch(1, 7, vec![after.clone()], loose);
        assert_eq!(queue.put(batch(), 0).await, [Inserted::Behind(id_of("holder"))]);
        assert_eq!(queue.put(batch(), 1).await, replays(1, 0..1));
        queue.apply(acked(&holder, at(2)), at(2)).await;
        assert_eq!(queue.put(batch(), 3).await, replays(1, 0..1));
    }

    async fn requests_for_batches_are_apart_by_queue(queue: Queue) {
        let other = queue.sibling("other");
        queue.put(queue.batch(1, 7, vec![spec()], loose), 0).await;
        assert_eq!(other.put(other.batch(1, 8, vec![spec()], loose), 0).await, [Inserted::New]);
        assert_eq!(queue.put(queue.batch(1, 7, vec![spec()], loose), 0).await, replays(1, 0..1));
    }

    async fn a_batch_of_a_thousand_is_remembered_whole(queue: Queue) {
        let batch = || queue.batch(1, 7, vec![spec(); 1000], loose);
        assert_eq!(queue.put(batch(), 0).await, vec![Inserted::New; 1000]);
        assert_eq!(queue.put(batch(), 1).await, replays(1, 0..1000));
    }
);

impl Queue {
    /// Inserts one group so many seconds after the start.
    pub(crate) async fn put(&self, group: Group, second: u64) -> Vec<Inserted> {
        one(self.store.insert(&self.name, vec![group], at(second)).await.unwrap())
    }

    /// The jobs that one request asks for, as the broker makes them.
    fn batch(
        &self,
        number: u128,
        digest: u64,
        specs: Vec<Spec>,
        group: fn(Vec<Insert>) -> Group,
    ) -> Group {
        let items = (0..).zip(specs);
        let items = items.map(|(index, spec)| self.chosen(made_by(number, index).as_str(), spec));
        let request = Some(Request { id: request_id(number), digest });
        Group { request, ..group(items.collect()) }
    }
}

fn loose(inserts: Vec<Insert>) -> Group {
    Group { atomic: false, ..strict(inserts) }
}

fn strict(inserts: Vec<Insert>) -> Group {
    Group::all_or_none(inserts, Room::default())
}

/// The id of the job at `index` of that request.
fn made_by(number: u128, index: u32) -> JobId {
    JobIds::of(&request_id(number)).at(index)
}

/// The answers to the repetition of a request that made these jobs.
fn replays(number: u128, indexes: std::ops::Range<u32>) -> Vec<Inserted> {
    indexes.map(|index| Inserted::Replayed(made_by(number, index))).collect()
}

fn keyed(key: &str) -> Spec {
    deduplicated(key, UNTIL_FINISHED)
}

//! What [`Store::insert`](crate::store::Store::insert) promises.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, claim, deduplicated, eventually, id_of, ids, kept, nacked,
    one, payload, request, scheduled, seconds, spec,
};
use crate::job::transition::Disposition;
use crate::job::{
    Dedup, DedupKey, DedupScope, Form, Keep, OnDuplicate, Payload, Retention, RetryPolicy, Spec,
    State,
};
use crate::store::{Counts, Inserted};

/// A spec that uses every field.
fn full_spec() -> Spec {
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    Spec {
        job_type: "mail.send".to_owned(),
        payload: Some(Payload {
            data: (0..=255).collect(),
            form: Form::Json,
            content_type: "application/json".to_owned(),
            encoding: "gzip".to_owned(),
        }),
        priority: -1000,
        labels: map(&[("tenant", "ärger"), ("empty", "")]),
        created: at(0),
        scheduled: Some(at(5)),
        retry: RetryPolicy {
            max_attempts: None,
            initial_backoff: Duration::from_millis(1),
            multiplier: 1.5,
            max_backoff: seconds(60),
            jitter: 0.25,
            backoff_list: vec![seconds(1), Duration::ZERO],
            fatal_codes: vec!["NO_HANDLER".to_owned()],
            max_retry_duration: Some(seconds(3600)),
        },
        owner: "somebody".to_owned(),
        expires: Some(at(7200)),
        lease_duration: Some(Duration::from_millis(1500)),
        attempt_timeout: Some(seconds(600)),
        dedup: Some(Dedup {
            key: DedupKey::parse("a key: {with} \"signs\"").unwrap(),
            scope: DedupScope::UntilFinished { cap: Some(seconds(3600)) },
            on_duplicate: OnDuplicate::Reject,
        }),
        retention: Retention {
            succeeded: Keep { span: Duration::ZERO, count: None },
            dead: Keep { span: seconds(1), count: Some(7) },
        },
        trace_context: map(&[("traceparent", "00-0af7651916cd43dd8448eb211c80319c-01")]),
    }
}

every_store!(
    async fn a_job_is_read_back_as_it_was_given(queue: Queue) {
        let job = queue.add("a.b_c~d-E", full_spec()).await;
        assert_eq!(job.state, State::Scheduled);
        assert_eq!(queue.find("a.b_c~d-E").await, Some(job));
    }

    async fn a_job_without_anything_is_read_back_as_it_was_given(queue: Queue) {
        let job = queue.add("a", spec()).await;
        assert_eq!(job.state, State::Ready);
        assert_eq!(queue.find("a").await, Some(job));
    }

    async fn an_empty_payload_is_not_a_missing_one(queue: Queue) {
        queue.add("empty", Spec { payload: Some(Payload::default()), ..spec() }).await;
        queue.add("missing", spec()).await;
        assert_eq!(queue.get("empty").await.spec.payload, Some(Payload::default()));
        assert_eq!(queue.get("missing").await.spec.payload, None);
    }

    async fn a_payload_of_a_megabyte_is_kept(queue: Queue) {
        let data: Bytes = (0..1_u32 << 20).map(|byte| (byte % 251) as u8).collect();
        let spec = Spec { payload: Some(Payload { data, ..Payload::default() }), ..spec() };
        let job = queue.add("a", spec).await;
        assert!(queue.find("a").await == Some(job), "the payload changed");
    }

    async fn a_time_in_the_far_future_is_kept_to_the_millisecond(queue: Queue) {
        let end_of_year_9999 = Timestamp::from_millis(253_402_300_799_999);
        queue.add("a", scheduled(end_of_year_9999)).await;
        assert_eq!(queue.get("a").await.at, end_of_year_9999);
        assert_eq!(queue.next_due().await, Some(end_of_year_9999));
    }

    async fn new_jobs_are_counted_in_their_states(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        queue.add("later", scheduled(at(1))).await;
        assert_eq!(queue.count().await, Counts { ready: 2, scheduled: 1, ..Counts::default() });
    }

    async fn outcomes_stand_where_their_items_stood(queue: Queue) {
        queue.add("taken", spec()).await;
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let outcomes = queue
            .insert(vec![
                vec![queue.item("a", spec()), queue.item("b", deduplicated("key", UNTIL_FINISHED))],
                vec![],
                vec![queue.chosen("taken", spec())],
                vec![queue.item("c", spec())],
            ])
            .await;
        assert_eq!(
            outcomes,
            [
                vec![Inserted::New, Inserted::Duplicate(id_of("holder"))],
                vec![],
                vec![Inserted::Exists(State::Ready)],
                vec![Inserted::New],
            ]
        );
    }

    async fn no_groups_get_no_outcomes(queue: Queue) {
        assert_eq!(queue.insert(vec![]).await, Vec::<Vec<Inserted>>::new());
    }

    async fn a_thousand_jobs_go_in_at_once(queue: Queue) {
        let items = |prefix: &str| {
            (0..1000).map(|n| queue.item(&format!("{prefix}{n}"), spec())).collect::<Vec<_>>()
        };
        assert_eq!(queue.insert(vec![items("a")]).await, [vec![Inserted::New; 1000]]);
        let groups = items("b").into_iter().map(|item| vec![item]).collect();
        assert_eq!(queue.insert(groups).await, vec![[Inserted::New]; 1000]);
        assert_eq!(queue.count().await.ready, 2000);
    }

    async fn a_repeated_request_answers_the_first_job(queue: Queue) {
        let first = queue.asked("first", spec(), request(1, 7));
        assert_eq!(queue.insert_one(first).await, Inserted::New);
        let again = queue.asked("second", spec(), request(1, 7));
        assert_eq!(queue.insert_one(again).await, Inserted::Replayed(id_of("first")));
        assert_eq!(queue.find("second").await, None);
        assert_eq!(queue.count().await.ready, 1);
    }

    async fn a_repeated_request_answers_a_job_that_is_gone(queue: Queue) {
        let fleeting = Spec { retention: kept(Duration::ZERO, None), ..spec() };
        queue.insert_one(queue.asked("first", fleeting, request(1, 7))).await;
        let job = queue.claim_one(at(0)).await;
        queue.apply(acked(&job, at(0)), at(0)).await;
        assert_eq!(queue.find("first").await, None);
        let again = queue.asked("second", spec(), request(1, 7));
        assert_eq!(queue.insert_one(again).await, Inserted::Replayed(id_of("first")));
    }

    async fn a_request_id_used_for_something_else_is_refused(queue: Queue) {
        queue.insert_one(queue.asked("first", spec(), request(1, u64::MAX))).await;
        let other = queue.asked("second", spec(), request(1, u64::MAX - 1));
        assert_eq!(queue.insert_one(other).await, Inserted::RequestReused);
        assert_eq!(queue.find("second").await, None);
    }

    async fn a_request_that_was_refused_is_not_remembered(queue: Queue) {
        queue.add("taken", spec()).await;
        let mut refused = queue.chosen("taken", spec());
        refused.request = Some(request(1, 7));
        assert_eq!(queue.insert_one(refused).await, Inserted::Exists(State::Ready));
        let other = queue.asked("a", spec(), request(1, 8));
        assert_eq!(queue.insert_one(other).await, Inserted::New);
    }

    async fn jobs_that_ride_with_a_repeated_request_are_made(queue: Queue) {
        queue.insert_one(queue.asked("first", spec(), request(2, 7))).await;
        let group = || {
            let asked = [("a", 1), ("b", 2), ("c", 3)];
            asked.map(|(id, number)| queue.asked(id, spec(), request(number, 7))).to_vec()
        };
        let [a, first, c] = ["a", "first", "c"].map(|id| Inserted::Replayed(id_of(id)));
        let made = [Inserted::New, first.clone(), Inserted::New];
        assert_eq!(queue.insert_group(group()).await, made);
        assert_eq!(queue.insert_group(group()).await, [a, first, c]);
        assert_eq!(queue.count().await.ready, 3);
    }

    async fn a_repeated_request_is_known_before_its_chosen_id_is_taken(queue: Queue) {
        let mut item = queue.chosen("mine", spec());
        item.request = Some(request(1, 7));
        assert_eq!(queue.insert_one(item.clone()).await, Inserted::New);
        assert_eq!(queue.insert_one(item).await, Inserted::Replayed(id_of("mine")));
    }

    async fn a_taken_id_is_refused_with_the_state_of_its_job(queue: Queue) {
        queue.add("waiting", scheduled(at(60))).await;
        queue.add_leased("leased", spec()).await;
        let done = queue.add_leased("done", spec()).await;
        queue.apply(acked(&done, at(0)), at(0)).await;
        queue.add("ready", spec()).await;
        for (id, state) in [
            ("waiting", State::Scheduled),
            ("leased", State::Leased),
            ("done", State::Succeeded),
            ("ready", State::Ready),
        ] {
            let before = queue.find(id).await;
            let thief = queue.chosen(id, Spec { priority: 9, ..spec() });
            assert_eq!(queue.insert_one(thief).await, Inserted::Exists(state));
            assert_eq!(queue.find(id).await, before);
        }
    }

    async fn a_chosen_id_is_free_again_once_its_job_is_forgotten(queue: Queue) {
        let fleeting = Spec { retention: kept(Duration::ZERO, None), ..spec() };
        let job = queue.add_leased("mine", fleeting).await;
        queue.apply(acked(&job, at(0)), at(0)).await;
        assert_eq!(queue.insert_one(queue.chosen("mine", spec())).await, Inserted::New);
        assert_eq!(queue.state("mine").await, Some(State::Ready));
    }

    async fn a_taken_id_weighs_more_than_a_held_dedup_key(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let item = queue.chosen("holder", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(item).await, Inserted::Exists(State::Ready));
    }

    async fn a_held_dedup_key_answers_its_holder(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let double = queue.item("double", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(double).await, Inserted::Duplicate(id_of("holder")));
        assert_eq!(queue.find("double").await, None);
        assert_eq!(queue.count().await.ready, 1);
        let other = queue.item("other", deduplicated("another key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(other).await, Inserted::New);
    }

    async fn a_dedup_key_is_held_until_its_job_is_finished(queue: Queue) {
        let double = || queue.item("double", deduplicated("key", UNTIL_FINISHED));
        let held = Inserted::Duplicate(id_of("holder"));
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        assert_eq!(queue.insert_one(double()).await, held);
        let delay = Disposition::Retry(Some(seconds(1)));
        queue.apply(nacked(&holder, delay, at(0)), at(0)).await;
        assert_eq!(queue.insert_one(double()).await, held);
        queue.promote(at(1)).await;
        assert_eq!(queue.insert_one(double()).await, held);
        let holder = queue.claim_one(at(1)).await;
        queue.apply(acked(&holder, at(1)), at(1)).await;
        assert_eq!(queue.insert_one(double()).await, Inserted::New);
    }

    async fn a_dedup_key_is_free_once_its_job_is_dead(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.apply(nacked(&holder, Disposition::Dead, at(0)), at(0)).await;
        let next = queue.item("next", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(next).await, Inserted::New);
    }

    async fn a_dedup_window_outlasts_its_job(queue: Queue) {
        let window = DedupScope::Window(seconds(3600));
        let holder = queue.add_leased("holder", deduplicated("key", window)).await;
        queue.apply(acked(&holder, at(0)), at(0)).await;
        let double = queue.item("double", deduplicated("key", window));
        assert_eq!(queue.insert_one(double).await, Inserted::Duplicate(id_of("holder")));
    }

    async fn a_dedup_window_ends(queue: Queue) {
        becomes_free(&queue, DedupScope::Window(Duration::from_millis(50))).await;
        assert_eq!(queue.state("holder").await, Some(State::Ready), "its job is left alone");
    }

    async fn a_dedup_key_is_held_no_longer_than_its_cap(queue: Queue) {
        let cap = Some(Duration::from_millis(50));
        becomes_free(&queue, DedupScope::UntilFinished { cap }).await;
        assert_eq!(queue.state("holder").await, Some(State::Ready), "its job is left alone");
    }

    async fn a_dedup_cap_does_not_hold_the_key_of_a_finished_job(queue: Queue) {
        let capped = DedupScope::UntilFinished { cap: Some(seconds(3600)) };
        let holder = queue.add_leased("holder", deduplicated("key", capped)).await;
        let double = queue.item("double", deduplicated("key", capped));
        assert_eq!(queue.insert_one(double.clone()).await, Inserted::Duplicate(id_of("holder")));
        queue.apply(acked(&holder, at(0)), at(0)).await;
        assert_eq!(queue.insert_one(double).await, Inserted::New);
    }

    async fn a_dedup_key_is_free_once_its_job_is_forgotten(queue: Queue) {
        let window = deduplicated("key", DedupScope::Window(seconds(3600)));
        let fleeting = Spec { retention: kept(Duration::ZERO, None), ..window.clone() };
        let holder = queue.add_leased("holder", fleeting).await;
        queue.apply(acked(&holder, at(0)), at(0)).await;
        assert_eq!(queue.find("holder").await, None);
        assert_eq!(queue.insert_one(queue.item("next", window)).await, Inserted::New);
    }

    async fn a_job_frees_no_dedup_key_that_has_passed_to_another(queue: Queue) {
        let capped = DedupScope::UntilFinished { cap: Some(Duration::from_millis(50)) };
        let successor = becomes_free(&queue, capped).await;
        let former = queue.claim_one(at(0)).await;
        assert_eq!(former.name.id.as_str(), "holder");
        queue.apply(acked(&former, at(0)), at(0)).await;
        let double = queue.item("double", deduplicated("key", UNTIL_FINISHED));
        assert_eq!(queue.insert_one(double).await, Inserted::Duplicate(id_of(&successor)));
    }

    async fn a_duplicate_remembers_its_request(queue: Queue) {
        let holder = queue.add_leased("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let double = || queue.asked("double", deduplicated("key", UNTIL_FINISHED), request(1, 7));
        assert_eq!(queue.insert_one(double()).await, Inserted::Duplicate(id_of("holder")));
        assert_eq!(queue.insert_one(double()).await, Inserted::Replayed(id_of("holder")));
        // The key is free now, but the request was answered already.
        queue.apply(acked(&holder, at(0)), at(0)).await;
        assert_eq!(queue.insert_one(double()).await, Inserted::Replayed(id_of("holder")));
    }

    async fn a_refused_group_leaves_nothing_behind(queue: Queue) {
        queue.add("taken", spec()).await;
        queue.insert_one(queue.asked("asked", spec(), request(1, 7))).await;
        for refused in [
            (queue.chosen("taken", spec()), Inserted::Exists(State::Ready)),
            (queue.asked("b", spec(), request(1, 8)), Inserted::RequestReused),
        ] {
            let log = queue.store.log_end(&queue.name).await.unwrap();
            let (item, refusal) = refused;
            let group = vec![
                queue.asked("a", deduplicated("key", UNTIL_FINISHED), request(2, 7)),
                item,
                queue.chosen("c", spec()),
            ];
            let outcomes = queue.insert_group(group).await;
            assert_eq!(outcomes, [Inserted::Withheld, refusal, Inserted::Withheld]);
            assert_eq!((queue.find("a").await, queue.find("c").await), (None, None));
            assert_eq!(queue.count().await.ready, 2);
            assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), log);
        }
        let group = vec![
            queue.asked("d", spec(), request(2, 9)),
            queue.item("e", deduplicated("key", UNTIL_FINISHED)),
            queue.chosen("c", spec()),
        ];
        assert_eq!(queue.insert_group(group).await, vec![Inserted::New; 3]);
    }

    async fn a_refused_group_harms_no_other(queue: Queue) {
        queue.add("taken", spec()).await;
        let outcomes = queue
            .insert(vec![
                vec![queue.item("before", spec())],
                vec![queue.chosen("taken", spec()), queue.item("with", spec())],
                vec![queue.item("after", spec())],
            ])
            .await;
        assert_eq!(
            outcomes,
            [
                vec![Inserted::New],
                vec![Inserted::Exists(State::Ready), Inserted::Withheld],
                vec![Inserted::New],
            ]
        );
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["taken", "before", "after"]);
    }

    async fn duplicates_and_replays_do_not_refuse_their_group(queue: Queue) {
        queue.insert_one(queue.asked("asked", spec(), request(1, 7))).await;
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let group = vec![
            queue.asked("a", spec(), request(1, 7)),
            queue.item("b", deduplicated("key", UNTIL_FINISHED)),
            queue.item("c", spec()),
        ];
        assert_eq!(
            queue.insert_group(group).await,
            [
                Inserted::Replayed(id_of("asked")),
                Inserted::Duplicate(id_of("holder")),
                Inserted::New
            ]
        );
    }

    async fn items_of_a_group_see_each_other(queue: Queue) {
        let group = vec![
            queue.asked("a", spec(), request(1, 7)),
            queue.asked("b", spec(), request(1, 7)),
            queue.item("c", deduplicated("key", UNTIL_FINISHED)),
            queue.item("d", deduplicated("key", UNTIL_FINISHED)),
        ];
        assert_eq!(
            queue.insert_group(group).await,
            [
                Inserted::New,
                Inserted::Replayed(id_of("a")),
                Inserted::New,
                Inserted::Duplicate(id_of("c"))
            ]
        );
        assert_eq!(queue.count().await.ready, 2);
    }

    async fn an_id_chosen_twice_in_a_group_refuses_it(queue: Queue) {
        let group = vec![queue.chosen("mine", spec()), queue.chosen("mine", spec())];
        let outcomes = queue.insert_group(group).await;
        assert_eq!(outcomes, [Inserted::Withheld, Inserted::Exists(State::Ready)]);
        assert_eq!(queue.find("mine").await, None);
    }

    async fn a_request_used_for_two_things_in_a_group_refuses_it(queue: Queue) {
        let group =
            vec![queue.asked("a", spec(), request(1, 7)), queue.asked("b", spec(), request(1, 8))];
        let outcomes = queue.insert_group(group).await;
        assert_eq!(outcomes, [Inserted::Withheld, Inserted::RequestReused]);
        assert_eq!(queue.count().await, Counts::default());
    }

    async fn a_request_repeated_within_its_group_is_known_before_its_id_is_taken(queue: Queue) {
        let mut item = queue.chosen("mine", spec());
        item.request = Some(request(1, 7));
        let outcomes = queue.insert_group(vec![item.clone(), item]).await;
        assert_eq!(outcomes, [Inserted::New, Inserted::Replayed(id_of("mine"))]);
    }

    async fn a_duplicate_takes_no_id(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let group = vec![
            queue.chosen("mine", deduplicated("key", UNTIL_FINISHED)),
            queue.chosen("mine", spec()),
        ];
        let outcomes = queue.insert_group(group).await;
        assert_eq!(outcomes, [Inserted::Duplicate(id_of("holder")), Inserted::New]);
    }

    async fn later_groups_see_earlier_ones(queue: Queue) {
        let outcomes = queue
            .insert(vec![
                vec![queue.chosen("mine", deduplicated("key", UNTIL_FINISHED))],
                vec![queue.chosen("mine", spec())],
                vec![queue.item("double", deduplicated("key", UNTIL_FINISHED))],
            ])
            .await;
        assert_eq!(
            outcomes,
            [
                [Inserted::New],
                [Inserted::Exists(State::Ready)],
                [Inserted::Duplicate(id_of("mine"))]
            ]
        );
    }

    async fn ids_keys_and_requests_belong_to_one_queue(queue: Queue) {
        let other = queue.sibling("other");
        for place in [&queue, &other] {
            let mut item = place.chosen("mine", deduplicated("key", UNTIL_FINISHED));
            item.request = Some(request(1, 7));
            assert_eq!(place.insert_one(item).await, Inserted::New);
        }
        let job = one(other.serve(claim(9), at(0)).await);
        other.apply(acked(&job, at(0)), at(0)).await;
        assert_eq!(queue.state("mine").await, Some(State::Ready));
        assert_eq!(other.state("mine").await, Some(State::Succeeded));
    }

    async fn a_duplicate_does_not_change_its_holder(queue: Queue) {
        let holder = queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        let louder = Spec {
            priority: 5,
            payload: Some(payload("louder")),
            ..deduplicated("key", UNTIL_FINISHED)
        };
        queue.insert_one(queue.item("double", louder)).await;
        assert_eq!(queue.find("holder").await, Some(holder));
    }
);

/// Inserts a holder of a key with a short `scope` and doubles until one gets the key; answers its id.
///
/// The span passes by the case's time on a store that goes by that, and by real time on one that
/// lets keys end by themselves.
async fn becomes_free(queue: &Queue, scope: DedupScope) -> String {
    queue.add("holder", deduplicated("key", scope)).await;
    let mut attempt = 0;
    eventually("the key to become free", async || {
        attempt += 1;
        let id = format!("next-{attempt}");
        let created = at(0).after(Duration::from_millis(10 * attempt));
        let spec = Spec { created, ..deduplicated("key", UNTIL_FINISHED) };
        match queue.insert_one(queue.item(&id, spec)).await {
            Inserted::New => Some(id),
            Inserted::Duplicate(holder) if holder == id_of("holder") => None,
            other => panic!("{other:?}"),
        }
    })
    .await
}

//! What [`Store::list`](crate::store::Store::list) and [`Store::ahead`](crate::store::Store::ahead)
//! promise.

use std::time::Duration;

use bytes::Bytes;

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, deduplicated, extension, given_back, ids, kept, labelled,
    meeting, nacked, payload, priority, scheduled, seconds, spec, typed,
};
use crate::job::operate::{self, Update};
use crate::job::transition::Disposition;
use crate::job::{OnDuplicate, Payload, Spec, State};
use crate::store::{Index, Inserted, Order};

every_store!(
    async fn ready_jobs_are_listed_in_the_order_in_which_they_run(queue: Queue) {
        for (id, level) in [("c", 0), ("low", -9), ("a", 0), ("high", 9), ("b", 0)] {
            queue.add(id, priority(level)).await;
        }
        goes(&queue, State::Ready, &["high", "c", "a", "b", "low"]).await;
        let jobs = queue.claim(3, at(1)).await;
        assert_eq!(ids(&jobs), ["high", "c", "a"]);
        goes(&queue, State::Ready, &["b", "low"]).await;
        queue.apply(given_back(&jobs[1], at(2)), at(2)).await;
        goes(&queue, State::Ready, &["c", "b", "low"]).await;
        assert_eq!(ids(&queue.claim(9, at(3)).await), ["c", "b", "low"]);
        goes(&queue, State::Ready, &[]).await;
    }

    async fn ready_jobs_of_several_types_are_listed_as_they_run(queue: Queue) {
        for (second, (id, of_type)) in
            [("c", "x"), ("a", "y"), ("d", "x"), ("b", "")].iter().enumerate()
        {
            let created = at(second as u64);
            queue.add(id, Spec { created, ..typed(of_type) }).await;
        }
        goes(&queue, State::Ready, &["c", "a", "d", "b"]).await;
        assert_eq!(ids(&queue.claim(9, at(9)).await), ["c", "a", "d", "b"]);
    }

    async fn waiting_jobs_are_listed_by_their_time(queue: Queue) {
        for (id, second) in [("b", 300), ("c", 100), ("a", 200)] {
            queue.add(id, scheduled(at(second))).await;
        }
        goes(&queue, State::Scheduled, &["c", "a", "b"]).await;
        for (id, delay) in [("y", 30), ("z", 10), ("x", 20)] {
            let job = queue.add_leased(id, spec()).await;
            let retry = Disposition::Retry(Some(seconds(delay)));
            queue.apply(nacked(&job, retry, at(0)), at(0)).await;
        }
        goes(&queue, State::Retrying, &["z", "x", "y"]).await;
        queue.promote(at(150)).await;
        goes(&queue, State::Scheduled, &["a", "b"]).await;
        goes(&queue, State::Retrying, &[]).await;
    }

    async fn leased_jobs_are_listed_by_the_end_of_their_lease(queue: Queue) {
        let first =
            queue.add_leased("a", Spec { lease_duration: Some(seconds(10)), ..spec() }).await;
        queue.add_leased("b", Spec { lease_duration: Some(seconds(30)), ..spec() }).await;
        queue.add_leased("c", Spec { lease_duration: Some(seconds(20)), ..spec() }).await;
        goes(&queue, State::Leased, &["a", "c", "b"]).await;
        queue.extend(extension(&first, at(25)), at(1)).await;
        goes(&queue, State::Leased, &["c", "a", "b"]).await;
    }

    async fn blocked_jobs_are_listed_by_create_time(queue: Queue) {
        for (key, id) in [("1", "c"), ("2", "a"), ("3", "b")] {
            let holder = format!("holder-{id}");
            queue.add_leased(&holder, deduplicated(key, UNTIL_FINISHED)).await;
        }
        for (key, id, second) in [("1", "c", 3), ("2", "a", 1), ("3", "b", 2)] {
            let behind = meeting(deduplicated(key, UNTIL_FINISHED), OnDuplicate::RunAfter);
            let outcome = queue.insert_one(queue.item(id, Spec { created: at(second), ..behind }));
            assert!(matches!(outcome.await, Inserted::Behind(_)));
        }
        goes(&queue, State::Blocked, &["a", "b", "c"]).await;
    }

    async fn finished_jobs_are_listed_by_their_purge(queue: Queue) {
        for (id, span) in [("b", 300), ("c", 100), ("a", 200)] {
            let retention = kept(seconds(span), None);
            for (state, id) in [("done", id), ("dead", id), ("off", id)] {
                let id = format!("{state}-{id}");
                let job = queue.add_leased(&id, Spec { retention, ..spec() }).await;
                match state {
                    "done" => queue.apply(acked(&job, at(0)), at(0)).await,
                    "dead" => queue.apply(nacked(&job, Disposition::Dead, at(0)), at(0)).await,
                    _ => {
                        queue.apply(given_back(&job, at(0)), at(0)).await;
                        queue.cancel(&id, at(0)).await;
                    }
                }
            }
        }
        goes(&queue, State::Succeeded, &["done-c", "done-a", "done-b"]).await;
        goes(&queue, State::Dead, &["dead-c", "dead-a", "dead-b"]).await;
        goes(&queue, State::Cancelled, &["off-c", "off-a", "off-b"]).await;
        queue.purge(at(150)).await;
        goes(&queue, State::Dead, &["dead-a", "dead-b"]).await;
    }

    async fn a_label_finds_its_jobs_in_all_states(queue: Queue) {
        let labels = |created| Spec { created, ..labelled("tenant", "t1") };
        let done = queue.add_leased("done", labels(at(3))).await;
        queue.apply(acked(&done, at(3)), at(3)).await;
        queue.add_leased("leased", labels(at(1))).await;
        queue.add("later", Spec { scheduled: Some(at(500)), ..labels(at(2)) }).await;
        queue.add("ready", labels(at(4))).await;
        queue.add("other", labelled("tenant", "t2")).await;
        queue.add("none", spec()).await;
        let index = Index::Label("tenant".to_owned(), "t1".to_owned());
        in_order(&queue, &index, &["leased", "later", "done", "ready"]).await;
        let unknown = Index::Label("t1".to_owned(), "tenant".to_owned());
        in_order(&queue, &unknown, &[]).await;
    }

    async fn an_owner_s_jobs_are_found_by_create_time(queue: Queue) {
        for (id, owner, second) in
            [("c", "o1", 3), ("a", "o1", 1), ("x", "o2", 2), ("b", "o1", 2), ("none", "", 2)]
        {
            let owner = owner.to_owned();
            queue.add(id, Spec { owner, created: at(second), ..spec() }).await;
        }
        in_order(&queue, &Index::Owner("o1".to_owned()), &["a", "b", "c"]).await;
        in_order(&queue, &Index::Owner("o".to_owned()), &[]).await;
    }

    async fn a_label_is_not_taken_for_an_owner(queue: Queue) {
        queue.add("labelled", labelled("o", "x")).await;
        queue.add("owned", Spec { owner: "o=x".to_owned(), ..spec() }).await;
        queue.add("split", labelled("o=", "x")).await;
        in_order(&queue, &Index::Owner("o=x".to_owned()), &["owned"]).await;
        in_order(&queue, &Index::Label("o".to_owned(), "x".to_owned()), &["labelled"]).await;
        in_order(&queue, &Index::Label("o".to_owned(), "=x".to_owned()), &[]).await;
    }

    async fn a_job_that_is_gone_is_in_no_index(queue: Queue) {
        let everything = |span| Spec {
            owner: "o".to_owned(),
            retention: kept(seconds(span), None),
            ..labelled("tenant", "t1")
        };
        let ended = queue.add_leased("ended", everything(0)).await;
        queue.apply(acked(&ended, at(0)), at(0)).await;
        let purged = queue.add_leased("purged", everything(10)).await;
        queue.apply(acked(&purged, at(0)), at(0)).await;
        queue.purge(at(10)).await;
        queue.add("deleted", everything(10)).await;
        queue.delete("deleted", at(10)).await;
        for index in [
            Index::Label("tenant".to_owned(), "t1".to_owned()),
            Index::Owner("o".to_owned()),
            Index::State(State::Succeeded),
            Index::State(State::Ready),
        ] {
            in_order(&queue, &index, &[]).await;
        }
    }

    async fn changed_labels_are_found_and_the_old_ones_are_not(queue: Queue) {
        let owner = "o".to_owned();
        queue.add("a", Spec { owner, ..labelled("tenant", "t1") }).await;
        let labels = [("tenant", "t2"), ("region", "r1")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        queue.update("a", Update { labels: Some(labels), ..Update::default() }, at(1)).await;
        let label = |key: &str, value: &str| Index::Label(key.to_owned(), value.to_owned());
        in_order(&queue, &label("tenant", "t1"), &[]).await;
        in_order(&queue, &label("tenant", "t2"), &["a"]).await;
        in_order(&queue, &label("region", "r1"), &["a"]).await;
        in_order(&queue, &Index::Owner("o".to_owned()), &["a"]).await;
    }

    async fn jobs_of_one_moment_are_each_listed_once(queue: Queue) {
        let names: Vec<String> = (0..7).map(|n| format!("job-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, Spec { scheduled: Some(at(9)), ..labelled("a", "b") }).await;
        for index in [Index::State(State::Scheduled), Index::Label("a".to_owned(), "b".to_owned())]
        {
            for limit in [1, 2, 3, 7, 8] {
                for order in [Order::Forward, Order::Backward] {
                    let mut found = queue.walk(&index, order, limit).await;
                    found.sort();
                    assert_eq!(found, names, "{index:?} {order:?} by {limit}");
                }
            }
        }
    }

    async fn a_page_goes_on_where_the_last_one_ended_whatever_has_gone(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d", "e"], labelled("x", "y")).await;
        for index in [Index::State(State::Ready), Index::Label("x".to_owned(), "y".to_owned())] {
            let page =
                queue.store.list(&queue.name, &index, Order::Forward, None, 2).await.unwrap();
            assert_eq!(ids(&page.jobs), ["a", "b"]);
            let jobs = queue.claim(2, at(1)).await;
            assert_eq!(ids(&jobs), ["a", "b"]);
            let mark = page.next.as_ref();
            let rest =
                queue.store.list(&queue.name, &index, Order::Forward, mark, 9).await.unwrap();
            assert_eq!(ids(&rest.jobs), ["c", "d", "e"], "{index:?}");
            for job in jobs.iter().rev() {
                queue.apply(given_back(job, at(2)), at(2)).await;
            }
        }
    }

    async fn a_page_goes_on_behind_a_job_that_was_deleted(queue: Queue) {
        for second in 1..=4 {
            let id = format!("job-{second}");
            let spec = Spec { scheduled: Some(at(100 + second)), ..labelled("x", "y") };
            queue.add(&id, Spec { created: at(second), ..spec }).await;
        }
        let indexes =
            [Index::State(State::Scheduled), Index::Label("x".to_owned(), "y".to_owned())];
        let mut marks = Vec::new();
        for index in &indexes {
            let page = queue.store.list(&queue.name, index, Order::Forward, None, 2).await.unwrap();
            marks.push(page.next);
        }
        queue.delete("job-2", at(5)).await;
        for (index, mark) in indexes.iter().zip(marks) {
            let page = queue.store.list(&queue.name, index, Order::Forward, mark.as_ref(), 9);
            assert_eq!(ids(&page.await.unwrap().jobs), ["job-3", "job-4"], "{index:?}");
        }
    }

    async fn jobs_that_come_meanwhile_move_no_page(queue: Queue) {
        let at_second = |second| Spec { created: at(second), ..labelled("x", "y") };
        for second in [10, 20, 30, 40] {
            queue.add(&format!("job-{second}"), at_second(second)).await;
        }
        let index = Index::Label("x".to_owned(), "y".to_owned());
        for order in [Order::Forward, Order::Backward] {
            let page = queue.store.list(&queue.name, &index, order, None, 2).await.unwrap();
            let before = format!("{}-{order:?}", ids(&page.jobs)[0]);
            let second = if order == Order::Forward { 5 } else { 45 };
            queue.add(&before.to_lowercase(), at_second(second)).await;
            let mark = page.next.as_ref();
            let rest = queue.store.list(&queue.name, &index, order, mark, 2).await.unwrap();
            let wanted =
                if order == Order::Forward { ["job-30", "job-40"] } else { ["job-20", "job-10"] };
            assert_eq!(ids(&rest.jobs), wanted);
        }
    }

    async fn a_list_of_heavy_jobs_comes_in_short_pages(queue: Queue) {
        let data = Bytes::from(vec![7; 1_000_000]);
        let heavy = Payload { data, ..Payload::default() };
        let names: Vec<String> = (0..30).map(|n| format!("job-{n:02}")).collect();
        for name in &names {
            queue.add(name, Spec { payload: Some(heavy.clone()), ..spec() }).await;
        }
        let index = Index::State(State::Ready);
        let page = queue.store.list(&queue.name, &index, Order::Forward, None, 1000).await.unwrap();
        assert!((1..30).contains(&page.jobs.len()), "{} MB in one page", page.jobs.len());
        assert_eq!(queue.walk(&index, Order::Forward, 1000).await, names);
    }

    async fn an_unknown_queue_lists_nothing(queue: Queue) {
        queue.sibling("other").add("a", labelled("x", "y")).await;
        for state in State::ALL {
            assert_eq!(queue.in_state(state).await, [""; 0]);
        }
        in_order(&queue, &Index::Label("x".to_owned(), "y".to_owned()), &[]).await;
        assert!(queue.store.queues().await.unwrap().iter().all(|name| *name != queue.name));
    }

    async fn a_listed_job_brings_its_details(queue: Queue) {
        let spec = Spec { payload: Some(payload("work")), ..labelled("x", "y") };
        let job = queue.add_leased("a", spec).await;
        let mut failed = nacked(&job, Disposition::Retry(Some(seconds(9))), at(1));
        failed.checkpoint = Some(payload("half"));
        queue.apply(failed, at(1)).await;
        let index = Index::Label("x".to_owned(), "y".to_owned());
        let page = queue.store.list(&queue.name, &index, Order::Forward, None, 9).await.unwrap();
        assert_eq!(page.jobs, [queue.get("a").await]);
        assert_eq!(page.next, None);
        assert_eq!(page.jobs[0].details.checkpoint, Some(payload("half")));
    }

    async fn the_jobs_ahead_are_those_that_run_before(queue: Queue) {
        for (id, level, second) in
            [("first", 0, 0), ("low", -9, 1), ("second", 0, 2), ("high", 9, 3), ("third", 0, 4)]
        {
            queue.add(id, Spec { created: at(second), ..priority(level) }).await;
        }
        for (id, wanted) in [("high", 0), ("first", 1), ("second", 2), ("third", 3), ("low", 4)] {
            let ahead = queue.store.ahead(&queue.get(id).await).await.unwrap();
            assert_eq!(ahead, wanted, "ahead of {id}");
        }
        queue.claim(2, at(5)).await;
        assert_eq!(queue.store.ahead(&queue.get("third").await).await.unwrap(), 1);
    }

    async fn a_job_that_is_not_listed_any_more_leaves_no_gap(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d"], spec()).await;
        queue.cancel("b", at(1)).await;
        let moved = Update { scheduled: Some(at(500)), ..Update::default() };
        queue.update("c", moved, at(1)).await;
        goes(&queue, State::Ready, &["a", "d"]).await;
        goes(&queue, State::Scheduled, &["c"]).await;
        goes(&queue, State::Cancelled, &["b"]).await;
        let later = at(2).after(Duration::from_millis(5));
        let promoted = operate::promote(&queue.get("c").await, "", later).unwrap();
        queue.apply(promoted, later).await;
        goes(&queue, State::Ready, &["a", "d", "c"]).await;
        goes(&queue, State::Scheduled, &[]).await;
    }
);

/// The jobs of the state are these, in this order and, backwards, in the other.
async fn goes(queue: &Queue, state: State, wanted: &[&str]) {
    in_order(queue, &Index::State(state), wanted).await;
}

async fn in_order(queue: &Queue, index: &Index, wanted: &[&str]) {
    for limit in [1, 2, 100] {
        assert_eq!(queue.walk(index, Order::Forward, limit).await, wanted, "{index:?} by {limit}");
        let mut backward = queue.walk(index, Order::Backward, limit).await;
        backward.reverse();
        assert_eq!(backward, wanted, "{index:?} backward by {limit}");
    }
}

//! What [`Claim::types`](crate::store::Claim::types) promises.

use crate::fixture::{Queue, acked, at, claim, given_back, ids, request_id, spec, typed};
use crate::job::operate::Update;
use crate::job::{QueueSettings, Spec, State};
use crate::store::{Claim, Guarded};

every_store!(
    async fn a_claim_takes_jobs_of_its_types_only(queue: Queue) {
        for (second, (id, of_type)) in
            [("a", "mail"), ("b", "sms"), ("c", "mail"), ("d", ""), ("e", "push")]
                .iter()
                .enumerate()
        {
            queue.add(id, Spec { created: at(second as u64), ..typed(of_type) }).await;
        }
        assert_eq!(ids(&queue.serve(only(&["mail"], 1), at(9)).await), ["a"]);
        assert_eq!(ids(&queue.serve(only(&["push", "mail"], 9), at(9)).await), ["c", "e"]);
        assert_eq!(ids(&queue.serve(only(&["unknown"], 9), at(9)).await), [""; 0]);
        assert_eq!(ids(&queue.serve(only(&[""], 9), at(9)).await), ["d"]);
        assert_eq!(ids(&queue.serve(only(&[], 9), at(9)).await), ["b"]);
    }

    async fn the_greatest_priority_comes_first_whatever_its_type(queue: Queue) {
        for (second, (id, of_type, level)) in
            [("a", "x", 0), ("b", "y", 5), ("c", "x", 5), ("d", "z", 9), ("e", "y", 0)]
                .iter()
                .enumerate()
        {
            let spec = Spec { created: at(second as u64), priority: *level, ..typed(of_type) };
            queue.add(id, spec).await;
        }
        let jobs = queue.serve(only(&["x", "y"], 9), at(9)).await;
        assert_eq!(ids(&jobs), ["b", "c", "a", "e"]);
        assert_eq!(ids(&queue.claim(9, at(9)).await), ["d"]);
    }

    async fn jobs_of_another_type_do_not_hide_those_asked_for(queue: Queue) {
        let names: Vec<String> = (0..2000).map(|n| format!("other-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for names in names.chunks(500) {
            queue.add_all(names, Spec { priority: 9, ..typed("other") }).await;
        }
        queue.add("mine", Spec { created: at(1), ..typed("mine") }).await;
        assert_eq!(ids(&queue.serve(only(&["mine"], 9), at(2)).await), ["mine"]);
        // Nor do those who ask for some types starve who asks for all.
        assert_eq!(queue.claim(1, at(2)).await[0].name.id.as_str(), "other-0");
    }

    async fn claims_of_one_call_have_types_of_their_own(queue: Queue) {
        for (second, (id, of_type)) in
            [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")].iter().enumerate()
        {
            queue.add(id, Spec { created: at(second as u64), ..typed(of_type) }).await;
        }
        let claims = vec![only(&["y"], 1), only(&[], 1), only(&["x"], 9), only(&["y"], 9)];
        let served = queue.claims(claims, at(9)).await;
        let served: Vec<Vec<&str>> = served.iter().map(|jobs| ids(jobs)).collect();
        assert_eq!(served, [["b"], ["a"], ["c"], ["d"]]);
    }

    async fn a_repeated_claim_is_answered_whatever_its_types(queue: Queue) {
        queue.add("a", typed("x")).await;
        let wish = |types: &[&str]| Claim { request: Some(request_id(1)), ..only(types, 1) };
        let first = queue.serve(wish(&["x"]), at(0)).await;
        assert_eq!(queue.serve(wish(&["y"]), at(1)).await, first);
    }

    async fn a_job_given_back_is_next_among_its_type(queue: Queue) {
        queue.add_all(&["a", "b"], typed("x")).await;
        let job = queue.claim_one(at(1)).await;
        queue.apply(given_back(&job, at(2)), at(2)).await;
        assert_eq!(ids(&queue.serve(only(&["x"], 9), at(3)).await), ["a", "b"]);
    }

    async fn a_ready_job_of_a_type_that_ran_empty_is_found_again(queue: Queue) {
        for round in 0..3 {
            queue.add(&format!("x-{round}"), typed("x")).await;
            queue.add(&format!("y-{round}"), typed("y")).await;
            assert_eq!(queue.serve(only(&["x"], 9), at(0)).await.len(), 1, "round {round}");
            let job = queue.claim_one(at(0)).await;
            assert_eq!(job.spec.job_type, "y");
            queue.apply(acked(&job, at(0)), at(0)).await;
        }
        assert_eq!(queue.claim(9, at(0)).await, []);
    }

    async fn the_bytes_of_a_claim_count_for_its_types(queue: Queue) {
        queue.add_all(&["a", "b"], typed("x")).await;
        queue.add_all(&["c", "d"], typed("y")).await;
        let wish = Claim { max_bytes: 1, ..only(&["y"], 9) };
        assert_eq!(ids(&queue.serve(wish, at(0)).await), ["c"]);
    }

    async fn a_type_is_any_text(queue: Queue) {
        for (id, of_type) in [("a", "5:x"), ("b", "x:y"), ("c", "x"), ("d", "ä b")] {
            queue.add(id, Spec { priority: 5, ..typed(of_type) }).await;
        }
        for (id, of_type) in [("d", "ä b"), ("c", "x"), ("b", "x:y"), ("a", "5:x")] {
            assert_eq!(ids(&queue.serve(only(&[of_type], 9), at(0)).await), [id]);
        }
    }

    async fn types_and_gates_go_together(queue: Queue) {
        queue.add_all(&["a", "b"], typed("x")).await;
        queue.add("c", typed("y")).await;
        let settings = QueueSettings { max_leased: Some(2), ..QueueSettings::default() };
        assert_eq!(queue.write(&settings, at(0)).await, Guarded::Applied);
        assert_eq!(ids(&queue.serve(only(&["y"], 9), at(0)).await), ["c"]);
        assert_eq!(ids(&queue.serve(only(&["x"], 9), at(0)).await), ["a"]);
    }

    async fn an_updated_priority_keeps_its_type(queue: Queue) {
        queue.add_all(&["a", "b"], typed("x")).await;
        queue.add("c", typed("y")).await;
        queue.update("b", Update { priority: Some(5), ..Update::default() }, at(1)).await;
        assert_eq!(ids(&queue.serve(only(&["y"], 9), at(2)).await), ["c"]);
        assert_eq!(ids(&queue.serve(only(&["x"], 9), at(2)).await), ["b", "a"]);
        assert_eq!(queue.in_state(State::Ready).await, [""; 0]);
    }

    async fn jobs_without_a_type_are_ordinary(queue: Queue) {
        queue.add("a", spec()).await;
        queue.add("b", Spec { created: at(1), ..typed("x") }).await;
        assert_eq!(ids(&queue.claim(9, at(2)).await), ["a", "b"]);
    }
);

fn only(types: &[&str], limit: usize) -> Claim {
    Claim { types: types.iter().map(|one| (*one).to_owned()).collect(), ..claim(limit) }
}

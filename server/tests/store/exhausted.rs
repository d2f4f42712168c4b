//! What [`Claimed::exhausted`](crate::store::Claimed::exhausted) promises.

use crate::fixture::{Queue, at, claim, expiring, ids, request_id, spec, typed};
use crate::job::QueueSettings;
use crate::store::{Claim, Signal};

every_store!(
    async fn a_claim_of_more_than_there_are_sees_the_end(queue: Queue) {
        assert_eq!(queue.ends(vec![claim(1)], at(0)).await, [true], "the queue is not there");
        queue.add_all(&["a", "b"], spec()).await;
        assert_eq!(queue.ends(vec![claim(3)], at(0)).await, [true]);
        assert_eq!(queue.ends(vec![claim(3)], at(0)).await, [true], "none are ready");
    }

    async fn a_claim_that_leaves_jobs_does_not_see_the_end(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        assert_eq!(queue.ends(vec![claim(0)], at(0)).await, [false]);
        let small = Claim { max_bytes: 1, ..claim(9) };
        assert_eq!(queue.ends(vec![small], at(0)).await, [false]);
        let asked = || Claim { request: Some(request_id(1)), ..claim(1) };
        assert_eq!(queue.ends(vec![asked()], at(0)).await, [false]);
        assert_eq!(queue.ends(vec![asked()], at(0)).await, [false], "it is answered again");
    }

    async fn each_claim_of_a_call_is_told_for_itself(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let claims = vec![claim(1), claim(1)];
        assert_eq!(queue.ends(claims, at(0)).await, [false, false]);
        queue.add("d", spec()).await;
        let claims = vec![claim(3), claim(1)];
        assert_eq!(queue.ends(claims, at(0)).await, [true, true]);
    }

    async fn jobs_of_other_types_are_not_meant(queue: Queue) {
        queue.add_all(&["a", "b"], typed("x")).await;
        queue.add_all(&["c", "d"], typed("y")).await;
        assert_eq!(queue.ends(vec![of_type("z", 1)], at(0)).await, [true]);
        let claims = vec![of_type("x", 1), of_type("y", 9)];
        assert_eq!(queue.ends(claims, at(0)).await, [false, true]);
        assert_eq!(queue.ends(vec![claim(9)], at(0)).await, [true]);
    }

    async fn who_saw_the_end_of_its_types_is_told_of_the_next_job(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add_all(&["a"], typed("x")).await;
        queue.add_all(&["b"], typed("y")).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
        // The end may be seen with the last job or by the look after it.
        while queue.ends(vec![of_type("x", 1)], at(0)).await == [false] {}
        queue.add("c", typed("x")).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn jobs_behind_a_gate_are_left(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let one = QueueSettings { max_leased: Some(1), ..QueueSettings::default() };
        queue.write(&one, at(0)).await;
        assert_eq!(queue.ends(vec![claim(9), claim(9)], at(0)).await, [false, false]);
        let paused = QueueSettings { paused: true, revision: 1, ..QueueSettings::default() };
        queue.write(&paused, at(0)).await;
        assert_eq!(queue.ends(vec![claim(9)], at(0)).await, [false]);
    }

    async fn expired_jobs_are_not_meant(queue: Queue) {
        queue.add_all(&["a", "b"], expiring(at(5))).await;
        queue.add("c", spec()).await;
        let claimed = queue.store.claim(&queue.name, vec![claim(1)], at(6)).await.unwrap();
        assert_eq!(ids(&claimed.jobs[0]), ["c"], "expired jobs are passed over");
        assert_eq!(queue.ends(vec![claim(1)], at(6)).await, [true]);
    }
);

impl Queue {
    /// Serves claims and answers which saw the end.
    async fn ends(&self, claims: Vec<Claim>, now: crate::clock::Timestamp) -> Vec<bool> {
        self.store.claim(&self.name, claims, now).await.unwrap().exhausted
    }
}

fn of_type(name: &str, limit: usize) -> Claim {
    Claim { types: vec![name.to_owned()], ..claim(limit) }
}

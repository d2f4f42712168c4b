//! What holds the jobs of a queue back in [`Store::claim`](crate::store::Store::claim): a pause, a
//! number of leases, a rate.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, acked, at, claim, expired, given_back, ids, nacked, request_id, seconds, spec, tireless,
};
use crate::job::Spec;
use crate::job::queue::RateLimit;
use crate::job::transition::Disposition;
use crate::store::{Claim, Gate, Signal};

every_store!(
    async fn a_paused_queue_gives_out_nothing(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        queue.set(|settings| settings.paused = true, at(0)).await;
        let claimed = queue.claimed(at(0)).await;
        assert_eq!((claimed.jobs.concat(), claimed.gate), (vec![], Some(Gate::Paused)));
        assert_eq!(queue.count().await.ready, 2);
        queue.set(|settings| settings.paused = false, at(1)).await;
        let claimed = queue.claimed(at(1)).await;
        assert_eq!((ids(&claimed.jobs[0]), claimed.gate), (vec!["a", "b"], None));
    }

    async fn a_pause_leaves_leases_alone(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let wish = || Claim { request: Some(request_id(1)), ..claim(1) };
        let taken = queue.serve(wish(), at(0)).await;
        queue.set(|settings| settings.paused = true, at(1)).await;
        assert_eq!(queue.serve(wish(), at(2)).await, taken, "a repetition takes nothing new");
        queue.apply(acked(&taken[0], at(3)), at(3)).await;
        assert_eq!(queue.claim(9, at(4)).await, []);
    }

    async fn a_paused_queue_still_takes_and_promotes_jobs(queue: Queue) {
        queue.set(|settings| settings.paused = true, at(0)).await;
        queue.add("later", crate::fixture::scheduled(at(5))).await;
        queue.add("a", spec()).await;
        assert_eq!(queue.promote(at(5)).await, 1);
        assert_eq!(queue.count().await.ready, 2);
    }

    async fn a_queue_that_is_resumed_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add("a", spec()).await;
        queue.set(|settings| settings.paused = true, at(0)).await;
        queue.catch_up(&mut signals).await;
        queue.set(|settings| settings.paused = false, at(1)).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn no_more_jobs_are_leased_than_may_be(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d"], spec()).await;
        queue.set(|settings| settings.max_leased = Some(2), at(0)).await;
        let claims = vec![claim(1), claim(9), claim(9)];
        let claimed = queue.store.claim(&queue.name, claims, at(0)).await.unwrap();
        assert_eq!(ids(&claimed.jobs.concat()), ["a", "b"]);
        assert_eq!(claimed.gate, Some(Gate::Full));
        assert_eq!(queue.gate(at(1)).await, Some(Gate::Full));
        assert_eq!(queue.count().await.leased, 2);
    }

    async fn every_end_of_a_lease_gives_its_slot_free(queue: Queue) {
        let spec = Spec { retry: tireless(), ..spec() };
        queue.add_all(&["a", "b", "c", "d", "e", "f"], spec).await;
        queue.set(|settings| settings.max_leased = Some(1), at(0)).await;
        for round in 0..5 {
            let now = at(100 * round);
            let job = queue.claim_one(now).await;
            assert_eq!(queue.gate(now).await, Some(Gate::Full), "round {round}");
            let then = now.after(seconds(60));
            let end = match round {
                0 => acked(&job, then),
                1 => nacked(&job, Disposition::Retry(Some(seconds(9))), then),
                2 => nacked(&job, Disposition::Dead, then),
                3 => given_back(&job, then),
                _ => expired(&job, then),
            };
            queue.apply(end, then).await;
        }
        assert_eq!(queue.claim(9, at(900)).await.len(), 1);
    }

    async fn a_slot_that_becomes_free_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add_all(&["a", "b", "c"], spec()).await;
        queue.set(|settings| settings.max_leased = Some(1), at(0)).await;
        let job = queue.claim_one(at(0)).await;
        queue.catch_up(&mut signals).await;
        queue.apply(acked(&job, at(1)), at(1)).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
        let job = queue.claim_one(at(2)).await;
        queue.catch_up(&mut signals).await;
        queue.apply(nacked(&job, Disposition::Retry(Some(seconds(9))), at(3)), at(3)).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn more_slots_are_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add_all(&["a", "b"], spec()).await;
        queue.set(|settings| settings.max_leased = Some(1), at(0)).await;
        queue.claim_one(at(0)).await;
        queue.catch_up(&mut signals).await;
        queue.set(|settings| settings.max_leased = Some(2), at(1)).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
        assert_eq!(ids(&queue.claim(9, at(1)).await), ["b"]);
    }

    async fn fewer_slots_than_leases_wait_until_enough_have_ended(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d"], spec()).await;
        let jobs = queue.claim(3, at(0)).await;
        queue.set(|settings| settings.max_leased = Some(2), at(0)).await;
        queue.apply(acked(&jobs[0], at(1)), at(1)).await;
        assert_eq!(queue.gate(at(1)).await, Some(Gate::Full));
        queue.apply(acked(&jobs[1], at(2)), at(2)).await;
        assert_eq!(ids(&queue.claim(9, at(2)).await), ["d"]);
    }

    async fn a_rate_gives_out_its_burst_and_then_one_by_one(queue: Queue) {
        many(&queue).await;
        limited(&queue, 1, seconds(10), 3).await;
        assert_eq!(rush(&queue, at(0)).await, (3, Some(until(at(10)))));
        assert_eq!(
            rush(&queue, at(10).before(Duration::from_millis(1))).await,
            (0, Some(until(at(10))))
        );
        assert_eq!(rush(&queue, at(10)).await, (1, Some(until(at(20)))));
        assert_eq!(rush(&queue, at(35)).await, (2, Some(until(at(40)))));
        // After a rest all of the burst is there again, and no more.
        assert_eq!(rush(&queue, at(1000)).await, (3, Some(until(at(1010)))));
    }

    async fn a_rate_counts_all_claims_and_every_lease(queue: Queue) {
        many(&queue).await;
        limited(&queue, 2, seconds(10), 4).await;
        let claims = vec![claim(1), claim(2), claim(9)];
        let claimed = queue.store.claim(&queue.name, claims, at(0)).await.unwrap();
        let taken: Vec<usize> = claimed.jobs.iter().map(Vec::len).collect();
        assert_eq!((taken, claimed.gate), (vec![1, 2, 1], Some(until(at(5)))));
        // A settled lease gives nothing back: the rate is about how fast jobs are given out.
        queue.apply(acked(&claimed.jobs[0][0], at(1)), at(1)).await;
        assert_eq!(rush(&queue, at(1)).await, (0, Some(until(at(5)))));
    }

    async fn a_rate_that_is_not_used_up_holds_nothing_back(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        limited(&queue, 1, seconds(10), 3).await;
        assert_eq!(queue.claim(1, at(0)).await.len(), 1);
        assert_eq!(rush(&queue, at(0)).await, (1, None));
        assert_eq!(rush(&queue, at(0)).await, (0, None));
    }

    async fn at_the_moment_that_a_rate_names_a_job_is_given_out(queue: Queue) {
        many(&queue).await;
        // A third of a second is no whole number of milliseconds.
        limited(&queue, 3, seconds(1), 1).await;
        let mut now = at(0);
        for round in 0..9 {
            let (taken, gate) = rush(&queue, now).await;
            assert_eq!(taken, 1, "round {round}");
            let Some(Gate::Limited { until }) = gate else { panic!("{gate:?}") };
            assert!(until > now, "{until:?} is not after {now:?}");
            now = until;
        }
        assert!(now >= at(3) && now <= at(3).after(Duration::from_millis(10)), "{now:?}");
    }

    async fn a_rate_that_is_taken_away_holds_nothing_back(queue: Queue) {
        let mut signals = queue.signals().await;
        many(&queue).await;
        limited(&queue, 1, seconds(1000), 1).await;
        assert_eq!(rush(&queue, at(0)).await, (1, Some(until(at(1000)))));
        queue.catch_up(&mut signals).await;
        queue.set(|settings| settings.rate_limit = None, at(1)).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
        assert_eq!(rush(&queue, at(1)).await, (19, None));
    }

    async fn a_repeated_claim_takes_nothing_from_the_rate(queue: Queue) {
        many(&queue).await;
        limited(&queue, 1, seconds(10), 2).await;
        let wish = || Claim { request: Some(request_id(1)), ..claim(1) };
        let taken = queue.serve(wish(), at(0)).await;
        for _ in 0..3 {
            assert_eq!(queue.serve(wish(), at(0)).await, taken);
        }
        assert_eq!(rush(&queue, at(0)).await, (1, Some(until(at(10)))));
    }

    async fn a_claim_of_nothing_tells_which_gate_is_shut(queue: Queue) {
        many(&queue).await;
        limited(&queue, 1, seconds(60), 1).await;
        let look = async || queue.store.claim(&queue.name, Vec::new(), at(0)).await.unwrap().gate;
        assert_eq!(look().await, None);
        rush(&queue, at(0)).await;
        assert_eq!(look().await, Some(until(at(60))));
        queue.set(|settings| settings.max_leased = Some(1), at(0)).await;
        assert_eq!(look().await, Some(Gate::Full));
        queue.set(|settings| settings.paused = true, at(0)).await;
        assert_eq!(look().await, Some(Gate::Paused));
    }

    async fn the_gates_of_a_queue_are_its_own(queue: Queue) {
        let other = queue.sibling("other");
        other.add("a", spec()).await;
        queue.set(|settings| settings.paused = true, at(0)).await;
        assert_eq!(ids(&other.claim(9, at(0)).await), ["a"]);
    }
);

/// Twenty ready jobs.
async fn many(queue: &Queue) {
    let names: Vec<String> = (0..20).map(|n| format!("job-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    queue.add_all(&names, spec()).await;
}

async fn limited(queue: &Queue, permits: u32, period: Duration, burst: u32) {
    let limit = RateLimit { permits, period, burst };
    queue.set(|settings| settings.rate_limit = Some(limit), at(0)).await;
}

/// How many jobs are given out to who wants all, and what holds the others back.
async fn rush(queue: &Queue, now: Timestamp) -> (usize, Option<Gate>) {
    let claimed = queue.claimed(now).await;
    (claimed.jobs.concat().len(), claimed.gate)
}

fn until(until: Timestamp) -> Gate {
    Gate::Limited { until }
}

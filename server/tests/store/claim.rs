//! What [`Store::claim`](crate::store::Store::claim) promises.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;

use crate::fixture::{
    Queue, acked, at, claim, expired, extension, ids, nacked, one, payload, priority, request_id,
    scheduled, seconds, spec, tireless, worker,
};
use crate::job::transition::Disposition;
use crate::job::{Counters, DEFAULT_LEASE_DURATION, Job, Lease, LeaseSecret, Payload, Spec, State};
use crate::store::{Claim, Counts, Guarded};

every_store!(
    async fn a_claimed_job_is_leased(queue: Queue) {
        let job = queue.add("a", Spec { payload: Some(payload("work")), ..spec() }).await;
        let wish = claim(1);
        let leased = one(queue.serve(wish.clone(), at(5)).await);
        let wanted = Job {
            state: State::Leased,
            at: at(5).after(DEFAULT_LEASE_DURATION),
            counters: Counters { deliveries: 1, attempts: 1, lease_losses: 0 },
            started: Some(at(5)),
            lease: Some(Lease {
                secret: wish.secret,
                worker: wish.worker,
                started: at(5),
                duration: DEFAULT_LEASE_DURATION,
            }),
            ..job
        };
        assert_eq!(leased, wanted);
        assert_eq!(queue.find("a").await, Some(wanted));
        assert_eq!(queue.count().await, Counts { leased: 1, ..Counts::default() });
    }

    async fn leased_jobs_are_not_claimed_again(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        assert_eq!(ids(&queue.claim(1, at(0)).await), ["a"]);
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["b"]);
        assert_eq!(ids(&queue.claim(9, at(0)).await), [""; 0]);
        // An overdue lease is still a lease: only a sweep takes the job back.
        assert_eq!(ids(&queue.claim(9, at(3600)).await), [""; 0]);
    }

    async fn an_unknown_queue_has_nothing_to_claim(queue: Queue) {
        assert_eq!(queue.claim(1, at(0)).await, []);
        assert_eq!(queue.claims(vec![], at(0)).await, Vec::<Vec<Job>>::new());
    }

    async fn a_claim_takes_from_its_own_queue_only(queue: Queue) {
        queue.sibling("other").add("a", spec()).await;
        assert_eq!(queue.claim(9, at(0)).await, []);
    }

    async fn the_greatest_priority_comes_first(queue: Queue) {
        for (id, level) in [("low", -1000), ("zero", 0), ("high", 1000), ("minus", -1), ("plus", 1)]
        {
            queue.add(id, priority(level)).await;
        }
        let order = ["high", "plus", "zero", "minus", "low"];
        assert_eq!(ids(&queue.claim(9, at(0)).await), order);
    }

    async fn jobs_of_one_priority_come_in_the_order_of_their_insertion(queue: Queue) {
        queue.add_all(&["c", "a"], spec()).await;
        queue.add_all(&["d", "b"], spec()).await;
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["c", "a", "d", "b"]);
    }

    async fn the_order_is_that_of_arrival_and_not_of_clocks(queue: Queue) {
        queue.add("first", Spec { created: at(10), ..spec() }).await;
        queue.add("second", Spec { created: at(5), ..spec() }).await;
        assert_eq!(ids(&queue.claim(9, at(10)).await), ["first", "second"]);
    }

    async fn jobs_that_wait_for_their_time_are_not_claimed(queue: Queue) {
        queue.add("scheduled", scheduled(at(1))).await;
        let failed = queue.add_leased("failed", spec()).await;
        let later = Disposition::Retry(Some(seconds(1)));
        queue.apply(nacked(&failed, later, at(0)), at(0)).await;
        assert_eq!(queue.claim(9, at(0)).await, []);
    }

    async fn finished_jobs_are_not_claimed(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(acked(&job, at(0)), at(0)).await;
        assert_eq!(queue.claim(9, at(0)).await, []);
    }

    async fn no_claim_takes_more_than_its_limit(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        assert_eq!(ids(&queue.claim(2, at(0)).await), ["a", "b"]);
    }

    async fn a_claim_takes_what_there_is(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        assert_eq!(ids(&queue.claim(256, at(0)).await), ["a", "b"]);
    }

    async fn a_claim_of_256_jobs_is_served(queue: Queue) {
        let names: Vec<String> = (0..300).map(|n| format!("job-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, Spec { payload: Some(payload("work")), ..spec() }).await;
        assert_eq!(ids(&queue.claim(256, at(0)).await), names[..256]);
        assert_eq!(queue.count().await, Counts { ready: 44, leased: 256, ..Counts::default() });
    }

    async fn claims_of_one_call_are_served_in_order(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let claims = vec![
            Claim { worker: worker("first"), ..claim(2) },
            Claim { worker: worker("second"), ..claim(2) },
            Claim { worker: worker("third"), ..claim(2) },
        ];
        let secrets: Vec<LeaseSecret> = claims.iter().map(|claim| claim.secret).collect();
        let served = queue.claims(claims, at(0)).await;
        let served_ids: Vec<Vec<&str>> = served.iter().map(|jobs| ids(jobs)).collect();
        assert_eq!(served_ids, [vec!["a", "b"], vec!["c"], vec![]]);
        for (jobs, (secret, name)) in served.iter().zip(secrets.iter().zip(["first", "second"])) {
            for lease in jobs.iter().map(|job| job.lease.as_ref().unwrap()) {
                assert_eq!((lease.secret, &lease.worker), (*secret, &worker(name)));
            }
        }
    }

    async fn a_secret_keeps_all_its_bits(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        for secret in [u64::MAX, 1] {
            let wish = Claim { secret: LeaseSecret(secret), ..claim(1) };
            let job = one(queue.serve(wish, at(0)).await);
            let id = job.name.id.as_str();
            assert_eq!(queue.get(id).await.lease.unwrap().secret, LeaseSecret(secret));
            let mut forged = acked(&job, at(0));
            forged.guard = crate::job::Guard::Leased(LeaseSecret(secret ^ 1));
            assert_eq!(queue.commit(forged, at(0)).await, Guarded::Lost);
            queue.apply(acked(&job, at(0)), at(0)).await;
        }
    }

    async fn a_lease_lasts_as_its_worker_or_its_job_or_nobody_said(queue: Queue) {
        queue.add("usual", spec()).await;
        queue.add("own", Spec { lease_duration: Some(seconds(7)), ..spec() }).await;
        for job in queue.claim(2, at(0)).await {
            let wanted = match job.name.id.as_str() {
                "own" => seconds(7),
                _ => DEFAULT_LEASE_DURATION,
            };
            assert_eq!(job.lease.as_ref().unwrap().duration, wanted);
            assert_eq!(job.at, at(0).after(wanted));
        }
        queue.add("own-too", Spec { lease_duration: Some(seconds(7)), ..spec() }).await;
        let wish = Claim { lease_duration: Some(Duration::from_millis(1500)), ..claim(1) };
        let job = one(queue.serve(wish, at(0)).await);
        assert_eq!(job.lease.as_ref().unwrap().duration, Duration::from_millis(1500));
        assert_eq!(job.at, at(0).after(Duration::from_millis(1500)));
    }

    async fn a_second_lease_counts_on_and_keeps_the_first_start(queue: Queue) {
        let first = queue.add_leased("a", Spec { retry: tireless(), ..spec() }).await;
        queue.apply(nacked(&first, Disposition::Retry(None), at(1)), at(1)).await;
        let second = queue.claim_one(at(2)).await;
        assert_eq!(second.counters, Counters { deliveries: 2, attempts: 2, lease_losses: 0 });
        assert_eq!(second.started, Some(at(0)));
        let lease = second.lease.as_ref().unwrap();
        assert_eq!(lease.started, at(2));
        assert_ne!(lease.secret, first.lease.unwrap().secret);
        assert_eq!(queue.find("a").await, Some(second));
    }

    async fn a_claimed_job_brings_what_earlier_attempts_left_behind(queue: Queue) {
        let first = queue.add_leased("a", Spec { retry: tireless(), ..spec() }).await;
        let mut failed = nacked(&first, Disposition::Retry(None), at(1));
        failed.checkpoint = Some(payload("half"));
        queue.apply(failed, at(1)).await;
        let second = queue.claim_one(at(2)).await;
        assert_eq!(second.details.checkpoint, Some(payload("half")));
        assert_eq!(second.details.last_failure.as_ref().unwrap().code, "NO_LUCK");
        assert_eq!(second.details.attempts.len(), 1);
    }

    async fn a_claim_stops_before_its_bytes_are_exceeded(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d"], heavy()).await;
        let wish = |bytes| Claim { max_bytes: bytes, ..claim(9) };
        assert_eq!(ids(&queue.serve(wish(250_000), at(0)).await), ["a", "b"]);
        assert_eq!(ids(&queue.serve(wish(150_000), at(0)).await), ["c"]);
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["d"]);
    }

    async fn a_claim_takes_one_job_however_heavy(queue: Queue) {
        queue.add_all(&["a", "b"], heavy()).await;
        let wish = Claim { max_bytes: 1, ..claim(9) };
        assert_eq!(ids(&queue.serve(wish, at(0)).await), ["a"]);
    }

    async fn each_claim_of_a_call_has_bytes_of_its_own(queue: Queue) {
        queue.add_all(&["a", "b", "c"], heavy()).await;
        let wish = || Claim { max_bytes: 150_000, ..claim(9) };
        let served = queue.claims(vec![wish(), wish()], at(0)).await;
        let served_ids: Vec<Vec<&str>> = served.iter().map(|jobs| ids(jobs)).collect();
        assert_eq!(served_ids, [["a"], ["b"]]);
    }

    async fn what_an_attempt_left_behind_weighs_too(queue: Queue) {
        let first = queue.add_leased("a", Spec { retry: tireless(), ..spec() }).await;
        let mut failed = nacked(&first, Disposition::Retry(None), at(0));
        failed.checkpoint = heavy().payload;
        queue.apply(failed, at(0)).await;
        queue.add("b", heavy()).await;
        let wish = Claim { max_bytes: 150_000, ..claim(9) };
        assert_eq!(ids(&queue.serve(wish, at(0)).await), ["a"]);
    }

    async fn a_limit_of_zero_takes_nothing(queue: Queue) {
        queue.add("a", spec()).await;
        assert_eq!(queue.claim(0, at(0)).await, []);
        assert_eq!(queue.serve(repeatable(1, 0), at(0)).await, []);
        assert_eq!(queue.state("a").await, Some(State::Ready));
    }

    async fn a_repeated_claim_is_answered_with_its_first_leases(queue: Queue) {
        queue.add_all(&["b", "a", "c"], spec()).await;
        let first = queue.serve(repeatable(1, 2), at(0)).await;
        assert_eq!(ids(&first), ["b", "a"]);
        for limit in [2, 9, 0] {
            assert_eq!(queue.serve(repeatable(1, limit), at(1)).await, first);
        }
        assert_eq!(queue.state("c").await, Some(State::Ready));
    }

    async fn a_repeated_claim_is_not_filled_up(queue: Queue) {
        queue.add("a", spec()).await;
        let first = queue.serve(repeatable(1, 2), at(0)).await;
        queue.add("b", spec()).await;
        assert_eq!(queue.serve(repeatable(1, 2), at(0)).await, first);
    }

    async fn a_repeated_claim_shows_leases_as_they_are_now(queue: Queue) {
        queue.add("a", spec()).await;
        let job = one(queue.serve(repeatable(1, 1), at(0)).await);
        queue.extend(extension(&job, at(100)), at(1)).await;
        let again = one(queue.serve(repeatable(1, 1), at(2)).await);
        assert_eq!(again, Job { at: at(100), ..job });
    }

    async fn a_repeated_claim_leaves_out_what_was_settled(queue: Queue) {
        queue.add_all(&["a", "b", "c"], Spec { retry: tireless(), ..spec() }).await;
        let first = queue.serve(repeatable(1, 3), at(0)).await;
        queue.apply(acked(&first[0], at(0)), at(0)).await;
        // Ready again, which must not look like a lease.
        queue.apply(nacked(&first[2], Disposition::Release, at(0)), at(0)).await;
        assert_eq!(queue.serve(repeatable(1, 3), at(0)).await, [first[1].clone()]);
    }

    async fn a_repeated_claim_leaves_out_what_somebody_else_leases_now(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let first = queue.serve(repeatable(1, 2), at(0)).await;
        queue.apply(expired(&first[0], at(60)), at(60)).await;
        assert_eq!(ids(&queue.claim(1, at(60)).await), ["a"]);
        assert_eq!(queue.serve(repeatable(1, 2), at(60)).await, [first[1].clone()]);
    }

    async fn an_overdue_lease_lives_until_it_is_taken_back(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let first = queue.serve(repeatable(1, 1), at(0)).await;
        assert_eq!(queue.serve(repeatable(1, 1), at(60)).await, first);
        queue.apply(expired(&first[0], at(60)), at(60)).await;
        assert_eq!(ids(&queue.serve(repeatable(1, 1), at(60)).await), ["b"]);
    }

    async fn a_claim_of_which_nothing_lives_is_a_new_one(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let first = one(queue.serve(repeatable(1, 1), at(0)).await);
        queue.apply(acked(&first, at(0)), at(0)).await;
        let second = queue.serve(repeatable(1, 1), at(0)).await;
        assert_eq!(ids(&second), ["b"]);
        assert_eq!(queue.serve(repeatable(1, 1), at(0)).await, second);
    }

    async fn a_claim_that_found_nothing_may_find_something_when_repeated(queue: Queue) {
        assert_eq!(queue.serve(repeatable(1, 1), at(0)).await, []);
        queue.add("a", spec()).await;
        assert_eq!(ids(&queue.serve(repeatable(1, 1), at(0)).await), ["a"]);
    }

    async fn a_request_may_be_repeated_within_one_call(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let claims = vec![repeatable(1, 1), repeatable(1, 1), repeatable(2, 1)];
        let served = queue.claims(claims, at(0)).await;
        let served_ids: Vec<Vec<&str>> = served.iter().map(|jobs| ids(jobs)).collect();
        assert_eq!(served_ids, [["a"], ["a"], ["b"]]);
        assert_eq!(served[0], served[1]);
    }

    async fn a_claim_s_request_belongs_to_one_queue(queue: Queue) {
        let other = queue.sibling("other");
        queue.add("a", spec()).await;
        other.add("b", spec()).await;
        assert_eq!(ids(&queue.serve(repeatable(1, 1), at(0)).await), ["a"]);
        assert_eq!(ids(&other.serve(repeatable(1, 1), at(0)).await), ["b"]);
    }

    async fn claims_at_the_same_time_share_the_jobs_out(queue: Queue) {
        let names: Vec<String> = (0..200).map(|n| format!("job-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, spec()).await;
        let served = join_all((0..60).map(|_| queue.claim(4, at(0)))).await;
        let jobs: Vec<Job> = served.into_iter().flatten().collect();
        let distinct: HashSet<&str> = ids(&jobs).into_iter().collect();
        assert_eq!((jobs.len(), distinct.len()), (200, 200));
    }
);

/// A job with a payload of 100 000 bytes.
fn heavy() -> Spec {
    let payload = Payload { data: vec![b'x'; 100_000].into(), ..Payload::default() };
    Spec { payload: Some(payload), ..spec() }
}

/// A claim that the worker may repeat.
fn repeatable(request: u128, limit: usize) -> Claim {
    Claim { request: Some(request_id(request)), ..claim(limit) }
}

//! What [`Store::commit`](crate::store::Store::commit) promises.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, acked, acked_late, at, claim, expired, extension, failure, given_back, ids, kept,
    nacked, next_secret, payload, priority, seconds, spec, tireless, worker,
};
use crate::job::transition::{self, Disposition};
use crate::job::{
    Attempt, Counters, Failure, Guard, HISTORY, Job, MAX_LEASE_LOSSES, Outcome, Payload, Spec,
    State, Transition, Version,
};
use crate::store::{Claim, Counts, Guarded};

const RETRY_LATER: Disposition = Disposition::Retry(Some(Duration::from_secs(10)));

every_store!(
    async fn an_acked_job_has_succeeded(queue: Queue) {
        let job = queue.add_leased("a", Spec { payload: Some(payload("work")), ..spec() }).await;
        let result = Some(payload("done"));
        let ack = transition::ack(&job.token().unwrap(), result.clone(), None, at(5));
        queue.apply(ack, at(5)).await;
        let mut wanted = Job {
            state: State::Succeeded,
            at: at(5).after(job.spec.retention.succeeded.span),
            ended: Some(at(5)),
            lease: None,
            ..job.clone()
        };
        wanted.details_mut().result = result;
        wanted.details_mut().attempts = vec![attempt(&job, Outcome::Succeeded, at(5))];
        assert_eq!(queue.find("a").await, Some(wanted));
        assert_eq!(queue.count().await, Counts { succeeded: 1, ..Counts::default() });
    }

    async fn a_failed_job_waits_for_its_retry(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(nacked(&job, RETRY_LATER, at(5)), at(5)).await;
        let mut wanted = Job { state: State::Retrying, at: at(15), lease: None, ..job.clone() };
        wanted.details_mut().last_failure = Some(failure("NO_LUCK"));
        wanted.details_mut().attempts = vec![Attempt {
            failure: Some(failure("NO_LUCK")),
            ..attempt(&job, Outcome::Failed, at(5))
        }];
        assert_eq!(queue.find("a").await, Some(wanted));
        assert_eq!(queue.count().await, Counts { retrying: 1, ..Counts::default() });
    }

    async fn a_job_whose_attempts_are_spent_is_dead(queue: Queue) {
        let mut retry = tireless();
        retry.max_attempts = Some(1);
        let job = queue.add_leased("a", Spec { retry, ..spec() }).await;
        queue.apply(nacked(&job, Disposition::Retry(None), at(5)), at(5)).await;
        let dead = queue.get("a").await;
        assert_eq!((dead.state, dead.ended), (State::Dead, Some(at(5))));
        assert_eq!(dead.at, at(5).after(job.spec.retention.dead.span));
        assert_eq!(queue.count().await, Counts { dead: 1, ..Counts::default() });
        assert_eq!(queue.claim(1, at(5)).await, []);
    }

    async fn a_snoozed_job_waits_and_its_attempt_does_not_count(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(nacked(&job, Disposition::Snooze(seconds(10)), at(5)), at(5)).await;
        let snoozed = queue.get("a").await;
        assert_eq!((snoozed.state, snoozed.at), (State::Scheduled, at(15)));
        assert_eq!(snoozed.counters, Counters { deliveries: 1, attempts: 0, lease_losses: 0 });
        assert_eq!(snoozed.details.attempts[0].outcome, Outcome::Released);
        assert_eq!(queue.count().await, Counts { scheduled: 1, ..Counts::default() });
    }

    async fn a_lost_lease_makes_the_job_ready_again(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(expired(&job, at(60)), at(60)).await;
        let back = queue.get("a").await;
        assert_eq!((back.state, back.at, back.lease.clone()), (State::Ready, at(60), None));
        assert_eq!(back.counters, Counters { deliveries: 1, attempts: 1, lease_losses: 1 });
        assert_eq!(back.details.last_failure.as_ref().unwrap().code, "LEASE_EXPIRED");
        assert_eq!(back.details.attempts[0].outcome, Outcome::LeaseExpired);
        assert_eq!(ids(&queue.claim(1, at(60)).await), ["a"]);
    }

    async fn a_job_that_keeps_losing_its_lease_is_dead(queue: Queue) {
        queue.add("a", Spec { retry: tireless(), ..spec() }).await;
        for round in 1..=u64::from(MAX_LEASE_LOSSES) {
            let job = queue.claim_one(at(60 * round)).await;
            let end = at(60 * round + 30);
            queue.apply(expired(&job, end), end).await;
        }
        let dead = queue.get("a").await;
        assert_eq!(dead.state, State::Dead);
        assert_eq!(dead.counters.lease_losses, MAX_LEASE_LOSSES);
        assert_eq!(dead.details.last_failure.as_ref().unwrap().code, "CRASH_LOOP");
    }

    async fn a_job_given_back_is_as_if_it_had_not_been_leased(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(given_back(&job, at(5)), at(5)).await;
        let back = queue.get("a").await;
        assert_eq!((back.state, back.lease.clone()), (State::Ready, None));
        assert_eq!(back.counters, Counters { deliveries: 1, attempts: 0, lease_losses: 0 });
        assert_eq!(back.details, job.details);
    }

    async fn a_released_job_stands_ahead_of_its_priority(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let job = queue.claim_one(at(0)).await;
        queue.add("urgent", priority(1)).await;
        queue.apply(nacked(&job, Disposition::Release, at(1)), at(1)).await;
        assert_eq!(ids(&queue.claim(9, at(1)).await), ["urgent", "a", "b"]);
    }

    async fn a_job_that_lost_its_lease_stands_behind_its_priority(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let job = queue.claim_one(at(0)).await;
        queue.add("minor", priority(-1)).await;
        queue.apply(expired(&job, at(60)), at(60)).await;
        assert_eq!(ids(&queue.claim(9, at(60)).await), ["b", "a", "minor"]);
    }

    async fn jobs_given_back_together_are_put_in_front_in_turn(queue: Queue) {
        queue.add_all(&["a", "b", "c", "d"], spec()).await;
        let jobs = queue.claim(3, at(0)).await;
        let backs = jobs.iter().rev().map(|job| given_back(job, at(1))).collect();
        assert_eq!(queue.commit_all(backs, at(1)).await, vec![Guarded::Applied; 3]);
        assert_eq!(ids(&queue.claim(9, at(1)).await), ["a", "b", "c", "d"]);
    }

    async fn jobs_lost_together_are_put_behind_in_turn(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let jobs = queue.claim(2, at(0)).await;
        let losses = jobs.iter().rev().map(|job| expired(job, at(60))).collect();
        assert_eq!(queue.commit_all(losses, at(60)).await, vec![Guarded::Applied; 2]);
        assert_eq!(ids(&queue.claim(9, at(60)).await), ["c", "b", "a"]);
    }

    async fn the_front_stays_the_front_over_several_calls(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let jobs = queue.claim(2, at(0)).await;
        queue.apply(given_back(&jobs[0], at(1)), at(1)).await;
        queue.apply(given_back(&jobs[1], at(1)), at(1)).await;
        queue.add("d", spec()).await;
        assert_eq!(ids(&queue.claim(9, at(1)).await), ["b", "a", "c", "d"]);
    }

    async fn a_wrong_secret_is_lost_and_changes_nothing(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let forged = Transition { guard: Guard::Leased(next_secret()), ..acked(&job, at(1)) };
        is_lost(&queue, forged, at(1)).await;
        let forged = Guard::Overdue { secret: next_secret(), now: at(60) };
        is_lost(&queue, Transition { guard: forged, ..expired(&job, at(60)) }, at(60)).await;
    }

    async fn a_job_that_is_not_there_cannot_be_moved(queue: Queue) {
        let mut job = queue.add_leased("a", spec()).await;
        job.name = queue.job_name("unknown");
        for guard in [
            Guard::Leased(job.lease.as_ref().unwrap().secret),
            Guard::Overdue { secret: job.lease.as_ref().unwrap().secret, now: at(60) },
            Guard::Standing(job.version()),
        ] {
            is_lost(&queue, Transition { guard, ..acked(&job, at(60)) }, at(60)).await;
        }
        assert_eq!(queue.find("unknown").await, None);
        assert_eq!(queue.count().await, Counts { leased: 1, ..Counts::default() });
    }

    async fn a_settled_lease_cannot_be_settled_again(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(acked(&job, at(1)), at(1)).await;
        is_lost(&queue, acked(&job, at(2)), at(2)).await;
        is_lost(&queue, nacked(&job, RETRY_LATER, at(2)), at(2)).await;
        is_lost(&queue, expired(&job, at(60)), at(60)).await;
    }

    async fn a_lease_that_somebody_else_has_now_cannot_be_settled(queue: Queue) {
        let first = queue.add_leased("a", spec()).await;
        queue.apply(expired(&first, at(60)), at(60)).await;
        queue.claim_one(at(60)).await;
        is_lost(&queue, acked(&first, at(61)), at(61)).await;
        is_lost(&queue, expired(&first, at(90)), at(90)).await;
    }

    async fn a_lease_that_is_overdue_can_be_acked_until_it_is_taken_back(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(acked(&job, at(60)), at(60)).await;
        assert_eq!(queue.state("a").await, Some(State::Succeeded));
    }

    async fn a_lease_is_overdue_from_its_end_on(queue: Queue) {
        let job = queue.add_leased("a", Spec { lease_duration: Some(seconds(10)), ..spec() }).await;
        let end = at(10);
        let early = end.before(Duration::from_millis(1));
        is_lost(&queue, expired(&job, early), early).await;
        queue.apply(expired(&job, end), end).await;
    }

    async fn a_sweep_loses_to_an_extension_that_came_between(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.extend(extension(&job, at(90)), at(59)).await;
        is_lost(&queue, expired(&job, at(60)), at(60)).await;
        queue.apply(expired(&job, at(90)), at(90)).await;
    }

    async fn a_late_ack_finishes_a_ready_job(queue: Queue) {
        let leased = queue.add_leased("a", spec()).await;
        queue.add("b", spec()).await;
        queue.apply(expired(&leased, at(60)), at(60)).await;
        let ready = queue.get("a").await;
        queue.apply(acked_late(&leased, &ready, at(61)), at(61)).await;
        let done = queue.get("a").await;
        assert_eq!((done.state, done.ended), (State::Succeeded, Some(at(61))));
        assert_eq!(done.counters, ready.counters);
        assert_eq!(ids(&queue.claim(9, at(61)).await), ["b"]);
        assert_eq!(queue.count().await, Counts { succeeded: 1, leased: 1, ..Counts::default() });
    }

    async fn a_late_ack_finishes_a_job_that_waits_for_its_retry(queue: Queue) {
        let leased = queue.add_leased("a", spec()).await;
        let swept = Transition { to: State::Retrying, at: at(100), ..expired(&leased, at(60)) };
        queue.apply(swept, at(60)).await;
        let waiting = queue.get("a").await;
        assert_eq!(waiting.state, State::Retrying);
        queue.apply(acked_late(&leased, &waiting, at(61)), at(61)).await;
        assert_eq!(queue.promote(at(100)).await, 0);
        assert_eq!(queue.state("a").await, Some(State::Succeeded));
        assert_eq!(queue.count().await, Counts { succeeded: 1, ..Counts::default() });
    }

    async fn a_late_ack_takes_the_place_of_the_lost_lease_in_the_history(queue: Queue) {
        let leased = queue.add_leased("a", spec()).await;
        queue.apply(expired(&leased, at(60)), at(60)).await;
        let ready = queue.get("a").await;
        queue.apply(acked_late(&leased, &ready, at(61)), at(61)).await;
        let recorded = queue.get("a").await.details.attempts.clone();
        assert_eq!(recorded, [attempt(&leased, Outcome::Succeeded, at(61))]);
    }

    async fn a_late_ack_loses_to_a_new_lease(queue: Queue) {
        let first = queue.add_leased("a", spec()).await;
        queue.apply(expired(&first, at(60)), at(60)).await;
        let late = acked_late(&first, &queue.get("a").await, at(61));
        let second = queue.claim_one(at(61)).await;
        is_lost(&queue, late.clone(), at(61)).await;
        // Ready again, but somebody has had it since.
        queue.apply(given_back(&second, at(62)), at(62)).await;
        is_lost(&queue, late, at(62)).await;
    }

    async fn a_late_ack_loses_to_the_end_of_the_job(queue: Queue) {
        let first = queue.add_leased("a", spec()).await;
        queue.apply(expired(&first, at(60)), at(60)).await;
        let late = acked_late(&first, &queue.get("a").await, at(61));
        queue.apply(late.clone(), at(61)).await;
        is_lost(&queue, late, at(62)).await;
    }

    async fn no_leased_job_stands_as_it_was_read(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let standing = Guard::Standing(job.version());
        is_lost(&queue, Transition { guard: standing, ..acked(&job, at(1)) }, at(1)).await;
        let ready = Guard::Standing(Version { state: State::Ready, ..job.version() });
        is_lost(&queue, Transition { guard: ready, ..acked(&job, at(1)) }, at(1)).await;
    }

    async fn the_history_keeps_the_newest_attempts_oldest_first(queue: Queue) {
        queue.add("a", Spec { retry: tireless(), ..spec() }).await;
        let mut wanted = Vec::new();
        for round in 0..u64::from(HISTORY) + 3 {
            let job = queue.claim_one(at(10 * round)).await;
            let end = at(10 * round + 1);
            queue.apply(nacked(&job, Disposition::Retry(None), end), end).await;
            wanted.push(Attempt {
                failure: Some(failure("NO_LUCK")),
                ..attempt(&job, Outcome::Failed, end)
            });
        }
        wanted.drain(..3);
        assert_eq!(queue.get("a").await.details.attempts, wanted);
        let job = queue.claim_one(at(1000)).await;
        assert_eq!(job.details.attempts, wanted);
    }

    async fn an_attempt_tells_who_acked(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let first = Claim { worker: worker("first worker"), ..claim(1) };
        let second = Claim { worker: worker("second worker"), ..claim(1) };
        let served = queue.claims(vec![first, second], at(0)).await;
        let acks: Vec<Transition> = served.iter().flatten().map(|job| acked(job, at(1))).collect();
        queue.commit_all(acks, at(1)).await;
        for (id, name) in [("a", "first worker"), ("b", "second worker")] {
            let recorded = queue.get(id).await.details.attempts.clone();
            assert_eq!(recorded[0].worker, Some(worker(name)));
        }
    }

    async fn failure_result_and_checkpoint_stay_unless_replaced(queue: Queue) {
        queue.add("a", Spec { retry: tireless(), ..spec() }).await;
        let mut seen = Vec::new();
        for (code, checkpoint) in
            [(Some("ONE"), Some("one")), (None, None), (Some("TWO"), None), (None, Some("two"))]
        {
            let job = queue.claim_one(at(0)).await;
            let step = Transition {
                failure: code.map(failure),
                checkpoint: checkpoint.map(payload),
                ..nacked(&job, Disposition::Retry(None), at(0))
            };
            queue.apply(step, at(0)).await;
            let details = queue.get("a").await.details;
            seen.push((
                details.last_failure.clone(),
                details.checkpoint.clone(),
                details.result.clone(),
            ));
        }
        assert_eq!(
            seen,
            [("ONE", "one"), ("ONE", "one"), ("TWO", "one"), ("TWO", "two")].map(|(code, text)| (
                Some(failure(code)),
                Some(payload(text)),
                None
            ))
        );
        let job = queue.claim_one(at(0)).await;
        let done = Some(payload("done"));
        queue.apply(transition::ack(&job.token().unwrap(), done.clone(), None, at(0)), at(0)).await;
        let details = queue.get("a").await.details;
        assert_eq!(details.result, done);
        assert_eq!(details.checkpoint, Some(payload("two")));
        assert_eq!(details.last_failure, Some(failure("TWO")));
    }

    async fn an_empty_result_is_not_a_missing_one(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let empty = Some(Payload::default());
        let ack = transition::ack(&job.token().unwrap(), empty.clone(), None, at(1));
        queue.apply(ack, at(1)).await;
        assert_eq!(queue.get("a").await.details.result, empty);
        let job = queue.add_leased("b", spec()).await;
        let mut nack = nacked(&job, RETRY_LATER, at(1));
        nack.failure = Some(Failure::default());
        nack.checkpoint.clone_from(&empty);
        queue.apply(nack, at(1)).await;
        let details = queue.get("b").await.details;
        assert_eq!(details.last_failure, Some(Failure::default()));
        assert_eq!(details.checkpoint, empty);
    }

    async fn a_job_that_keeps_nothing_is_gone_at_once(queue: Queue) {
        let fleeting = Spec { retention: kept(Duration::ZERO, None), ..spec() };
        let acked_job = queue.add_leased("acked", fleeting.clone()).await;
        let dead_job = queue.add_leased("dead", fleeting).await;
        let ends = vec![acked(&acked_job, at(1)), nacked(&dead_job, Disposition::Dead, at(1))];
        assert_eq!(queue.commit_all(ends, at(1)).await, vec![Guarded::Applied; 2]);
        assert_eq!((queue.find("acked").await, queue.find("dead").await), (None, None));
        assert_eq!(queue.count().await, Counts::default());
        assert_eq!(queue.next_due().await, None);
        is_lost(&queue, acked(&acked_job, at(2)), at(2)).await;
    }

    async fn no_more_finished_jobs_are_kept_than_their_count(queue: Queue) {
        let names = ["a", "b", "c", "d"];
        queue.add_all(&names, Spec { retention: kept(seconds(3600), Some(2)), ..spec() }).await;
        for (second, job) in (1..).zip(queue.claim(9, at(0)).await) {
            queue.apply(acked(&job, at(second)), at(second)).await;
        }
        let mut left = Vec::new();
        for name in names {
            left.push(queue.state(name).await);
        }
        assert_eq!(left, [None, None, Some(State::Succeeded), Some(State::Succeeded)]);
        assert_eq!(queue.count().await, Counts { succeeded: 2, ..Counts::default() });
    }

    async fn the_first_to_be_purged_make_room(queue: Queue) {
        let span = |span| Spec { retention: kept(seconds(span), Some(2)), ..spec() };
        queue.add("long", span(1000)).await;
        queue.add("short", span(10)).await;
        queue.add("middle", span(100)).await;
        for (second, job) in (1..).zip(queue.claim(9, at(0)).await) {
            queue.apply(acked(&job, at(second)), at(second)).await;
        }
        assert_eq!(queue.find("short").await, None);
        assert_eq!(queue.state("long").await, Some(State::Succeeded));
        assert_eq!(queue.state("middle").await, Some(State::Succeeded));
    }

    async fn a_whole_batch_is_kept_to_its_count(queue: Queue) {
        let names: Vec<String> = (0..100).map(|n| format!("job-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, Spec { retention: kept(seconds(3600), Some(5)), ..spec() }).await;
        let jobs = queue.claim(100, at(0)).await;
        let ends = jobs.iter().map(|job| acked(job, at(1))).collect();
        assert_eq!(queue.commit_all(ends, at(1)).await, vec![Guarded::Applied; 100]);
        assert_eq!(queue.count().await, Counts { succeeded: 5, ..Counts::default() });
    }

    async fn dead_letters_and_successes_do_not_push_each_other_out(queue: Queue) {
        queue
            .add_all(&["a", "b"], Spec { retention: kept(seconds(3600), Some(1)), ..spec() })
            .await;
        let jobs = queue.claim(2, at(0)).await;
        queue.apply(acked(&jobs[0], at(1)), at(1)).await;
        queue.apply(nacked(&jobs[1], Disposition::Dead, at(2)), at(2)).await;
        assert_eq!(queue.count().await, Counts { succeeded: 1, dead: 1, ..Counts::default() });
    }

    async fn a_transition_sees_what_one_before_it_did(queue: Queue) {
        let job = queue.add_leased("a", Spec { retry: tireless(), ..spec() }).await;
        let standing = |state, moment| acked_standing(&job, state, moment);
        let twice = vec![
            nacked(&job, Disposition::Release, at(1)),
            acked(&job, at(1)),
            standing(State::Ready, at(1)),
        ];
        let outcomes = queue.commit_all(twice, at(1)).await;
        assert_eq!(outcomes, [Guarded::Applied, Guarded::Lost, Guarded::Applied]);
        assert_eq!(queue.state("a").await, Some(State::Succeeded));
        assert_eq!(queue.count().await, Counts { succeeded: 1, ..Counts::default() });
    }

    async fn a_job_settled_twice_in_a_call_waits_for_nothing(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let standing = |state, moment| acked_standing(&job, state, moment);
        let twice = vec![nacked(&job, RETRY_LATER, at(1)), standing(State::Retrying, at(11))];
        assert_eq!(queue.commit_all(twice, at(1)).await, vec![Guarded::Applied; 2]);
        assert_eq!(queue.promote(at(60)).await, 0);
        assert_eq!(queue.count().await, Counts { succeeded: 1, ..Counts::default() });
    }

    async fn outcomes_stand_where_their_transitions_stood(queue: Queue) {
        queue.add_all(&["a", "b", "c"], spec()).await;
        let jobs = queue.claim(3, at(0)).await;
        queue.apply(acked(&jobs[1], at(1)), at(1)).await;
        let acks = jobs.iter().map(|job| acked(job, at(2))).collect();
        let outcomes = queue.commit_all(acks, at(2)).await;
        assert_eq!(outcomes, [Guarded::Applied, Guarded::Lost, Guarded::Applied]);
        assert_eq!(queue.commit_all(vec![], at(2)).await, []);
    }

    async fn a_batch_of_256_is_committed(queue: Queue) {
        let names: Vec<String> = (0..256).map(|n| format!("job-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, spec()).await;
        let jobs = queue.claim(256, at(0)).await;
        let ends = jobs.iter().map(|job| acked(job, at(1))).collect();
        assert_eq!(queue.commit_all(ends, at(1)).await, vec![Guarded::Applied; 256]);
        assert_eq!(queue.count().await, Counts { succeeded: 256, ..Counts::default() });
    }
);

/// The transition is refused and leaves no trace.
/// An ack of the once leased job if it stands in this state with this time.
fn acked_standing(job: &Job, state: State, at: Timestamp) -> Transition {
    let version = Version { state, at, ..job.version() };
    Transition { guard: Guard::Standing(version), ..acked(job, crate::fixture::at(1)) }
}

async fn is_lost(queue: &Queue, transition: Transition, now: Timestamp) {
    let name = transition.name.clone();
    let log = queue.store.log_end(&queue.name).await.unwrap();
    let (job, counts) = (queue.store.get(&name).await.unwrap(), queue.count().await);
    assert_eq!(queue.commit(transition, now).await, Guarded::Lost);
    assert_eq!(queue.store.get(&name).await.unwrap(), job);
    assert_eq!(queue.count().await, counts);
    assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), log);
}

/// The attempt under the lease that `job` shows.
fn attempt(job: &Job, outcome: Outcome, ended: Timestamp) -> Attempt {
    let lease = job.lease.as_ref().unwrap();
    Attempt {
        delivery: job.counters.deliveries,
        number: job.counters.attempts,
        secret: lease.secret,
        worker: Some(lease.worker.clone()),
        started: lease.started,
        ended,
        outcome,
        failure: None,
    }
}

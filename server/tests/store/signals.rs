//! What [`Store::signals`](crate::store::Store::signals) promises.

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, acked, at, claim, expired, extension, given_back, kept, nacked, scheduled, seconds,
    spec, typed,
};
use crate::job::transition::Disposition;
use crate::job::{Job, Spec};
use crate::store::{Claim, Signal};

every_store!(
    async fn a_new_ready_job_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add("a", spec()).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn every_subscriber_gets_the_signals(queue: Queue) {
        let (mut first, mut second) = (queue.signals().await, queue.signals().await);
        queue.add("a", spec()).await;
        first.expect(Signal::Ready(queue.name.clone())).await;
        second.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn a_queue_is_signalled_again_after_it_ran_empty(queue: Queue) {
        let mut signals = queue.signals().await;
        for round in 0..3 {
            queue.add(&format!("job-{round}"), spec()).await;
            signals.expect(Signal::Ready(queue.name.clone())).await;
            queue.claim(9, at(0)).await;
        }
    }

    async fn a_job_of_a_type_that_was_asked_for_in_vain_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add("a", typed("mail")).await;
        let sms = Claim { types: vec!["sms".to_owned()], ..claim(1) };
        assert_eq!(queue.serve(sms, at(1)).await, []);
        queue.catch_up(&mut signals).await;
        queue.add("b", typed("sms")).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn promoted_jobs_are_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add("a", scheduled(at(1))).await;
        queue.promote(at(1)).await;
        signals.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn jobs_that_come_back_are_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add("a", spec()).await;
        for round in 1..=3 {
            signals.expect(Signal::Ready(queue.name.clone())).await;
            let job = queue.claim_one(at(60 * round)).await;
            let now = at(60 * round + 30);
            let back = match round {
                1 => given_back(&job, now),
                2 => nacked(&job, Disposition::Release, now),
                _ => expired(&job, now),
            };
            queue.apply(back, now).await;
        }
        signals.expect(Signal::Ready(queue.name.clone())).await;
    }

    async fn an_earlier_due_time_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        let due = |second| Signal::Due(queue.name.clone(), at(second));
        queue.add("c", scheduled(at(300))).await;
        signals.expect(due(300)).await;
        queue.add("b", scheduled(at(200))).await;
        signals.expect(due(200)).await;
        queue.add_leased("a", Spec { lease_duration: Some(seconds(100)), ..spec() }).await;
        signals.expect(due(100)).await;
    }

    async fn every_kind_of_due_time_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        let due = |second| Signal::Due(queue.name.clone(), at(second));
        let spec = Spec {
            lease_duration: Some(seconds(500)),
            retention: kept(seconds(200), None),
            ..spec()
        };
        let job = queue.add_leased("a", spec.clone()).await;
        signals.expect(due(500)).await;
        queue.extend(extension(&job, at(400)), at(0)).await;
        signals.expect(due(400)).await;
        queue.apply(nacked(&job, Disposition::Retry(Some(seconds(300))), at(0)), at(0)).await;
        signals.expect(due(300)).await;
        let other = queue.add_leased("b", spec).await;
        queue.apply(acked(&other, at(0)), at(0)).await;
        signals.expect(due(200)).await;
        let snoozed = queue.add_leased("c", Spec { ..crate::fixture::spec() }).await;
        queue.apply(nacked(&snoozed, Disposition::Snooze(seconds(10)), at(0)), at(0)).await;
        signals.expect(due(10)).await;
    }

    async fn an_end_behind_a_look_is_signalled_once_the_look_is_over(queue: Queue) {
        let mut signals = queue.signals().await;
        let due = |second| Signal::Due(queue.name.clone(), at(second));
        let lasting = |second| Spec { lease_duration: Some(seconds(second)), ..spec() };
        let first = queue.add_leased("a", lasting(100)).await;
        signals.expect(due(100)).await;
        queue.apply(acked(&first, at(0)), at(0)).await;
        // Whoever heard of 100 looks then, and finds this one.
        let second = queue.add_leased("b", lasting(200)).await;
        assert_eq!(queue.next_due().await, Some(at(200)));
        queue.apply(acked(&second, at(0)), at(0)).await;
        queue.add_leased("c", lasting(150)).await;
        signals.expect(due(150)).await;
    }

    async fn who_looks_when_signals_say_misses_no_end_of_a_lease(queue: Queue) {
        let mut random = fastrand::Rng::with_seed(7);
        let mut signals = queue.signals().await;
        let (mut now, mut held, mut look) = (0, Vec::<Job>::new(), queue.next_due().await);
        for round in 0..200 {
            match random.u8(..8) {
                0..2 => {
                    let lasting = seconds(random.u64(5..300));
                    queue.add(&format!("{round}"), spec()).await;
                    let claim = Claim { lease_duration: Some(lasting), ..claim(1) };
                    held.extend(queue.serve(claim, at(now)).await);
                }
                2..5 if !held.is_empty() => {
                    let job = held.swap_remove(random.usize(..held.len()));
                    queue.apply(acked(&job, at(now)), at(now)).await;
                }
                5 => look = queue.next_due().await,
                _ => now += random.u64(..40),
            }
            // A broker looks when it is time, and may do so before.
            while look.is_some_and(|look| look <= at(now)) {
                for job in held.extract_if(.., |job| job.at <= at(now)) {
                    queue.apply(expired(&job, at(now)), at(now)).await;
                }
                queue.promote(at(now)).await;
                look = queue.next_due().await;
            }
            let heard = queue.catch_up(&mut signals).await;
            let mut ends =
                heard.iter().filter_map(|signal| queue.due_in(signal)).collect::<Vec<_>>();
            while held.iter().any(|job| ends.iter().chain(&look).all(|known| *known > job.at)) {
                // Nodes of a cluster tell in no order; what never comes fails the test.
                ends.extend(queue.due_in(&signals.next().await));
            }
            look = ends.into_iter().chain(look).min();
        }
    }

    async fn what_changes_nothing_for_who_waits_is_not_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.add("a", spec()).await;
        queue.add("early", scheduled(at(500))).await;
        signals.expect(Signal::Due(queue.name.clone(), at(500))).await;
        queue.add("b", spec()).await;
        queue.add("late", scheduled(at(600))).await;
        let other = queue.sibling("other");
        other.add("a", spec()).await;
        let between = signals.expect(Signal::Ready(other.name.clone())).await;
        let needless = |signal: &&Signal| match signal {
            Signal::Ready(about) | Signal::Due(about, _) => *about == queue.name,
            _ => false,
        };
        assert_eq!(between.iter().find(needless), None);
    }

    async fn a_growing_log_is_signalled_to_who_follows(queue: Queue) {
        let _following = queue.listener.follow().await;
        let mut signals = queue.signals().await;
        for round in 0..3 {
            queue.add(&format!("job-{round}"), scheduled(at(500))).await;
            signals.expect(Signal::Logged(queue.name.clone())).await;
        }
    }

    async fn a_lease_that_was_called_off_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        let name = queue.job_name("a");
        queue.store.call_off(&name).await.unwrap();
        signals.expect(Signal::CalledOff(name)).await;
    }
);

impl Queue {
    /// When something in this queue falls due, if the signal tells that.
    fn due_in(&self, signal: &Signal) -> Option<Timestamp> {
        match signal {
            Signal::Due(about, at) if *about == self.name => Some(*at),
            _ => None,
        }
    }
}

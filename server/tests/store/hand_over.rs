//! What [`Store::hand_over`](crate::store::Store::hand_over) promises.

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, acked, at, claim, extension, held, id_of, ids, one, priority, request, request_id,
    roomy, seconds, spec,
};
use crate::job::State;
use crate::store::{Claim, Claimed, Gate, Group, Insert, Inserted, Room, Signal};

every_store!(
    async fn what_is_inserted_is_leased_in_the_same_step(queue: Queue) {
        queue.begin().await;
        let claims = vec![claim(1), claim(1)];
        let (inserted, claimed) = queue.hand(&["a", "b", "c"], claims.clone()).await.unwrap();
        assert_eq!(inserted, [vec![Inserted::New; 3]]);
        assert_eq!(claimed.exhausted, [false, false]);
        for ((jobs, claim), id) in claimed.jobs.iter().zip(&claims).zip(["a", "b"]) {
            let job = one(jobs.clone());
            assert_eq!(queue.get(id).await, job);
            let lease = job.lease.unwrap();
            assert_eq!((lease.secret, lease.worker), (claim.secret, claim.worker.clone()));
            assert_eq!((job.state, job.at, job.started), (State::Leased, at(30), Some(at(0))));
        }
        let counts = queue.count().await;
        assert_eq!((counts.ready, counts.leased), (1, 2));
        assert_eq!(ids(&queue.claim(9, at(0)).await), ["c"]);
    }

    async fn it_leaves_what_an_insert_and_a_claim_behind_it_leave(queue: Queue) {
        let (together, apart) = (queue.sibling("together"), queue.sibling("apart"));
        for queue in [&together, &apart] {
            queue.begin().await;
        }
        let claims = || vec![claim(2), Claim { max_bytes: 1, ..claim(5) }];
        let handed = together.hand(&["a", "b", "c", "d"], claims()).await.unwrap().1;
        let groups = vec![apart.group(&["a", "b", "c", "d"])];
        apart.store.insert(&apart.name, groups, at(0)).await.unwrap();
        let taken = apart.store.claim(&apart.name, claims(), at(0)).await.unwrap();
        assert_eq!(shares(&handed), [vec!["a", "b"], vec!["c"]]);
        assert_eq!((shares(&handed), &handed.exhausted), (shares(&taken), &taken.exhausted));
        let told = async |queue: &Queue| {
            let events = queue.events().await.into_iter();
            let told = events.map(|it| (it.kind, it.job, it.worker, it.attempt, it.waited));
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(&together).await, told(&apart).await);
        assert_eq!(together.survey(at(0)).await, apart.survey(at(0)).await);
        assert_eq!(together.next_due().await, apart.next_due().await);
    }

    async fn who_got_all_there_was_sees_the_end(queue: Queue) {
        queue.begin().await;
        let (_, claimed) = queue.hand(&["a", "b"], vec![claim(1), claim(9)]).await.unwrap();
        assert_eq!((shares(&claimed), claimed.exhausted[1]), (vec![vec!["a"], vec!["b"]], true));
    }

    async fn the_leases_are_leases_as_all_others(queue: Queue) {
        queue.begin().await;
        let brief = Claim { lease_duration: Some(seconds(5)), ..claim(3) };
        let (_, claimed) = queue.hand(&["a", "b", "c"], vec![brief]).await.unwrap();
        let jobs = one(claimed.jobs);
        assert_eq!(queue.extend(extension(&jobs[0], at(60)), at(1)).await, held(at(60)));
        queue.apply(acked(&jobs[1], at(1)), at(1)).await;
        assert_eq!(queue.next_due().await, Some(at(5)));
        assert_eq!(ids(&queue.overdue(at(5)).await), ["c"]);
        assert_eq!(queue.state("b").await, Some(State::Succeeded));
    }

    async fn others_are_told_of_what_stays_ready_and_of_the_first_end(queue: Queue) {
        queue.begin().await;
        let mut signals = queue.signals().await;
        let brief = Claim { lease_duration: Some(seconds(20)), ..claim(1) };
        queue.hand(&["a", "b"], vec![brief]).await.unwrap();
        let earlier = signals.expect(Signal::Ready(queue.name.clone())).await;
        let due = Signal::Due(queue.name.clone(), at(20));
        if !earlier.contains(&due) {
            signals.expect(due).await;
        }
    }

    async fn nobody_is_told_of_jobs_that_are_all_leased(queue: Queue) {
        queue.begin().await;
        let mut signals = queue.signals().await;
        queue.hand(&["a"], vec![claim(2)]).await.unwrap();
        let told = queue.catch_up(&mut signals).await;
        assert!(!told.contains(&Signal::Ready(queue.name.clone())), "{told:?}");
    }

    async fn a_claim_asked_again_is_answered_with_the_same_jobs(queue: Queue) {
        queue.begin().await;
        let asked = || Claim { request: Some(request_id(7)), ..claim(1) };
        let (_, claimed) = queue.hand(&["a", "b"], vec![asked()]).await.unwrap();
        assert_eq!(queue.serve(asked(), at(1)).await, one(claimed.jobs));
        // Nor does it get others when it rides again.
        let again = queue.hand_or_part(vec![queue.group(&["c"])], vec![asked()]).await.1;
        assert_eq!(shares(&again), [["a"]]);
    }

    async fn jobs_of_a_request_are_made_once(queue: Queue) {
        queue.begin().await;
        let group = || Group { request: Some(request(3, 1)), ..queue.group(&["a", "b"]) };
        let first = queue.hand_or_part(vec![group()], vec![claim(1)]).await;
        assert_eq!((&first.0, shares(&first.1)), (&vec![vec![Inserted::New; 2]], vec![vec!["a"]]));
        let again = queue.hand_or_part(vec![group()], vec![claim(1)]).await;
        let [a, b] = ["a", "b"].map(|id| Inserted::Replayed(id_of(id)));
        assert_eq!((again.0, shares(&again.1)), (vec![vec![a, b]], vec![vec!["b"]]));
    }

    async fn a_taken_id_is_taken(queue: Queue) {
        queue.begin().await;
        let chosen = || vec![roomy(vec![queue.chosen("a", spec())])];
        let first = queue.hand_or_part(chosen(), vec![claim(1)]).await;
        assert_eq!((&first.0, shares(&first.1)), (&vec![vec![Inserted::New]], vec![vec!["a"]]));
        let (inserted, claimed) = queue.hand_or_part(chosen(), vec![claim(1)]).await;
        assert_eq!(inserted, [[Inserted::Exists(State::Leased)]]);
        assert_eq!(claimed.jobs, [[]]);
    }

    async fn of_a_group_that_is_refused_nobody_gets_a_job(queue: Queue) {
        queue.begin().await;
        queue.add_leased("taken", spec()).await;
        let items = ["a", "taken"].map(|id| queue.chosen(id, spec()));
        let refused = Group { atomic: true, ..roomy(items.to_vec()) };
        let groups = vec![refused, queue.group(&["b", "c"])];
        let (inserted, claimed) = queue.hand_or_part(groups, vec![claim(1), claim(1)]).await;
        let exists = Inserted::Exists(State::Leased);
        assert_eq!(inserted, [vec![Inserted::Withheld, exists], vec![Inserted::New; 2]]);
        assert_eq!(shares(&claimed), [["b"], ["c"]]);
        assert_eq!(queue.find("a").await, None);
        assert_eq!(queue.count().await.leased, 3);
        assert!(queue.events().await.iter().all(|event| event.job != Some(id_of("a"))));
    }

    async fn a_full_queue_takes_no_more(queue: Queue) {
        queue.begin().await;
        let room = Room { jobs: Some(2), bytes: None };
        let group = |ids: &[&str]| vec![Group { room, ..queue.group(ids) }];
        let fits = queue.hand_or_part(group(&["a", "b"]), vec![claim(9)]).await;
        assert_eq!(shares(&fits.1), [["a", "b"]]);
        let (inserted, claimed) = queue.hand_or_part(group(&["c"]), vec![claim(9)]).await;
        assert!(matches!(inserted[0][..], [Inserted::Full(_)]), "{inserted:?}");
        assert_eq!(claimed.jobs, [[]]);
    }

    async fn jobs_that_wait_come_first(queue: Queue) {
        queue.add("old", spec()).await;
        let claimed = queue.hand_or_part(vec![queue.group(&["new"])], vec![claim(1)]).await.1;
        assert_eq!(shares(&claimed), [["old"]]);
        let claimed = queue.hand_or_part(vec![queue.group(&["last"])], vec![claim(1)]).await.1;
        assert_eq!(shares(&claimed), [["new"]]);
    }

    async fn of_jobs_of_different_priority_the_greatest_comes_first(queue: Queue) {
        queue.begin().await;
        let items = [("low", 1), ("high", 2)].map(|(id, it)| queue.item(id, priority(it)));
        let claimed = queue.hand_or_part(vec![roomy(items.to_vec())], vec![claim(1)]).await.1;
        assert_eq!(shares(&claimed), [["high"]]);
    }

    async fn gates_hold_back_what_is_inserted(queue: Queue) {
        queue.begin().await;
        queue.set(|settings| settings.max_leased = Some(1), at(0)).await;
        let claimed = queue.hand_or_part(vec![queue.group(&["a", "b"])], vec![claim(9)]).await.1;
        assert_eq!(shares(&claimed), [["a"]]);
        queue.set(|settings| settings.paused = true, at(0)).await;
        let claimed = queue.hand_or_part(vec![queue.group(&["c"])], vec![claim(9)]).await.1;
        assert_eq!((claimed.jobs.concat(), claimed.gate), (vec![], Some(Gate::Paused)));
    }

    async fn what_lapses_before_it_is_leased_is_not(queue: Queue) {
        queue.begin().await;
        let items = vec![queue.item("a", crate::fixture::expiring(at(0)))];
        let claimed = queue.hand_or_part(vec![roomy(items)], vec![claim(1)]).await.1;
        assert_eq!(claimed.jobs, [[]]);
    }

    async fn a_job_with_timeouts_of_its_own_keeps_them(queue: Queue) {
        queue.begin().await;
        let own = crate::job::Spec { lease_duration: Some(seconds(7)), ..spec() };
        let items = vec![queue.item("a", own)];
        let claimed = queue.hand_or_part(vec![roomy(items)], vec![claim(1)]).await.1;
        assert_eq!(one(one(claimed.jobs)).at, at(7));
    }
);

/// The ids of the jobs that each claim got.
fn shares(claimed: &Claimed) -> Vec<Vec<&str>> {
    claimed.jobs.iter().map(|jobs| ids(jobs)).collect()
}

type Both = (Vec<Vec<Inserted>>, Claimed);

impl Queue {
    /// Makes the queue known: it had a job, and has none that waits.
    async fn begin(&self) {
        let first = self.add_leased("first", spec()).await;
        self.apply(acked(&first, at(0)), at(0)).await;
    }

    fn group(&self, ids: &[&str]) -> Group {
        let items: Vec<Insert> = ids.iter().map(|id| self.item(id, spec())).collect();
        roomy(items)
    }

    /// Hands over, if the store does it.
    async fn hand(&self, ids: &[&str], claims: Vec<Claim>) -> Option<Both> {
        self.try_hand(&[self.group(ids)], &claims, at(0)).await
    }

    async fn try_hand(&self, groups: &[Group], claims: &[Claim], now: Timestamp) -> Option<Both> {
        self.store.hand_over(&self.name, groups, claims, now).await.unwrap()
    }

    /// As a broker does: the insert and the claims go their ways when the store declines, having done
    /// nothing.
    async fn hand_or_part(&self, groups: Vec<Group>, claims: Vec<Claim>) -> Both {
        let log = self.log().await.len();
        if let Some(both) = self.try_hand(&groups, &claims, at(0)).await {
            return both;
        }
        assert_eq!(self.log().await.len(), log);
        let inserted = self.store.insert(&self.name, groups, at(0)).await.unwrap();
        (inserted, self.store.claim(&self.name, claims, at(0)).await.unwrap())
    }
}

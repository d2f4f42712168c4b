//! Jobs of a batch may be stored together; what becomes of one of them does nothing to the others.

use std::time::Duration;

use crate::fixture::{
    Queue, acked, at, claim, failure, ids, kept, nacked, payload, request, request_id, roomy,
    seconds, spec,
};
use crate::job::operate::Update;
use crate::job::transition::Disposition;
use crate::job::{Job, JobIds, Spec, State};
use crate::store::{Claim, Group, Insert, Inserted};

/// Jobs of a batch in these tests.
const JOBS: u32 = 70;

every_store!(
    async fn each_job_of_a_batch_is_read_as_it_was_enqueued(queue: Queue) {
        queue.add_batch(1).await;
        for number in 0..JOBS {
            let job = queue.get(&id(1, number)).await;
            assert_eq!(job.spec.payload, spec_of(number).payload, "{number}");
            assert_eq!(job.state, State::Ready);
        }
        assert_eq!(queue.find(&id(1, JOBS)).await, None);
    }

    async fn jobs_of_a_batch_are_leased_in_order_and_whole(queue: Queue) {
        queue.add_batch(1).await;
        queue.add("between", spec()).await;
        queue.add_batch(2).await;
        let mut jobs = Vec::new();
        for limit in [1, 20, 40, 100] {
            jobs.extend(queue.claim(limit, at(0)).await);
        }
        let of = |batch| (0..JOBS).map(move |number| id(batch, number));
        let wanted: Vec<String> = of(1).chain(["between".to_owned()]).chain(of(2)).collect();
        assert_eq!(ids(&jobs), wanted[..jobs.len()]);
        assert_eq!(jobs.len(), wanted.len());
        for (job, number) in jobs.iter().zip(0..JOBS) {
            assert_eq!(job.spec.payload, spec_of(number).payload, "{number}");
        }
    }

    async fn a_claim_takes_as_much_of_a_batch_as_its_bytes_allow(queue: Queue) {
        queue.add_batch(1).await;
        let tight = || Claim { max_bytes: 3000, ..claim(100) };
        let first = queue.serve(tight(), at(0)).await;
        assert!((2..12).contains(&first.len()), "{}", first.len());
        let second = queue.serve(tight(), at(0)).await;
        assert_eq!(second[0].name.id.as_str(), id(1, u32::try_from(first.len()).unwrap()));
    }

    async fn the_end_of_one_job_leaves_its_neighbours(queue: Queue) {
        queue.add_batch(1).await;
        let jobs = queue.claim(6, at(0)).await;
        queue.apply(acked(&jobs[0], at(1)), at(1)).await;
        queue.apply(nacked(&jobs[1], Disposition::Dead, at(1)), at(1)).await;
        queue.apply(nacked(&jobs[2], Disposition::Retry(Some(seconds(5))), at(1)), at(1)).await;
        queue.apply(nacked(&jobs[3], Disposition::Release, at(1)), at(1)).await;
        queue.cancel(&id(1, 10), at(1)).await;
        let update = Update { priority: Some(7), ..Update::default() };
        queue.update(&id(1, 11), update, at(1)).await;
        queue.delete(&id(1, 12), at(1)).await;
        assert_eq!(queue.find(&id(1, 12)).await, None);
        let states = [
            (0, State::Succeeded),
            (1, State::Dead),
            (2, State::Retrying),
            (3, State::Ready),
            (4, State::Leased),
            (9, State::Ready),
            (10, State::Cancelled),
            (11, State::Ready),
            (13, State::Ready),
            (JOBS - 1, State::Ready),
        ];
        for (number, state) in states {
            let job = queue.get(&id(1, number)).await;
            assert_eq!(
                (job.state, &job.spec.payload),
                (state, &spec_of(number).payload),
                "{number}"
            );
        }
        let next = queue.claim(4, at(1)).await;
        assert_eq!(ids(&next), [id(1, 11), id(1, 3), id(1, 6), id(1, 7)]);
        assert_eq!(next[0].spec.priority, 7);
        queue.redrive(&id(1, 1), at(2)).await;
        assert_eq!(queue.promote(at(6)).await, 1);
        let rest = queue.claim(100, at(6)).await;
        assert_eq!(ids(&rest[rest.len() - 2..]), [id(1, 1), id(1, 2)]);
        let whole = |job: &Job| job.spec.payload.is_some();
        assert!(rest.iter().all(whole));
    }

    async fn jobs_of_a_batch_are_forgotten_one_by_one(queue: Queue) {
        let inserts = (0..JOBS)
            .map(|number| Spec { retention: kept(seconds(10), Some(3)), ..spec_of(number) });
        queue.put_batch(1, inserts).await;
        let mut left: Vec<Job> = queue.claim(100, at(0)).await;
        // In no order: the last and the first by turns.
        let mut ended = Vec::new();
        while !left.is_empty() {
            let job = if left.len().is_multiple_of(2) {
                left.remove(0)
            } else {
                left.remove(left.len() - 1)
            };
            // Who ends first is forgotten first.
            let now = at(1).after(Duration::from_millis(ended.len() as u64));
            queue.apply(acked(&job, now), now).await;
            ended.push(job.name.id.as_str().to_owned());
            let first_kept = ended.len().saturating_sub(3);
            for (place, id) in ended.iter().enumerate().skip(first_kept.saturating_sub(2)) {
                let state = (place >= first_kept).then_some(State::Succeeded);
                assert_eq!(queue.state(id).await, state, "{place} of {}", ended.len());
            }
            for job in &left {
                assert_eq!(queue.get(job.name.id.as_str()).await.spec.payload, job.spec.payload);
            }
        }
        assert_eq!(queue.purge(at(60)).await, 3);
        for id in &ended {
            assert_eq!(queue.find(id).await, None);
        }
    }

    async fn a_batch_whose_ids_are_taken_in_part_makes_the_others(queue: Queue) {
        queue.insert_one(queue.chosen(&id(1, 33), spec())).await;
        let group = Group { atomic: false, ..queue.neighbours(1, (0..JOBS).map(spec_of)) };
        let made = queue.store.insert(&queue.name, vec![group], at(0)).await.unwrap();
        let refused = |outcome: &Inserted| *outcome == Inserted::Exists(State::Ready);
        let places: Vec<usize> =
            (0..).zip(&made[0]).filter(|(_, it)| refused(it)).map(|(at, _)| at).collect();
        assert_eq!(places, [33]);
        assert_eq!(queue.get(&id(1, 33)).await.spec.payload, spec().payload);
        assert_eq!(queue.get(&id(1, 34)).await.spec.payload, spec_of(34).payload);
        assert_eq!(queue.claim(100, at(0)).await.len(), JOBS as usize);
    }

    async fn a_job_that_chose_the_id_of_one_in_a_batch_is_refused(queue: Queue) {
        queue.add_batch(1).await;
        let taken = queue.insert_one(queue.chosen(&id(1, 5), spec())).await;
        assert_eq!(taken, Inserted::Exists(State::Ready));
        // That place is free once the job is gone, whatever is left of its neighbours.
        queue.delete(&id(1, 5), at(0)).await;
        assert_eq!(queue.insert_one(queue.chosen(&id(1, 5), spec())).await, Inserted::New);
        assert_eq!(queue.get(&id(1, 5)).await.spec.payload, spec().payload);
        assert_eq!(queue.get(&id(1, 6)).await.spec.payload, spec_of(6).payload);
    }

    async fn a_redriven_job_of_a_batch_has_its_failure_and_its_payload(queue: Queue) {
        queue.add_batch(1).await;
        let job = queue.claim_one(at(0)).await;
        let mut dead = nacked(&job, Disposition::Dead, at(1));
        dead.failure = Some(failure("HTTP_500"));
        queue.apply(dead, at(1)).await;
        queue.redrive(&id(1, 0), at(2)).await;
        let job = queue.get(&id(1, 0)).await;
        assert_eq!((job.state, &job.spec.payload), (State::Ready, &spec_of(0).payload));
        assert_eq!(job.details.last_failure, Some(failure("HTTP_500")));
    }
);

/// The id of a job of the batch with this number.
fn id(batch: u128, number: u32) -> String {
    JobIds::of(&request_id(batch)).at(number).as_str().to_owned()
}

fn spec_of(number: u32) -> Spec {
    Spec { payload: Some(payload(&"x".repeat(number as usize * 7))), ..spec() }
}

impl Queue {
    async fn add_batch(&self, batch: u128) {
        self.put_batch(batch, (0..JOBS).map(spec_of)).await;
    }

    async fn put_batch(&self, batch: u128, specs: impl Iterator<Item = Spec>) {
        let made = self.store.insert(&self.name, vec![self.neighbours(batch, specs)], at(0)).await;
        assert_eq!(made.unwrap(), [vec![Inserted::New; JOBS as usize]]);
    }

    /// Jobs that one request asks for.
    fn neighbours(&self, batch: u128, specs: impl Iterator<Item = Spec>) -> Group {
        let inserts: Vec<Insert> =
            (0..).zip(specs).map(|(number, spec)| self.chosen(&id(batch, number), spec)).collect();
        Group { request: Some(request(batch, 1)), ..roomy(inserts) }
    }
}

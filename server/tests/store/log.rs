//! What [`Store::log`](crate::store::Store::log) and `log_end` promise, and what each move writes.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, acked_late, at, claim, deduplicated, expired, failure,
    given_back, id_of, nacked, request, request_id, scheduled, seconds, spec, tireless, worker,
};
use crate::job::transition::Disposition;
use crate::job::{Event, EventKind, Spec, State, Transition};
use crate::store::{Claim, LogStart, Position};

/// What a case compares of an event.
type Told = (EventKind, Option<State>, State);

every_store!(
    async fn a_queue_that_never_had_a_job_has_no_log(queue: Queue) {
        assert!(queue.log().await.is_empty());
        assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), Position::default());
    }

    async fn the_life_of_a_job_is_told_in_order(queue: Queue) {
        queue.add("a", Spec { retry: tireless(), ..scheduled(at(1)) }).await;
        queue.promote(at(1)).await;
        let job = queue.claim_one(at(2)).await;
        queue.apply(nacked(&job, Disposition::Retry(Some(seconds(1))), at(3)), at(3)).await;
        queue.promote(at(4)).await;
        let job = queue.claim_one(at(5)).await;
        queue.apply(nacked(&job, Disposition::Snooze(seconds(1)), at(6)), at(6)).await;
        queue.promote(at(7)).await;
        let job = queue.claim_one(at(8)).await;
        queue.apply(nacked(&job, Disposition::Release, at(9)), at(9)).await;
        let job = queue.claim_one(at(10)).await;
        queue.apply(expired(&job, at(60)), at(60)).await;
        let job = queue.claim_one(at(61)).await;
        queue.apply(acked(&job, at(62)), at(62)).await;
        let events = queue.events().await;
        assert_eq!(
            told(&events),
            [
                (EventKind::Created, None, State::Scheduled),
                (EventKind::Ready, Some(State::Scheduled), State::Ready),
                (EventKind::Leased, Some(State::Ready), State::Leased),
                (EventKind::AttemptFailed, Some(State::Leased), State::Retrying),
                (EventKind::Ready, Some(State::Retrying), State::Ready),
                (EventKind::Leased, Some(State::Ready), State::Leased),
                (EventKind::Snoozed, Some(State::Leased), State::Scheduled),
                (EventKind::Ready, Some(State::Scheduled), State::Ready),
                (EventKind::Leased, Some(State::Ready), State::Leased),
                (EventKind::Released, Some(State::Leased), State::Ready),
                (EventKind::Leased, Some(State::Ready), State::Leased),
                (EventKind::LeaseExpired, Some(State::Leased), State::Ready),
                (EventKind::Leased, Some(State::Ready), State::Leased),
                (EventKind::Succeeded, Some(State::Leased), State::Succeeded),
            ]
        );
        let moments = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 60, 61, 62].map(at);
        assert_eq!(events.iter().map(|event| event.at).collect::<Vec<_>>(), moments);
        for event in events {
            assert_eq!((event.queue, event.job), (queue.name.clone(), Some(job.name.id.clone())));
        }
    }

    async fn a_ready_job_is_told_as_created(queue: Queue) {
        queue.add("a", spec()).await;
        assert_eq!(told(&queue.events().await), [(EventKind::Created, None, State::Ready)]);
    }

    async fn a_new_job_s_event_carries_what_watchers_filter_by(queue: Queue) {
        let labels = [("tenant".to_owned(), "t1".to_owned())].into();
        let job = queue.add("a", Spec { job_type: "mail".to_owned(), labels, ..spec() }).await;
        let event = &queue.events().await[0];
        assert_eq!((&event.job_type, &event.labels), (&job.spec.job_type, &job.spec.labels));
        assert_eq!((event.at, event.attempt, &event.worker), (at(0), 0, &None));
    }

    async fn a_lease_s_event_names_worker_and_attempt(queue: Queue) {
        queue.add("a", Spec { retry: tireless(), ..spec() }).await;
        for attempt in 1..=2 {
            let name = format!("worker {attempt}");
            let wish = Claim { worker: worker(&name), ..claim(1) };
            let jobs = queue.serve(wish, at(0)).await;
            let event = queue.events().await.pop().unwrap();
            assert_eq!(event.kind, EventKind::Leased);
            assert_eq!((event.attempt, event.worker), (attempt, Some(worker(&name))));
            queue.apply(nacked(&jobs[0], Disposition::Retry(None), at(0)), at(0)).await;
        }
    }

    async fn an_ack_s_event_names_the_worker_who_had_the_job(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let ack = acked(&job, at(5));
        assert_eq!(ack.event.worker, None, "only the store knows it");
        queue.apply(ack, at(5)).await;
        let event = queue.events().await.pop().unwrap();
        assert_eq!((event.worker, event.attempt), (Some(worker("worker")), 1));
        assert_eq!(event.ran, Some(seconds(5)));
    }

    async fn a_commit_tells_the_event_of_its_transition(queue: Queue) {
        let spec = Spec {
            job_type: "mail".to_owned(),
            labels: [("tenant".to_owned(), "t1".to_owned())].into(),
            trace_context: [("traceparent".to_owned(), "00-0af7-01".to_owned())].into(),
            retry: tireless(),
            ..spec()
        };
        queue.add("a", spec).await;
        let settles: [fn(&crate::job::Job, Timestamp) -> Transition; 4] = [
            |job, now| nacked(job, Disposition::Retry(None), now),
            |job, now| nacked(job, Disposition::Release, now),
            expired,
            |job, now| nacked(job, Disposition::Dead, now),
        ];
        for settle in settles {
            let job = queue.claim_one(at(0)).await;
            let transition = settle(&job, at(60));
            let wanted = transition.event.clone();
            queue.apply(transition, at(60)).await;
            assert_eq!(queue.events().await.pop(), Some(wanted));
        }
    }

    async fn a_dead_letter_is_told_with_its_failure_and_reason(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(nacked(&job, Disposition::Dead, at(5)), at(5)).await;
        let event = queue.events().await.pop().unwrap();
        assert_eq!((event.kind, event.to), (EventKind::AttemptFailed, Some(State::Dead)));
        assert_eq!(event.failure, Some(failure("NO_LUCK")));
        assert_eq!(event.reason, "NACKED_DEAD");
    }

    async fn a_job_given_back_is_told_as_undelivered(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(given_back(&job, at(5)), at(5)).await;
        let event = queue.events().await.pop().unwrap();
        assert_eq!((event.kind, event.to), (EventKind::Released, Some(State::Ready)));
        assert_eq!(event.reason, "UNDELIVERED");
    }

    async fn a_late_ack_is_told_from_where_the_job_was(queue: Queue) {
        let leased = queue.add_leased("a", spec()).await;
        queue.apply(expired(&leased, at(60)), at(60)).await;
        let ready = queue.get("a").await;
        queue.apply(acked_late(&leased, &ready, at(61)), at(61)).await;
        let event = queue.events().await.pop().unwrap();
        assert_eq!(event.kind, EventKind::Succeeded);
        assert_eq!((event.from, event.to), (Some(State::Ready), Some(State::Succeeded)));
        assert_eq!(event.reason, "LATE");
    }

    async fn a_duplicate_is_told_of_its_survivor(queue: Queue) {
        queue.add("holder", deduplicated("key", UNTIL_FINISHED)).await;
        queue.insert_one(queue.item("double", deduplicated("key", UNTIL_FINISHED))).await;
        let event = queue.events().await.pop().unwrap();
        assert_eq!((event.kind, event.job), (EventKind::Deduplicated, Some(id_of("holder"))));
        assert_eq!(event.to, Some(State::Ready));
    }

    async fn what_moves_nothing_is_not_told(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.insert_one(queue.asked("b", scheduled(at(500)), request(1, 7))).await;
        let wish = Claim { request: Some(request_id(1)), ..claim(1) };
        let end = queue.store.log_end(&queue.name).await.unwrap();
        queue.insert_one(queue.asked("c", spec(), request(1, 7))).await;
        queue.insert_one(queue.asked("c", spec(), request(1, 8))).await;
        queue.insert_one(queue.chosen("a", spec())).await;
        queue.serve(wish, at(1)).await;
        queue.promote(at(1)).await;
        queue.purge(at(1)).await;
        queue.overdue(at(60)).await;
        assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), end);
        queue.apply(acked(&job, at(1)), at(1)).await;
        assert!(queue.store.log_end(&queue.name).await.unwrap() > end);
    }

    async fn a_replayed_claim_is_not_told_again(queue: Queue) {
        queue.add("a", spec()).await;
        let wish = || Claim { request: Some(request_id(1)), ..claim(1) };
        queue.serve(wish(), at(0)).await;
        let end = queue.store.log_end(&queue.name).await.unwrap();
        assert_eq!(queue.serve(wish(), at(0)).await.len(), 1);
        assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), end);
    }

    async fn what_one_call_moves_is_one_entry(queue: Queue) {
        queue.add_all(&["a", "b"], scheduled(at(1))).await;
        queue.promote(at(1)).await;
        let jobs = queue.claim(2, at(1)).await;
        let acks = jobs.iter().map(|job| acked(job, at(2))).collect();
        queue.commit_all(acks, at(2)).await;
        let told: Vec<Vec<(EventKind, String)>> = queue
            .log()
            .await
            .iter()
            .map(|entry| entry.events.iter().map(|event| (event.kind, job_of(event))).collect())
            .collect();
        let kinds = [EventKind::Created, EventKind::Ready, EventKind::Leased, EventKind::Succeeded];
        let wanted = kinds.map(|kind| ["a", "b"].map(|id| (kind, id.to_owned())));
        assert_eq!(told, wanted);
    }

    async fn positions_rise_and_their_numbers_have_no_gaps(queue: Queue) {
        for round in 0..5 {
            queue.add(&format!("job-{round}"), spec()).await;
            queue.insert_one(queue.chosen("job-0", spec())).await;
        }
        let jobs = queue.claim(5, at(0)).await;
        queue.apply(acked(&jobs[0], at(0)), at(0)).await;
        let positions: Vec<Position> =
            queue.log().await.iter().map(|entry| entry.position).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
        let numbers: Vec<u64> = positions.iter().map(|position| position.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), positions[6]);
    }

    async fn each_queue_has_a_log_of_its_own(queue: Queue) {
        let other = queue.sibling("other");
        for place in [&queue, &other] {
            place.add("a", spec()).await;
            place.claim(1, at(0)).await;
            let numbers: Vec<u64> =
                place.log().await.iter().map(|entry| entry.position.number).collect();
            assert_eq!(numbers, [1, 2]);
        }
    }

    async fn the_log_is_read_in_pages_without_hole_or_repetition(queue: Queue) {
        for round in 0..7 {
            queue.add(&format!("job-{round}"), spec()).await;
        }
        let whole: Vec<Position> = queue.log().await.iter().map(|entry| entry.position).collect();
        let mut pages = Vec::new();
        let mut from = LogStart::Oldest;
        loop {
            let page = queue.store.log(&queue.name, from, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 3);
            from = LogStart::After(last.position);
            pages.extend(page.iter().map(|entry| entry.position));
        }
        assert_eq!(pages, whole);
    }

    async fn a_reader_at_the_end_sees_what_comes_next(queue: Queue) {
        let start = LogStart::After(queue.store.log_end(&queue.name).await.unwrap());
        queue.add("a", spec()).await;
        assert_eq!(queue.store.log(&queue.name, start, 10).await.unwrap().len(), 1);
        let end = queue.store.log_end(&queue.name).await.unwrap();
        let after = |position| queue.store.log(&queue.name, LogStart::After(position), 10);
        assert!(after(end).await.unwrap().is_empty());
        queue.claim(1, at(0)).await;
        let entries = after(end).await.unwrap();
        assert_eq!(
            told(&entries[0].events),
            [(EventKind::Leased, Some(State::Ready), State::Leased)]
        );
    }

    async fn the_newest_entries_are_read_oldest_first(queue: Queue) {
        assert!(queue.store.recent(&queue.name, 9).await.unwrap().is_empty());
        for id in ["a", "b", "c", "d"] {
            queue.add(id, spec()).await;
        }
        let recent = queue.store.recent(&queue.name, 2).await.unwrap();
        let told: Vec<String> =
            recent.iter().flat_map(|entry| entry.events.iter().map(job_of)).collect();
        assert_eq!(told, ["c", "d"]);
        let numbers: Vec<u64> = recent.iter().map(|entry| entry.position.number).collect();
        assert_eq!(numbers, [3, 4]);
        assert_eq!(queue.store.recent(&queue.name, 9).await.unwrap().len(), 4);
        let end = queue.store.log_end(&queue.name).await.unwrap();
        assert_eq!(recent[1].position, end);
    }

    async fn the_log_is_read_from_a_moment_on(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        queue.claim(1, at(0)).await;
        let from = |moment| queue.store.log(&queue.name, LogStart::Time(moment), 10);
        let long_ago = Timestamp::from_millis(0);
        assert_eq!(from(long_ago).await.unwrap().len(), 2);
        // Later than both the time of the case and the real one.
        let in_100_years = queue.store.time().await.unwrap().max(at(0)).after(YEARS_100);
        assert!(from(in_100_years).await.unwrap().is_empty());
    }
);

const YEARS_100: Duration = Duration::from_hours(100 * 365 * 24);

fn told(events: &[Event]) -> Vec<Told> {
    events.iter().map(|event| (event.kind, event.from, event.to.unwrap())).collect()
}

/// Which job an event is about.
fn job_of(event: &Event) -> String {
    event.job.as_ref().unwrap().to_string()
}

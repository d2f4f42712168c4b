//! What [`Store::extend`](crate::store::Store::extend) promises.

use crate::clock::Timestamp;
use crate::fixture::{
    Queue, acked, at, expired, extension, given_back, held, id_of, next_secret, one, payload, spec,
    worker,
};
use crate::job::{Event, EventKind, Job, JobId, Payload, Progress, Spec, State};
use crate::store::{Extended, Extension, Guarded};

every_store!(
    async fn an_extension_moves_the_end_of_the_lease_and_nothing_else(queue: Queue) {
        let job = queue.add_leased("a", full()).await;
        assert_eq!(queue.extend(extension(&job, at(300)), at(10)).await, held(at(300)));
        assert_eq!(queue.find("a").await, Some(Job { at: at(300), ..job }));
    }

    async fn an_extended_lease_is_overdue_later(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.extend(extension(&job, at(300)), at(10)).await;
        assert_eq!(queue.overdue(at(299)).await, []);
        assert_eq!(queue.overdue(at(300)).await.len(), 1);
        assert_eq!(queue.next_due().await, Some(at(300)));
    }

    async fn an_extension_may_shorten_the_lease(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        assert_eq!(queue.extend(extension(&job, at(2)), at(1)).await, held(at(2)));
        assert_eq!(queue.get("a").await.at, at(2));
        assert_eq!(queue.overdue(at(2)).await.len(), 1);
    }

    async fn an_extension_replaces_progress_and_checkpoint(queue: Queue) {
        let job = queue.add_leased("a", full()).await;
        let first = Progress { percent: 12.5, message: "on it".to_owned(), done: -1, total: 8 };
        for (progress, checkpoint) in [
            (Some(first), Some(payload("one"))),
            (Some(Progress { percent: 50.0, ..Progress::default() }), Some(payload("two"))),
        ] {
            let extended = Extension {
                progress: progress.clone(),
                checkpoint: checkpoint.clone(),
                ..extension(&job, at(60))
            };
            assert_eq!(queue.extend(extended, at(1)).await, held(at(60)));
            let details = queue.get("a").await.details;
            assert_eq!((&details.progress, &details.checkpoint), (&progress, &checkpoint));
        }
        let before = queue.get("a").await.details;
        queue.extend(extension(&job, at(90)), at(2)).await;
        assert_eq!(queue.get("a").await.details, before);
    }

    async fn an_empty_progress_or_checkpoint_replaces_the_last_one(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let full = Progress { percent: 12.5, ..Progress::default() };
        for (progress, checkpoint) in [
            (Some(full), Some(payload("one"))),
            (Some(Progress::default()), Some(Payload::default())),
        ] {
            let extended = Extension {
                progress: progress.clone(),
                checkpoint: checkpoint.clone(),
                ..extension(&job, at(60))
            };
            queue.extend(extended, at(1)).await;
            let details = queue.get("a").await.details;
            assert_eq!((&details.progress, &details.checkpoint), (&progress, &checkpoint));
        }
    }

    async fn an_extension_with_a_wrong_secret_is_lost(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let forged = Extension {
            secret: next_secret(),
            progress: Some(Progress::default()),
            checkpoint: Some(payload("forged")),
            event: Some(progress_event(&queue, "a", at(1))),
            ..extension(&job, at(300))
        };
        let log = queue.store.log_end(&queue.name).await.unwrap();
        assert_eq!(queue.extend(forged, at(1)).await, Extended::Lost);
        assert_eq!(queue.find("a").await, Some(job));
        assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), log);
    }

    async fn a_settled_lease_cannot_be_extended(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(acked(&job, at(1)), at(1)).await;
        assert_eq!(queue.extend(extension(&job, at(300)), at(1)).await, Extended::Lost);
        assert_eq!(queue.state("a").await, Some(State::Succeeded));
    }

    async fn a_lease_that_was_given_back_cannot_be_extended(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        queue.apply(given_back(&job, at(1)), at(1)).await;
        assert_eq!(queue.extend(extension(&job, at(300)), at(1)).await, Extended::Lost);
        assert_eq!(queue.state("a").await, Some(State::Ready));
    }

    async fn a_lease_that_somebody_else_has_now_cannot_be_extended(queue: Queue) {
        let first = queue.add_leased("a", spec()).await;
        queue.apply(expired(&first, at(60)), at(60)).await;
        let second = queue.claim_one(at(60)).await;
        assert_eq!(queue.extend(extension(&first, at(300)), at(61)).await, Extended::Lost);
        assert_eq!(queue.extend(extension(&second, at(300)), at(61)).await, held(at(300)));
    }

    async fn a_job_that_is_not_there_cannot_be_extended(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let unknown = Extension { id: id_of("unknown"), ..extension(&job, at(300)) };
        assert_eq!(queue.extend(unknown, at(1)).await, Extended::Lost);
        let nowhere = queue.sibling("nowhere");
        assert_eq!(nowhere.extend(extension(&job, at(300)), at(1)).await, Extended::Lost);
    }

    async fn an_overdue_lease_can_be_extended_until_it_is_taken_back(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let seen_by_sweep = one(queue.overdue(at(60)).await);
        assert_eq!(queue.extend(extension(&job, at(120)), at(61)).await, held(at(120)));
        let late_sweep = queue.commit(expired(&seen_by_sweep, at(62)), at(62)).await;
        assert_eq!(late_sweep, Guarded::Lost);
        assert_eq!(queue.state("a").await, Some(State::Leased));
    }

    async fn outcomes_stand_where_their_extensions_stood(queue: Queue) {
        queue.add_all(&["a", "b"], spec()).await;
        let jobs = queue.claim(2, at(0)).await;
        let stale = Extension { secret: next_secret(), ..extension(&jobs[0], at(100)) };
        let extensions = vec![stale, extension(&jobs[1], at(200)), extension(&jobs[0], at(300))];
        let outcomes = queue.store.extend(&queue.name, extensions, at(1)).await.unwrap();
        assert_eq!(outcomes, [Extended::Lost, held(at(200)), held(at(300))]);
        assert_eq!((queue.get("a").await.at, queue.get("b").await.at), (at(300), at(200)));
        assert_eq!(queue.store.extend(&queue.name, vec![], at(1)).await.unwrap(), []);
    }

    async fn the_last_extension_of_a_job_in_a_call_counts(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let extensions = vec![extension(&job, at(200)), extension(&job, at(100))];
        let outcomes = queue.store.extend(&queue.name, extensions, at(1)).await.unwrap();
        assert_eq!(outcomes, [held(at(200)), held(at(100))]);
        assert_eq!(queue.get("a").await.at, at(100));
        assert_eq!(queue.overdue(at(100)).await.len(), 1);
    }

    async fn an_extension_tells_its_event_if_it_has_one(queue: Queue) {
        let job = queue.add_leased("a", spec()).await;
        let log = queue.store.log_end(&queue.name).await.unwrap();
        queue.extend(extension(&job, at(60)), at(1)).await;
        assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), log);
        let event = progress_event(&queue, "a", at(2));
        let extended = Extension { event: Some(event.clone()), ..extension(&job, at(60)) };
        queue.extend(extended, at(2)).await;
        let told = queue.events().await.pop().unwrap();
        assert_eq!((told.kind, told.at), (event.kind, event.at));
        assert_eq!((told.progress, told.attempt), (event.progress, event.attempt));
        assert_eq!(told.worker, Some(worker("worker")), "the store knows who holds the job");
    }
);

fn full() -> Spec {
    Spec { payload: Some(payload("work")), priority: 3, ..spec() }
}

fn progress_event(queue: &Queue, id: &str, now: Timestamp) -> Event {
    let id: JobId = id_of(id);
    let mut event = Event::new(EventKind::Progress, now, queue.name.clone(), id, State::Leased);
    event.from = Some(State::Leased);
    event.attempt = 1;
    event.progress = Some(Progress { percent: 12.5, ..Progress::default() });
    event
}

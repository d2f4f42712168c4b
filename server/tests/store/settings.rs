//! What [`Store::settings`](crate::store::Store::settings) and
//! [`Store::set_settings`](crate::store::Store::set_settings) promise.

use crate::fixture::{Queue, at, kept, seconds, spec, tireless};
use crate::job::push::{ClientErrors, Secret};
use crate::job::queue::{Health, RateLimit};
use crate::job::{EventKind, Push, QueueSettings};
use crate::store::{Guarded, Signal};

/// Settings that use every field.
fn full() -> QueueSettings {
    QueueSettings {
        revision: 0,
        paused: true,
        retry: Some(tireless()),
        lease_duration: Some(seconds(7)),
        attempt_timeout: Some(seconds(70)),
        retention: Some(kept(seconds(9), Some(3))),
        max_leased: Some(5),
        rate_limit: Some(RateLimit { permits: 3, period: seconds(2), burst: 4 }),
        max_jobs: Some(10),
        max_bytes: Some(1000),
        max_lease_losses: Some(6),
        health: Health {
            max_ready: 8,
            max_dead_ratio: 0.25,
            max_oldest_ready_age: Some(seconds(1)),
        },
        push: Some(Push {
            headers: [("X-Tenant".to_owned(), "a".to_owned().into())].into(),
            timeout: seconds(3),
            max_parallel: 2,
            client_errors: ClientErrors::Retry,
            secrets: vec![Secret::of(vec![7; 24].into()), Secret::of(vec![8; 24].into())],
            ..Push::to("https://example.com/jobs")
        }),
    }
}

every_store!(
    async fn a_queue_that_nobody_set_up_has_no_settings(queue: Queue) {
        queue.add("a", spec()).await;
        assert_eq!(queue.store.settings(&queue.name).await.unwrap(), None);
    }

    async fn settings_are_read_back_as_they_were_written(queue: Queue) {
        assert_eq!(queue.write(&full(), at(0)).await, Guarded::Applied);
        let wanted = QueueSettings { revision: 1, ..full() };
        assert_eq!(queue.store.settings(&queue.name).await.unwrap(), Some(wanted));
        let other = queue.sibling("other");
        assert_eq!(other.store.settings(&other.name).await.unwrap(), None);
    }

    async fn settings_make_a_queue(queue: Queue) {
        queue.write(&QueueSettings::default(), at(0)).await;
        assert_eq!(queue.store.queues().await.unwrap(), vec![queue.name.clone()]);
        assert_eq!(queue.settings().await.revision, 1);
    }

    async fn settings_are_replaced_only_as_they_were_read(queue: Queue) {
        assert_eq!(queue.write(&full(), at(0)).await, Guarded::Applied);
        assert_eq!(queue.write(&full(), at(1)).await, Guarded::Lost);
        let mut settings = queue.settings().await;
        settings.max_leased = Some(99);
        assert_eq!(queue.write(&settings, at(2)).await, Guarded::Applied);
        assert_eq!(queue.write(&settings, at(3)).await, Guarded::Lost);
        let future = QueueSettings { revision: 9, ..settings.clone() };
        assert_eq!(queue.write(&future, at(3)).await, Guarded::Lost);
        assert_eq!(queue.settings().await, QueueSettings { revision: 2, ..settings });
    }

    async fn a_change_of_settings_is_told_and_one_that_was_lost_is_not(queue: Queue) {
        queue.write(&full(), at(5)).await;
        queue.write(&full(), at(6)).await;
        let events = queue.events().await;
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].kind, events[0].at), (EventKind::QueueUpdated, at(5)));
        assert_eq!((&events[0].job, events[0].to), (&None, None));
    }

    async fn a_change_of_settings_is_signalled(queue: Queue) {
        let mut signals = queue.signals().await;
        queue.write(&full(), at(0)).await;
        signals.expect(Signal::Settings(queue.name.clone())).await;
    }

    async fn settings_survive_the_jobs(queue: Queue) {
        queue.write(&full(), at(0)).await;
        queue.add("a", spec()).await;
        queue.delete("a", at(1)).await;
        queue.purge(at(100_000)).await;
        assert_eq!(queue.settings().await.max_jobs, full().max_jobs);
    }
);

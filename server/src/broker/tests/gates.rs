//! Workers at queues that give out no jobs for a while.

use super::*;
use crate::job::Event;
use crate::job::QueueSettings;
use crate::job::queue::RateLimit;

impl Running {
    async fn set(&self, queue: &str, change: impl FnOnce(&mut QueueSettings)) {
        let queue = name(queue);
        let mut settings = self.store.settings(&queue).await.unwrap().unwrap_or_default();
        change(&mut settings);
        let now = self.clock.now();
        let event = Event::of_queue(EventKind::QueueUpdated, now, queue.clone());
        let set = self.store.set_settings(&queue, &settings, &event, now).await.unwrap();
        assert_eq!(set, store::Guarded::Applied);
    }
}

#[tokio::test]
async fn a_paused_queue_says_so_and_a_worker_that_waits_is_served_when_it_is_resumed() {
    let running = running().await;
    let job = running.enqueue("a").await;
    running.set("a", |settings| settings.paused = true).await;
    let leased = running.lease(&["a"], Duration::ZERO).await;
    assert_eq!((leased.jobs, leased.empty), (vec![], Empty::Paused));
    let leased = running.lease(&["a", "b"], Duration::ZERO).await;
    assert_eq!((leased.jobs, leased.empty), (vec![], Empty::NoJobs));
    let mut waiting = Box::pin(running.lease(&["a"], LONG));
    assert!(waiting.as_mut().now_or_never().is_none());
    running.lease(&["a"], Duration::ZERO).await;
    running.set("a", |settings| settings.paused = false).await;
    assert_eq!(waiting.await.jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_full_queue_gives_out_the_next_job_when_one_is_settled() {
    let running = running().await;
    running.set("a", |settings| settings.max_leased = Some(1)).await;
    running.enqueue("a").await;
    let job = running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    let leased = running.lease(&["a"], Duration::ZERO).await;
    assert_eq!((leased.jobs, leased.empty), (vec![], Empty::Limited { until: None }));
    let (leased, settled) =
        tokio::join!(running.lease(&["a"], LONG), running.broker.ack(token, Ack::default()));
    assert_eq!(settled.unwrap().outcome, Outcome::Settled);
    assert_eq!(leased.jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_used_up_rate_says_until_when_and_wakes_who_waits_then() {
    let running = running().await;
    let second = Duration::from_secs(1);
    let limit = RateLimit { permits: 1, period: second, burst: 1 };
    running.set("a", |settings| settings.rate_limit = Some(limit)).await;
    running.enqueue("a").await;
    let job = running.enqueue("a").await;
    running.take("a").await;
    let leased = running.lease(&["a"], Duration::ZERO).await;
    let until = Some(START.after(second));
    assert_eq!((leased.jobs, leased.empty), (vec![], Empty::Limited { until }));
    let mut waiting = Box::pin(running.lease(&["a"], LONG));
    assert!(waiting.as_mut().now_or_never().is_none());
    running.lease(&["a"], Duration::ZERO).await;
    running.clock.advance(second);
    assert_eq!(waiting.await.jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn workers_of_different_types_do_not_wait_for_each_other() {
    let running = running().await;
    let spec = |job_type: &str| Spec { job_type: job_type.to_owned(), ..Spec::default() };
    let wish = |job_type: &str| {
        let types = vec![job_type.to_owned()];
        running.broker.lease(LeaseRequest { types, ..request(&["a"], LONG) })
    };
    let mut sms = Box::pin(wish("sms"));
    assert!(sms.as_mut().now_or_never().is_none());
    // A queue that holds jobs of another type only is not empty, but it is for this worker.
    let mail = NewJob::new(name("a"), spec("mail"));
    let first = running.broker.enqueue(mail.clone()).await.unwrap().job;
    running.broker.enqueue(mail).await.unwrap();
    assert_eq!(wish("mail").await.unwrap().jobs[0].name, first.name);
    let (leased, job) =
        tokio::join!(sms, running.broker.enqueue(NewJob::new(name("a"), spec("sms"))));
    assert_eq!(leased.unwrap().jobs[0].name, job.unwrap().job.name);
    running.stop().await;
}

#[tokio::test]
async fn the_settings_of_a_queue_complete_its_new_jobs() {
    let running = running().await;
    let minute = Duration::from_mins(1);
    running.enqueue("a").await;
    running.set("a", |settings| settings.lease_duration = Some(minute)).await;
    let job = running.enqueue("a").await;
    assert_eq!(job.spec.lease_duration, Some(minute));
    running.set("a", |settings| settings.max_jobs = Some(3)).await;
    running.enqueue("a").await;
    let full = running.broker.enqueue(new_job("a")).await.unwrap_err();
    assert!(matches!(full, Error::QueueFull { room, .. } if room.jobs == Some(3)), "{full}");
    let rehearsed = NewJob { validate_only: true, ..new_job("a") };
    assert_eq!(running.broker.enqueue(rehearsed).await.unwrap_err(), full);
    running.stop().await;
}

#[tokio::test]
async fn the_settings_of_a_queue_say_how_many_leases_may_be_lost() {
    let running = running().await;
    running.set("a", |settings| settings.max_lease_losses = Some(1)).await;
    let job = running.enqueue("a").await;
    running.take("a").await;
    running.clock.advance(Duration::from_secs(30));
    running.until(&job, State::Dead).await;
    running.stop().await;
}

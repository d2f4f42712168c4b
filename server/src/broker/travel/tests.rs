use std::sync::Arc;

use tokio::task::JoinHandle;

use super::*;
use crate::broker::enqueue::{NewJob, Start};
use crate::broker::lease::{LeaseRequest, Leased, QueuePattern};
use crate::broker::settle::{Ack, Nack};
use crate::clock::Clock;
use crate::job::schedule::{Overlap, Recurrence, Settings, Template};
use crate::job::transition::Disposition;
use crate::job::{EventKind, Job, QueueName, RetryPolicy, ScheduleId, Spec, State, WorkerId};
use crate::store::sqlite::SqliteStore;
use crate::store::{LogStart, Store};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A broker with all its tasks, and the way to move its clock.
struct Running {
    broker: Broker,
    traveller: Traveller,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

#[expect(clippy::disallowed_methods, reason = "the test is the owner of these tasks")]
async fn running() -> Running {
    let store: Arc<dyn Store> = SqliteStore::in_memory().await.unwrap();
    let (broker, tasks) = Broker::new(store, Clock::manual(START));
    let (traveller, travelling) = pair(broker.clone());
    let stop = CancellationToken::new();
    let tasks = vec![
        tokio::spawn(tasks.folding.run()),
        tokio::spawn(tasks.dispatching.run()),
        tokio::spawn(tasks.sweeping.run(stop.clone())),
        tokio::spawn(tasks.ticking.run(stop.clone())),
        tokio::spawn(travelling.run(stop.clone())),
    ];
    Running { broker, traveller, stop, tasks }
}

impl Running {
    async fn enqueue(&self, start: Start, spec: Spec) -> Job {
        let new = NewJob { start, ..NewJob::new(queue(), spec) };
        self.broker.enqueue(new).await.unwrap().job
    }

    async fn lease(&self, wait: Duration) -> Leased {
        let request = LeaseRequest {
            wait,
            ..LeaseRequest::new(vec![QueuePattern::Name(queue())], WorkerId::parse("w1").unwrap())
        };
        self.broker.lease(request).await.unwrap()
    }

    async fn advance(&self, span: Duration) -> Timestamp {
        self.traveller.advance(span).await.unwrap()
    }

    async fn read(&self, job: &Job) -> Job {
        self.broker.get(&job.name).await.unwrap()
    }

    /// When the queue told of this.
    async fn told(&self, kind: EventKind) -> Vec<Timestamp> {
        let entries = self.broker.store.log(&queue(), LogStart::Oldest, 10_000).await.unwrap();
        let events = entries.into_iter().flat_map(|entry| entry.events);
        events.filter(|event| event.kind == kind).map(|event| event.at).collect()
    }

    async fn stop(self) {
        self.stop.cancel();
        drop((self.broker, self.traveller));
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn queue() -> QueueName {
    QueueName::parse("reports").unwrap()
}

#[tokio::test]
async fn the_clock_moves_as_far_as_asked_and_no_farther() {
    let running = running().await;
    assert_eq!(running.advance(Duration::ZERO).await, START);
    assert_eq!(running.advance(HOUR).await, START.after(HOUR));
    assert_eq!(running.broker.clock().now(), START.after(HOUR));
    running.stop().await;
}

#[tokio::test]
async fn a_retry_comes_when_its_backoff_has_passed() {
    let running = running().await;
    let retry = RetryPolicy { initial_backoff: HOUR, jitter: 0.0, ..RetryPolicy::default() };
    let job = running.enqueue(Start::Now, Spec { retry, ..Spec::default() }).await;
    let leased = running.lease(Duration::ZERO).await;
    let nack = Nack { disposition: Disposition::Retry(None), failure: None, checkpoint: None };
    running.broker.nack(leased.jobs[0].token().unwrap(), nack).await.unwrap();
    running.advance(59 * MINUTE).await;
    assert_eq!(running.read(&job).await.state, State::Retrying);
    running.advance(MINUTE).await;
    assert_eq!(running.read(&job).await.state, State::Ready);
    running.stop().await;
}

#[tokio::test]
async fn what_falls_due_right_after_a_journey_needs_no_other_one() {
    let running = running().await;
    for _ in 0..20 {
        let job = running.enqueue(Start::Now, Spec::default()).await;
        running.lease(Duration::ZERO).await;
        // Its sweep of the queue may still be under way in the background.
        running.advance(MINUTE).await;
        let leased = running.lease(Duration::ZERO).await;
        let at_once = Disposition::Retry(Some(Duration::ZERO));
        let nack = Nack { disposition: at_once, failure: None, checkpoint: None };
        running.broker.nack(leased.jobs[0].token().unwrap(), nack).await.unwrap();
        let again = running.lease(HOUR).await;
        assert_eq!(again.jobs[0].name, job.name);
        let token = again.jobs[0].token().unwrap();
        running.broker.ack(token, Ack::default()).await.unwrap();
    }
    running.stop().await;
}

#[tokio::test]
async fn a_lease_ends_and_a_finished_job_is_forgotten_on_the_way() {
    let running = running().await;
    let job = running.enqueue(Start::Now, Spec::default()).await;
    running.lease(Duration::ZERO).await;
    running.advance(HOUR).await;
    let lost = running.read(&job).await;
    assert_eq!((lost.state, lost.counters.lease_losses), (State::Ready, 1));
    assert_eq!(lost.at, START.after(Duration::from_secs(30)));
    let leased = running.lease(Duration::ZERO).await;
    running.broker.ack(leased.jobs[0].token().unwrap(), Ack::default()).await.unwrap();
    running.advance(HOUR).await;
    assert!(running.broker.get(&job.name).await.is_err());
    running.stop().await;
}

#[tokio::test]
async fn a_schedule_fires_each_of_its_ticks_at_its_time() {
    let running = running().await;
    let settings = Settings {
        recurrence: Recurrence::every(MINUTE).unwrap(),
        overlap: Overlap::Allow,
        catch_up: Duration::ZERO,
        queue: queue(),
        job: Template::default(),
    };
    let id = ScheduleId::parse("minutely").unwrap();
    running.broker.create_schedule(id, settings).await.unwrap();
    running.advance(HOUR).await;
    let ticks: Vec<Timestamp> = (1..=60).map(|tick| START.after(MINUTE * tick)).collect();
    assert_eq!(running.told(EventKind::Created).await, ticks);
    running.stop().await;
}

#[tokio::test]
async fn a_waiting_worker_gets_a_job_when_its_time_comes_and_loses_it_in_the_same_journey() {
    let running = running().await;
    let job = running.enqueue(Start::In(10 * SECOND), Spec::default()).await;
    let (leased, _now) = tokio::join!(running.lease(MINUTE), async {
        // The worker is told apart from the journey by waiting already.
        running.broker.dispatcher.rest().await.unwrap();
        running.advance(HOUR).await
    });
    let lease = leased.jobs[0].lease.as_ref().unwrap();
    assert_eq!(lease.started, START.after(10 * SECOND));
    assert_eq!(running.told(EventKind::LeaseExpired).await, [START.after(40 * SECOND)]);
    assert_eq!(running.read(&job).await.state, State::Ready);
    running.stop().await;
}

#[tokio::test]
async fn a_wait_ends_when_the_clock_has_passed_it() {
    let running = running().await;
    let (leased, _now) = tokio::join!(running.lease(MINUTE), async {
        running.broker.dispatcher.rest().await.unwrap();
        running.advance(HOUR).await
    });
    assert!(leased.jobs.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn two_journeys_at_once_are_made_one_after_the_other() {
    let running = running().await;
    let (one, other) = tokio::join!(running.advance(HOUR), running.advance(MINUTE));
    assert_eq!(one.max(other), START.after(HOUR + MINUTE));
    running.stop().await;
}

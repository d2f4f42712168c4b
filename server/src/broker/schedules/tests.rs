use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::broker::settle::Ack;
use crate::clock::Clock;
use crate::job::schedule::{CronLine, Recurrence, Template, Zone};
use crate::job::{
    Dedup, DedupKey, DedupScope, LeaseToken, OnDuplicate, QueueName, QueueSettings, Spec, State,
    WorkerId,
};
use crate::store::faulty::{Fault, Faulty, Operation};
use crate::store::sqlite::SqliteStore;
use crate::store::{LogStart, Signal, Store};

/// A full hour.
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// One of the brokers of a store.
struct Replica {
    broker: Broker,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Replica {
    /// A broker that fires only when it is told to.
    #[expect(clippy::disallowed_methods, reason = "the test is the owner of these tasks")]
    fn still(store: &Arc<dyn Store>, clock: &Clock) -> Self {
        let (broker, tasks) = Broker::new(Arc::clone(store), clock.clone());
        let tasks = vec![tokio::spawn(tasks.folding.run()), tokio::spawn(tasks.dispatching.run())];
        Self { broker, stop: CancellationToken::new(), tasks }
    }

    /// A broker that fires by itself.
    #[expect(clippy::disallowed_methods, reason = "the test is the owner of these tasks")]
    fn ticking(store: &Arc<dyn Store>, clock: &Clock) -> Self {
        let (broker, tasks) = Broker::new(Arc::clone(store), clock.clone());
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(tasks.folding.run()),
            tokio::spawn(tasks.dispatching.run()),
            tokio::spawn(tasks.ticking.run(stop.clone())),
        ];
        Self { broker, stop, tasks }
    }

    /// Fires what is due, however often the store fails.
    async fn fire(&self, id: &ScheduleId) {
        while self.broker.fire_due(id).await.is_err() {}
    }

    async fn take(&self) -> LeaseToken {
        use crate::broker::lease::{LeaseRequest, QueuePattern};
        let request =
            LeaseRequest::new(vec![QueuePattern::Name(queue())], WorkerId::parse("w1").unwrap());
        let leased = self.broker.lease(request).await.unwrap();
        leased.jobs[0].token().unwrap()
    }

    async fn stop(self) {
        self.stop.cancel();
        drop(self.broker);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn memory() -> (Arc<dyn Store>, Clock) {
    (SqliteStore::in_memory().await.unwrap(), Clock::manual(START))
}

fn id() -> ScheduleId {
    ScheduleId::parse("nightly").unwrap()
}

fn queue() -> QueueName {
    QueueName::parse("reports").unwrap()
}

fn every(interval: Duration) -> Settings {
    Settings {
        recurrence: Recurrence::every(interval).unwrap(),
        overlap: Overlap::Allow,
        catch_up: Duration::ZERO,
        queue: queue(),
        job: Template::default(),
    }
}

/// Asks for a change of what was read.
fn with(schedule: &Schedule) -> Asked {
    Asked { etag: Some(schedule.etag()), ..Asked::default() }
}

/// The jobs that were ever made in the queue, by the time at which they were.
async fn made(store: &Arc<dyn Store>) -> Vec<Timestamp> {
    let entries = store.log(&queue(), LogStart::Oldest, 10_000).await.unwrap();
    let events = entries.into_iter().flat_map(|entry| entry.events);
    let created = events.filter(|event| event.kind == crate::job::EventKind::Created);
    created.map(|event| event.at).collect()
}

/// Waits until the schedule has fired this tick.
async fn fired(store: &Arc<dyn Store>, broker: &Broker, tick: Timestamp) {
    let mut signals = store.signals();
    while broker.schedule(&id()).await.unwrap().fired != Some(tick) {
        while signals.recv().await.unwrap() != Signal::Documents(Kind::Schedule) {}
    }
}

#[tokio::test]
async fn two_brokers_fire_each_tick_once() {
    let (store, clock) = memory().await;
    let (one, other) = (Replica::ticking(&store, &clock), Replica::ticking(&store, &clock));
    one.broker.create_schedule(id(), every(MINUTE)).await.unwrap();
    for tick in 1..=5 {
        clock.advance(MINUTE);
        fired(&store, &other.broker, START.after(MINUTE * tick)).await;
    }
    one.stop().await;
    other.stop().await;
    let ticks: Vec<Timestamp> = (1..=5).map(|tick| START.after(MINUTE * tick)).collect();
    assert_eq!(made(&store).await, ticks);
}

#[tokio::test]
async fn a_tick_whose_broker_dies_before_it_moves_the_schedule_on_fires_once() {
    let (store, clock) = memory().await;
    let faulty = Arc::new(Faulty::new(Arc::clone(&store)));
    let dying = Replica::still(&(Arc::clone(&faulty) as Arc<dyn Store>), &clock);
    let heir = Replica::still(&store, &clock);
    heir.broker.create_schedule(id(), every(MINUTE)).await.unwrap();
    for (tick, fault) in [(1, Fault::Before), (2, Fault::After)] {
        clock.advance(MINUTE);
        faulty.fail_next(Operation::PutDocuments, fault);
        assert!(dying.broker.fire_due(&id()).await.is_err());
        assert_eq!(made(&store).await.len(), tick, "the job is made before {fault:?}");
        heir.broker.fire_due(&id()).await.unwrap();
        assert_eq!(made(&store).await.len(), tick, "and not again after {fault:?}");
        let schedule = heir.broker.schedule(&id()).await.unwrap();
        assert_eq!(schedule.fired, Some(clock.now()));
        assert!(heir.broker.get(&schedule.last_job.unwrap()).await.is_ok());
        assert_eq!(schedule.next, Some(clock.now().after(MINUTE)));
    }
    dying.stop().await;
    heir.stop().await;
}

#[tokio::test]
async fn each_tick_fires_once_whatever_fails() {
    let (store, clock) = memory().await;
    let mut replicas = Vec::new();
    for seed in 1..=3 {
        let faulty = Faulty::new(Arc::clone(&store));
        faulty.fail_at_random(seed, 0.3);
        replicas.push(Replica::still(&(Arc::new(faulty) as Arc<dyn Store>), &clock));
    }
    let healthy = Replica::still(&store, &clock);
    healthy.broker.create_schedule(id(), every(MINUTE)).await.unwrap();
    let id = id();
    for _ in 0..50 {
        clock.advance(MINUTE);
        futures_util::future::join_all(replicas.iter().map(|replica| replica.fire(&id))).await;
    }
    let ticks: Vec<Timestamp> = (1..=50).map(|tick| START.after(MINUTE * tick)).collect();
    assert_eq!(made(&store).await, ticks);
    for replica in replicas {
        replica.stop().await;
    }
    healthy.stop().await;
}

#[tokio::test]
async fn a_broker_that_restarts_in_time_fires_the_tick_it_was_away_for() {
    let (store, clock) = memory().await;
    let first = Replica::ticking(&store, &clock);
    first.broker.create_schedule(id(), every(HOUR)).await.unwrap();
    first.stop().await;
    clock.advance(HOUR + Duration::from_secs(10));
    let second = Replica::ticking(&store, &clock);
    fired(&store, &second.broker, START.after(HOUR)).await;
    second.stop().await;
    assert_eq!(made(&store).await, [clock.now()]);
}

#[tokio::test]
async fn missed_ticks_are_dropped_or_made_up_for_as_the_schedule_says() {
    for (catch_up, expected) in [(0, 0), (2, 2), (24, 5)] {
        let (store, clock) = memory().await;
        let first = Replica::still(&store, &clock);
        let settings = Settings { catch_up: HOUR * catch_up, ..every(HOUR) };
        first.broker.create_schedule(id(), settings).await.unwrap();
        first.stop().await;
        clock.advance(HOUR * 5 + MINUTE);
        let second = Replica::still(&store, &clock);
        second.broker.fire_due(&id()).await.unwrap();
        assert_eq!(made(&store).await.len(), expected, "catch_up of {catch_up} h");
        let schedule = second.broker.schedule(&id()).await.unwrap();
        assert_eq!(schedule.next, Some(START.after(HOUR * 6)));
        second.stop().await;
    }
}

#[tokio::test]
async fn a_schedule_that_skips_does_not_fire_while_its_last_job_is_unfinished() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let settings = Settings { overlap: Overlap::Skip, ..every(MINUTE) };
    replica.broker.create_schedule(id(), settings).await.unwrap();
    let mut counts = Vec::new();
    for tick in 1..=4 {
        clock.advance(MINUTE);
        replica.broker.fire_due(&id()).await.unwrap();
        counts.push(made(&store).await.len());
        if tick == 2 {
            let token = replica.take().await;
            replica.broker.ack(token, Ack::default()).await.unwrap();
        }
    }
    assert_eq!(counts, [1, 1, 2, 2]);
    let schedule = replica.broker.schedule(&id()).await.unwrap();
    assert_eq!(schedule.fired, Some(START.after(MINUTE * 3)));
    replica.stop().await;
}

#[tokio::test]
async fn of_missed_ticks_a_schedule_that_skips_makes_up_for_one() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let settings = Settings { overlap: Overlap::Skip, catch_up: HOUR, ..every(MINUTE) };
    replica.broker.create_schedule(id(), settings).await.unwrap();
    clock.advance(MINUTE * 10);
    replica.broker.fire_due(&id()).await.unwrap();
    assert_eq!(made(&store).await.len(), 1);
    replica.stop().await;
}

#[tokio::test]
async fn what_is_due_fires_before_an_operator_changes_the_schedule() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    replica.broker.create_schedule(id(), every(MINUTE)).await.unwrap();
    clock.advance(MINUTE);
    replica.broker.pause_schedule(&id(), &Asked::default()).await.unwrap();
    assert_eq!(made(&store).await.len(), 1);
    clock.advance(MINUTE);
    let resumed = replica.broker.resume_schedule(&id(), &Asked::default()).await.unwrap();
    assert_eq!(resumed.next, Some(START.after(MINUTE * 3)));
    clock.advance(MINUTE);
    replica.broker.delete_schedule(&id(), &Asked::default()).await.unwrap();
    assert_eq!(made(&store).await.len(), 2);
    replica.stop().await;
}

#[tokio::test]
async fn other_settings_take_the_place_of_the_former_ones() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    replica.broker.create_schedule(id(), every(HOUR)).await.unwrap();
    let settings = |present: &Schedule| -> Result<Settings> {
        Ok(Settings { overlap: present.settings.overlap, ..every(MINUTE) })
    };
    let updated = replica.broker.update_schedule(&id(), &Asked::default(), settings).await.unwrap();
    assert_eq!(updated.next, Some(START.after(MINUTE)));
    let refused = |_: &Schedule| Err(Error::Overloaded);
    let error =
        replica.broker.update_schedule(&id(), &Asked::default(), refused).await.unwrap_err();
    assert_eq!(error, Error::Overloaded);
    assert_eq!(replica.broker.schedule(&id()).await.unwrap(), updated);
    replica.stop().await;
}

#[tokio::test]
async fn an_etag_holds_until_an_operator_changes_the_schedule() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let created = replica.broker.create_schedule(id(), every(MINUTE)).await.unwrap();
    clock.advance(MINUTE);
    // It fires, which is no change.
    let paused = replica.broker.pause_schedule(&id(), &with(&created)).await.unwrap();
    assert_eq!(paused.fired, Some(clock.now()));
    let stale = with(&created);
    let broker = &replica.broker;
    assert_eq!(broker.resume_schedule(&id(), &stale).await, Err(Error::EtagMismatch));
    assert_eq!(broker.delete_schedule(&id(), &stale).await, Err(Error::EtagMismatch));
    assert_eq!(broker.trigger_schedule(&id(), &stale).await, Err(Error::EtagMismatch));
    assert_eq!(broker.schedule(&id()).await, Ok(paused.clone()));
    broker.delete_schedule(&id(), &with(&paused)).await.unwrap();
    assert_eq!(broker.schedule(&id()).await, Err(Error::NoSchedule(id())));
    replica.stop().await;
}

#[tokio::test]
async fn a_name_is_given_once() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let created = replica.broker.create_schedule(id(), every(MINUTE)).await.unwrap();
    let again = replica.broker.create_schedule(id(), every(HOUR)).await;
    assert_eq!(again, Err(Error::ScheduleExists(id())));
    assert_eq!(replica.broker.schedules().await, Ok(vec![created]));
    replica.stop().await;
}

#[tokio::test]
async fn pages_go_on_after_the_last_name_even_when_it_is_gone() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let ids = ["a", "b", "c", "d"].map(|id| ScheduleId::parse(id).unwrap());
    for id in &ids {
        replica.broker.create_schedule(id.clone(), every(HOUR)).await.unwrap();
    }
    let page = async |backward, page_token| {
        let query = ScheduleQuery { backward, size: 2, page_token, known: None };
        let (schedules, next) = replica.broker.list_schedules(&query).await.unwrap();
        let ids: Vec<String> = schedules.iter().map(|schedule| schedule.id.to_string()).collect();
        (ids.concat(), next)
    };
    let (first, next) = page(false, String::new()).await;
    replica.broker.delete_schedule(&ids[1], &Asked::default()).await.unwrap();
    let (second, end) = page(false, next.clone()).await;
    assert_eq!((first.as_str(), second.as_str(), end.as_str()), ("ab", "cd", ""));
    assert_eq!(page(true, String::new()).await.0, "dc");
    let other_order = ScheduleQuery { backward: true, size: 2, page_token: next, known: None };
    assert_eq!(replica.broker.list_schedules(&other_order).await, Err(Error::BadPageToken));
    replica.stop().await;
}

#[tokio::test]
async fn a_schedule_made_anew_under_the_same_name_fires_anew() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let line = CronLine::parse("* * * * *").unwrap();
    let recurrence = Recurrence::Cron { line, zone: Zone::utc() };
    let settings = Settings { recurrence, ..every(MINUTE) };
    for _ in 0..2 {
        clock.advance(Duration::from_secs(10));
        replica.broker.create_schedule(id(), settings.clone()).await.unwrap();
        clock.advance(MINUTE);
        replica.broker.delete_schedule(&id(), &Asked::default()).await.unwrap();
    }
    assert_eq!(made(&store).await.len(), 2);
    replica.stop().await;
}

#[tokio::test]
async fn a_trigger_makes_a_job_besides_the_ticks() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let job = Template {
        delay: Some(MINUTE),
        spec: Spec { job_type: "weekly".to_owned(), ..Spec::default() },
        ..Template::default()
    };
    let settings = Settings { job, ..every(HOUR) };
    replica.broker.create_schedule(id(), settings).await.unwrap();
    replica.broker.pause_schedule(&id(), &Asked::default()).await.unwrap();
    clock.advance(MINUTE);
    let why = Asked { reason: "the board asks".to_owned(), ..Asked::default() };
    let one = replica.broker.trigger_schedule(&id(), &why).await.unwrap();
    let told = store.recent(&queue(), 1).await.unwrap();
    assert_eq!(told[0].events[0].reason, "schedules/nightly: the board asks");
    let other = replica.broker.trigger_schedule(&id(), &Asked::default()).await.unwrap();
    assert_ne!(one.name, other.name);
    assert_eq!((one.spec.job_type.as_str(), one.state), ("weekly", State::Scheduled));
    assert_eq!(one.spec.scheduled, Some(clock.now().after(MINUTE)));
    let schedule = replica.broker.schedule(&id()).await.unwrap();
    assert_eq!((schedule.fired, schedule.next), (Some(clock.now()), None));
    replica.stop().await;
}

#[tokio::test]
async fn a_tick_that_finds_its_queue_full_fires_when_there_is_room() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let narrow = |settings: &mut QueueSettings| settings.max_jobs = Some(1);
    replica.broker.update_queue(&queue(), &Asked::default(), narrow).await.unwrap();
    replica.broker.create_schedule(id(), every(HOUR)).await.unwrap();
    let triggered = replica.broker.trigger_schedule(&id(), &Asked::default()).await;
    assert!(triggered.is_ok());
    clock.advance(HOUR);
    let full = replica.broker.fire_due(&id()).await.err();
    assert!(matches!(full, Some(Error::QueueFull { .. })), "{full:?}");
    let token = replica.take().await;
    replica.broker.ack(token, Ack::default()).await.unwrap();
    replica.broker.fire_due(&id()).await.unwrap();
    let schedule = replica.broker.schedule(&id()).await.unwrap();
    assert_eq!(schedule.fired, Some(clock.now()));
    assert_eq!(made(&store).await.len(), 2);
    replica.stop().await;
}

#[tokio::test]
async fn a_tick_whose_job_is_refused_for_good_is_passed_over() {
    let (store, clock) = memory().await;
    let replica = Replica::still(&store, &clock);
    let dedup = Dedup {
        key: DedupKey::parse("one at a time").unwrap(),
        scope: DedupScope::UntilFinished { cap: None },
        on_duplicate: OnDuplicate::Reject,
    };
    let spec = Spec { dedup: Some(dedup), ..Spec::default() };
    let job = Template { spec, ..Template::default() };
    let settings = Settings { job, ..every(HOUR) };
    replica.broker.create_schedule(id(), settings).await.unwrap();
    for hour in 1..=2 {
        clock.advance(HOUR);
        replica.broker.fire_due(&id()).await.unwrap();
        let schedule = replica.broker.schedule(&id()).await.unwrap();
        assert_eq!(schedule.fired, Some(START.after(HOUR)));
        assert_eq!(schedule.next, Some(START.after(HOUR * (hour + 1))));
    }
    assert_eq!(made(&store).await.len(), 1);
    replica.stop().await;
}

#[tokio::test]
async fn a_broker_follows_what_another_one_makes_of_a_schedule() {
    let (store, clock) = memory().await;
    let (ticking, still) = (Replica::ticking(&store, &clock), Replica::still(&store, &clock));
    still.broker.create_schedule(id(), every(HOUR)).await.unwrap();
    let settings = |_: &Schedule| -> Result<Settings> { Ok(every(MINUTE)) };
    still.broker.update_schedule(&id(), &Asked::default(), settings).await.unwrap();
    clock.advance(MINUTE);
    fired(&store, &still.broker, START.after(MINUTE)).await;
    still.broker.delete_schedule(&id(), &Asked::default()).await.unwrap();
    clock.advance(MINUTE);
    still.broker.create_schedule(id(), every(HOUR)).await.unwrap();
    clock.advance(HOUR);
    fired(&store, &still.broker, START.after(MINUTE * 2 + HOUR)).await;
    ticking.stop().await;
    still.stop().await;
    assert_eq!(made(&store).await.len(), 2);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_read_stops_no_other() {
    let (store, clock) = memory().await;
    let put = Put { key: "broken".to_owned(), expected: None, body: Some(Bytes::from("\u{ff}")) };
    store.put_documents(Kind::Schedule, vec![put]).await.unwrap();
    let replica = Replica::ticking(&store, &clock);
    replica.broker.create_schedule(id(), every(MINUTE)).await.unwrap();
    clock.advance(MINUTE);
    fired(&store, &replica.broker, START.after(MINUTE)).await;
    let broken = ScheduleId::parse("broken").unwrap();
    assert!(matches!(replica.broker.schedule(&broken).await, Err(Error::Corrupt { .. })));
    replica.stop().await;
}

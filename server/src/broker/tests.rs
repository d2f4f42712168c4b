//! The use cases on a real store in memory, with a clock that the tests move.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::enqueue::{NewJob, Outcome as EnqueueOutcome};
use super::lease::{Empty, LeaseRequest, Leased, Order, QueuePattern};
use super::settle::{Ack, Extend, Nack, Outcome};
use super::watch::{WatchRequest, WatchStart};
use super::*;
use crate::clock::Timestamp;
use crate::job::transition::Disposition;
use crate::job::{EventKind, Job, LeaseToken, QueueName, RequestId, Spec, WorkerId};
use crate::store::LogStart;
use crate::store::faulty::{Fault, Faulty, Operation};
use crate::store::sqlite::SqliteStore;

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A broker whose tasks run.
struct Running {
    broker: Broker,
    store: Arc<dyn Store>,
    clock: Clock,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

async fn running() -> Running {
    running_on(SqliteStore::in_memory().await.unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the test is the owner of these tasks")]
fn running_on(store: Arc<dyn Store>) -> Running {
    let clock = Clock::manual(START);
    let (broker, tasks) = Broker::new(Arc::clone(&store), clock.clone());
    let stop = CancellationToken::new();
    let tasks = vec![
        tokio::spawn(tasks.folding.run()),
        tokio::spawn(tasks.dispatching.run()),
        tokio::spawn(tasks.sweeping.run(stop.clone())),
        tokio::spawn(tasks.watching.run(stop.clone())),
        tokio::spawn(tasks.working.run(stop.clone())),
    ];
    Running { broker, store, clock, stop, tasks }
}

impl Running {
    async fn enqueue(&self, queue: &str) -> Job {
        self.broker.enqueue(new_job(queue)).await.unwrap().job
    }

    async fn lease(&self, queues: &[&str], wait: Duration) -> Leased {
        self.broker.lease(request(queues, wait)).await.unwrap()
    }

    /// Leases the one job that is ready.
    async fn take(&self, queue: &str) -> (Job, LeaseToken) {
        let leased = self.lease(&[queue], Duration::ZERO).await;
        let job = leased.jobs.into_iter().next().expect("a job is ready");
        let token = job.token().unwrap();
        (job, token)
    }

    /// The store calls that moved something in `queue`.
    async fn moves(&self, queue: &str) -> usize {
        self.store.log(&name(queue), LogStart::Oldest, 10_000).await.unwrap().len()
    }

    async fn state(&self, job: &Job) -> State {
        self.broker.get(&job.name).await.unwrap().state
    }

    /// Waits until the sweeper has made something of the queue's due jobs.
    async fn until(&self, job: &Job, state: State) {
        let mut signals = self.store.signals();
        while self.state(job).await != state {
            let _any = signals.recv().await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        drop(self.broker);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// A broker on a store that fails, holds back and counts.
async fn on_faulty() -> (Running, Arc<Faulty>) {
    let faulty = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
    (running_on(Arc::clone(&faulty) as Arc<dyn Store>), faulty)
}

fn name(queue: &str) -> QueueName {
    QueueName::parse(queue).unwrap()
}

fn new_job(queue: &str) -> NewJob {
    NewJob::new(name(queue), Spec::default())
}

fn request(queues: &[&str], wait: Duration) -> LeaseRequest {
    let pattern = |text: &&str| match text.strip_suffix('*') {
        Some(prefix) => QueuePattern::Prefix(prefix.to_owned()),
        None => QueuePattern::Name(name(text)),
    };
    LeaseRequest {
        queues: queues.iter().map(pattern).collect(),
        worker: WorkerId::parse("w1").unwrap(),
        max_jobs: 1,
        max_bytes: 3 << 20,
        order: Order::Fair,
        types: Vec::new(),
        linger: None,
        lease_duration: None,
        wait,
        request: None,
        profile: None,
    }
}

const LONG: Duration = Duration::from_mins(1);

mod fold;
mod gates;
mod handover;
mod linger;
mod settle;
mod subscription;
mod wait;
mod work;
mod workers;

#[tokio::test]
async fn a_waiting_worker_gets_the_job_that_comes() {
    let running = running().await;
    let (leased, job) = tokio::join!(running.lease(&["a"], LONG), running.enqueue("a"));
    assert_eq!(leased.jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_worker_of_a_prefix_gets_a_job_of_a_queue_that_did_not_exist() {
    let running = running().await;
    let (leased, job) = tokio::join!(running.lease(&["mail-*"], LONG), async {
        running.enqueue("other").await;
        running.enqueue("mail-eu").await
    });
    assert_eq!(leased.jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_waits_in_vain_is_answered_empty_at_the_end_of_its_wait() {
    let running = running().await;
    let mut waiting = Box::pin(running.lease(&["a", "b"], Duration::from_secs(5)));
    assert!(waiting.as_mut().now_or_never().is_none());
    // The first look is under way; the clock alone ends the wait.
    let (leased, ()) =
        tokio::join!(waiting, async { running.clock.advance(Duration::from_secs(5)) });
    assert_eq!((leased.jobs, leased.empty), (vec![], Empty::NoJobs));
    running.stop().await;
}

#[tokio::test]
async fn workers_are_served_in_the_order_in_which_they_came() {
    let running = running().await;
    let mut first = Box::pin(running.lease(&["a"], LONG));
    let mut second = Box::pin(running.lease(&["a"], LONG));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    // Both have looked once a later worker, served behind them, has.
    running.lease(&["a"], Duration::ZERO).await;
    let job = running.enqueue("a").await;
    assert_eq!(first.await.jobs[0].name, job.name);
    let job = running.enqueue("a").await;
    assert_eq!(second.await.jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn one_batch_of_jobs_serves_all_waiting_workers_in_one_step() {
    let running = running().await;
    let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(running.lease(&["a"], LONG))).collect();
    for one in &mut waiting {
        assert!(one.as_mut().now_or_never().is_none());
    }
    // All have looked once a later worker, served behind them, has.
    running.lease(&["a"], Duration::ZERO).await;
    running.broker.enqueue_all((0..20).map(|_| new_job("a")).collect(), None).await.unwrap();
    for leased in join_all(waiting).await {
        assert_eq!(leased.jobs.len(), 1);
    }
    assert_eq!(running.moves("a").await, 1, "one insert that leases");
    running.stop().await;
}

#[tokio::test]
async fn a_claim_that_was_full_by_bytes_leaves_no_job_stranded() {
    let running = running().await;
    let wish = || LeaseRequest { max_jobs: 100, max_bytes: 1, ..request(&["a"], LONG) };
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(running.broker.lease(wish()))).collect();
    for one in &mut waiting {
        assert!(one.as_mut().now_or_never().is_none());
    }
    running.lease(&["a"], Duration::ZERO).await;
    running.broker.enqueue_all((0..5).map(|_| new_job("a")).collect(), None).await.unwrap();
    for leased in join_all(waiting).await {
        assert_eq!(leased.unwrap().jobs.len(), 1, "one job is more than the bytes allow");
    }
    // Workers that come later and would wait find what is left.
    for _ in 0..2 {
        assert_eq!(running.broker.lease(wish()).await.unwrap().jobs.len(), 1);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_goes_away_waiting_leaves_no_lease_behind() {
    let running = running().await;
    let mut waiting = Box::pin(running.lease(&["a"], LONG));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(waiting);
    let job = running.enqueue("a").await;
    assert_eq!(running.state(&job).await, State::Ready);
    running.stop().await;
}

#[tokio::test]
async fn a_job_taken_for_a_worker_that_went_away_goes_back_uncounted() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let mut asking = Box::pin(running.lease(&["a"], LONG));
    // Poll until the job is taken, but never receive it.
    assert!(asking.as_mut().now_or_never().is_none());
    running.until(&job, State::Leased).await;
    drop(asking);
    running.until(&job, State::Ready).await;
    let job = running.broker.get(&job.name).await.unwrap();
    assert_eq!((job.counters.attempts, job.counters.deliveries), (0, 1));
    assert_eq!(job.details.attempts, []);
    running.stop().await;
}

#[tokio::test]
async fn a_repeated_lease_request_answers_the_same_leases_over_several_queues() {
    let running = running().await;
    let job = running.enqueue("b").await;
    let mut request = request(&["a", "b", "c"], Duration::ZERO);
    request.request = Some(RequestId::parse("6f0c8a5e-3a54-4a53-9a0a-3b1b5b5d8f10").unwrap());
    let first = running.broker.lease(request.clone()).await.unwrap();
    // New jobs elsewhere must not be taken instead.
    running.enqueue("a").await;
    running.enqueue("c").await;
    let again = running.broker.lease(request).await.unwrap();
    assert_eq!(first.jobs, again.jobs);
    assert_eq!(again.jobs[0].name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn concurrent_enqueues_ride_in_few_store_calls() {
    let running = running().await;
    // The first one reads the settings of the queue, which would string out the others.
    running.enqueue("a").await;
    let calls = (0..128).map(|_| running.enqueue("a"));
    assert_eq!(join_all(calls).await.len(), 128);
    let inserts = running.moves("a").await - 1;
    assert!(inserts <= 3, "{inserts} inserts");
    running.stop().await;
}

#[tokio::test]
async fn concurrent_acks_ride_in_few_store_calls() {
    let running = running().await;
    running.broker.enqueue_all((0..128).map(|_| new_job("a")).collect(), None).await.unwrap();
    let leased = LeaseRequest { max_jobs: 128, ..request(&["a"], Duration::ZERO) };
    let leased = running.broker.lease(leased).await.unwrap();
    let before = running.moves("a").await;
    let acks =
        leased.jobs.iter().map(|job| running.broker.ack(job.token().unwrap(), Ack::default()));
    for settled in join_all(acks).await {
        assert_eq!(settled.unwrap().outcome, Outcome::Settled);
    }
    assert!(running.moves("a").await - before <= 3);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_over_several_queues_answers_in_its_order() {
    let running = running().await;
    let jobs = ["a", "b", "a", "c"].map(new_job);
    let answers = running.broker.enqueue_each((0..).zip(jobs).collect(), None).await;
    let queues: Vec<String> =
        answers.iter().map(|one| one.as_ref().unwrap().job.name.queue.to_string()).collect();
    assert_eq!(queues, ["a", "b", "a", "c"]);
    running.stop().await;
}

#[tokio::test]
async fn one_taken_id_keeps_the_whole_batch_out() {
    let running = running().await;
    let taken = running.enqueue("a").await;
    let mut clash = new_job("a");
    clash.id = Some(taken.name.id.clone());
    let answers = running.broker.enqueue_all(vec![new_job("a"), clash], None).await.unwrap();
    assert_eq!(answers[0].as_ref().unwrap_err(), &Error::Withheld);
    assert!(matches!(answers[1], Err(Error::Exists { state: State::Ready, .. })));
    assert_eq!(running.broker.stats(&name("a")).await.unwrap().survey.counts.ready, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_repeated_request_answers_its_first_job() {
    let running = running().await;
    let mut new = new_job("a");
    let id = RequestId::parse("6f0c8a5e-3a54-4a53-9a0a-3b1b5b5d8f10").unwrap();
    new.request = Some(store::Request { id, digest: 1 });
    let first = running.broker.enqueue(new.clone()).await.unwrap();
    let again = running.broker.enqueue(new.clone()).await.unwrap();
    assert_eq!(again.outcome, EnqueueOutcome::Replayed);
    assert_eq!(again.job.name, first.job.name);
    new.request = Some(store::Request { id, digest: 2 });
    assert_eq!(running.broker.enqueue(new).await.unwrap_err(), Error::RequestReused);
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_runs_out_is_swept_and_the_job_ready_again() {
    let running = running().await;
    let job = running.enqueue("a").await;
    running.take("a").await;
    running.clock.advance(Duration::from_secs(30));
    running.until(&job, State::Ready).await;
    let job = running.broker.get(&job.name).await.unwrap();
    assert_eq!((job.counters.attempts, job.counters.lease_losses), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn an_extended_lease_is_not_swept() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let marker = running.enqueue("b").await;
    let (_, token) = running.take("a").await;
    running.take("b").await;
    let extend = Extend { lease_duration: Some(LONG), ..Extend::default() };
    assert_eq!(running.broker.extend(token, extend).await.unwrap().until, START.after(LONG));
    running.clock.advance(Duration::from_secs(30));
    // The other lease, equally old, is swept: so the sweeper has looked.
    running.until(&marker, State::Ready).await;
    assert_eq!(running.state(&job).await, State::Leased);
    running.stop().await;
}

#[tokio::test]
async fn a_failed_job_comes_back_after_its_backoff_to_a_waiting_worker() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    let nack = Nack { disposition: Disposition::Retry(None), failure: None, checkpoint: None };
    let settled = running.broker.nack(token, nack).await.unwrap();
    assert_eq!(settled.job.state, State::Retrying);
    let (leased, ()) = tokio::join!(running.lease(&["a"], LONG), async {
        running.clock.advance(Duration::from_secs(2));
    });
    assert_eq!(leased.jobs[0].name, job.name);
    assert_eq!(leased.jobs[0].counters.attempts, 2);
    running.stop().await;
}

#[tokio::test]
async fn an_ack_after_the_lease_ran_out_counts_when_nobody_took_the_job() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    running.clock.advance(Duration::from_secs(30));
    running.until(&job, State::Ready).await;
    let settled = running.broker.ack(token, Ack::default()).await.unwrap();
    assert_eq!(settled.outcome, Outcome::SettledLate);
    assert!(running.lease(&["a"], Duration::ZERO).await.jobs.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn an_ack_of_a_lease_that_another_holds_is_refused() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (_, lost) = running.take("a").await;
    running.clock.advance(Duration::from_secs(30));
    running.until(&job, State::Ready).await;
    let (_, held) = running.take("a").await;
    let refused = running.broker.ack(lost, Ack::default()).await.unwrap_err();
    assert!(matches!(refused, Error::LeaseLost { state: Some(State::Leased), attempt: 2, .. }));
    assert_eq!(running.broker.ack(held, Ack::default()).await.unwrap().outcome, Outcome::Settled);
    running.stop().await;
}

#[tokio::test]
async fn draining_answers_those_who_wait_and_lets_settles_through() {
    let running = running().await;
    running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    let mut waiting = Box::pin(running.lease(&["a"], LONG));
    assert!(waiting.as_mut().now_or_never().is_none());
    running.broker.drain();
    assert_eq!(waiting.await.empty, Empty::Draining);
    assert_eq!(running.lease(&["a"], LONG).await.empty, Empty::Draining);
    assert_eq!(running.broker.ack(token, Ack::default()).await.unwrap().outcome, Outcome::Settled);
    running.stop().await;
}

#[tokio::test]
async fn a_watch_resumes_strictly_after_its_cursor() {
    let running = running().await;
    let watch = |start| WatchRequest {
        kinds: vec![EventKind::Created, EventKind::Succeeded],
        start,
        bookmark_interval: LONG,
        ..WatchRequest::default()
    };
    let mut first = running.broker.watch(watch(WatchStart::Now)).await.unwrap();
    let begin = first.next().await.unwrap().unwrap();
    assert_eq!(begin.events.len(), 0, "a cursor before the first event");
    let job = running.enqueue("a").await;
    let mut resumed = running.broker.watch(watch(WatchStart::Cursor(begin.cursor))).await.unwrap();
    let page = resumed.next().await.unwrap().unwrap();
    assert_eq!(page.events[0].event.job, Some(job.name.id.clone()));
    let page = first.next().await.unwrap().unwrap();
    assert_eq!(page.events[0].event.kind, EventKind::Created);
    let (_, token) = running.take("a").await;
    running.broker.ack(token, Ack::default()).await.unwrap();
    let mut second = running.broker.watch(watch(WatchStart::Cursor(page.cursor))).await.unwrap();
    let page = second.next().await.unwrap().unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.events[0].event.kind, EventKind::Succeeded);
    assert_eq!(page.events[0].event.job, Some(job.name.id));
    running.stop().await;
}

//! The rules of a worker's stream.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use super::*;
use crate::broker::settle::{Answer, Settle};
use crate::broker::work::{
    Body, Delivery, Directive, End, Frame, Hello, Lost, Outlet, Reply, Welcome,
};
use crate::job::Payload;
use crate::store::faulty::{Fault, Faulty, Operation};

type Wrong = &'static str;

/// A worker's end of its stream.
struct Worker {
    frames: mpsc::UnboundedSender<Frame<Wrong>>,
    outlet: Outlet<Wrong>,
    /// Frames that were read.
    read: Arc<AtomicUsize>,
    /// Heard and not looked at.
    heard: VecDeque<Reply<Wrong>>,
    seq: u64,
    received_through: u64,
}

fn hello() -> Hello {
    Hello {
        worker: WorkerId::parse("w1").unwrap(),
        profile: crate::broker::workers::Profile::default(),
        queues: vec![QueuePattern::Name(name("a"))],
        order: Order::Fair,
        types: Vec::new(),
        lease_duration: None,
        held: Vec::new(),
        max_bytes: 3 << 20,
        auto_extend: false,
    }
}

impl Worker {
    async fn open(running: &Running, hello: Hello) -> (Self, Welcome) {
        let (frames, mut receiver) = mpsc::unbounded_channel();
        let read = Arc::new(AtomicUsize::new(0));
        let reading = Arc::clone(&read);
        let incoming = stream::poll_fn(move |context| {
            receiver.poll_recv(context).map(|frame| {
                reading.fetch_add(1, Ordering::Relaxed);
                frame.map(Ok::<_, Lost<Wrong>>)
            })
        });
        let outlet = running.broker.work(incoming);
        let heard = VecDeque::new();
        let mut worker = Self { frames, outlet, read, heard, seq: 0, received_through: 0 };
        worker.say(Body::Hello(Box::new(hello)));
        let Reply::Welcome(welcome) = worker.next().await else { panic!("no welcome") };
        (worker, welcome)
    }

    /// A stream on which so many jobs were delivered and received.
    async fn holding(running: &Running, hello: Hello, count: u64) -> (Self, Vec<Arc<Job>>) {
        let (mut worker, _) = Self::open(running, hello).await;
        worker.say(Body::Credit(count));
        let mut jobs = Vec::new();
        for _ in 0..count {
            jobs.push(worker.delivery().await.job);
        }
        worker.ping(count).await;
        (worker, jobs)
    }

    fn say(&mut self, body: Body<Wrong>) -> u64 {
        self.seq += 1;
        let frame = Frame { seq: self.seq, received_through: self.received_through, body };
        // The stream may have ended.
        let _ended = self.frames.send(frame);
        self.seq
    }

    fn ack(&mut self, job: &Job) -> u64 {
        self.say(Body::Settle(Settle::Ack(job.token().unwrap(), Ack::default())))
    }

    async fn next(&mut self) -> Reply<Wrong> {
        match self.heard.pop_front() {
            Some(reply) => reply,
            None => self.outlet.next().await.unwrap().unwrap(),
        }
    }

    async fn delivery(&mut self) -> Delivery {
        match self.next().await {
            Reply::Delivery(delivery) => delivery,
            other => panic!("{other:?} is no delivery"),
        }
    }

    async fn directive(&mut self) -> Directive {
        match self.next().await {
            Reply::Directive(directive) => directive,
            other => panic!("{other:?} is no directive"),
        }
    }

    /// Says what was received, and waits until that is heard; what else is told stays to be read.
    async fn ping(&mut self, received_through: u64) {
        self.received_through = received_through;
        let seq = self.say(Body::Ping);
        loop {
            match self.outlet.next().await.unwrap().unwrap() {
                Reply::Pong(answered) if answered == seq => break,
                other => self.heard.push_back(other),
            }
        }
    }

    /// Moves the clock, and shows that it lives at every step.
    async fn live(&mut self, clock: &Clock, step: Duration, steps: u32) {
        for _ in 0..steps {
            clock.advance(step);
            self.ping(self.received_through).await;
        }
    }

    /// Waits for the end, which must come next.
    async fn end(&mut self) -> Option<End<Wrong>> {
        assert!(self.heard.is_empty(), "{:?}", self.heard);
        match self.outlet.next().await {
            None => None,
            Some(Err(end)) => Some(end),
            Some(Ok(reply)) => panic!("{reply:?} is no end"),
        }
    }
}

fn lost(directive: &Directive) -> JobName {
    match directive {
        Directive::LeaseLost(token, _) => token.name.clone(),
        other => panic!("{other:?} tells of no lost lease"),
    }
}

async fn attempts(running: &Running, job: &Job) -> (State, u32, u32) {
    let job = running.broker.get(&job.name).await.unwrap();
    (job.state, job.counters.attempts, job.counters.deliveries)
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_delivery_that_is_not_received_in_time_goes_back_and_keeps_others_from_coming() {
    let running = running().await;
    let (first, second) = (running.enqueue("a").await, running.enqueue("a").await);
    let (mut worker, _) = Worker::open(&running, hello()).await;
    worker.say(Body::Credit(1));
    worker.delivery().await;
    running.clock.advance(5 * SECOND);
    assert_eq!(lost(&worker.directive().await), first.name);
    running.until(&first, State::Ready).await;
    assert_eq!(attempts(&running, &first).await, (State::Ready, 0, 1));
    worker.say(Body::Credit(2));
    worker.ping(0).await;
    assert!(worker.heard.is_empty(), "it seems not to read");
    worker.ping(1).await;
    assert_eq!(worker.delivery().await.job.name, first.name, "back at the front of its line");
    assert_eq!(running.state(&second).await, State::Ready);
    running.stop().await;
}

#[tokio::test]
async fn a_short_lease_that_is_not_received_does_not_count_either() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let short = Hello { lease_duration: Some(2 * SECOND), ..hello() };
    let (mut worker, _) = Worker::open(&running, short).await;
    worker.say(Body::Credit(1));
    worker.delivery().await;
    running.clock.advance(Duration::from_millis(1500));
    assert_eq!(lost(&worker.directive().await), job.name);
    running.until(&job, State::Ready).await;
    assert_eq!(attempts(&running, &job).await, (State::Ready, 0, 1));
    running.stop().await;
}

#[tokio::test]
async fn no_more_bytes_are_on_their_way_than_four_messages_have() {
    let running = running().await;
    let data = Bytes::from(vec![0; 1000]);
    for _ in 0..10 {
        let payload = Some(Payload { data: data.clone(), ..Payload::default() });
        let new = NewJob::new(name("a"), Spec { payload, ..Spec::default() });
        running.broker.enqueue(new).await.unwrap();
    }
    // One job is more than half of such a message.
    let (mut worker, _) = Worker::open(&running, Hello { max_bytes: 2000, ..hello() }).await;
    worker.say(Body::Credit(10));
    let mut sent = 0;
    while sent < 4 {
        sent = worker.delivery().await.number;
    }
    running.broker.dispatcher.rest().await.unwrap();
    worker.ping(0).await;
    sent += u64::try_from(worker.heard.drain(..).count()).unwrap();
    assert!((4..=8).contains(&sent), "{sent}");
    worker.ping(sent).await;
    assert_eq!(worker.delivery().await.number, sent + 1);
    running.stop().await;
}

#[tokio::test]
async fn any_frame_extends_what_was_received_but_not_at_every_frame() {
    let running = running().await;
    let (received, other) = (running.enqueue("a").await, running.enqueue("a").await);
    let extending = Hello { auto_extend: true, ..hello() };
    let (mut worker, _) = Worker::holding(&running, extending, 1).await;
    worker.say(Body::Credit(2));
    worker.delivery().await;
    let end = async |job: &Job| running.broker.get(&job.name).await.unwrap().at;
    let first = START.after(30 * SECOND);
    running.clock.advance(4 * SECOND);
    worker.ping(1).await;
    assert_eq!(end(&received).await, first, "most of its time is left");
    running.clock.advance(SECOND);
    assert_eq!(lost(&worker.directive().await), other.name);
    running.clock.advance(5 * SECOND);
    worker.ping(2).await;
    let mut signals = running.store.signals();
    while end(&received).await == first {
        let _any = signals.recv().now_or_never();
        worker.ping(2).await;
    }
    assert_eq!(end(&received).await, START.after(40 * SECOND));
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_shorter_than_the_pings_is_extended_when_it_is_received() {
    let running = running().await;
    let spec = Spec { lease_duration: Some(2 * SECOND), ..Spec::default() };
    let job = running.broker.enqueue(NewJob::new(name("a"), spec)).await.unwrap().job;
    let extending = Hello { auto_extend: true, ..hello() };
    let (mut worker, jobs) = Worker::holding(&running, extending, 1).await;
    assert_eq!(jobs[0].at, START.after(2 * SECOND));
    while running.broker.get(&job.name).await.unwrap().at != START.after(30 * SECOND) {
        worker.ping(1).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_heartbeat_of_one_worker_is_one_store_call() {
    let store = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
    let running = running_on(Arc::clone(&store) as Arc<dyn Store>);
    running.broker.enqueue_all((0..50).map(|_| new_job("a")).collect(), None).await.unwrap();
    let extending = Hello { auto_extend: true, ..hello() };
    let (mut worker, jobs) = Worker::holding(&running, extending, 50).await;
    running.clock.advance(10 * SECOND);
    let calls = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let calls = Arc::clone(&calls);
        store.before_next(Operation::Extend, async move {
            calls.fetch_add(1, Ordering::Relaxed);
        });
    }
    worker.ping(50).await;
    for job in &jobs {
        while running.broker.get(&job.name).await.unwrap().at != START.after(40 * SECOND) {
            tokio::task::yield_now().await;
        }
    }
    worker.ping(50).await;
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_silent_worker_loses_its_stream_but_not_what_it_received() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let long = Hello { lease_duration: Some(60 * SECOND), ..hello() };
    let (mut worker, welcome) = Worker::open(&running, long).await;
    assert_eq!(welcome.ping_interval, 20 * SECOND);
    worker.say(Body::Credit(1));
    worker.delivery().await;
    worker.ping(1).await;
    worker.say(Body::Settle(Settle::Extend(
        job_token(&running, &job).await,
        Extend { lease_duration: Some(LONG * 10), ..Extend::default() },
    )));
    worker.next().await;
    running.clock.advance(60 * SECOND);
    assert!(matches!(worker.end().await, Some(End::Failed(Error::Silent))));
    assert_eq!(attempts(&running, &job).await, (State::Leased, 1, 1));
    running.stop().await;
}

async fn job_token(running: &Running, job: &Job) -> LeaseToken {
    running.broker.get(&job.name).await.unwrap().token().unwrap()
}

#[tokio::test]
async fn an_old_stream_is_to_be_opened_anew_and_ends_in_good_order() {
    let running = running().await;
    let (mut worker, _) = Worker::open(&running, hello()).await;
    worker.say(Body::Credit(10));
    worker.live(&running.clock, 10 * SECOND, 24 * 6 - 1).await;
    assert!(worker.heard.is_empty(), "{:?}", worker.heard);
    for _ in 0..=12 * 6 {
        if worker.heard.is_empty() {
            worker.live(&running.clock, 10 * SECOND, 1).await;
        }
    }
    let Directive::Reconnect(within) = worker.directive().await else { panic!("no reconnect") };
    running.enqueue("a").await;
    worker.live(&running.clock, within / 2, 1).await;
    running.clock.advance(within / 2);
    assert!(worker.end().await.is_none());
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_says_goodbye_gets_nothing_more_from_this_broker() {
    for release in [true, false] {
        let running = running().await;
        let job = running.enqueue("a").await;
        let other = running.enqueue("a").await;
        let (mut worker, _) = Worker::holding(&running, hello(), 1).await;
        worker.say(Body::Credit(2));
        worker.delivery().await;
        let mut waiting = Box::pin(running.lease(&["b"], LONG));
        assert!(waiting.as_mut().now_or_never().is_none());
        worker.say(Body::Goodbye { release });
        assert!(worker.end().await.is_none());
        assert_eq!(waiting.await.empty, Empty::Draining);
        running.until(&other, State::Ready).await;
        let expected = if release { (State::Ready, 0, 1) } else { (State::Leased, 1, 1) };
        assert_eq!(attempts(&running, &job).await, expected);
        assert_eq!(running.lease(&["a"], LONG).await.empty, Empty::Draining);
        let (mut again, _) = Worker::open(&running, hello()).await;
        assert!(matches!(again.directive().await, Directive::Drain(_, None)));
        running.stop().await;
    }
}

#[tokio::test]
async fn a_new_stream_takes_over_what_its_worker_holds_and_ends_the_old_one() {
    let running = running().await;
    for _ in 0..3 {
        running.enqueue("a").await;
    }
    let (mut old, mut jobs) = Worker::holding(&running, hello(), 1).await;
    old.say(Body::Credit(3));
    jobs.push(old.delivery().await.job);
    jobs.push(old.delivery().await.job);
    // It had the second one, too, but the old stream did not hear of it.
    let held = jobs[..2].iter().map(|job| job.token().unwrap()).collect();
    let (mut new, welcome) = Worker::open(&running, Hello { held, ..hello() }).await;
    assert!(old.end().await.is_none());
    let verdicts: Vec<_> = welcome.held.iter().map(|(_, remaining)| *remaining).collect();
    assert_eq!(verdicts, [Some(30 * SECOND), Some(30 * SECOND)]);
    running.until(&jobs[2], State::Ready).await;
    assert_eq!(attempts(&running, &jobs[2]).await, (State::Ready, 0, 1));
    for job in &jobs[..2] {
        let seq = new.ack(job);
        let Reply::Settled(answered, answer) = new.next().await else { panic!("not settled") };
        let Answer::Acked(settled) = *answer else { panic!("not acked") };
        assert_eq!((answered, settled.outcome), (seq, Outcome::Settled));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_lost_is_told_so_at_the_beginning() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    running.clock.advance(30 * SECOND);
    running.until(&job, State::Ready).await;
    let hello = Hello { held: vec![token.clone()], ..hello() };
    let (_worker, welcome) = Worker::open(&running, hello).await;
    assert_eq!(welcome.held, [(token, None)]);
    running.stop().await;
}

#[tokio::test]
async fn a_called_off_lease_is_told_at_once() {
    let running = running().await;
    for _ in 0..2 {
        running.enqueue("a").await;
    }
    let (mut worker, jobs) = Worker::holding(&running, hello(), 2).await;
    let request = cancel::CancelRequest {
        name: jobs[0].name.clone(),
        reason: "no longer wanted".to_owned(),
        grace: 7 * SECOND,
        etag: String::new(),
        actor: String::new(),
    };
    running.broker.cancel(request).await.unwrap();
    let Directive::Cancel(token, reason, within) = worker.directive().await else {
        panic!("no cancellation")
    };
    assert_eq!((&token.name, reason.as_str()), (&jobs[0].name, "no longer wanted"));
    assert_eq!(within, 7 * SECOND);
    running.broker.revoke_lease(&jobs[1].name, &operate::Asked::default()).await.unwrap();
    assert_eq!(lost(&worker.directive().await), jobs[1].name);
    running.stop().await;
}

#[tokio::test]
async fn a_job_that_comes_again_tells_its_worker_that_the_last_lease_is_lost() {
    let (running, faulty) = on_faulty().await;
    running.enqueue("a").await;
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    // The stream does not get to know by asking.
    faulty.hold(Some(Operation::Extend));
    running.broker.revoke_lease(&jobs[0].name, &operate::Asked::default()).await.unwrap();
    worker.say(Body::Credit(2));
    let Directive::LeaseLost(token, _) = worker.directive().await else { panic!("no lost lease") };
    assert_eq!(Some(&*token), jobs[0].token().as_ref());
    assert_eq!(worker.delivery().await.job.name, jobs[0].name);
    faulty.hold(None);
    running.stop().await;
}

#[tokio::test]
async fn a_lease_that_runs_out_is_told() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (mut worker, _) = Worker::holding(&running, hello(), 1).await;
    worker.live(&running.clock, 10 * SECOND, 3).await;
    running.until(&job, State::Ready).await;
    worker.live(&running.clock, SECOND, 2).await;
    assert_eq!(lost(&worker.directive().await), job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_drained_worker_gets_no_job_and_settles_what_it_holds() {
    let running = running().await;
    running.enqueue("a").await;
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    running.broker.drain_worker(&WorkerId::parse("w1").unwrap(), "").await.unwrap();
    assert!(matches!(worker.directive().await, Directive::Drain(_, None)));
    let late = running.enqueue("a").await;
    worker.say(Body::Credit(5));
    worker.ack(&jobs[0]);
    assert!(matches!(worker.next().await, Reply::Settled(..)));
    worker.ping(1).await;
    assert_eq!(running.state(&late).await, State::Ready);
    running.stop().await;
}

#[tokio::test]
async fn a_stream_ends_when_its_broker_drains_and_nothing_is_held() {
    let running = running().await;
    let (first, second) = (running.enqueue("a").await, running.enqueue("a").await);
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    worker.say(Body::Credit(2));
    worker.delivery().await;
    running.broker.drain();
    let Directive::Drain(_, Some(_)) = worker.directive().await else { panic!("no drain") };
    running.until(&second, State::Ready).await;
    worker.ack(&jobs[0]);
    assert!(matches!(worker.next().await, Reply::Settled(..)));
    assert!(worker.end().await.is_none());
    assert_eq!(running.state(&first).await, State::Succeeded);
    running.stop().await;
}

/// The time that a worker has then is real time, which passes by itself when all is at rest.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_broker_in_time_whatever_is_held() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (mut worker, _) = Worker::holding(&running, hello(), 1).await;
    running.broker.drain();
    assert!(matches!(worker.directive().await, Directive::Drain(_, Some(_))));
    assert!(worker.end().await.is_none());
    assert_eq!(attempts(&running, &job).await, (State::Leased, 1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_frame_that_is_wrong_is_answered_and_the_stream_goes_on() {
    let running = running().await;
    running.enqueue("a").await;
    let (mut worker, jobs) = Worker::holding(&running, hello(), 1).await;
    let wrong = worker.say(Body::Wrong("no sense"));
    let Reply::Wrong(seq, why) = worker.next().await else { panic!("not told") };
    assert_eq!((seq, why), (wrong, "no sense"));
    worker.received_through = 2;
    let early = worker.ack(&jobs[0]);
    let Reply::Failed(seq, error) = worker.next().await else { panic!("not refused") };
    assert_eq!((seq, error), (early, Error::NotSent { told: 2, sent: 1 }));
    worker.received_through = 1;
    for expected in [Ok(()), Err(Outcome::AlreadySettled)] {
        worker.ack(&jobs[0]);
        let Reply::Settled(_, answer) = worker.next().await else { panic!("not settled") };
        let Answer::Acked(settled) = *answer else { panic!("not acked") };
        assert_eq!(settled.outcome, expected.err().unwrap_or(Outcome::Settled));
    }
    running.stop().await;
}

#[tokio::test]
async fn a_failing_store_fails_the_settles_in_it_and_they_may_come_again() {
    let store = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
    let running = running_on(Arc::clone(&store) as Arc<dyn Store>);
    for _ in 0..2 {
        running.enqueue("a").await;
    }
    let (mut worker, jobs) = Worker::holding(&running, hello(), 2).await;
    store.fail_next(Operation::Commit, Fault::After);
    let failed = worker.ack(&jobs[0]);
    let Reply::Failed(seq, Error::Unavailable(_)) = worker.next().await else { panic!("no fault") };
    assert_eq!(seq, failed);
    let answers = [(&jobs[0], Outcome::AlreadySettled), (&jobs[1], Outcome::Settled)];
    for (job, outcome) in answers {
        worker.ack(job);
        let Reply::Settled(_, answer) = worker.next().await else { panic!("not settled") };
        let Answer::Acked(settled) = *answer else { panic!("not acked") };
        assert_eq!(settled.outcome, outcome);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_store_that_gives_no_jobs_for_a_while_is_asked_again() {
    let store = Arc::new(Faulty::new(SqliteStore::in_memory().await.unwrap()));
    let running = running_on(Arc::clone(&store) as Arc<dyn Store>);
    let job = running.enqueue("a").await;
    let (mut worker, _) = Worker::open(&running, hello()).await;
    store.fail_next(Operation::Claim, Fault::Before);
    worker.say(Body::Credit(1));
    worker.ping(0).await;
    running.broker.dispatcher.rest().await.unwrap();
    worker.ping(0).await;
    running.clock.advance(SECOND);
    assert_eq!(worker.delivery().await.job.name, job.name);
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_reads_no_answers_is_not_read_and_misses_none() {
    let running = running().await;
    let (mut worker, _) = Worker::open(&running, hello()).await;
    for _ in 0..5000 {
        worker.say(Body::Ping);
    }
    // Until the stream rests.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    let read = worker.read.load(Ordering::Relaxed);
    assert!(read < 1500, "{read}");
    for seq in 2..=worker.seq {
        let Reply::Pong(number) = worker.next().await else { panic!("not answered") };
        assert_eq!(number, seq);
    }
    running.stop().await;
}

#[tokio::test]
async fn a_worker_that_vanishes_keeps_what_it_received_and_its_acks_are_made() {
    let running = running().await;
    for _ in 0..3 {
        running.enqueue("a").await;
    }
    let (mut worker, jobs) = Worker::holding(&running, hello(), 2).await;
    worker.say(Body::Credit(3));
    let unreceived = worker.delivery().await.job;
    worker.ack(&jobs[0]);
    worker.ping(2).await;
    drop(worker);
    running.until(&unreceived, State::Ready).await;
    running.until(&jobs[0], State::Succeeded).await;
    assert_eq!(attempts(&running, &jobs[1]).await, (State::Leased, 1, 1));
    running.stop().await;
}

#[tokio::test]
async fn what_ends_a_stream_before_its_hello_is_told() {
    let running = running().await;
    let refused = stream::iter([Err(Lost::Refused("no hello"))]);
    let mut outlet = running.broker.work::<Wrong, _>(refused);
    assert!(matches!(outlet.next().await, Some(Err(End::Refused("no hello")))));
    let mut silent = running.broker.work::<Wrong, _>(stream::pending());
    assert!(silent.next().now_or_never().is_none());
    tokio::task::yield_now().await;
    running.clock.advance(30 * SECOND);
    assert!(matches!(silent.next().await, Some(Err(End::Failed(Error::Silent)))));
    running.stop().await;
}

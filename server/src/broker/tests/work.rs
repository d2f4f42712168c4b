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

mod ends;
mod leases;
mod receipts;
mod trouble;

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

async fn job_token(running: &Running, job: &Job) -> LeaseToken {
    running.broker.get(&job.name).await.unwrap().token().unwrap()
}

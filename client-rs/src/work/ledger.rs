//! What a worker holds, what it asked and was not answered, and how many more jobs it has room for.

use std::collections::{BTreeMap, HashMap};

use backon::{BackoffBuilder, ExponentialBackoff};
use bytes::Bytes;
use lessor_proto::v1::work_request::{Credit, Frame};
use tokio::time::Instant;

use super::wire::{Request, Told, encode};
use super::{Answer, Answered, is_final};
use crate::{Error, Result, connect};

pub(super) struct Ledger {
    room: u64,
    leases: HashMap<u64, Lease>,
    /// The id of the last delivery, on whatever stream.
    deliveries: u64,
    /// Deliveries that are not settled, as far as this side is concerned.
    busy: u64,
    questions: BTreeMap<u64, Question>,
    /// The number of the last question.
    asked: u64,
    /// How many questions are to be asked again.
    repeats: usize,
    stream: Numbers,
    /// No more jobs are wanted.
    stopped: bool,
}

/// The numbers of deliveries of one stream.
#[derive(Default)]
struct Numbers {
    received: u64,
    /// What the broker knows of that.
    told: u64,
    allowed: u64,
}

struct Lease {
    /// `None` once it is lost.
    token: Option<String>,
    is_settled: bool,
}

/// A frame that must be answered.
struct Question {
    frame: Bytes,
    settles: Option<u64>,
    reply: Option<Answer>,
    deadline: Instant,
    again: Option<Again>,
}

/// A passing fault: the frame is sent again.
struct Again {
    pauses: ExponentialBackoff,
    /// `None` while it is under way.
    at: Option<Instant>,
    fault: Error,
}

impl Ledger {
    pub(super) fn new(concurrency: u32) -> Self {
        Self {
            room: concurrency.into(),
            leases: HashMap::new(),
            deliveries: 0,
            busy: 0,
            questions: BTreeMap::new(),
            asked: 0,
            repeats: 0,
            stream: Numbers::default(),
            stopped: false,
        }
    }

    /// The leases for which the broker counts on this worker.
    pub(super) fn held(&self) -> Vec<String> {
        self.leases.values().filter_map(|lease| lease.token.clone()).collect()
    }

    /// A new stream: its deliveries begin with 1. Answers what must be said again on it.
    pub(super) fn begin_stream(&mut self) -> Vec<Request> {
        self.stream = Numbers::default();
        self.repeats = 0;
        let again = self.questions.iter_mut().map(|(number, question)| {
            if let Some(again) = &mut question.again {
                again.at = None;
            }
            request(question.frame.clone(), *number, 0)
        });
        again.collect()
    }

    /// A delivery came; answers its id.
    pub(super) fn receive(&mut self, number: u64, token: String) -> u64 {
        self.stream.received = self.stream.received.max(number);
        self.deliveries += 1;
        self.busy += 1;
        let lease = Lease { token: Some(token), is_settled: false };
        self.leases.insert(self.deliveries, lease);
        self.deliveries
    }

    /// The lease is not held any more, though its delivery takes room until the work has stopped.
    /// Answers whether that is news: nobody settles it.
    pub(super) fn lose(&mut self, token: &str) -> bool {
        let mut leases = self.leases.values_mut();
        let lost = leases.find(|lease| lease.token.as_deref() == Some(token));
        lost.is_some_and(|lease| {
            lease.token = None;
            !lease.is_settled
        })
    }

    /// A delivery that nobody settles makes room.
    pub(super) fn forget(&mut self, id: u64) {
        if let Some(lease) = self.leases.remove(&id)
            && !lease.is_settled
        {
            self.busy -= 1;
        }
    }

    /// The frame that asks the broker something, to be answered before the deadline.
    pub(super) fn ask(
        &mut self,
        settles: Option<u64>,
        frame: Bytes,
        reply: Option<Answer>,
        deadline: Instant,
    ) -> Request {
        if let Some(lease) = settles.and_then(|id| self.leases.get_mut(&id))
            && !lease.is_settled
        {
            lease.is_settled = true;
            self.busy -= 1;
        }
        self.asked += 1;
        let sent = Request { seq: self.asked, ..self.say(frame.clone()) };
        let question = Question { frame, settles, reply, deadline, again: None };
        self.questions.insert(self.asked, question);
        sent
    }

    /// A frame that wants no answer.
    pub(super) fn say(&mut self, frame: Bytes) -> Request {
        self.stream.told = self.stream.received;
        request(frame, 0, self.stream.told)
    }

    /// What is still to be told of room and receipts, if anything.
    pub(super) fn credit(&mut self) -> Option<Request> {
        let room = if self.stopped { 0 } else { self.room.saturating_sub(self.busy) };
        let through = (self.stream.received + room).max(self.stream.allowed);
        if through == self.stream.allowed && !self.owes_receipt() {
            return None;
        }
        self.stream.allowed = through;
        let credit = Frame::Credit(Credit { max_delivery_seq: through });
        Some(self.say(encode(credit)))
    }

    /// Something was received of which the broker does not know.
    pub(super) fn owes_receipt(&self) -> bool {
        self.stream.told < self.stream.received
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// The answer to a question.
    pub(super) fn answer(&mut self, number: u64, told: Told, now: Instant) {
        let settled = match told {
            Told::Ack(reply) => Ok(Answered::Ack(reply)),
            Told::Nack(reply) => Ok(Answered::Nack(reply)),
            Told::Extend(reply) => Ok(Answered::Extend(reply)),
            Told::Error(status) => Err(Error::from(status)),
            _ => return,
        };
        if let Err(fault) = &settled
            && fault.is_unavailable()
            && self.put_off(number, fault, now)
        {
            return;
        }
        self.close(number, settled);
    }

    /// The question is asked again after a pause, if there is time for that.
    fn put_off(&mut self, number: u64, fault: &Error, now: Instant) -> bool {
        let Some(question) = self.questions.get_mut(&number) else { return false };
        let mut pauses =
            question.again.take().map_or_else(|| connect::PAUSES.build(), |again| again.pauses);
        let Some(pause) = connect::affordable(pauses.next(), fault, question.deadline) else {
            return false;
        };
        question.again = Some(Again { pauses, at: Some(now + pause), fault: fault.clone() });
        self.repeats += 1;
        true
    }

    fn close(&mut self, number: u64, settled: Result<Answered>) {
        let Some(question) = self.questions.remove(&number) else { return };
        if let Some(id) = question.settles
            && settled.as_ref().err().is_none_or(is_final)
        {
            self.leases.remove(&id);
        }
        if let Some(reply) = question.reply {
            // Whoever left does not want to know.
            reply.send(settled).ok();
        }
    }

    /// Ends the questions whose time is over; what else is due is to be sent.
    pub(super) fn ring(&mut self, now: Instant, late: impl Fn() -> Error) -> Vec<Request> {
        // Deadlines are in the order of the questions.
        while let Some((&number, question)) = self.questions.first_key_value()
            && question.deadline <= now
        {
            let waiting = question.again.as_ref().filter(|again| again.at.is_some());
            self.repeats -= usize::from(waiting.is_some());
            let fault = waiting.map_or_else(&late, |again| again.fault.clone());
            self.close(number, Err(fault));
        }
        let mut again = Vec::new();
        if self.repeats > 0 {
            let received = self.stream.received;
            for (&number, question) in &mut self.questions {
                let at = question.again.as_mut().map(|again| &mut again.at);
                if at.is_some_and(|at| at.take_if(|at| *at <= now).is_some()) {
                    again.push(request(question.frame.clone(), number, received));
                }
            }
            self.repeats -= again.len();
        }
        again
    }

    /// When [`ring`](Self::ring) has something to do.
    pub(super) fn next_ring(&self) -> Option<Instant> {
        let deadline = self.questions.first_key_value().map(|(_, question)| question.deadline);
        if self.repeats == 0 {
            return deadline;
        }
        let repeats = self.questions.values().filter_map(|question| question.again.as_ref()?.at);
        repeats.chain(deadline).min()
    }
}

fn request(frame: Bytes, seq: u64, received_through: u64) -> Request {
    Request { frame, seq, received_through }
}

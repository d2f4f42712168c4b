//! A store call came back: who gets the jobs, and who goes on waiting.

use super::{Dispatching, Done, Phase, Ticket, Timer};
use crate::job::{Job, LeaseSecret, QueueName};
use crate::store::{self, Claimed, Gate};

impl Dispatching {
    pub(super) fn finish(&mut self, done: Done) {
        match done {
            Done::Claimed { queue, tickets, taken } => self.claimed(&queue, tickets, taken),
            Done::Listed(Ok(queues)) => {
                for queue in &queues {
                    self.told_ready(queue);
                }
            }
            // The store is away; it sends a reset when it is back.
            Done::Listed(Err(error)) => tracing::debug!(%error, "can't list queues"),
        }
    }

    fn claimed(&mut self, queue: &QueueName, tickets: Vec<Ticket>, taken: store::Result<Claimed>) {
        self.note(queue, &tickets, taken.as_ref().ok());
        match taken {
            Ok(Claimed { jobs, gate, .. }) => {
                for (ticket, jobs) in tickets.into_iter().zip(jobs) {
                    if jobs.is_empty() {
                        self.came_back_empty(ticket, queue, gate);
                    } else {
                        self.came_back(ticket, queue, jobs);
                    }
                }
            }
            Err(error) => {
                for ticket in tickets {
                    self.answer(ticket, Err(error.clone().into()));
                }
            }
        }
        self.pump(queue);
        self.close_line(queue);
    }

    /// Remembers what a claim tells of its queue.
    fn note(&mut self, queue: &QueueName, tickets: &[Ticket], taken: Option<&Claimed>) {
        let Some(line) = self.lines.get_mut(queue) else { return };
        line.under_way = false;
        let Some(Claimed { jobs, gate, .. }) = taken else { return };
        line.gate = None;
        // Each claim takes a job if there is one for it, so only one that took none tells that
        // there is none: one that got less than it wanted may have been full by bytes, or a replay.
        // A signal that came while the claim was under way may be of a job after it.
        if !line.told {
            for (ticket, _) in tickets.iter().zip(jobs).filter(|(_, jobs)| jobs.is_empty()) {
                if let Some(waiter) = self.waiters.get(ticket) {
                    line.ran_dry(waiter.claim.types.clone());
                }
            }
        }
        if let Some(gate) = *gate {
            line.gate = Some(gate);
            if !line.told {
                line.shut(gate);
            }
            if let Gate::Limited { until } = gate {
                self.timers.set(Timer::Rate(queue.clone()), until);
            }
        }
    }

    /// Jobs were taken for a waiter: it is answered, unless it lingers for more of this queue.
    fn came_back(&mut self, ticket: Ticket, queue: &QueueName, jobs: Vec<Job>) {
        let draining = self.draining;
        let bytes: usize = jobs.iter().map(size).sum();
        let waiter = self.waiters.get_mut(&ticket);
        let Some((waiter, linger)) = waiter.and_then(|it| it.linger.map(|linger| (it, linger)))
        else {
            self.answer(ticket, Ok(jobs));
            return;
        };
        let is_enough = waiter.held.len() + jobs.len() >= linger.enough
            || bytes >= waiter.claim.max_bytes
            || jobs.len() >= waiter.claim.limit;
        if is_enough || draining || waiter.reply.is_closed() {
            self.answer(ticket, Ok(jobs));
            return;
        }
        let is_first = waiter.held.is_empty();
        waiter.claim.limit -= jobs.len();
        waiter.claim.max_bytes -= bytes;
        waiter.claim.secret = LeaseSecret(fastrand::u64(1..));
        waiter.claim.request = waiter.claim.request.map(|request| request.next());
        waiter.held.extend(jobs);
        waiter.patient = true;
        waiter.phase = Phase::Parked;
        let others = std::mem::replace(&mut waiter.queues, vec![queue.clone()]);
        self.roaming.remove(&ticket);
        for other in &others {
            if let Some(line) = self.lines.get_mut(other) {
                line.probing.remove(&ticket);
                line.parked.remove(&ticket);
            }
            self.close_line(other);
        }
        self.lines.entry(queue.clone()).or_default().parked.insert(ticket);
        if is_first {
            self.timers.set(Timer::Linger(ticket), self.clock.now().after(linger.span));
        }
    }

    fn came_back_empty(&mut self, ticket: Ticket, queue: &QueueName, gate: Option<Gate>) {
        if let Some(line) = self.lines.get_mut(queue) {
            line.probing.remove(&ticket);
        }
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        waiter.met(queue, gate);
        waiter.come_back();
        if waiter.reply.is_closed() {
            self.answer(ticket, Ok(Vec::new()));
            return;
        }
        match waiter.phase {
            Phase::Parked if waiter.patient && !self.draining => {
                let (queues, types) = (waiter.queues.clone(), waiter.claim.types.clone());
                self.pump_wet(&queues, &types);
            }
            Phase::Probing(_) if !self.draining => self.go_on(ticket),
            _ => self.answer(ticket, Ok(Vec::new())),
        }
    }
}

/// What a job takes of an answer, about.
fn size(job: &Job) -> usize {
    job.spec.payload.as_ref().map_or(0, |payload| payload.data.len())
}

//! A store call came back: who gets the jobs, and who goes on waiting.

use std::time::Duration;

use super::door::Ticket;
use super::line::{Line, Stand};
use super::timers::Timer;
use super::waiter::Phase;
use super::{Claiming, Dispatching, Done};
use crate::job::{Job, LeaseSecret, QueueName};
use crate::store::{self, Claimed, Gate};

/// After trouble with the store, those who wait are not claimed for before this time has passed,
/// unless the store tells that it is back.
const RECOVERY: Duration = Duration::from_secs(1);

/// A queue that was found empty is looked into once more when nothing was told of it for so long: longer
/// than calls that were under way then.
pub(in crate::broker) const DOUBT: Duration = Duration::from_secs(2);

impl Dispatching {
    pub(super) fn finish(&mut self, done: Done) {
        match done {
            Done::Claimed(claiming, taken) => self.claimed(&claiming, taken),
            Done::Listed(Ok(queues)) => {
                for queue in &queues {
                    self.told_ready(queue, None);
                }
            }
            // The store is away; it sends a reset when it is back.
            Done::Listed(Err(error)) => tracing::debug!(%error, "can't list queues"),
        }
    }

    fn claimed(&mut self, claiming: &Claiming, taken: store::Result<Claimed>) {
        let Claiming { queue, stands, .. } = claiming;
        if let Some(line) = self.lines.get_mut(queue) {
            line.under_way -= 1;
        }
        match taken {
            Ok(taken) => {
                self.note(claiming, &taken);
                for ((stand, _), jobs) in stands.iter().zip(taken.jobs) {
                    if jobs.is_empty() {
                        self.came_back_empty(*stand, queue, taken.gate);
                    } else {
                        self.came_back(*stand, queue, jobs);
                    }
                }
            }
            Err(error) => self.failed(claiming, &error),
        }
        self.pump(queue);
        self.prove_later(queue);
        self.close_line(queue);
    }

    /// Remembers what a claim tells of its queue.
    fn note(&mut self, claiming: &Claiming, taken: &Claimed) {
        let Claiming { queue, stands, told } = claiming;
        let Some(line) = self.lines.get_mut(queue) else { return };
        line.gate = taken.gate;
        let mut gave_all = taken.gate.is_none();
        for (number, ((stand, wanted), jobs)) in stands.iter().zip(&taken.jobs).enumerate() {
            gave_all &= jobs.len() >= *wanted;
            // Each claim takes a job if there is one for it, so one that took none tells that there
            // is none. One that got less than it wanted may have been full by bytes, or a replay.
            let exhausted = taken.exhausted.get(number).is_some_and(|exhausted| *exhausted);
            if (exhausted || jobs.is_empty())
                && let Some(waiter) = self.waiters.get(&stand.ticket)
            {
                line.ran_dry(&waiter.claim.types, *told);
            }
        }
        if gave_all {
            line.gave_all(stands.iter().map(|(_, wanted)| wanted).sum());
        }
        if let Some(gate) = taken.gate {
            line.shut(*told);
            if let Gate::Limited { until } = gate {
                self.timers.set(Timer::Look(queue.clone()), until);
            }
        }
    }

    /// Stores tell when an empty list of ready jobs is not empty any more, and only then: had that
    /// word been missed, nobody would look again. So one look more is made, and then no other until
    /// the queue is told ready.
    pub(super) fn prove_later(&mut self, queue: &QueueName) {
        if self.lines.get_mut(queue).is_some_and(Line::plan_proof) {
            self.timers.set(Timer::Prove(queue.clone()), self.clock.now().after(DOUBT));
        }
    }

    /// A claim failed: those who want one answer get it. The others are claimed for again when the
    /// store is back, or after a while.
    fn failed(&mut self, claiming: &Claiming, error: &store::Error) {
        let Claiming { queue, stands, told } = claiming;
        let mut standing = Vec::new();
        for (Stand { ticket, .. }, _) in stands {
            match self.waiters.get(ticket) {
                Some(waiter) if waiter.outlet.is_standing() => standing.push(*ticket),
                _ => self.answer(*ticket, Err(error.clone().into())),
            }
        }
        if let Some(line) = self.lines.get_mut(queue).filter(|line| line.members > 0) {
            line.shut(*told);
            self.timers.set(Timer::Look(queue.clone()), self.clock.now().after(RECOVERY));
        }
        for ticket in standing {
            self.go_on(ticket);
        }
    }

    /// Jobs were taken for a waiter: it gets them, unless it lingers for more of this queue.
    fn came_back(&mut self, stand: Stand, queue: &QueueName, jobs: Vec<Job>) {
        let Stand { ticket, index, .. } = stand;
        let draining = self.draining;
        let bytes: usize = jobs.iter().map(size).sum();
        let waiter = self.waiters.get_mut(&ticket);
        let Some((waiter, linger)) = waiter.and_then(|it| it.linger.map(|linger| (it, linger)))
        else {
            self.deliver(ticket, index, jobs);
            return;
        };
        let is_enough = waiter.held.len() + jobs.len() >= linger.enough
            || bytes >= waiter.claim.max_bytes
            || jobs.len() >= waiter.claim.limit;
        if is_enough || draining || waiter.outlet.is_closed() {
            self.deliver(ticket, index, jobs);
            return;
        }
        let is_first = waiter.held.is_empty();
        waiter.claim.limit -= jobs.len();
        waiter.claim.max_bytes -= bytes;
        waiter.claim.secret = LeaseSecret(fastrand::u64(1..));
        waiter.claim.request = waiter.claim.request.map(|request| request.next());
        waiter.held.extend(jobs);
        if is_first {
            self.settle_down(ticket, index, queue);
            self.timers.set(Timer::Linger(ticket), self.clock.now().after(linger.span));
        }
        self.go_on(ticket);
    }

    /// From now on a waiter waits for jobs of this queue only.
    fn settle_down(&mut self, ticket: Ticket, index: usize, queue: &QueueName) {
        let Some(mut waiter) = self.waiters.remove(&ticket) else { return };
        self.lines.entry(queue.clone()).or_default().members += 1;
        self.roaming.remove(&ticket);
        self.leave_lines(&waiter);
        waiter.narrow(index);
        waiter.patient = true;
        self.waiters.insert(ticket, waiter);
    }

    fn came_back_empty(&mut self, stand: Stand, queue: &QueueName, gate: Option<Gate>) {
        let Some(waiter) = self.waiters.get_mut(&stand.ticket) else { return };
        waiter.phase = Phase::Idle;
        if waiter.outlet.is_closed() {
            self.answer(stand.ticket, Ok(Vec::new()));
            return;
        }
        if !waiter.outlet.is_standing() {
            waiter.met(queue, gate);
        }
        self.go_on(stand.ticket);
    }
}

/// What a job takes of an answer, about.
fn size(job: &Job) -> usize {
    job.spec.payload.as_ref().map_or(0, |payload| payload.data.len())
}

//! Where a worker looks next, and the claims made for those who look or wait.

use std::sync::Arc;

use super::door::Ticket;
use super::line::{Stand, Turn};
use super::waiter::Phase;
use super::{Claiming, Dispatching, Done};
use crate::job::QueueName;
use crate::store::Claim;

/// Jobs taken by one store call at most, if no single wish is for more.
const BATCH: usize = 256;

/// Claims of one queue that may be under way at once.
const ROUNDS: usize = 1;

impl Dispatching {
    /// Sends a waiter that stands nowhere to the next queue worth a look, or parks it, or answers
    /// it empty.
    pub(super) fn go_on(&mut self, ticket: Ticket) {
        if self.draining {
            self.answer(ticket, Ok(Vec::new()));
            return;
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        waiter.phase = Phase::Idle;
        if waiter.claim.limit == 0 && waiter.outlet.is_standing() {
            return;
        }
        let lines = &self.lines;
        let types = &waiter.claim.types;
        // A queue known to be empty need not be looked into by a worker that waits anyway: it tells
        // when that changes.
        let is_wet = |queue: &QueueName| lines.get(queue).is_none_or(|line| !line.is_dry(types));
        if waiter.patient {
            let route = &waiter.route;
            waiter.round.retain(|index| route.queue(*index).is_some_and(is_wet));
            if waiter.round.is_empty() {
                route.round(&mut waiter.round, is_wet);
            }
        }
        if let Some(index) = waiter.round.pop_front() {
            let Some(queue) = waiter.route.queue(index).cloned() else { return };
            waiter.phase = Phase::Looking(index);
            let stand = Stand { ticket, index, parked: false };
            let turn = waiter.turn(index, turn);
            let line = self.lines.entry(queue.clone()).or_default();
            if waiter.step_out(index) {
                line.leave(turn, &waiter.claim.types);
            }
            line.stand(turn, stand, &waiter.claim.types);
            self.pump(&queue);
        } else if waiter.patient {
            waiter.phase = Phase::Parked;
            self.go_in(ticket, turn);
        } else {
            self.answer(ticket, Ok(Vec::new()));
        }
    }

    /// Lets a parked waiter into the lines in which it does not stand.
    pub(super) fn go_in(&mut self, ticket: Ticket, turn: Turn) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        for index in waiter.step_in() {
            let turn = waiter.turn(index, turn);
            let line = waiter.route.queue(index).and_then(|queue| self.lines.get_mut(queue));
            if let Some(line) = line {
                let stand = Stand { ticket, index, parked: true };
                line.stand(turn, stand, &waiter.claim.types);
            }
        }
    }

    /// Starts a claim for those who want jobs of `queue`, if none is under way.
    pub(super) fn pump(&mut self, queue: &QueueName) {
        if let Some((claiming, claims)) = self.gather(queue) {
            let (store, now) = (Arc::clone(&self.store), self.clock.now());
            self.calls.push(Box::pin(async move {
                let taken = store.claim(&claiming.queue, claims, now).await;
                Done::Claimed(claiming, taken)
            }));
        }
    }

    /// The claims to be made now for those who want jobs of `queue`, if none is under way.
    pub(super) fn gather(&mut self, queue: &QueueName) -> Option<(Claiming, Vec<Claim>)> {
        let line = self.lines.get_mut(queue).filter(|line| line.under_way < ROUNDS)?;
        let (mut stands, mut claims, mut wanted) = (Vec::new(), Vec::new(), 0);
        let mut gone = Vec::new();
        while wanted < BATCH {
            let Some((_, stand)) = line.call(wanted) else { break };
            let Some(waiter) = self.waiters.get_mut(&stand.ticket) else { continue };
            if stand.parked {
                waiter.step_out(stand.index);
                if waiter.phase != Phase::Parked {
                    continue;
                }
            }
            if waiter.outlet.is_closed() {
                gone.push(stand.ticket);
                continue;
            }
            let claim = waiter.claim(BATCH - wanted);
            wanted += claim.limit;
            stands.push((stand, claim.limit));
            claims.push(claim);
        }
        let claiming = (!stands.is_empty()).then(|| {
            let told = line.start(wanted);
            Claiming { queue: queue.clone(), stands, told }
        });
        for ticket in gone {
            self.answer(ticket, Ok(Vec::new()));
        }
        claiming.map(|claiming| (claiming, claims))
    }
}

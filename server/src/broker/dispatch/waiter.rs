//! One worker that wants jobs.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use super::Linger;
use crate::broker::Result;
use crate::broker::lease::{Leased, QueuePattern};
use crate::job::{Job, QueueName};
use crate::store::{Claim, Gate};

/// A worker's wish and how far it got.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The queues it is served from.
    pub queues: Vec<QueueName>,
    /// Queues it means that may come to be.
    pub patterns: Vec<QueuePattern>,
    /// How it wants jobs.
    pub claim: Claim,
    /// It waits when all its queues are empty.
    pub patient: bool,
    /// It waits for more once it has some.
    pub linger: Option<Linger>,
    /// What it has got and waits with.
    pub held: Vec<Job>,
    /// What kept it out of its queues when it looked.
    pub gates: HashMap<QueueName, Gate>,
    /// Where its answer goes.
    pub reply: oneshot::Sender<Result<Leased>>,
    /// Where it stands.
    pub phase: Phase,
}

/// Where a waiter stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// It looks into these queues, one after another; the first one now.
    Probing(VecDeque<QueueName>),
    /// It waits in all its queues.
    Parked,
    /// A claim for it is under way; then it goes on as it was.
    Busy(Box<Phase>),
}

impl Waiter {
    /// True while a claim for it is under way.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self.phase, Phase::Busy(_))
    }

    /// True when it is parked, or will be again after the claim under way.
    pub(super) fn is_waiting(&self) -> bool {
        match &self.phase {
            Phase::Parked => true,
            Phase::Busy(before) => **before == Phase::Parked,
            Phase::Probing(_) => false,
        }
    }

    /// True when a claim in `queue` may be made for it now.
    pub(super) fn may_claim_in(&self, queue: &QueueName) -> bool {
        match &self.phase {
            Phase::Probing(probes) => probes.front() == Some(queue),
            Phase::Parked => true,
            Phase::Busy(_) => false,
        }
    }

    /// It looked into `queue`, and this kept it out, if anything but emptiness did.
    pub(super) fn met(&mut self, queue: &QueueName, gate: Option<Gate>) {
        match gate {
            Some(gate) => {
                self.gates.insert(queue.clone(), gate);
            }
            None => {
                self.gates.remove(queue);
            }
        }
    }

    /// A claim for it is started.
    pub(super) fn become_busy(&mut self) {
        let before = std::mem::replace(&mut self.phase, Phase::Parked);
        self.phase = Phase::Busy(Box::new(before));
    }

    /// A claim for it came back with nothing: it goes on from where it stood.
    pub(super) fn come_back(&mut self) {
        if let Phase::Busy(before) = std::mem::replace(&mut self.phase, Phase::Parked) {
            self.phase = match *before {
                Phase::Probing(mut probes) => {
                    probes.pop_front();
                    Phase::Probing(probes)
                }
                other => other,
            };
        }
    }
}

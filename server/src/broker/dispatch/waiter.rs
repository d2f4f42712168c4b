//! One worker that wants jobs.

use std::collections::{HashMap, VecDeque};

use super::answer::Outlet;
use super::line::Turn;
use super::route::Route;
use super::{Linger, Wish};
use crate::job::{Job, LeaseSecret, QueueName};
use crate::store::{Claim, Gate};

/// A worker's wish and how far it got.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Where it is served.
    pub route: Route,
    /// How it wants jobs; `limit` is what it may have still.
    pub claim: Claim,
    /// It waits when all its queues are empty.
    pub patient: bool,
    /// It waits for more once it has some.
    pub linger: Option<Linger>,
    /// What it has got and waits with.
    pub held: Vec<Job>,
    /// What kept it out of its queues when it looked.
    pub gates: HashMap<QueueName, Gate>,
    /// Where its jobs go.
    pub outlet: Outlet,
    /// Where it stands.
    pub phase: Phase,
    /// The queues of this round that it has still to look into, by their indexes on the route.
    pub round: VecDeque<usize>,
    /// Its place in the line of each queue of the route.
    places: Vec<Place>,
    /// Those in which it does not stand as one who is parked, by their indexes.
    absent: Vec<usize>,
}

/// A place in the line of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Kept while it is not taken.
    turn: Option<Turn>,
    /// It stands there as one who is parked, or was when it was last seen.
    taken: bool,
}

/// Where a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nowhere: it has just come, or may have no job now.
    Idle,
    /// In the line of the queue with this index.
    Looking(usize),
    /// It has looked into all its queues and waits in each.
    Parked,
    /// A claim for it is under way.
    Busy,
}

impl Waiter {
    pub(super) fn new(wish: Wish, outlet: Outlet) -> Self {
        let Wish { route, claim, patient, linger } = wish;
        let count = route.queues().len();
        Self {
            route,
            claim,
            patient,
            linger,
            held: Vec::new(),
            gates: HashMap::new(),
            outlet,
            phase: Phase::Idle,
            round: VecDeque::new(),
            places: vec![Place::default(); count],
            absent: (0..count).collect(),
        }
    }

    /// True while a claim for it is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.phase == Phase::Busy
    }

    /// Its turn in the line of the queue with this index: the one it has, or the new one.
    pub(super) fn turn(&mut self, index: usize, new: Turn) -> Turn {
        self.places.get_mut(index).map_or(new, |place| *place.turn.get_or_insert(new))
    }

    /// The turns that it has in lines.
    pub(super) fn turns(&self) -> impl Iterator<Item = (&QueueName, Option<Turn>)> {
        self.route.queues().zip(self.places.iter().map(|place| place.turn))
    }

    /// It goes behind all others in this line, in which it does not stand.
    pub(super) fn requeue(&mut self, index: usize) {
        if let Some(place) = self.places.get_mut(index) {
            place.turn = None;
        }
    }

    /// It stands in this line as one who is parked no longer. True if it did.
    pub(super) fn step_out(&mut self, index: usize) -> bool {
        let taken = self.places.get_mut(index).is_some_and(|it| std::mem::take(&mut it.taken));
        if taken {
            self.absent.push(index);
        }
        taken
    }

    /// The lines it must be let into in order to stand in all as one who is parked.
    pub(super) fn step_in(&mut self) -> Vec<usize> {
        for index in &self.absent {
            if let Some(place) = self.places.get_mut(*index) {
                place.taken = true;
            }
        }
        std::mem::take(&mut self.absent)
    }

    /// Takes in a queue that came to be.
    pub(super) fn join(&mut self, queue: &QueueName) -> Option<usize> {
        let index = self.route.join(queue)?;
        self.places.push(Place::default());
        self.absent.push(index);
        Some(index)
    }

    /// Only this queue from now on; it stands in no line.
    pub(super) fn narrow(&mut self, index: usize) {
        let turn = self.places.get(index).and_then(|place| place.turn);
        self.route.narrow(index);
        self.places = vec![Place { turn, taken: false }];
        self.absent = vec![0];
        self.round.clear();
    }

    /// The claim to make for it, of `most` jobs if it can have the rest later.
    pub(super) fn claim(&mut self, most: usize) -> Claim {
        self.phase = Phase::Busy;
        let mut claim = self.claim.clone();
        if self.outlet.is_standing() {
            claim.limit = claim.limit.min(most);
            claim.secret = LeaseSecret(fastrand::u64(1..));
        }
        claim
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
}

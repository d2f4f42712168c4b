//! Who wants jobs of one queue.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::door::Ticket;
use crate::store::Gate;

/// A place in a line; a smaller one is served earlier.
pub(super) type Turn = u64;

/// Jobs that may have become ready when a store tells so: it does not say how many.
const SOME: usize = 32;

/// The workers at one queue.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Workers that have this queue on their route, here or elsewhere now.
    pub members: usize,
    /// Claims under way.
    pub under_way: usize,
    /// What kept jobs back at the last look.
    pub gate: Option<Gate>,
    /// They look into this queue now.
    looking: BTreeMap<Turn, Stand>,
    /// They looked and wait, by the types that they want. Who is busy elsewhere may still be here;
    /// it is left out when its turn comes.
    parked: HashMap<Vec<String>, BTreeMap<Turn, Stand>>,
    /// The wishes for types that found nothing at the last look, and the queue has not been told
    /// ready since. The wish for any type is the empty one.
    dry: HashSet<Vec<String>>,
    /// Counts what was told.
    told: u64,
    /// So many jobs may be ready that no claim is under way for, about: claims for more of those
    /// who are parked would be in vain.
    expected: usize,
    /// A look that is to prove it empty is planned, since it had been told so much.
    doubted: Option<u64>,
    /// That look was made when it had been told so much.
    proven: Option<u64>,
}

/// Who stands in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stand {
    pub ticket: Ticket,
    /// The index of the queue on its route.
    pub index: usize,
    /// It has looked and waits.
    pub parked: bool,
}

impl Line {
    /// True when nobody who wants these types would get a job, as far as is known.
    pub(super) fn is_dry(&self, types: &[String]) -> bool {
        !self.dry.is_empty() && (self.dry.contains(&[][..]) || self.dry.contains(types))
    }

    /// True when the queue is known to be empty, and nobody looks whether it still is.
    pub(super) fn is_at_rest(&self) -> bool {
        self.under_way == 0 && self.looking.is_empty() && self.dry.contains(&[][..])
    }

    /// No job of these types was left for a claim made when `told` was so.
    pub(super) fn ran_dry(&mut self, types: &[String], told: u64) {
        // What was told meanwhile may be of a job after it.
        if told == self.told {
            self.dry.insert(types.to_vec());
            if types.is_empty() {
                self.expected = 0;
            }
        }
    }

    /// Keeps everybody out until it is told otherwise.
    pub(super) fn shut(&mut self, told: u64) {
        self.ran_dry(&[], told);
    }

    /// The queue may have jobs for everybody: `count` more, if that is known.
    pub(super) fn wet(&mut self, count: Option<usize>) {
        self.dry.clear();
        self.told += 1;
        self.expected = match count {
            Some(count) => self.expected.saturating_add(count),
            None => self.expected.max(SOME),
        };
    }

    /// Plans a look that proves it empty, if there shall be one: while those who are parked rely on
    /// nothing but the word of claims that found no job, and on every signal since.
    pub(super) fn plan_proof(&mut self) -> bool {
        let is_waited_for = !self.parked.is_empty() && !self.dry.is_empty();
        let is_due = is_waited_for && self.doubted.is_none() && self.proven != Some(self.told);
        if is_due {
            self.doubted = Some(self.told);
        }
        is_due
    }

    /// Lets one of those who are parked look, for each wish that found nothing. False when the queue
    /// was told of since that was planned: then whatever was missed before was met, and what was told
    /// may be too young to rely on.
    pub(super) fn prove(&mut self) -> bool {
        let is_due = self.doubted.take() == Some(self.told);
        if is_due {
            self.proven = Some(self.told);
            self.dry.clear();
        }
        is_due
    }

    /// What was told so far, for a claim that starts now and wants so many jobs.
    pub(super) fn start(&mut self, wanted: usize) -> u64 {
        self.under_way += 1;
        self.expected = self.expected.saturating_sub(wanted);
        self.told
    }

    /// A claim got all that it wanted: there may be twice as much.
    pub(super) fn gave_all(&mut self, wanted: usize) {
        self.expected = self.expected.max(2 * wanted);
    }

    /// Lets somebody in.
    pub(super) fn stand(&mut self, turn: Turn, stand: Stand, types: &[String]) {
        if !stand.parked {
            self.looking.insert(turn, stand);
        } else if let Some(parked) = self.parked.get_mut(types) {
            parked.insert(turn, stand);
        } else {
            self.parked.insert(types.to_vec(), BTreeMap::from([(turn, stand)]));
        }
    }

    /// Lets somebody out.
    pub(super) fn leave(&mut self, turn: Turn, types: &[String]) {
        self.looking.remove(&turn);
        if let Some(parked) = self.parked.get_mut(types) {
            parked.remove(&turn);
            if parked.is_empty() {
                self.parked.remove(types);
            }
        }
    }

    /// Takes out the next one to claim for, when so many jobs are wanted already: those who look
    /// are served even if the queue is thought empty, those who are parked as far as jobs are
    /// expected.
    pub(super) fn call(&mut self, wanted: usize) -> Option<(Turn, Stand)> {
        let all_dry = self.dry.contains(&[][..]);
        let hopeful = !all_dry && (wanted == 0 || wanted < self.expected);
        let first = self.looking.first_key_value().map(|(turn, _)| *turn);
        let parked = hopeful
            .then(|| {
                let wet = self.parked.iter_mut().filter(|(types, _)| !self.dry.contains(*types));
                wet.filter_map(|(_, parked)| Some((*parked.first_key_value()?.0, parked)))
                    .min_by_key(|(turn, _)| *turn)
            })
            .flatten();
        match parked {
            Some((turn, parked)) if first.is_none_or(|first| turn < first) => parked.pop_first(),
            _ => self.looking.pop_first(),
        }
    }
}

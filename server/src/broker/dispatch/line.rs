//! Who wants jobs of one queue.

use std::collections::{BTreeSet, HashSet};

use super::Ticket;
use crate::store::Gate;

/// The workers at one queue.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// They look into this queue now.
    pub probing: BTreeSet<Ticket>,
    /// They looked and wait.
    pub parked: BTreeSet<Ticket>,
    /// A claim is under way.
    pub under_way: bool,
    /// The queue was told ready since that claim was started.
    pub told: bool,
    /// What kept jobs back at the last look.
    pub gate: Option<Gate>,
    /// The wishes for types that found nothing at the last look, and the queue has not been told
    /// ready since. The wish for any type is the empty one.
    dry: HashSet<Vec<String>>,
}

impl Line {
    /// True when nobody who wants these types would get a job, as far as is known.
    pub(super) fn is_dry(&self, types: &[String]) -> bool {
        !self.dry.is_empty() && (self.dry.contains(&[][..]) || self.dry.contains(types))
    }

    /// A claim for these types came back empty.
    pub(super) fn ran_dry(&mut self, types: Vec<String>) {
        self.dry.insert(types);
    }

    /// A gate keeps everybody out.
    pub(super) fn shut(&mut self, gate: Gate) {
        self.gate = Some(gate);
        self.dry.insert(Vec::new());
    }

    /// The queue may have jobs for everybody.
    pub(super) fn wet(&mut self) {
        self.dry.clear();
        self.told = true;
    }

    /// Those who are here, first come first.
    pub(super) fn all(&self) -> Vec<Ticket> {
        self.probing.union(&self.parked).copied().collect()
    }

    /// True when nobody is here and nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.probing.is_empty() && self.parked.is_empty() && !self.under_way
    }
}

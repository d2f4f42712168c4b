//! How much a write weighs in a store call: a heavy one holds the store for long.

use std::ops::AddAssign;

use crate::job::{Payload, Spec};
use crate::store::{Commit, Extension, Group, Insert};

/// Items of one call at most: a script then holds the store for a millisecond or two.
const MOST_ITEMS: usize = 256;

/// Bytes of one call at most, about.
const MOST_BYTES: usize = 1 << 20;

/// What writes weigh together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    items: usize,
    /// Of what may be large.
    bytes: usize,
}

/// A write that weighs something.
pub(super) trait Weigh {
    fn weigh(&self) -> Weight;
}

impl Weight {
    /// True when so much may be in one call.
    pub(super) fn is_bearable(self) -> bool {
        self.items <= MOST_ITEMS && self.bytes <= MOST_BYTES
    }
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.items += other.items;
        self.bytes += other.bytes;
    }
}

impl Weigh for Group {
    fn weigh(&self) -> Weight {
        let bytes = self.inserts.iter().map(insert).sum();
        Weight { items: self.inserts.len(), bytes }
    }
}

impl Weigh for Commit {
    fn weigh(&self) -> Weight {
        let Self { transition, then } = self;
        let bytes = payload(transition.result.as_ref())
            + payload(transition.checkpoint.as_ref())
            + transition.spec.as_deref().map_or(0, spec)
            + then.iter().map(insert).sum::<usize>();
        Weight { items: 1 + then.len(), bytes }
    }
}

impl Weigh for Extension {
    fn weigh(&self) -> Weight {
        Weight { items: 1, bytes: payload(self.checkpoint.as_ref()) }
    }
}

fn insert(insert: &Insert) -> usize {
    spec(&insert.job.spec)
}

fn spec(spec: &Spec) -> usize {
    payload(spec.payload.as_ref())
}

fn payload(payload: Option<&Payload>) -> usize {
    payload.map_or(0, |payload| payload.data.len())
}

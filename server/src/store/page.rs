//! Lists of jobs, a page at a time.

use bytes::Bytes;

use crate::job::{Job, State};

/// The order in which a list walks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Index {
    /// Jobs of one state: ready ones in the order in which they will run, scheduled and retrying
    /// ones by due time, leased ones by the end of their visibility timeout, blocked ones by create
    /// time, finished ones by purge time.
    State(State),
    /// Jobs of all states with this label, by create time.
    Label(String, String),
    /// Jobs of all states of this owner, by create time.
    Owner(String),
}

/// Which way a list walks its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Earliest first; ready jobs: next to run first.
    Forward,
    /// Latest first.
    Backward,
}

/// Where a page ended. Only the store that made it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(pub Bytes);

/// Some jobs of an index.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where to go on; `None` at the end.
    pub next: Option<Mark>,
}

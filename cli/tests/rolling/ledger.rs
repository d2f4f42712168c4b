//! What clients were told, and how far the load has come.

use std::collections::{HashMap, HashSet};

use tokio::sync::watch;

/// Jobs that may be open: producers wait for workers.
const BACKLOG: usize = 40;

#[derive(Default)]
pub(crate) struct Ledger {
    enqueued: HashSet<String>,
    /// How often a worker began a job.
    runs: HashMap<String, i32>,
    done: HashSet<String>,
    closing: bool,
}

/// The ledger, as the load and the test share it.
#[derive(Clone, Default)]
pub(crate) struct Book(watch::Sender<Ledger>);

impl Book {
    pub(crate) fn enqueued(&self, name: String) {
        self.0.send_modify(|ledger| assert!(ledger.enqueued.insert(name), "a name came twice"));
    }

    pub(crate) fn begun(&self, name: &str) {
        self.0.send_modify(|ledger| *ledger.runs.entry(name.to_owned()).or_default() += 1);
    }

    pub(crate) fn done(&self, name: &str) {
        self.0.send_modify(|ledger| {
            ledger.done.insert(name.to_owned());
        });
    }

    /// Waits for room for another job; `false` when there shall be no more.
    pub(crate) async fn has_room(&self) -> bool {
        let free =
            |ledger: &Ledger| ledger.closing || ledger.enqueued.len() < ledger.done.len() + BACKLOG;
        !self.0.subscribe().wait_for(free).await.unwrap().closing
    }

    /// Waits until the load has come further by so many jobs.
    pub(crate) async fn goes_on(&self, by: usize) {
        let goal = self.0.borrow().done.len() + by;
        self.0.subscribe().wait_for(|ledger| ledger.done.len() >= goal).await.unwrap();
    }

    /// No more jobs shall come.
    pub(crate) fn close(&self) {
        self.0.send_modify(|ledger| ledger.closing = true);
    }

    /// Waits until all jobs are done.
    pub(crate) async fn all_done(&self) {
        let all = |ledger: &Ledger| ledger.done.is_superset(&ledger.enqueued);
        self.0.subscribe().wait_for(all).await.unwrap();
    }

    /// The jobs that were enqueued, and how often each was run.
    pub(crate) fn jobs(&self) -> HashMap<String, i32> {
        let ledger = self.0.borrow();
        ledger.enqueued.iter().map(|name| (name.clone(), ledger.runs[name])).collect()
    }

    pub(crate) fn summary(&self) -> String {
        let ledger = self.0.borrow();
        format!("{} enqueued, {} done", ledger.enqueued.len(), ledger.done.len())
    }
}

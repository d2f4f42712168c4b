//! The way back for jobs that were taken for a worker that is gone.

use crate::broker::fold::Folder;
use crate::clock::Clock;
use crate::job::{Job, transition};

/// Gives back what was taken for a worker that is gone.
#[derive(Clone)]
pub(super) struct Returns {
    folder: Folder,
    clock: Clock,
}

impl Returns {
    pub(super) fn new(folder: Folder, clock: Clock) -> Self {
        Self { folder, clock }
    }

    /// Each job goes in front of its line, so the last one first keeps their order.
    pub(super) fn give_back(&self, jobs: &[Job]) {
        let now = self.clock.now();
        for job in jobs.iter().rev() {
            if let Some(decided) = transition::give_back(job, now) {
                self.folder.commit_later(decided);
            }
        }
    }
}

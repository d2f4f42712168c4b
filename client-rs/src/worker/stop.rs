//! Why a job shall be stopped, and the signal that says so.

use std::sync::OnceLock;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Why a job shall be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The job is not ours any more: nothing is settled, whatever the handler returns.
    LeaseLost {
        /// Why.
        reason: String,
    },
    /// The job was cancelled. An error makes it CANCELLED; a success that comes in time counts.
    Cancelled {
        /// What the one who cancelled it said.
        reason: String,
        /// How long there is.
        within: Option<Duration>,
    },
    /// The attempt timeout has passed: the broker has ended the attempt, and nothing is settled.
    TimedOut,
    /// The worker ends, and its grace is over: the job goes back uncounted.
    Shutdown,
}

impl Stop {
    /// Whether the lease is gone with it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::LeaseLost { .. } | Self::TimedOut)
    }
}

/// Fires at most twice: what is final overrules what is not.
#[derive(Debug, Default)]
pub(super) struct Signal {
    token: CancellationToken,
    first: OnceLock<Stop>,
    last: OnceLock<Stop>,
}

impl Signal {
    pub(super) fn fire(&self, why: Stop) {
        let place = if why.is_final() { &self.last } else { &self.first };
        // The first of a kind stands.
        place.set(why).ok();
        self.token.cancel();
    }

    pub(super) fn why(&self) -> Option<&Stop> {
        self.last.get().or_else(|| self.first.get())
    }

    pub(super) fn token(&self) -> &CancellationToken {
        &self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_lease_overrules_what_was_said_before() {
        let signal = Signal::default();
        assert_eq!(signal.why(), None);
        signal.fire(Stop::Shutdown);
        assert!(signal.token().is_cancelled());
        signal.fire(Stop::Cancelled { reason: "late".to_owned(), within: None });
        assert_eq!(signal.why(), Some(&Stop::Shutdown));
        signal.fire(Stop::TimedOut);
        assert_eq!(signal.why(), Some(&Stop::TimedOut));
    }
}

//! The gates of a claim: pause, the limit of leased jobs, the rate limit.

use crate::job::QueueSettings;
use crate::job::queue::RateLimit;

/// What a queue's settings say about claims, and where its rate limit stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gates {
    /// The revision of the settings; 0: nobody set the queue up.
    pub(super) revision: u64,
    /// Gives out no jobs.
    pub(super) paused: bool,
    /// Jobs leased at once.
    pub(super) max_leased: Option<i64>,
    /// How fast jobs are given out.
    pub(super) rate: Option<RateLimit>,
    /// The theoretical arrival time of the rate limit, in microseconds.
    pub(super) tat: i64,
}

impl Gates {
    /// The gates of these settings, with a rate limit that was at rest.
    pub(super) fn of(settings: &QueueSettings) -> Self {
        Self {
            revision: settings.revision,
            paused: settings.paused,
            max_leased: settings.max_leased.map(i64::from),
            rate: settings.rate_limit,
            tat: 0,
        }
    }
}

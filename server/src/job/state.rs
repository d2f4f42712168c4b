//! The states of a job and what its one time, `at`, means in each.
//!
//! | state | `at` is | when `at` passes |
//! |---|---|---|
//! | `Scheduled`, `Retrying` | when the job may run | it becomes `Ready` |
//! | `Ready` | since when it may run; never the same moment twice | nothing |
//! | `Leased` | when the visibility timeout ends | the lease is lost |
//! | `Blocked` | when it was asked to run | nothing: it waits for another job |
//! | `Succeeded`, `Dead`, `Cancelled`, `Expired` | when it may be forgotten | it is purged |
//!
//! A pending job that has an expiry becomes `Expired` when that passes, whatever its state.
//! A blocked job that waits no longer becomes `Scheduled`, or `Ready` if its time has come.

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Waits for its time.
    Scheduled,
    /// May be leased.
    Ready,
    /// A worker holds it.
    Leased,
    /// An attempt failed; waits for its backoff.
    Retrying,
    /// Waits for other jobs.
    Blocked,
    /// Done.
    Succeeded,
    /// A dead letter: it will not be tried again.
    Dead,
    /// Called off.
    Cancelled,
    /// Its time ran out before it was started.
    Expired,
}

impl State {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Ready,
        Self::Leased,
        Self::Retrying,
        Self::Blocked,
        Self::Succeeded,
        Self::Dead,
        Self::Cancelled,
        Self::Expired,
    ];

    /// True when the job's life is over.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled | Self::Expired)
    }

    /// One ASCII letter per state: the stored form.
    pub fn letter(self) -> u8 {
        match self {
            Self::Scheduled => b'S',
            Self::Ready => b'R',
            Self::Leased => b'L',
            Self::Retrying => b'T',
            Self::Blocked => b'B',
            Self::Succeeded => b'K',
            Self::Dead => b'D',
            Self::Cancelled => b'C',
            Self::Expired => b'E',
        }
    }

    /// The state of a stored letter.
    pub fn from_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.letter() == letter)
    }

    /// True when the job waits: nobody holds it and its life is not over.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Scheduled | Self::Ready | Self::Retrying | Self::Blocked)
    }

    /// True when a job may move from this state to `to`, or stay in it while something else of it
    /// changes.
    pub fn may_become(self, to: Self) -> bool {
        match self {
            Self::Scheduled | Self::Ready | Self::Retrying | Self::Blocked => match to {
                Self::Scheduled | Self::Ready | Self::Cancelled | Self::Expired => true,
                Self::Leased => self == Self::Ready,
                // A late ack: the lease expired, nobody else had the job.
                Self::Succeeded => matches!(self, Self::Ready | Self::Retrying),
                Self::Retrying | Self::Blocked => to == self,
                Self::Dead => false,
            },
            Self::Leased => !matches!(to, Self::Leased | Self::Blocked | Self::Expired),
            // An operator may bring an unsuccessful job back.
            Self::Dead | Self::Cancelled | Self::Expired => to == Self::Ready,
            Self::Succeeded => false,
        }
    }
}

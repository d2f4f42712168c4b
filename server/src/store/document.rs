//! Small records beside the queues.

use bytes::Bytes;

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A schedule.
    Schedule,
    /// A worker that was seen.
    Worker,
    /// A worker that shall lease no more.
    Drain,
    /// How far a sink has followed the events.
    Sink,
}

impl Kind {
    /// True when brokers are told of each change ([`Signal::Documents`](super::Signal::Documents)).
    pub fn is_told(self) -> bool {
        !matches!(self, Self::Worker | Self::Sink)
    }
}

/// A small record of a namespace, beside its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its name within its kind.
    pub key: String,
    /// How often it was written, at least 1.
    pub revision: u64,
    /// What it says.
    pub body: Bytes,
}

/// A write of a document.
#[derive(Clone, Debug)]
pub struct Put {
    /// Its name within its kind.
    pub key: String,
    /// Only if this is its revision now; 0: only if there is none; `None`: in any case.
    pub expected: Option<u64>,
    /// What it says from now on; `None`: it is removed.
    pub body: Option<Bytes>,
}

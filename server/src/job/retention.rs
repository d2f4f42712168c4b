//! How long finished jobs are kept: by age and by count, whichever ends first. Finite by default.

use std::time::Duration;

/// What is kept of the finished jobs of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How long after its end a job is forgotten; zero: at once.
    pub span: Duration,
    /// How many finished jobs of that state its queue keeps, see [`Keep::most`]; `None`: as many as
    /// `span` allows.
    pub count: Option<u32>,
}

impl Keep {
    /// The default for jobs that succeeded.
    pub const SUCCEEDED: Self = Self { span: Duration::from_hours(1), count: Some(1000) };
    /// The default for dead letters.
    pub const DEAD: Self = Self { span: Duration::from_hours(7 * 24), count: Some(500) };

    /// How many finished jobs of that state there may be before those beyond `count` are forgotten, all
    /// at once: a sixteenth more. To forget one with each that ends costs as much as to end it.
    pub fn most(self) -> Option<u32> {
        self.count.map(|count| count.saturating_add(count / 16))
    }

    /// True when a finished job leaves nothing behind.
    pub fn nothing(self) -> bool {
        self.span.is_zero()
    }
}

/// A job's retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For a job that succeeded.
    pub succeeded: Keep,
    /// For a job that is dead.
    pub dead: Keep,
}

impl Default for Retention {
    fn default() -> Self {
        Self { succeeded: Keep::SUCCEEDED, dead: Keep::DEAD }
    }
}

//! Schedules: when a job is enqueued again and again.
//!
//! A schedule has *ticks*, the moments at which it is to fire. Which of them fire when a broker
//! looks late is decided here ([`Schedule::due`]); that each fires once, however many brokers look,
//! is the work of [`RequestId::of_tick`](super::RequestId::of_tick) and a compare-and-set.

mod cron;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use cron::{CronLine, Zone};

use super::id::{JobName, ParseError, QueueName};
use super::{Open, Spec};
use crate::clock::{Timestamp, millis};

/// The shortest time between two firings.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The longest interval: one year, leap day included.
pub const LONGEST_INTERVAL: Duration = Duration::from_hours(366 * 24);

/// The longest that missed ticks are made up for.
pub const LONGEST_CATCH_UP: Duration = Duration::from_hours(366 * 24);

/// A tick that is less late than this was not missed: brokers take as long to restart, or to take
/// over from one that died.
pub const SLACK: Duration = Duration::from_secs(30);

/// Ticks that one decision lets fire; the others are left to the next one.
pub const MOST_TICKS: usize = 100;

/// The last part of a schedule's name, `schedules/{schedule}`: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleId(Arc<str>);

impl ScheduleId {
    /// Checks and takes an id.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        // The alphabet is that of queues.
        QueueName::parse(text).map(|_| Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScheduleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a schedule was refused; the rest of a sentence that begins with the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a cron line.
    #[error("is not a cron line: {0}")]
    Cron(String),
    /// A cron line without a single match.
    #[error("never fires: no date matches {0:?}")]
    Never(String),
    /// An unknown time zone.
    #[error("is no IANA time zone, such as Europe/Berlin: {0:?}")]
    Zone(String),
    /// An interval out of bounds.
    #[error("must be from 1 s to 366 days")]
    Interval,
}

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recurrence {
    /// At the times of a cron line, told by the clocks of a place.
    Cron {
        /// The line.
        line: CronLine,
        /// The place.
        zone: Zone,
    },
    /// Each time this span has passed, counted from the schedule's creation.
    Every(Duration),
}

impl Recurrence {
    /// A recurrence by interval.
    pub fn every(interval: Duration) -> Result<Self, Error> {
        if (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
            Ok(Self::Every(interval))
        } else {
            Err(Error::Interval)
        }
    }

    /// The first tick later than `moment`, for a schedule made at `created`; `None` when there is
    /// none in the years that a calendar reaches.
    pub fn next_after(&self, moment: Timestamp, created: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron { line, zone } => line.next_after(moment, zone),
            Self::Every(interval) => {
                let steps = moment.since(created).as_millis() / interval.as_millis().max(1);
                let steps = u64::try_from(steps).ok()?.checked_add(1)?;
                let span = millis(*interval).checked_mul(steps)?;
                Some(created.after(Duration::from_millis(span)))
            }
        }
    }
}

/// What a tick does while the job of the last one is unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Fires all the same.
    #[default]
    Allow,
    /// Does not fire.
    Skip,
}

/// What each firing enqueues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// How long after the tick the job may run; `None`: at once.
    pub delay: Option<Duration>,
    /// How long after the tick the job is worth starting; `None`: for ever.
    pub ttl: Option<Duration>,
    /// What its queue's settings decide at each firing.
    pub open: Open,
    /// The rest. Its times are those of no job in particular, and unset.
    pub spec: Spec,
}

/// What an operator asks of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When it fires.
    pub recurrence: Recurrence,
    /// What a tick does while the last job is unfinished.
    pub overlap: Overlap,
    /// Missed ticks younger than this are made up for.
    pub catch_up: Duration,
    /// Where its jobs go.
    pub queue: QueueName,
    /// What they are.
    pub job: Template,
}

/// A schedule as its store has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub id: ScheduleId,
    /// What was asked of it.
    pub settings: Settings,
    /// When it was made.
    pub created: Timestamp,
    /// How often an operator changed it.
    pub revision: u32,
    /// It does not fire.
    pub paused: bool,
    /// The last tick that fired.
    pub fired: Option<Timestamp>,
    /// The job that it made.
    pub last_job: Option<JobName>,
    /// The next tick; `None` while paused.
    pub next: Option<Timestamp>,
}

/// What is to be done about a schedule now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The ticks that fire, earliest first; at most [`MOST_TICKS`].
    pub fire: Vec<Timestamp>,
    /// The tick after all that were looked at. It may be due, too: then decide again.
    pub next: Option<Timestamp>,
}

impl Schedule {
    /// A schedule that begins with its first tick after `now`.
    pub fn new(id: ScheduleId, settings: Settings, now: Timestamp) -> Self {
        let mut schedule = Self {
            id,
            settings,
            created: now,
            revision: 0,
            paused: false,
            fired: None,
            last_job: None,
            next: None,
        };
        schedule.resume(now);
        schedule
    }

    /// Names what operators made of it: firing leaves it the same.
    pub fn etag(&self) -> String {
        format!("{:x}.{:x}", self.created.as_millis(), self.revision)
    }

    /// Which ticks fire now.
    ///
    /// Of those that were missed, the ones younger than [`Settings::catch_up`] do. The latest
    /// one does also when it is less than [`SLACK`] late: it was not missed, only noticed late.
    /// The others are dropped.
    pub fn due(&self, now: Timestamp) -> Due {
        let catch_up = self.settings.catch_up;
        let is_due = |tick: &Timestamp| *tick <= now;
        let mut fire = Vec::new();
        let Some(first) = self.next.filter(is_due) else {
            return Due { fire, next: self.next };
        };
        // Whatever is older does not fire, so a long rest is leapt over.
        let oldest = now.before(catch_up.max(SLACK));
        let mut tick =
            if first >= oldest { Some(first) } else { self.tick_after(oldest.before(MOMENT)) };
        while let Some(at) = tick.filter(is_due)
            && fire.len() < MOST_TICKS
        {
            tick = self.tick_after(at);
            let is_latest = tick.is_none_or(|following| following > now);
            let late = now.since(at);
            if late < catch_up || (is_latest && late < SLACK) {
                fire.push(at);
            }
        }
        Due { fire, next: tick }
    }

    /// Begins to fire, again or for the first time: from the next tick on.
    pub fn resume(&mut self, now: Timestamp) {
        self.paused = false;
        self.next = self.tick_after(now);
    }

    /// Takes other settings. Other times begin with their first tick after `now`.
    pub fn change(&mut self, settings: Settings, now: Timestamp) {
        let is_other = settings.recurrence != self.settings.recurrence;
        self.settings = settings;
        if is_other && !self.paused {
            self.resume(now);
        }
    }

    /// Ceases to fire.
    pub fn pause(&mut self) {
        self.paused = true;
        self.next = None;
    }

    fn tick_after(&self, moment: Timestamp) -> Option<Timestamp> {
        self.settings.recurrence.next_after(moment, self.created)
    }
}

/// The shortest time there is.
const MOMENT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;

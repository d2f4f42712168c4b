//! Cron lines and the clocks of a place. The calendar is a library's; which instant a clock time
//! means on the days when clocks change is decided here.

use std::sync::Arc;

use croner::parser::{CronParser, Year};
use croner::{Cron, CronComponent};
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

use super::Error;
use crate::clock::Timestamp;

/// No line is longer than this.
const LONGEST_LINE: usize = 256;

/// Clock times that are looked at before the search for a tick is given up. More than clocks are
/// ever put back by, in seconds.
const MOST_TIMES: usize = 48 * 3600;

/// The first day of the calendar that a line is tried with.
const SOME_DAY: civil::DateTime = civil::date(2000, 1, 1).at(0, 0, 0, 0);

/// A cron line: minute, hour, day of month, month, day of week; a sixth field before them is the
/// second. `L`, `W`, `#`, names, steps, lists and `@daily` and its like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronLine {
    text: Arc<str>,
    cron: Arc<Cron>,
}

impl CronLine {
    /// Checks and takes a line that matches at least one date.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST_LINE {
            return Err(Error::Cron(format!("it is longer than {LONGEST_LINE} bytes")));
        }
        let parser = CronParser::builder().year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|wrong| Error::Cron(wrong.to_string()))?;
        if cron.find_next_occurrence(&SOME_DAY, true).is_err() {
            return Err(Error::Never(text.to_owned()));
        }
        Ok(Self { text: text.into(), cron: Arc::new(cron) })
    }

    /// The line as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first tick later than `moment`, by the clocks of `zone`.
    ///
    /// A line that names its times (no `*` in second, minute and hour) fires once per time: at the
    /// end of the gap when clocks skip the time, at the first of the two when they show it twice.
    /// Any other line follows the time that passes: skipped times do not fire, repeated ones fire
    /// twice. So does the cron of Vixie.
    pub fn next_after(&self, moment: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let start = jiff::Timestamp::from_millisecond(i64::try_from(moment.as_millis()).ok()?);
        let start = start.ok()?.to_zoned(zone.zone.clone());
        let tick = if self.names_times() {
            self.next_named(&start)?
        } else {
            self.cron.find_next_occurrence(&start, false).ok()?.timestamp()
        };
        Some(Timestamp::from_millis(u64::try_from(tick.as_millisecond()).ok()?))
    }

    fn names_times(&self) -> bool {
        let pattern = &self.cron.pattern;
        let is_named = |field: &CronComponent| !field.from_wildcard;
        [&pattern.seconds, &pattern.minutes, &pattern.hours].into_iter().all(is_named)
    }

    /// Walks the clock times after the one at `start`. While clocks are put back, those that were
    /// shown before are passed over.
    fn next_named(&self, start: &jiff::Zoned) -> Option<jiff::Timestamp> {
        let mut time = start.datetime();
        for _ in 0..MOST_TIMES {
            time = self.cron.find_next_occurrence(&time, false).ok()?;
            let tick = instant(time, start.time_zone())?;
            if tick > start.timestamp() {
                return Some(tick);
            }
        }
        None
    }
}

/// The instant at which a clock time that is meant once comes.
fn instant(time: civil::DateTime, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    let earlier = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            return ambiguous.earlier().ok();
        }
        AmbiguousOffset::Gap { .. } => ambiguous.earlier().ok()?,
    };
    // Within a gap, "earlier" is as long before its end as the clock time is before that of its
    // end: the change of clocks is what comes next.
    zone.following(earlier).next().map(|change| change.timestamp())
}

/// A time zone of the IANA database, in the version that this program carries: all brokers of a
/// version agree, whatever their hosts have installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: Arc<str>,
    zone: TimeZone,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }

    /// Looks a zone up by its name, in any case.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let unknown = || Error::Zone(name.chars().take(LONGEST_LINE).collect());
        let zone = TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())?;
        if zone.is_unknown() {
            return Err(unknown());
        }
        let proper = zone.iana_name().ok_or_else(unknown)?;
        Ok(Self { name: proper.into(), zone })
    }

    /// Its name in the database.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

//! Spans and moments: `google.protobuf` ↔ std and [`Timestamp`], exact to the millisecond.

use std::time::Duration;

use prost_types::{Duration as ProtoDuration, Timestamp as ProtoTimestamp};

use super::field::Violations;
use crate::clock::Timestamp;

const NANOS: i32 = 1_000_000_000;
const DAY: u64 = 24 * 3600;

/// The farthest that a job may be put off: 10 years, leap days included.
pub(super) const FARTHEST: Duration = Duration::from_secs(3653 * DAY);
/// The longest backoff or snooze.
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_secs(30 * DAY);
/// The longest that a finished job is kept.
pub(super) const LONGEST_KEEP: Duration = Duration::from_secs(365 * DAY);

/// Reads a span that lies in `least..=most`.
pub(super) fn span(
    proto: &ProtoDuration,
    least: Duration,
    most: Duration,
) -> Result<Duration, Violations> {
    let negative = proto.seconds < 0 || proto.nanos < 0;
    // The form demands one sign for both parts and less than a second of nanos.
    let mixed = (proto.seconds > 0 && proto.nanos < 0) || (proto.seconds < 0 && proto.nanos > 0);
    if mixed || proto.nanos <= -NANOS || proto.nanos >= NANOS {
        return Err("is not a valid duration".into());
    }
    if negative {
        return Err("must not be negative".into());
    }
    let span = Duration::new(proto.seconds.unsigned_abs(), proto.nanos.unsigned_abs());
    if span < least || span > most {
        return Err(format!("must be from {} to {}", Words(least), Words(most)).into());
    }
    Ok(span)
}

/// Reads an optional span that lies in `least..=most`.
pub(super) fn span_opt(
    proto: Option<&ProtoDuration>,
    least: Duration,
    most: Duration,
) -> Result<Option<Duration>, Violations> {
    proto.map(|proto| span(proto, least, most)).transpose()
}

/// Reads a moment. One before 1970 becomes 1970, and a fraction of a millisecond is rounded up, so
/// that nothing runs sooner than asked.
pub(super) fn moment(proto: &ProtoTimestamp) -> Result<Timestamp, Violations> {
    // The span that the form allows: years 1 to 9999.
    let seconds_are_valid = (-62_135_596_800..=253_402_300_799).contains(&proto.seconds);
    if !seconds_are_valid || !(0..NANOS).contains(&proto.nanos) {
        return Err("is not a valid timestamp".into());
    }
    let seconds = u64::try_from(proto.seconds).unwrap_or(0);
    let nanos = if proto.seconds < 0 { 0 } else { proto.nanos.unsigned_abs() };
    Ok(Timestamp::from_millis(seconds * 1000 + u64::from(nanos.div_ceil(1_000_000))))
}

/// Reads how far to move the clock.
pub(in crate::rpc) fn advance(
    proto: &lessor_proto::v1::AdvanceClockRequest,
) -> Result<Duration, Violations> {
    let mut wrong = Violations::default();
    let span = span_opt(proto.duration.as_ref(), Duration::ZERO, FARTHEST);
    let span = wrong.at("duration", span.and_then(|span| span.ok_or("must be set".into())));
    wrong.finish(span)
}

/// Writes a span.
pub(in crate::rpc) fn proto_span(span: Duration) -> ProtoDuration {
    // Below a second of nanos, and every span in here is far below the range of the seconds.
    let nanos = i32::try_from(span.subsec_nanos()).unwrap_or(0);
    ProtoDuration { seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX), nanos }
}

/// Writes a moment.
pub(in crate::rpc) fn proto_moment(moment: Timestamp) -> ProtoTimestamp {
    let millis = moment.as_millis();
    let nanos = i32::try_from(millis % 1000).unwrap_or(0) * 1_000_000;
    ProtoTimestamp { seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX), nanos }
}

/// A span in the unit in which people think of it.
struct Words(Duration);

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            s if s == FARTHEST.as_secs() => f.write_str("10 years"),
            s if s >= 2 * DAY && s % DAY == 0 => write!(f, "{} days", s / DAY),
            s if s >= 7200 && s % 3600 == 0 => write!(f, "{} h", s / 3600),
            s => write!(f, "{s} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn why(seconds: i64, nanos: i32) -> String {
        let proto = ProtoDuration { seconds, nanos };
        let result = span(&proto, Duration::from_secs(1), Duration::from_hours(12));
        result.map_or_else(|wrong| wrong.list()[0].why.clone(), |span| format!("{span:?}"))
    }

    #[test]
    fn a_span_is_refused_when_malformed_negative_or_out_of_range() {
        let table = [
            (30, 500_000_000, "30.5s"),
            (1, 0, "1s"),
            (43_200, 0, "43200s"),
            (43_200, 1, "must be from 1 s to 12 h"),
            (0, 999_999_999, "must be from 1 s to 12 h"),
            (-1, 0, "must not be negative"),
            (0, -1, "must not be negative"),
            (1, -1, "is not a valid duration"),
            (-1, 1, "is not a valid duration"),
            (1, 1_000_000_000, "is not a valid duration"),
            (0, i32::MIN, "is not a valid duration"),
            (i64::MIN, 0, "must not be negative"),
            (i64::MAX, 0, "must be from 1 s to 12 h"),
        ];
        for (seconds, nanos, expected) in table {
            assert_eq!(why(seconds, nanos), expected, "{seconds} s {nanos} ns");
        }
    }

    #[test]
    fn a_moment_is_never_rounded_down() {
        let at =
            |seconds, nanos| moment(&ProtoTimestamp { seconds, nanos }).map(Timestamp::as_millis);
        assert_eq!(at(7, 0), Ok(7000));
        assert_eq!(at(7, 1), Ok(7001));
        assert_eq!(at(7, 999_999_999), Ok(8000));
        assert_eq!(at(-5, 500_000_000), Ok(0));
        assert!(at(0, -1).is_err());
        assert!(at(0, 1_000_000_000).is_err());
        assert!(at(i64::MAX, 0).is_err());
        assert!(at(i64::MIN, 0).is_err());
    }

    proptest! {
        #[test]
        fn moments_and_spans_come_back_as_they_were(millis in 0u64..253_402_300_799_000) {
            let then = Timestamp::from_millis(millis);
            prop_assert_eq!(moment(&proto_moment(then)), Ok(then));
            let length = Duration::from_millis(millis);
            prop_assert_eq!(span(&proto_span(length), Duration::ZERO, Duration::MAX), Ok(length));
        }
    }
}

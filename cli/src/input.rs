//! What users hand over on the command line: payloads, names, labels, states, points in time.

use std::io::Read;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use anyhow::Context;
use clap::Args;
use lessor::{JobState, Payload, payload};

use crate::failure::Usage;

/// How a payload may be given; the end of a help text.
pub(crate) const SOURCES: &str = "as it is, from a file with @FILE, or from stdin with -";

/// A payload of JSON or of plain bytes; clap sees to it that there is only one.
pub(crate) fn payload(json: Option<&str>, data: Option<&str>) -> anyhow::Result<Option<Payload>> {
    match (json, data) {
        (Some(source), _) => {
            let text = read(source)?;
            serde_json::from_slice::<serde::de::IgnoredAny>(&text)
                .map_err(|error| Usage(format!("this is not JSON: {error}")))?;
            Ok(Some(payload::json(text)))
        }
        (None, Some(source)) => Ok(Some(payload::bytes(read(source)?))),
        (None, None) => Ok(None),
    }
}

/// What a worker leaves for the next attempt.
#[derive(Args)]
pub(crate) struct Checkpoint {
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "checkpoint_data",
        help = format!("What the next attempt finds in the job, as JSON: {SOURCES}")
    )]
    checkpoint_json: Option<String>,

    #[arg(
        long,
        value_name = "BYTES",
        help = format!("What the next attempt finds in the job, as plain bytes: {SOURCES}")
    )]
    checkpoint_data: Option<String>,
}

impl Checkpoint {
    pub(crate) fn read(&self) -> anyhow::Result<Option<Payload>> {
        payload(self.checkpoint_json.as_deref(), self.checkpoint_data.as_deref())
    }
}

/// The bytes that a [source](SOURCES) names.
pub(crate) fn read(source: &str) -> anyhow::Result<Vec<u8>> {
    if source == "-" {
        let mut data = Vec::new();
        io::stdin().lock().read_to_end(&mut data).context("cannot read stdin")?;
        Ok(data)
    } else if let Some(path) = source.strip_prefix('@') {
        fs::read(path).with_context(|| format!("cannot read {path}"))
    } else {
        Ok(source.as_bytes().to_vec())
    }
}

/// `key=value`.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A job by its name, `queues/{queue}/jobs/{job}`, or in short `{queue}/{job}`.
#[expect(clippy::unnecessary_wraps, reason = "clap takes parsers that may fail")]
pub(crate) fn parse_job(text: &str) -> Result<String, String> {
    Ok(match text.split_once('/') {
        Some((queue, job)) if !job.contains('/') => format!("queues/{queue}/jobs/{job}"),
        _ => text.to_owned(),
    })
}

/// A schedule by its name, `schedules/{schedule}`, or in short by what follows the slash.
#[expect(clippy::unnecessary_wraps, reason = "clap takes parsers that may fail")]
pub(crate) fn parse_schedule(text: &str) -> Result<String, String> {
    Ok(if text.contains('/') { text.to_owned() } else { format!("schedules/{text}") })
}

/// A state such as `dead`; the name in the protocol, `STATE_DEAD`, will do too.
pub(crate) fn parse_state(text: &str) -> Result<JobState, String> {
    let word = text.to_uppercase();
    let word = word.strip_prefix("STATE_").unwrap_or(&word);
    JobState::from_str_name(&format!("STATE_{word}"))
        .filter(|state| *state != JobState::Unspecified)
        .ok_or_else(|| {
            "no such state; there are scheduled, ready, leased, retrying, blocked, succeeded, \
             dead, cancelled and expired"
                .to_owned()
        })
}

/// So many per so much time, such as `100/1s` or `100/s`.
pub(crate) fn parse_rate(text: &str) -> Result<(i32, Duration), String> {
    let bad = || "write it as COUNT/DURATION, such as 100/1s or 20/1m".to_owned();
    let (count, period) = text.split_once('/').ok_or_else(bad)?;
    let one = if period.starts_with(|it: char| it.is_ascii_digit()) { "" } else { "1" };
    let period = humantime::parse_duration(&format!("{one}{period}")).map_err(|_| bad())?;
    Ok((count.parse().map_err(|_| bad())?, period))
}

/// A number of bytes, such as `500MiB`.
pub(crate) fn parse_size(text: &str) -> Result<i64, String> {
    let digits = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("write it in bytes, or with KiB, MiB or GiB".to_owned()),
    };
    number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "this is no number of bytes".to_owned())
}

/// A time such as `2026-12-24T18:00:00Z`.
pub(crate) fn parse_time(text: &str) -> Result<SystemTime, humantime::TimestampError> {
    humantime::parse_rfc3339(text)
}

/// A time, or a span such as `10m` for that long ago.
pub(crate) fn parse_past(text: &str) -> Result<SystemTime, String> {
    let Ok(span) = humantime::parse_duration(text) else {
        return parse_time(text).map_err(|_| {
            "write it as 2026-12-24T18:00:00Z, or as 10m for ten minutes ago".to_owned()
        });
    };
    ago(span).ok_or_else(|| "that is before time began".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "`ago` on a command line means the user's own clock")]
fn ago(span: Duration) -> Option<SystemTime> {
    SystemTime::now().checked_sub(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_a_short_name() {
        let full = "queues/emails/jobs/17";
        assert_eq!(parse_job("emails/17").as_deref(), Ok(full));
        assert_eq!(parse_job(full).as_deref(), Ok(full));
        // What is no name is left to the broker, which says so.
        assert_eq!(parse_job("17").as_deref(), Ok("17"));
        assert_eq!(parse_schedule("report").as_deref(), Ok("schedules/report"));
        assert_eq!(parse_schedule("schedules/report").as_deref(), Ok("schedules/report"));
    }

    #[test]
    fn a_state_is_named_in_either_way() {
        for text in ["dead", "DEAD", "STATE_DEAD"] {
            assert_eq!(parse_state(text), Ok(JobState::Dead), "{text}");
        }
        for text in ["gone", "unspecified", ""] {
            assert!(parse_state(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_is_so_many_per_time() {
        assert_eq!(parse_rate("100/1s"), Ok((100, Duration::from_secs(1))));
        assert_eq!(parse_rate("20/m"), Ok((20, Duration::from_mins(1))));
        for text in ["100", "x/1s", "1/x", "/", "1.5/1s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_may_have_a_unit() {
        assert_eq!(parse_size("1000"), Ok(1000));
        assert_eq!(parse_size("2KiB"), Ok(2048));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        for text in ["", "KiB", "1MB", "-1", "9999999999GiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}

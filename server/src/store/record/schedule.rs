//! The stored form of a schedule: the body of its document, whose key is its id.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::{Unreadable, decode_spec, encode_spec, number_of, unreadable, value_of};
use crate::clock::{Timestamp, millis};
use crate::job::schedule::{
    CronLine, Overlap, Recurrence, Schedule, ScheduleId, Settings, Template, Zone,
};
use crate::job::{JobName, Open, QueueName};

#[derive(Clone, PartialEq, Message)]
struct ScheduleRecord {
    /// Empty with an interval.
    #[prost(string, tag = "1")]
    cron: String,
    #[prost(string, tag = "2")]
    zone: String,
    /// 0 with a cron line.
    #[prost(uint64, tag = "3")]
    interval_millis: u64,
    #[prost(uint32, tag = "4")]
    overlap: u32,
    #[prost(uint64, tag = "5")]
    catch_up_millis: u64,
    #[prost(string, tag = "6")]
    queue: String,
    #[prost(uint64, optional, tag = "7")]
    delay_millis: Option<u64>,
    #[prost(uint64, optional, tag = "8")]
    ttl_millis: Option<u64>,
    #[prost(bool, tag = "9")]
    open_retry: bool,
    #[prost(bool, tag = "10")]
    open_retention: bool,
    #[prost(bytes = "bytes", tag = "11")]
    spec: Bytes,
    #[prost(uint64, tag = "12")]
    created: u64,
    #[prost(uint32, tag = "13")]
    revision: u32,
    #[prost(bool, tag = "14")]
    paused: bool,
    #[prost(uint64, optional, tag = "15")]
    fired: Option<u64>,
    #[prost(string, tag = "16")]
    last_job: String,
    #[prost(uint64, optional, tag = "17")]
    next: Option<u64>,
}

const OVERLAPS: [(Overlap, u32); 2] = [(Overlap::Allow, 0), (Overlap::Skip, 1)];

/// Encodes a schedule, without its id.
pub fn encode_schedule(schedule: &Schedule) -> Vec<u8> {
    let Settings { recurrence, overlap, catch_up, queue, job } = &schedule.settings;
    let (cron, zone, interval_millis) = match recurrence {
        Recurrence::Cron { line, zone } => (line.as_str(), zone.as_str(), 0),
        Recurrence::Every(interval) => ("", "", millis(*interval)),
    };
    ScheduleRecord {
        cron: cron.to_owned(),
        zone: zone.to_owned(),
        interval_millis,
        overlap: number_of(&OVERLAPS, overlap),
        catch_up_millis: millis(*catch_up),
        queue: queue.to_string(),
        delay_millis: job.delay.map(millis),
        ttl_millis: job.ttl.map(millis),
        open_retry: job.open.retry,
        open_retention: job.open.retention,
        spec: encode_spec(&job.spec).into(),
        created: schedule.created.as_millis(),
        revision: schedule.revision,
        paused: schedule.paused,
        fired: schedule.fired.map(Timestamp::as_millis),
        last_job: schedule.last_job.as_ref().map_or_else(String::new, ToString::to_string),
        next: schedule.next.map(Timestamp::as_millis),
    }
    .encode_to_vec()
}

/// Decodes what [`encode_schedule`] encoded.
pub fn decode_schedule(id: ScheduleId, bytes: Bytes) -> Result<Schedule, Unreadable> {
    let record = ScheduleRecord::decode(bytes)?;
    let recurrence = if record.cron.is_empty() {
        Recurrence::every(Duration::from_millis(record.interval_millis))
            .map_err(|_| unreadable("interval"))?
    } else {
        Recurrence::Cron {
            line: CronLine::parse(&record.cron).map_err(|_| unreadable("cron line"))?,
            zone: Zone::parse(&record.zone).map_err(|_| unreadable("time zone"))?,
        }
    };
    let last_job = match record.last_job.as_str() {
        "" => None,
        name => Some(JobName::parse(name).map_err(|_| unreadable("name of the last job"))?),
    };
    Ok(Schedule {
        id,
        settings: Settings {
            recurrence,
            overlap: value_of(&OVERLAPS, record.overlap, "overlap")?,
            catch_up: Duration::from_millis(record.catch_up_millis),
            queue: QueueName::parse(&record.queue).map_err(|_| unreadable("queue"))?,
            job: Template {
                delay: record.delay_millis.map(Duration::from_millis),
                ttl: record.ttl_millis.map(Duration::from_millis),
                open: Open { retry: record.open_retry, retention: record.open_retention },
                spec: decode_spec(record.spec)?,
            },
        },
        created: Timestamp::from_millis(record.created),
        revision: record.revision,
        paused: record.paused,
        fired: record.fired.map(Timestamp::from_millis),
        last_job,
        next: record.next.map(Timestamp::from_millis),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Spec;

    fn schedule(recurrence: Recurrence) -> Schedule {
        Schedule {
            id: ScheduleId::parse("nightly").unwrap(),
            settings: Settings {
                recurrence,
                overlap: Overlap::Skip,
                catch_up: Duration::from_secs(7),
                queue: QueueName::parse("reports").unwrap(),
                job: Template {
                    delay: Some(Duration::from_secs(1)),
                    ttl: Some(Duration::from_secs(2)),
                    open: Open { retry: true, retention: false },
                    spec: Spec { job_type: "weekly".to_owned(), ..Spec::default() },
                },
            },
            created: Timestamp::from_millis(3),
            revision: 4,
            paused: false,
            fired: Some(Timestamp::from_millis(5)),
            last_job: Some(JobName::parse("queues/reports/jobs/1").unwrap()),
            next: Some(Timestamp::from_millis(6)),
        }
    }

    #[test]
    fn a_schedule_comes_back_as_it_went() {
        let zone = Zone::parse("Europe/Berlin").unwrap();
        let cron = Recurrence::Cron { line: CronLine::parse("0 0 L * *").unwrap(), zone };
        let every = Recurrence::every(Duration::from_millis(1500)).unwrap();
        for recurrence in [cron, every] {
            let there = schedule(recurrence);
            let fresh = Schedule { fired: None, last_job: None, ..there.clone() };
            for schedule in [there, fresh] {
                let bytes = Bytes::from(encode_schedule(&schedule));
                assert_eq!(decode_schedule(schedule.id.clone(), bytes).unwrap(), schedule);
            }
        }
    }
}

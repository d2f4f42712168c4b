//! Schedules: what operators ask for, and how one looks.

use std::sync::Arc;

use lessor_proto::v1;
use lessor_proto::v1::enqueue_request::{Expiry as ProtoExpiry, Start as ProtoStart};
use lessor_proto::v1::schedule::Overlap as ProtoOverlap;
use prost::Message;

use super::enqueue::{TraceContext, new_job};
use super::field::Violations;
use super::list::{direction, page_size};
use super::mask::{self, Mask};
use super::operate::asked;
use super::payload::proto_payload;
use super::policy::{proto_dedup, proto_retention, proto_retry};
use super::time::{proto_moment, proto_span, span, span_opt};
use crate::broker::enqueue::{Expiry, NewJob, Start};
use crate::broker::operate::Asked;
use crate::broker::schedules::ScheduleQuery;
use crate::clock::Timestamp;
use crate::job::QueueName;
use crate::job::schedule::{
    CronLine, LONGEST_CATCH_UP, LONGEST_INTERVAL, Overlap, Recurrence, SHORTEST_INTERVAL, Schedule,
    ScheduleId, Settings, Template, Zone,
};

const PREFIX: &str = "schedules/";

/// The largest job of a schedule, in bytes: all schedules are read together.
const JOB_LIMIT: usize = 256 << 10;

/// What an update may name.
const FIELDS: [&str; 6] = ["cron", "interval", "time_zone", "job", "overlap", "catch_up"];

/// Reads a name, `schedules/{schedule}`.
pub(in crate::rpc) fn schedule_id(name: &str) -> Result<ScheduleId, Violations> {
    let mut wrong = Violations::default();
    let id = wrong.at("name", parse_name(name));
    wrong.finish(id)
}

fn parse_name(name: &str) -> Result<ScheduleId, &'static str> {
    let id = name.strip_prefix(PREFIX).and_then(|id| ScheduleId::parse(id).ok());
    id.ok_or("must be schedules/{schedule}")
}

/// Reads which schedule is meant, and what comes with the change.
pub(in crate::rpc) fn action(
    proto: v1::ScheduleActionRequest,
) -> Result<(ScheduleId, Asked), Violations> {
    let mut wrong = Violations::default();
    let id = wrong.at("name", parse_name(&proto.name));
    let asked = asked(proto.etag, proto.reason, &mut wrong);
    wrong.finish(id.map(|id| (id, asked)))
}

/// Reads a schedule to create.
pub(in crate::rpc) fn new_schedule(
    proto: v1::CreateScheduleRequest,
    now: Timestamp,
) -> Result<(ScheduleId, Settings), Violations> {
    let mut wrong = Violations::default();
    let id = wrong.at("schedule_id", ScheduleId::parse(&proto.schedule_id));
    let schedule = proto.schedule.unwrap_or_default();
    let full_name = format!("{PREFIX}{}", proto.schedule_id);
    if !schedule.name.is_empty() && schedule.name != full_name {
        wrong.add("schedule.name", format!("must be empty or {full_name:?}"));
    }
    let given = "is the broker's to set";
    for (field, is_set) in [
        ("schedule.paused", schedule.paused),
        ("schedule.last_fire_time", schedule.last_fire_time.is_some()),
        ("schedule.next_fire_time", schedule.next_fire_time.is_some()),
        ("schedule.etag", !schedule.etag.is_empty()),
    ] {
        if is_set {
            wrong.add(field, given);
        }
    }
    let settings = wrong.at("schedule", settings(schedule, None, now));
    let read = id.zip(settings);
    wrong.finish(read)
}

/// A change of a schedule.
#[derive(Debug)]
pub(in crate::rpc) struct Update {
    /// The schedule.
    pub(in crate::rpc) id: ScheduleId,
    /// Its new settings, as far as the mask names them.
    schedule: v1::Schedule,
    mask: Mask,
    /// What comes with the change.
    pub(in crate::rpc) asked: Asked,
}

/// Reads an update as far as that can be done without the present settings.
pub(in crate::rpc) fn update(proto: v1::UpdateScheduleRequest) -> Result<Update, Violations> {
    let mut wrong = Violations::default();
    let mut schedule = proto.schedule.unwrap_or_default();
    let id = wrong.at("schedule.name", parse_name(&schedule.name));
    let etag = std::mem::take(&mut schedule.etag);
    let asked = asked(etag, proto.reason, &mut wrong);
    let mask = wrong.at("update_mask", mask::read(proto.update_mask, &FIELDS));
    let read = id.zip(mask);
    wrong.finish(read.map(|(id, mask)| Update { id, schedule, mask, asked }))
}

impl Update {
    /// The settings that it makes of the present ones.
    pub(in crate::rpc) fn settings(
        &self,
        present: &Schedule,
        now: Timestamp,
    ) -> Result<Settings, Violations> {
        let is_named = |field: &str| self.mask.has(field);
        let mut merged = proto_schedule(present);
        let update = self.schedule.clone();
        let turns_to_cron = is_named("cron") && !update.cron.is_empty();
        let turns_to_interval = is_named("interval") && update.interval.is_some();
        // One kind of times takes the place of the other.
        if turns_to_cron {
            merged.interval = None;
        }
        if turns_to_interval {
            (merged.cron, merged.time_zone) = (String::new(), String::new());
        }
        if is_named("cron") {
            merged.cron = update.cron;
        }
        if is_named("interval") {
            merged.interval = update.interval;
        }
        if is_named("time_zone") {
            merged.time_zone = update.time_zone;
        }
        if is_named("overlap") {
            merged.overlap = update.overlap;
        }
        if is_named("catch_up") {
            merged.catch_up = update.catch_up;
        }
        merged.job = update.job;
        let mut wrong = Violations::default();
        let kept = (!is_named("job")).then_some(&present.settings);
        let settings = wrong.at("schedule", settings(merged, kept, now));
        wrong.finish(settings)
    }
}

/// Reads settings; the job is that of `kept`, if there is one.
fn settings(
    proto: v1::Schedule,
    kept: Option<&Settings>,
    now: Timestamp,
) -> Result<Settings, Violations> {
    let mut wrong = Violations::default();
    let recurrence = recurrence(&proto, &mut wrong);
    let overlap = wrong.at("overlap", overlap(proto.overlap));
    let catch_up = span_opt(proto.catch_up.as_ref(), std::time::Duration::ZERO, LONGEST_CATCH_UP);
    let catch_up = wrong.at("catch_up", catch_up);
    let job = match (kept, proto.job) {
        (Some(kept), _) => Some((kept.queue.clone(), kept.job.clone())),
        (None, Some(job)) => wrong.at("job", template(job, now)),
        (None, None) => {
            wrong.add("job", "must be set");
            None
        }
    };
    let read = || {
        let (queue, job) = job?;
        let catch_up = catch_up?.unwrap_or_default();
        Some(Settings { recurrence: recurrence?, overlap: overlap?, catch_up, queue, job })
    };
    let read = read();
    wrong.finish(read)
}

fn recurrence(proto: &v1::Schedule, wrong: &mut Violations) -> Option<Recurrence> {
    match (proto.cron.as_str(), &proto.interval) {
        ("", None) => {
            wrong.add("cron", "or interval must be set");
            None
        }
        ("", Some(interval)) => {
            if !proto.time_zone.is_empty() {
                wrong.add("time_zone", "is for cron and must be unset with interval");
            }
            let read = span(interval, SHORTEST_INTERVAL, LONGEST_INTERVAL);
            let interval = wrong.at("interval", read)?;
            wrong.at("interval", Recurrence::every(interval).map_err(|error| error.to_string()))
        }
        (cron, None) => {
            let line = wrong.at("cron", CronLine::parse(cron).map_err(|error| error.to_string()));
            let zone = match proto.time_zone.as_str() {
                "" => Some(Zone::utc()),
                name => wrong.at("time_zone", Zone::parse(name).map_err(|error| error.to_string())),
            };
            Some(Recurrence::Cron { line: line?, zone: zone? })
        }
        (_, Some(_)) => {
            wrong.add("interval", "must not be set together with cron");
            None
        }
    }
}

fn overlap(number: i32) -> Result<Overlap, &'static str> {
    match ProtoOverlap::try_from(number) {
        Ok(ProtoOverlap::Unspecified | ProtoOverlap::Allow) => Ok(Overlap::Allow),
        Ok(ProtoOverlap::Skip) => Ok(Overlap::Skip),
        Err(_) => Err("is an unknown value"),
    }
}

/// Reads the job of a schedule, as one that is enqueued would be.
fn template(
    proto: v1::EnqueueRequest,
    now: Timestamp,
) -> Result<(QueueName, Template), Violations> {
    let mut wrong = Violations::default();
    let why = "must be unset: each firing makes another job";
    let is_absolute = |start: &ProtoStart| matches!(start, ProtoStart::ScheduleTime(_));
    let is_moment = |expiry: &ProtoExpiry| matches!(expiry, ProtoExpiry::ExpireTime(_));
    for (field, is_set) in [
        ("job_id", !proto.job_id.is_empty()),
        ("request_id", !proto.request_id.is_empty()),
        ("schedule_time", proto.start.as_ref().is_some_and(is_absolute)),
        ("expire_time", proto.expiry.as_ref().is_some_and(is_moment)),
        ("validate_only", proto.validate_only),
    ] {
        if is_set {
            wrong.add(field, why);
        }
    }
    let size = proto.encoded_len();
    if size > JOB_LIMIT {
        wrong.absorb("", Violations::too_large(JOB_LIMIT, size));
    }
    wrong.finish(Some(()))?;
    let NewJob { queue, start, expiry, open, spec, .. } =
        new_job(proto, &TraceContext::new(), now)?;
    let delay = if let Start::In(delay) = start { Some(delay) } else { None };
    let ttl = if let Expiry::In(ttl) = expiry { Some(ttl) } else { None };
    let spec = Arc::unwrap_or_clone(spec);
    Ok((queue, Template { delay, ttl, open, spec }))
}

/// Writes a schedule.
pub(in crate::rpc) fn proto_schedule(schedule: &Schedule) -> v1::Schedule {
    let Settings { recurrence, overlap, catch_up, queue, job } = &schedule.settings;
    let (cron, time_zone, interval) = match recurrence {
        Recurrence::Cron { line, zone } => (line.as_str(), zone.as_str(), None),
        Recurrence::Every(interval) => ("", "", Some(proto_span(*interval))),
    };
    let overlap = match overlap {
        Overlap::Allow => ProtoOverlap::Allow,
        Overlap::Skip => ProtoOverlap::Skip,
    };
    v1::Schedule {
        name: format!("{PREFIX}{}", schedule.id),
        cron: cron.to_owned(),
        interval,
        time_zone: time_zone.to_owned(),
        job: Some(proto_template(queue, job)),
        overlap: overlap.into(),
        catch_up: Some(proto_span(*catch_up)),
        paused: schedule.paused,
        last_fire_time: schedule.fired.map(proto_moment),
        next_fire_time: schedule.next.map(proto_moment),
        etag: schedule.etag(),
    }
}

/// Writes the job of a schedule; what it leaves to its queue's settings is unset.
fn proto_template(queue: &QueueName, job: &Template) -> v1::EnqueueRequest {
    let spec = &job.spec;
    v1::EnqueueRequest {
        queue: queue.to_string(),
        r#type: spec.job_type.clone(),
        payload: spec.payload.as_ref().map(proto_payload),
        priority: spec.priority.into(),
        start: job.delay.map(|delay| ProtoStart::Delay(proto_span(delay))),
        expiry: job.ttl.map(|ttl| ProtoExpiry::Ttl(proto_span(ttl))),
        retry_policy: (!job.open.retry).then(|| proto_retry(&spec.retry)),
        lease_duration: spec.lease_duration.map(proto_span),
        attempt_timeout: spec.attempt_timeout.map(proto_span),
        dedup: spec.dedup.as_ref().map(proto_dedup),
        labels: spec.labels.clone().into_iter().collect(),
        retention: (!job.open.retention).then(|| proto_retention(&spec.retention)),
        owner: spec.owner.clone(),
        ..v1::EnqueueRequest::default()
    }
}

/// Reads which page of the schedules is wanted.
pub(in crate::rpc) fn query(proto: v1::ListSchedulesRequest) -> Result<ScheduleQuery, Violations> {
    let mut wrong = Violations::default();
    let size = wrong.at("page_size", page_size(proto.page_size));
    if !proto.filter.is_empty() {
        wrong.add("filter", "must be empty: schedules have no terms to filter by");
    }
    let order = wrong.at("order_by", direction(&proto.order_by, &["name"]));
    let read = || {
        let backward = order?.1.unwrap_or(false);
        Some(ScheduleQuery { backward, size: size?, page_token: proto.page_token, known: None })
    };
    let read = read();
    wrong.finish(read)
}

/// Writes one page of schedules.
pub(in crate::rpc) fn schedules_response(
    (schedules, next_page_token): (Vec<Schedule>, String),
) -> v1::ListSchedulesResponse {
    let schedules = schedules.iter().map(proto_schedule).collect();
    v1::ListSchedulesResponse { schedules, next_page_token }
}

#[cfg(test)]
mod tests;

//! Requests to watch, and events on their way out.

use std::time::Duration;

use lessor_proto::v1;
use lessor_proto::v1::event::Type;
use lessor_proto::v1::watch_events_request::Start;

use super::enqueue::{labels, optional};
use super::field::Violations;
use super::job::{proto_failure, proto_progress, proto_state};
use super::lease::patterns;
use super::payload::proto_payload;
use super::policy::number;
use super::time::{moment, proto_moment, proto_span, span_opt};
use crate::broker::watch::{USUAL_BOOKMARK, WatchRequest, WatchStart, Watched};
use crate::job::{EventKind, JobName};

const SHORTEST_BOOKMARK: Duration = Duration::from_secs(1);
const LONGEST_BOOKMARK: Duration = Duration::from_mins(5);

/// A watch, read.
#[derive(Debug)]
pub(in crate::rpc) struct Watching {
    /// What to ask the broker for.
    pub(in crate::rpc) request: WatchRequest,
    /// Only types were asked for that nothing sends yet: there will be bookmarks, but no event.
    pub(in crate::rpc) muted: bool,
}

/// Reads a request to watch.
pub(in crate::rpc) fn watch(proto: v1::WatchEventsRequest) -> Result<Watching, Violations> {
    let mut wrong = Violations::default();
    let job = wrong.at("job", optional(&proto.job, JobName::parse));
    let labels = wrong.at("labels", labels(proto.labels));
    if !proto.job.is_empty() {
        if !proto.queues.is_empty() {
            wrong.add("queues", "must be unset with job, whose name has the queue");
        }
        match &proto.start {
            Some(Start::Oldest(true)) => wrong.add("oldest", "must be unset with job"),
            Some(Start::StartTime(_)) => wrong.add("start_time", "must be unset with job"),
            _ => {}
        }
    }
    let queues = wrong.at("queues", patterns(&proto.queues));
    let kinds = wrong.at("types", kinds(&proto.types));
    let start = match proto.start {
        // `oldest` unset within the oneof is as good as no start.
        None | Some(Start::Oldest(false)) => Some(WatchStart::Now),
        Some(Start::Oldest(true)) => Some(WatchStart::Oldest),
        Some(Start::StartTime(time)) => wrong.at("start_time", moment(&time)).map(WatchStart::Time),
        Some(Start::Cursor(cursor)) => Some(WatchStart::Cursor(cursor)),
    };
    let interval = wrong.at(
        "bookmark_interval",
        span_opt(proto.bookmark_interval.as_ref(), SHORTEST_BOOKMARK, LONGEST_BOOKMARK),
    );
    let read = || {
        let kinds = kinds?;
        let muted = kinds.is_empty() && !proto.types.is_empty();
        let request = WatchRequest {
            queues: queues?,
            job: job?,
            labels: labels?,
            kinds,
            start: start?,
            bookmark_interval: interval?.unwrap_or(USUAL_BOOKMARK),
            with_results: proto.include_result,
        };
        Some(Watching { request, muted })
    };
    let read = read();
    wrong.finish(read)
}

/// Reads the types of events that a sink wants, by name.
pub(in crate::rpc) fn sink_kinds(names: &[String]) -> Result<Vec<EventKind>, String> {
    if names.is_empty() {
        return Err("types must name an event, such as JOB_DEAD".to_owned());
    }
    let known = |name: &String| Type::from_str_name(name).and_then(kind);
    names
        .iter()
        .map(|name| {
            known(name).ok_or_else(|| format!("types has {name:?}, which is no event that is sent"))
        })
        .collect()
}

fn kinds(types: &[i32]) -> Result<Vec<EventKind>, Violations> {
    let mut wrong = Violations::default();
    let mut kinds = Vec::new();
    for (index, number) in types.iter().enumerate() {
        let field = || format!("[{index}]");
        match Type::try_from(*number) {
            Ok(Type::Unspecified) => wrong.add(field(), "must not be TYPE_UNSPECIFIED"),
            Ok(known) => kinds.extend(kind(known).filter(|kind| !kinds.contains(kind))),
            Err(_) => wrong.add(field(), "is an unknown value"),
        }
    }
    wrong.finish(Some(kinds))
}

/// What the broker calls this type; `None` for types that nothing sends yet.
fn kind(proto: Type) -> Option<EventKind> {
    match proto {
        Type::JobCreated => Some(EventKind::Created),
        Type::JobDeduplicated => Some(EventKind::Deduplicated),
        Type::JobScheduled => Some(EventKind::Scheduled),
        Type::JobReady => Some(EventKind::Ready),
        Type::JobBlocked => Some(EventKind::Blocked),
        Type::JobLeased => Some(EventKind::Leased),
        Type::JobProgress => Some(EventKind::Progress),
        Type::JobAttemptFailed => Some(EventKind::AttemptFailed),
        Type::JobRetrying => Some(EventKind::Retrying),
        Type::JobSnoozed => Some(EventKind::Snoozed),
        Type::JobReleased => Some(EventKind::Released),
        Type::JobLeaseExpired => Some(EventKind::LeaseExpired),
        Type::JobTimedOut => Some(EventKind::TimedOut),
        Type::JobCancelRequested => Some(EventKind::CancelRequested),
        Type::JobSucceeded => Some(EventKind::Succeeded),
        Type::JobDead => Some(EventKind::Dead),
        Type::JobCancelled => Some(EventKind::Cancelled),
        Type::JobExpired => Some(EventKind::Expired),
        Type::JobPurged => Some(EventKind::Purged),
        Type::QueuePaused => Some(EventKind::QueuePaused),
        Type::QueueResumed => Some(EventKind::QueueResumed),
        Type::QueueUpdated => Some(EventKind::QueueUpdated),
        Type::Unspecified
        | Type::QueueDrained
        | Type::WorkerJoined
        | Type::WorkerLeft
        | Type::ScheduleFired
        | Type::StoreReset => None,
    }
}

fn proto_type(kind: EventKind) -> Type {
    match kind {
        EventKind::Created => Type::JobCreated,
        EventKind::Deduplicated => Type::JobDeduplicated,
        EventKind::Scheduled => Type::JobScheduled,
        EventKind::Ready => Type::JobReady,
        EventKind::Blocked => Type::JobBlocked,
        EventKind::Leased => Type::JobLeased,
        EventKind::Progress => Type::JobProgress,
        EventKind::AttemptFailed => Type::JobAttemptFailed,
        EventKind::Retrying => Type::JobRetrying,
        EventKind::Snoozed => Type::JobSnoozed,
        EventKind::Released => Type::JobReleased,
        EventKind::LeaseExpired => Type::JobLeaseExpired,
        EventKind::TimedOut => Type::JobTimedOut,
        EventKind::CancelRequested => Type::JobCancelRequested,
        EventKind::Succeeded => Type::JobSucceeded,
        EventKind::Dead => Type::JobDead,
        EventKind::Cancelled => Type::JobCancelled,
        EventKind::Expired => Type::JobExpired,
        EventKind::Purged => Type::JobPurged,
        EventKind::QueuePaused => Type::QueuePaused,
        EventKind::QueueResumed => Type::QueueResumed,
        EventKind::QueueUpdated => Type::QueueUpdated,
    }
}

/// Writes an event.
pub(in crate::rpc) fn proto_event(watched: Watched) -> v1::Event {
    let Watched { id, event, result } = watched;
    let from = event.from.map_or(v1::job::State::Unspecified, proto_state);
    let worker = event.worker.as_ref();
    v1::Event {
        id,
        r#type: proto_type(event.kind).into(),
        time: Some(proto_moment(event.at)),
        queue: event.queue.as_str().to_owned(),
        worker_id: worker.map_or_else(String::new, |worker| worker.as_str().to_owned()),
        job: event
            .job
            .map_or_else(String::new, |id| JobName { queue: event.queue, id }.to_string()),
        job_type: event.job_type,
        labels: event.labels.into_iter().collect(),
        from_state: from.into(),
        to_state: event.to.map_or(v1::job::State::Unspecified, proto_state).into(),
        attempt: number(event.attempt),
        progress: event.progress.as_ref().map(proto_progress),
        failure: event.failure.as_ref().map(proto_failure),
        result: result.as_ref().map(proto_payload),
        wait_duration: event.waited.map(proto_span),
        run_duration: event.ran.map(proto_span),
        reason: event.reason,
        actor: event.actor,
        trace_context: event.trace_context.into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_type_that_finds_it_again() {
        let kinds: Vec<EventKind> =
            (0..100).filter_map(|number| Type::try_from(number).ok()).filter_map(kind).collect();
        assert_eq!(kinds.len(), 22);
        for kind_of_event in kinds {
            assert_eq!(kind(proto_type(kind_of_event)), Some(kind_of_event));
        }
    }

    #[test]
    fn types_that_nothing_sends_match_nothing_instead_of_all() {
        let types = |types: &[Type]| v1::WatchEventsRequest {
            types: types.iter().map(|it| (*it).into()).collect(),
            ..v1::WatchEventsRequest::default()
        };
        let muted = watch(types(&[Type::WorkerJoined])).unwrap();
        assert!(muted.muted);
        let mixed = watch(types(&[Type::WorkerJoined, Type::JobDead, Type::JobDead])).unwrap();
        assert!(!mixed.muted);
        assert_eq!(mixed.request.kinds, [EventKind::Dead]);
        assert!(!watch(types(&[])).unwrap().muted);
        assert!(watch(types(&[Type::Unspecified])).is_err());
    }
}

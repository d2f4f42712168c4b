//! A job on its way out.

use bytes::Bytes;
use lessor_proto::v1;
use prost::Message;
use prost_types::Struct;

use super::payload::proto_payload;
use super::policy::{number, proto_dedup, proto_retention, proto_retry};
use super::time::{proto_moment, proto_span};
use crate::job::{
    Attempt, DEFAULT_LEASE_DURATION, Failure, HISTORY, Job, Outcome, Progress, State,
};

/// The state as the protocol names it.
pub(in crate::rpc) fn proto_state(state: State) -> v1::job::State {
    match state {
        State::Scheduled => v1::job::State::Scheduled,
        State::Ready => v1::job::State::Ready,
        State::Leased => v1::job::State::Leased,
        State::Retrying => v1::job::State::Retrying,
        State::Blocked => v1::job::State::Blocked,
        State::Succeeded => v1::job::State::Succeeded,
        State::Dead => v1::job::State::Dead,
        State::Cancelled => v1::job::State::Cancelled,
        State::Expired => v1::job::State::Expired,
    }
}

/// The state that the protocol names so; `None` for none.
pub(super) fn job_state(proto: v1::job::State) -> Option<State> {
    State::ALL.into_iter().find(|state| proto_state(*state) == proto)
}

/// The state in a word: as the protocol names it, without the prefix.
pub(in crate::rpc) fn state_word(state: State) -> &'static str {
    let name = proto_state(state).as_str_name();
    name.strip_prefix("STATE_").unwrap_or(name)
}

/// Writes a job.
pub(in crate::rpc) fn proto_job(job: &Job, view: v1::JobView) -> v1::Job {
    let kind = of_kind(job);
    v1::Job {
        r#type: kind.r#type,
        priority: kind.priority,
        labels: kind.labels,
        retry_policy: kind.retry_policy,
        lease_duration: kind.lease_duration,
        attempt_timeout: kind.attempt_timeout,
        owner: kind.owner,
        retention: kind.retention,
        ..of_job(job, view)
    }
}

/// Writes of a job what others of its kind have, too, and nothing else.
pub(super) fn of_kind(job: &Job) -> v1::Job {
    let spec = &job.spec;
    v1::Job {
        r#type: spec.job_type.clone(),
        priority: spec.priority.into(),
        labels: spec.labels.clone().into_iter().collect(),
        retry_policy: Some(proto_retry(&spec.retry)),
        lease_duration: Some(proto_span(spec.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION))),
        attempt_timeout: Some(proto_span(job.attempt_timeout())),
        owner: spec.owner.clone(),
        retention: Some(proto_retention(&spec.retention)),
        ..v1::Job::default()
    }
}

/// Writes of a job what is its own: all but [`of_kind`].
pub(super) fn of_job(job: &Job, view: v1::JobView) -> v1::Job {
    let spec = &job.spec;
    let mut proto = v1::Job {
        create_time: Some(proto_moment(spec.created)),
        schedule_time: match job.state {
            State::Scheduled | State::Retrying => Some(proto_moment(job.at)),
            _ => spec.scheduled.map(proto_moment),
        },
        expire_time: spec.expires.map(proto_moment),
        dedup: spec.dedup.as_ref().map(proto_dedup),
        progress: job.details.progress.as_ref().map(proto_progress),
        last_failure: job.details.last_failure.as_ref().map(proto_failure),
        trace_context: spec.trace_context.clone().into_iter().collect(),
        ..receipt(job)
    };
    if view != v1::JobView::Basic {
        proto.payload = spec.payload.as_ref().map(proto_payload);
        proto.checkpoint = job.details.checkpoint.as_ref().map(proto_payload);
        proto.result = job.details.result.as_ref().map(proto_payload);
        proto.attempts = attempts(job);
    }
    proto
}

/// Writes what is known of a job from its lease token alone: name, state, counters and times.
pub(in crate::rpc) fn receipt(job: &Job) -> v1::Job {
    let ended = job.state.is_terminal();
    v1::Job {
        name: job.name.to_string(),
        state: proto_state(job.state).into(),
        start_time: job.started.map(proto_moment),
        end_time: job.ended.map(proto_moment),
        purge_time: ended.then(|| proto_moment(job.at)),
        attempt: number(job.counters.attempts),
        delivery_count: number(job.counters.deliveries),
        lease_expired_count: number(job.counters.lease_losses),
        cancel_requested: job.cancel.is_some(),
        worker_id: job.lease.as_ref().map_or_else(String::new, |it| it.worker.as_str().to_owned()),
        lease_expire_time: (job.state == State::Leased).then(|| proto_moment(job.at)),
        etag: job.etag(),
        ..v1::Job::default()
    }
}

/// Leaves of a job what [`receipt`] has, where a reply would become too large otherwise.
pub(in crate::rpc) fn reduce(job: &mut v1::Job) {
    let whole = std::mem::take(job);
    *job = v1::Job {
        name: whole.name,
        state: whole.state,
        start_time: whole.start_time,
        end_time: whole.end_time,
        purge_time: whole.purge_time,
        attempt: whole.attempt,
        delivery_count: whole.delivery_count,
        lease_expired_count: whole.lease_expired_count,
        cancel_requested: whole.cancel_requested,
        worker_id: whole.worker_id,
        lease_expire_time: whole.lease_expire_time,
        etag: whole.etag,
        ..v1::Job::default()
    };
}

/// The newest attempts, newest first; the one that runs now comes first and has no end.
fn attempts(job: &Job) -> Vec<v1::Attempt> {
    let running = job.lease.as_ref().map(|lease| v1::Attempt {
        number: number(job.counters.attempts),
        worker_id: lease.worker.as_str().to_owned(),
        start_time: Some(proto_moment(lease.started)),
        ..v1::Attempt::default()
    });
    let past = job.details.attempts.iter().rev().map(proto_attempt);
    running.into_iter().chain(past).take(HISTORY as usize).collect()
}

fn proto_attempt(attempt: &Attempt) -> v1::Attempt {
    let outcome = match attempt.outcome {
        Outcome::Succeeded => v1::attempt::Outcome::Succeeded,
        Outcome::Failed => v1::attempt::Outcome::Failed,
        Outcome::LeaseExpired => v1::attempt::Outcome::LeaseExpired,
        Outcome::TimedOut => v1::attempt::Outcome::TimedOut,
        Outcome::Released | Outcome::Revoked => v1::attempt::Outcome::Released,
        Outcome::Cancelled => v1::attempt::Outcome::Cancelled,
    };
    let worker = attempt.worker.as_ref();
    v1::Attempt {
        number: number(attempt.number),
        worker_id: worker.map_or_else(String::new, |worker| worker.as_str().to_owned()),
        start_time: Some(proto_moment(attempt.started)),
        end_time: Some(proto_moment(attempt.ended)),
        outcome: outcome.into(),
        failure: attempt.failure.as_ref().map(proto_failure),
    }
}

/// Writes why an attempt failed.
pub(super) fn proto_failure(failure: &Failure) -> v1::Failure {
    v1::Failure {
        code: failure.code.clone(),
        message: failure.message.clone(),
        stack: failure.stack.clone(),
        details: proto_details(&failure.details),
    }
}

fn proto_details(details: &Bytes) -> Option<Struct> {
    // Only an encoded struct is ever stored.
    if details.is_empty() { None } else { Struct::decode(details.clone()).ok() }
}

/// Writes how far a handler is.
pub(super) fn proto_progress(progress: &Progress) -> v1::Progress {
    v1::Progress {
        percent: progress.percent,
        message: progress.message.clone(),
        done: progress.done,
        total: progress.total,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::job::{
        Counters, Details, JobId, JobName, Lease, LeaseSecret, Payload, QueueName, Spec, WorkerId,
    };

    fn worker(id: &str) -> WorkerId {
        WorkerId::parse(id).unwrap()
    }

    fn attempt(delivery: u32) -> Attempt {
        Attempt {
            delivery,
            number: delivery,
            secret: LeaseSecret(delivery.into()),
            worker: Some(worker("w-1")),
            started: Timestamp::from_millis(1000),
            ended: Timestamp::from_millis(1500),
            outcome: Outcome::Failed,
            failure: Some(Failure::found("HTTP_500", "no".to_owned())),
        }
    }

    pub(in crate::rpc) fn leased() -> Job {
        let name =
            JobName { queue: QueueName::parse("mail").unwrap(), id: JobId::parse("j1").unwrap() };
        let payload = Payload { data: Bytes::from_static(b"hi"), ..Payload::default() };
        let spec = Spec {
            payload: Some(payload.clone()),
            created: Timestamp::from_millis(999),
            ..Spec::default()
        };
        Job {
            state: State::Leased,
            at: Timestamp::from_millis(32_001),
            counters: Counters { deliveries: 11, attempts: 11, lease_losses: 1 },
            started: Some(Timestamp::from_millis(1000)),
            lease: Some(Lease {
                secret: LeaseSecret(7),
                worker: worker("w-2"),
                started: Timestamp::from_millis(2001),
                duration: Duration::from_secs(30),
            }),
            details: Arc::new(Details {
                checkpoint: Some(payload),
                attempts: (1..=10).map(attempt).collect(),
                ..Details::default()
            }),
            ..Job::enqueued(name, spec)
        }
    }

    #[test]
    fn the_basic_view_leaves_out_what_may_be_large() {
        let proto = proto_job(&leased(), v1::JobView::Basic);
        assert!(proto.payload.is_none() && proto.checkpoint.is_none() && proto.result.is_none());
        assert!(proto.attempts.is_empty());
        let full = proto_job(&leased(), v1::JobView::Full);
        assert!(full.payload.is_some() && full.checkpoint.is_some());
        assert_eq!(full.etag, proto.etag);
    }

    #[test]
    fn a_reduced_job_is_its_receipt() {
        let mut proto = proto_job(&leased(), v1::JobView::Full);
        reduce(&mut proto);
        assert_eq!(proto, receipt(&leased()));
    }

    #[test]
    fn attempts_are_newest_first_and_begin_with_the_running_one() {
        let attempts = proto_job(&leased(), v1::JobView::Full).attempts;
        let numbers: Vec<i32> = attempts.iter().map(|one| one.number).collect();
        assert_eq!(numbers, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
        assert_eq!(attempts[0].outcome(), v1::attempt::Outcome::Unspecified);
        assert_eq!((attempts[0].worker_id.as_str(), attempts[0].end_time), ("w-2", None));
        assert_eq!(attempts[1].failure.as_ref().unwrap().code, "HTTP_500");
    }

    #[test]
    fn times_follow_the_state() {
        let proto = proto_job(&leased(), v1::JobView::Full);
        assert_eq!(proto.lease_expire_time, Some(proto_moment(Timestamp::from_millis(32_001))));
        assert_eq!((proto.purge_time, proto.end_time, proto.schedule_time), (None, None, None));
        let retrying = Job { state: State::Retrying, lease: None, ..leased() };
        let proto = proto_job(&retrying, v1::JobView::Full);
        assert_eq!(proto.schedule_time, Some(proto_moment(retrying.at)));
        assert_eq!((proto.lease_expire_time, proto.worker_id.as_str()), (None, ""));
    }
}

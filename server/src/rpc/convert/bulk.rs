//! Many jobs at once: the same move for all, and the forgetting of finished ones.

use std::time::Duration;

use lessor_proto::v1;
use lessor_proto::v1::bulk_jobs_request::Action as ProtoAction;

use super::enqueue::optional;
use super::field::Violations;
use super::job::job_state;
use super::list::{job_filter, unserved_field};
use super::time::{LONGEST_KEEP, span_opt};
use super::{digest, queue};
use crate::broker::bulk::{Action, Bulk, Done, MOST, Purge};
use crate::job::{QueueName, RequestId, State};
use crate::store::Request;

const FASTEST: f64 = 1_000_000.0;

/// Reads what to do with which jobs; `owner` limits them to the jobs of one.
pub(in crate::rpc) fn bulk(
    mut proto: v1::BulkJobsRequest,
    owner: Option<String>,
) -> Result<Bulk, Violations> {
    let mut wrong = Violations::default();
    let request_id = std::mem::take(&mut proto.request_id);
    let request_id = wrong.at("request_id", optional(&request_id, RequestId::parse));
    let digest = digest::bulk(&proto);
    let queue = wrong.at("queue", queue::parse(&proto.queue));
    let action = action(&proto, queue.as_ref(), &mut wrong);
    let filter = wrong.at("filter", job_filter(&proto.filter, owner));
    let walk = filter.as_ref().zip(action.as_ref()).and_then(|(filter, action)| {
        let walk = filter.walk(None).and_then(|walk| action.narrow(walk));
        walk.map_err(|unserved| unserved_field(unserved, &mut wrong)).ok()
    });
    let max_jobs = wrong.at("max_jobs", max_jobs(proto.max_jobs));
    let per_second = wrong.at("per_second", per_second(proto.per_second));
    let read = || {
        Some(Bulk {
            queue: queue?,
            action: action?,
            filter: filter?,
            walk: walk?,
            arguments: format!(
                "{}\n{}\n{}\n{}",
                proto.action, proto.destination_queue, proto.validate_only, proto.filter
            ),
            max_jobs: max_jobs?,
            per_second: per_second?,
            dry_run: proto.validate_only,
            token: proto.continuation_token,
            request: request_id?.map(|id| Request { id, digest }),
            actor: String::new(),
        })
    };
    let read = read();
    wrong.finish(read)
}

fn action(
    proto: &v1::BulkJobsRequest,
    queue: Option<&QueueName>,
    wrong: &mut Violations,
) -> Option<Action> {
    let action = match ProtoAction::try_from(proto.action) {
        Ok(ProtoAction::Retry) => Action::Retry,
        Ok(ProtoAction::Cancel) => Action::Cancel,
        Ok(ProtoAction::Promote) => Action::Promote,
        Ok(ProtoAction::Purge) => Action::Purge,
        Ok(ProtoAction::Move) => {
            let to = wrong.at("destination_queue", queue::parse(&proto.destination_queue))?;
            if queue == Some(&to) {
                wrong.add("destination_queue", "must be another queue");
            }
            return Some(Action::Move(to));
        }
        Ok(ProtoAction::Unspecified) => {
            wrong.add("action", "must be set");
            return None;
        }
        Err(_) => {
            wrong.add("action", "is an unknown value");
            return None;
        }
    };
    if !proto.destination_queue.is_empty() {
        wrong.add("destination_queue", "must be unset but for ACTION_MOVE");
    }
    Some(action)
}

fn max_jobs(number: i32) -> Result<usize, Violations> {
    match usize::try_from(number) {
        Ok(0) => Ok(MOST),
        Ok(number) => Ok(number.min(MOST)),
        Err(_) => Err("must not be negative".into()),
    }
}

fn per_second(rate: f64) -> Result<Option<f64>, Violations> {
    // Written so that a NaN fails.
    if rate == 0.0 {
        Ok(None)
    } else if rate > 0.0 && rate <= FASTEST {
        Ok(Some(rate))
    } else {
        Err(format!("must be above 0 and at most {FASTEST}, or 0").into())
    }
}

/// Writes what became of the jobs.
pub(in crate::rpc) fn bulk_response(done: Done) -> v1::BulkJobsResponse {
    v1::BulkJobsResponse {
        matched: count(done.matched),
        changed: count(done.changed),
        continuation_token: done.token,
    }
}

/// Reads which jobs to forget.
pub(in crate::rpc) fn purge(proto: &v1::PurgeJobsRequest) -> Result<Purge, Violations> {
    let mut wrong = Violations::default();
    let queue = wrong.at("queue", queue::parse(&proto.queue));
    let state = wrong.at("state", purged_state(proto.state));
    let age = span_opt(proto.older_than.as_ref(), Duration::ZERO, LONGEST_KEEP);
    let older_than = wrong.at("older_than", age);
    let max_jobs = wrong.at("max_jobs", max_jobs(proto.max_jobs));
    let read = || {
        Some(Purge {
            queue: queue?,
            state: state?,
            older_than: older_than?,
            max_jobs: max_jobs?,
            dry_run: proto.validate_only,
            actor: String::new(),
        })
    };
    let read = read();
    wrong.finish(read)
}

fn purged_state(number: i32) -> Result<State, Violations> {
    match v1::job::State::try_from(number).map(job_state) {
        Ok(Some(State::Leased)) => {
            Err("must not be LEASED: a worker holds such jobs; cancel them instead".into())
        }
        Ok(Some(state)) => Ok(state),
        Ok(None) => Err("must be set".into()),
        Err(_) => Err("is an unknown value".into()),
    }
}

/// Writes how many jobs were forgotten.
pub(in crate::rpc) fn purge_response(purged: usize) -> v1::PurgeJobsResponse {
    v1::PurgeJobsResponse { purged: count(purged) }
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(change: impl FnOnce(&mut v1::BulkJobsRequest)) -> v1::BulkJobsRequest {
        let mut request = v1::BulkJobsRequest {
            queue: "mail".to_owned(),
            action: ProtoAction::Purge.into(),
            ..v1::BulkJobsRequest::default()
        };
        change(&mut request);
        request
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let moved = |to: &str| {
            let to = to.to_owned();
            request(|it| {
                it.action = ProtoAction::Move.into();
                it.destination_queue = to;
            })
        };
        let table = [
            (request(|it| it.queue.clear()), "queue"),
            (request(|it| it.action = 0), "action"),
            (request(|it| it.action = 99), "action"),
            (request(|it| it.filter = "type=a".to_owned()), "filter"),
            (request(|it| it.filter = "state=LEASED".to_owned()), "filter"),
            (request(|it| it.max_jobs = -1), "max_jobs"),
            (request(|it| it.per_second = -1.0), "per_second"),
            (request(|it| it.per_second = f64::NAN), "per_second"),
            (request(|it| it.per_second = f64::INFINITY), "per_second"),
            (request(|it| it.destination_queue = "b".to_owned()), "destination_queue"),
            (request(|it| it.request_id = "7".to_owned()), "request_id"),
            (moved(""), "destination_queue"),
            (moved("mail"), "destination_queue"),
        ];
        for (request, field) in table {
            let wrong = bulk(request, None).unwrap_err();
            let told: Vec<&str> = wrong.list().iter().map(|one| one.field.as_str()).collect();
            assert_eq!(told, [field]);
        }
        assert_eq!(
            bulk(moved("other"), None).unwrap().action,
            Action::Move(queue::parse("other").unwrap())
        );
    }

    #[test]
    fn a_step_has_a_bound_whatever_is_asked() {
        let most = |count| bulk(request(|it| it.max_jobs = count), None).unwrap().max_jobs;
        assert_eq!((most(0), most(7), most(i32::MAX)), (MOST, 7, MOST));
    }

    #[test]
    fn leased_jobs_are_not_purged() {
        let state = |state: i32| {
            let queue = "mail".to_owned();
            purge(&v1::PurgeJobsRequest { queue, state, ..v1::PurgeJobsRequest::default() })
        };
        assert_eq!(state(v1::job::State::Dead.into()).unwrap().state, State::Dead);
        for bad in [0, 99, v1::job::State::Leased.into()] {
            assert_eq!(state(bad).unwrap_err().list()[0].field, "state");
        }
    }
}

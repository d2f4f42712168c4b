//! Workers: which are wanted, and what is told of them.

use lessor_proto::v1;

use super::field::Violations;
use super::filter::{self, Term};
use super::list::{direction, page_size};
use super::operate::reason;
use super::policy::number;
use super::queue;
use super::time::proto_moment;
use crate::broker::workers::{Worker, WorkerOrder, WorkerQuery};
use crate::job::WorkerId;

/// What a filter of workers may name.
const FILTERED: &str = "queue, draining, labels.KEY";

/// Reads which workers are wanted.
pub(in crate::rpc) fn query(proto: v1::ListWorkersRequest) -> Result<WorkerQuery, Violations> {
    let mut wrong = Violations::default();
    let size = wrong.at("page_size", page_size(proto.page_size));
    let order = wrong.at("order_by", direction(&proto.order_by, &["worker_id", "last_seen_time"]));
    let mut query = WorkerQuery::default();
    let filtered = filter::terms(&proto.filter, FILTERED)
        .and_then(|terms| terms.iter().try_for_each(|term| narrow(&mut query, term)));
    wrong.at("filter", filtered);
    query.arguments = format!("{}\n{}", proto.filter, proto.order_by);
    query.page_token = proto.page_token;
    if let (Some(size), Some((field, descends))) = (size, order) {
        query.size = size;
        query.backward = descends.unwrap_or(false);
        query.order = match field {
            Some("last_seen_time") => WorkerOrder::LastSeen,
            _ => WorkerOrder::Id,
        };
    }
    wrong.finish(Some(query))
}

fn narrow(query: &mut WorkerQuery, term: &Term) -> Result<(), Violations> {
    let value = term.equal();
    let twice = || Violations::from(format!("names {} twice", term.name()));
    let parts: Vec<&str> = term.field.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["queue"] => {
            let queue = queue::parse(value?).map_err(|why| format!("names a queue that {why}"))?;
            if query.queue.replace(queue).is_some() {
                return Err(twice());
            }
        }
        ["draining"] => {
            let wrong = "compares draining with neither true nor false";
            if query.draining.replace(value?.parse().map_err(|_| wrong)?).is_some() {
                return Err(twice());
            }
        }
        ["labels", key @ ..] if !key.is_empty() => {
            if query.labels.insert(key.join("."), value?.to_owned()).is_some() {
                return Err(twice());
            }
        }
        _ => return Err(filter::unknown(term, FILTERED)),
    }
    Ok(())
}

/// Reads which worker to drain, and why.
pub(in crate::rpc) fn drain(
    proto: v1::DrainWorkerRequest,
) -> Result<(WorkerId, String), Violations> {
    let mut wrong = Violations::default();
    let id = wrong.at("worker_id", WorkerId::parse(&proto.worker_id));
    let reason = wrong.at("reason", reason(proto.reason));
    wrong.finish(id.zip(reason))
}

/// Writes one page of workers.
pub(in crate::rpc) fn workers_response(
    (workers, next_page_token): (Vec<Worker>, String),
) -> v1::ListWorkersResponse {
    let workers = workers.into_iter().map(proto_worker).collect();
    v1::ListWorkersResponse { workers, next_page_token }
}

/// Writes a worker with what is known of it.
pub(in crate::rpc) fn proto_worker(worker: Worker) -> v1::Worker {
    let profile = worker.profile;
    v1::Worker {
        worker_id: worker.id.as_str().to_owned(),
        display_name: profile.display_name,
        labels: profile.labels.into_iter().collect(),
        sdk: profile.sdk,
        concurrency: number(profile.concurrency),
        last_seen_time: Some(proto_moment(worker.last_seen)),
        queues: worker.queues.iter().map(ToString::to_string).collect(),
        draining: worker.draining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(filter: &str, order_by: &str) -> Result<WorkerQuery, Violations> {
        let (filter, order_by) = (filter.to_owned(), order_by.to_owned());
        query(v1::ListWorkersRequest { filter, order_by, ..v1::ListWorkersRequest::default() })
    }

    #[test]
    fn a_filter_of_workers_knows_queue_draining_and_labels() {
        let text = "queue=mail AND draining=true AND labels.zone = b";
        let query = list(text, "last_seen_time desc").unwrap();
        assert_eq!(query.queue.unwrap().as_str(), "mail");
        assert_eq!((query.draining, query.order), (Some(true), WorkerOrder::LastSeen));
        assert_eq!(query.labels, [("zone".to_owned(), "b".to_owned())].into());
        assert!(query.backward);
        for bad in ["sdk=a", "draining=1", "queue=?", "queue=a AND queue=b", "labels=a"] {
            assert_eq!(list(bad, "").unwrap_err().list()[0].field, "filter", "{bad}");
        }
        assert_eq!(list("", "sdk").unwrap_err().list()[0].field, "order_by");
    }
}

//! Lists of workers, page by page.

use std::collections::BTreeMap;

use prost::Message;

use super::Worker;
use crate::broker::lease::QueuePattern;
use crate::broker::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::QueueName;

/// Which workers to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerQuery {
    /// Only those that ask this queue for jobs.
    pub queue: Option<QueueName>,
    /// Only those that shall lease no more, or that may.
    pub draining: Option<bool>,
    /// Only those with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// By what they are sorted.
    pub order: WorkerOrder,
    /// The last one first.
    pub backward: bool,
    /// What was asked for, as the caller wrote it: a page token holds for the same only.
    pub arguments: String,
    /// So many at most.
    pub size: usize,
    /// Where to go on; empty: at the beginning.
    pub page_token: String,
    /// Only those that serve no queue but these; `None`: all.
    pub known: Option<Vec<QueuePattern>>,
}

/// By what workers are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WorkerOrder {
    /// Their id.
    #[default]
    Id,
    /// When they were seen last.
    LastSeen,
}

/// Where a worker stands in a list; the fields compare in this order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
struct Key {
    #[prost(uint64, tag = "1")]
    seen: u64,
    #[prost(string, tag = "2")]
    id: String,
}

impl WorkerQuery {
    fn matches(&self, worker: &Worker) -> bool {
        let labels = &worker.profile.labels;
        let is_known = |queue: &QueuePattern| {
            self.known.as_ref().is_none_or(|known| known.iter().any(|it| it.covers(queue)))
        };
        worker.queues.iter().all(is_known)
            && self.queue.as_ref().is_none_or(|queue| worker.serves(queue))
            && self.draining.is_none_or(|draining| worker.draining == draining)
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    fn key(&self, worker: &Worker) -> Key {
        let seen = match self.order {
            WorkerOrder::Id => Timestamp::default(),
            WorkerOrder::LastSeen => worker.last_seen,
        };
        Key { seen: seen.as_millis(), id: worker.id.as_str().to_owned() }
    }

    /// What comes after `after`, in order.
    fn rest(&self, mut workers: Vec<Worker>, after: Option<&Key>) -> Vec<Worker> {
        workers.retain(|worker| self.matches(worker));
        workers.sort_by_cached_key(|worker| self.key(worker));
        if self.backward {
            workers.reverse();
        }
        let is_passed = |worker: &Worker| {
            let key = self.key(worker);
            after.is_some_and(|after| if self.backward { key >= *after } else { key <= *after })
        };
        workers.retain(|worker| !is_passed(worker));
        workers
    }
}

impl Broker {
    /// One page of the workers seen lately.
    pub async fn list_workers(&self, query: &WorkerQuery) -> Result<(Vec<Worker>, String)> {
        let token = self.page_token("workers", |digest| digest.text(&query.arguments)).await?;
        let after = token.read(&query.page_token)?.map(|mark| Key::decode(mark.as_slice()));
        let after = after.transpose().map_err(|_| Error::BadPageToken)?;
        let mut page = query.rest(self.workers().await?, after.as_ref());
        let more = page.len() > query.size;
        page.truncate(query.size);
        let last = page.last().filter(|_| more);
        let next = last.map(|last| token.write(&query.key(last).encode_to_vec()));
        Ok((page, next.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::lease::QueuePattern;
    use crate::broker::workers::Profile;
    use crate::job::WorkerId;

    fn worker(id: &str, seen: u64) -> Worker {
        Worker {
            id: WorkerId::parse(id).unwrap(),
            profile: Profile::default(),
            queues: vec![QueuePattern::Prefix("mail".to_owned())],
            last_seen: Timestamp::from_millis(seen),
            draining: id == "b",
        }
    }

    fn rest(query: &WorkerQuery, after: Option<&Worker>) -> String {
        let workers = vec![worker("c", 3), worker("a", 5), worker("b", 4)];
        let after = after.map(|worker| query.key(worker));
        query.rest(workers, after.as_ref()).iter().map(|worker| worker.id.as_str()).collect()
    }

    #[test]
    fn workers_are_sorted_and_go_on_after_the_last_one() {
        let by_id = WorkerQuery::default();
        assert_eq!(
            (rest(&by_id, None), rest(&by_id, Some(&worker("a", 9)))),
            ("abc".into(), "bc".into())
        );
        let newest =
            WorkerQuery { order: WorkerOrder::LastSeen, backward: true, ..WorkerQuery::default() };
        assert_eq!(
            (rest(&newest, None), rest(&newest, Some(&worker("b", 4)))),
            ("abc".into(), "c".into())
        );
    }

    #[test]
    fn workers_are_filtered() {
        let draining = WorkerQuery { draining: Some(true), ..WorkerQuery::default() };
        assert_eq!(rest(&draining, None), "b");
        let queue = |name: &str| Some(QueueName::parse(name).unwrap());
        let serving = |name| WorkerQuery { queue: queue(name), ..WorkerQuery::default() };
        assert_eq!(
            (rest(&serving("mail-1"), None), rest(&serving("other"), None)),
            ("abc".into(), String::new())
        );
        let labels = [("a".to_owned(), "b".to_owned())].into();
        assert_eq!(rest(&WorkerQuery { labels, ..WorkerQuery::default() }, None), "");
    }
}

//! Reads of many jobs and of the event log.

use super::{PAGE_BYTES, RedisStore, codec, keys, log, reply};
use crate::clock::Timestamp;
use crate::job::{Job, QueueName, State};
use crate::store::{Entry, Index, LogStart, Mark, Order, Page, Position, Result};

impl RedisStore {
    pub(super) async fn read_page(
        &self,
        queue: &QueueName,
        index: &Index,
        order: Order,
        after: Option<&Mark>,
        limit: usize,
    ) -> Result<Page> {
        let index = match index {
            Index::State(State::Ready) => None,
            Index::State(state) => Some(keys::of_state(*state).to_owned()),
            Index::Label(key, value) => Some(keys::of_term(&keys::label_term(key, value))),
            Index::Owner(owner) => Some(keys::of_term(&keys::owner_term(owner))),
        };
        let scripts = &self.scripts;
        let script = if index.is_some() { &scripts.list } else { &scripts.list_ready };
        let mut call = self.call(script, queue, Timestamp::default());
        if let Some(index) = &index {
            call.text(index);
        }
        let backward = if order == Order::Backward { "1" } else { "0" };
        call.text(backward).text(limit.max(1)).text(PAGE_BYTES);
        let (first, second) = after.and_then(mark).unwrap_or((b"", b""));
        call.bytes(first).bytes(second);
        reply::page(queue, self.ran(&call).await?)
    }

    pub(super) async fn count_ahead(&self, job: &Job) -> Result<u64> {
        let mut call = self.call(&self.scripts.ahead, &job.name.queue, Timestamp::default());
        call.bytes(codec::id_bytes(&job.name.id));
        let ahead = reply::count(&self.ran(&call).await?)?;
        Ok(u64::try_from(ahead).unwrap_or(u64::MAX))
    }

    pub(super) async fn read_log(
        &self,
        queue: &QueueName,
        start: LogStart,
        limit: usize,
    ) -> Result<Vec<Entry>> {
        let first = match start {
            LogStart::Oldest => "-".to_owned(),
            LogStart::Time(moment) => log::id_at(moment),
            LogStart::After(Position { entry: (millis, sequence), .. }) => {
                format!("({millis}-{sequence}")
            }
        };
        let events = keys::events(&self.namespace.base(queue));
        let mut command = redis::cmd("XRANGE");
        command.arg(events).arg(first).arg("+").arg("COUNT").arg(limit);
        reply::entries(queue, self.ask(&command).await?)
    }

    pub(super) async fn read_newest(&self, queue: &QueueName, limit: usize) -> Result<Vec<Entry>> {
        let events = keys::events(&self.namespace.base(queue));
        let mut command = redis::cmd("XREVRANGE");
        command.arg(events).arg("+").arg("-").arg("COUNT").arg(limit);
        let mut entries = reply::entries(queue, self.ask(&command).await?)?;
        entries.reverse();
        Ok(entries)
    }
}

/// The two parts of a mark: a number and an id or another number. A mark of something else counts
/// as none.
fn mark(mark: &Mark) -> Option<(&[u8], &[u8])> {
    let end = mark.0.iter().position(|byte| *byte == b' ')?;
    let (first, second) = (&mark.0[..end], &mark.0[end + 1..]);
    std::str::from_utf8(first).ok()?.parse::<f64>().ok()?;
    Some((first, second))
}

//! What the calls of one transaction share, and what one call on a queue works with.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use rusqlite::{Connection, OptionalExtension};

use super::forget::forget;
use super::hand_over::{self, Takers};
use super::queue::{Queue, Queues};
use super::row::{Failure, corrupt, time};
use crate::clock::Timestamp;
use crate::job::{Keep, QueueName, State};
use crate::store::{Kind, Signal};

/// The calls of one transaction, from its begin to its commit.
pub(super) struct Batch<'c> {
    db: &'c Connection,
    queues: &'c mut Queues,
    news: News,
}

/// What the moves of a batch are told as, once they are committed.
#[derive(Default)]
struct News {
    /// Queues whose counters changed.
    changed: BTreeSet<QueueName>,
    /// Queues that give out jobs and gave none.
    ready: BTreeSet<QueueName>,
    /// Queues whose log grew.
    logged: BTreeSet<QueueName>,
    /// What falls due in a queue because of this batch.
    due: BTreeMap<QueueName, Due>,
    /// Queues whose settings changed, or that are gone.
    settings: BTreeSet<QueueName>,
    /// Kinds of documents that were written.
    documents: HashSet<Kind>,
}

struct Due {
    /// The earliest of all, before the batch set the first one.
    before: Option<Timestamp>,
    /// The earliest that the batch set.
    earliest: Timestamp,
}

impl<'c> Batch<'c> {
    /// A batch in the open transaction of `db`.
    pub(super) fn new(db: &'c Connection, queues: &'c mut Queues) -> Self {
        Self { db, queues, news: News::default() }
    }

    /// The connection, for what concerns no single queue.
    pub(super) fn db(&self) -> &'c Connection {
        self.db
    }

    /// Begins a call on a queue; `None` when the queue does not exist.
    pub(super) fn call<'a>(&'a mut self, name: &'a QueueName) -> Result<Option<Call<'a>>, Failure> {
        let Some(queue) = self.queues.find(self.db, name)? else { return Ok(None) };
        let before = *queue;
        let (log, takers, keep) = (Vec::new(), None, Kept::default());
        Ok(Some(Call { db: self.db, name, queue, log, takers, keep, before, news: &mut self.news }))
    }

    /// As [`Batch::call`], and makes the queue if it does not exist.
    pub(super) fn call_new<'a>(&'a mut self, name: &'a QueueName) -> Result<Call<'a>, Failure> {
        self.queues.make(self.db, name)?;
        self.call(name)?.ok_or_else(|| corrupt(name, "its row is missing"))
    }

    /// Writes the counters that changed.
    pub(super) fn save(&mut self) -> rusqlite::Result<()> {
        for name in std::mem::take(&mut self.news.changed) {
            if let Some(queue) = self.queues.known(&name) {
                queue.save(self.db)?;
            }
        }
        Ok(())
    }

    /// Takes note that documents were written.
    pub(super) fn tell_documents(&mut self, kind: Kind) {
        self.news.documents.insert(kind);
    }

    /// Takes note that the queue is gone.
    pub(super) fn queue_is_gone(&mut self, name: &QueueName) {
        self.queues.forget(name);
        self.news.settings.insert(name.clone());
    }

    /// Ends the batch. Answers what to tell once the transaction is committed.
    pub(super) fn finish(mut self) -> rusqlite::Result<Vec<Signal>> {
        self.save()?;
        let news = self.news;
        let earlier = |due: &Due| due.before.is_none_or(|before| due.earliest < before);
        let due = news.due.into_iter().filter(|(_, due)| earlier(due));
        let due = due.map(|(name, due)| Signal::Due(name, due.earliest));
        let settings = news.settings.into_iter().map(Signal::Settings);
        let documents = news.documents.into_iter().map(Signal::Documents);
        let ready = news.ready.into_iter().map(Signal::Ready);
        let logged = news.logged.into_iter().map(Signal::Logged);
        Ok(settings.chain(documents).chain(ready).chain(due).chain(logged).collect())
    }
}

/// One call on one queue.
pub(super) struct Call<'a> {
    /// The connection, in a transaction.
    pub(super) db: &'a Connection,
    /// The name of the queue.
    pub(super) name: &'a QueueName,
    /// The counters of the queue.
    pub(super) queue: &'a mut Queue,
    /// The events of this call, encoded and joined.
    pub(super) log: Vec<u8>,
    /// Who waits for the jobs that this call inserts.
    pub(super) takers: Option<Takers<'a>>,
    keep: Kept,
    before: Queue,
    news: &'a mut News,
}

/// How many finished jobs the last one that came to a state lets there be.
type Kept = [Option<Keep>; State::ALL.len()];

/// Where a call was at some point, to go back to; see [`Call::rewind`].
pub(super) struct Mark {
    queue: Queue,
    log: usize,
    takers: Option<hand_over::Mark>,
    keep: Kept,
}

impl Call<'_> {
    /// Takes note that something will fall due at `at`. Before the write that makes it so.
    pub(super) fn falls_due(&mut self, at: Timestamp) -> rusqlite::Result<()> {
        if let Some(due) = self.news.due.get_mut(self.name) {
            due.earliest = due.earliest.min(at);
        } else {
            let before = next_due(self.db, self.queue.id)?;
            self.news.due.insert(self.name.clone(), Due { before, earliest: at });
        }
        Ok(())
    }

    /// Takes note that the queue's settings were changed.
    pub(super) fn settings_changed(&mut self) {
        self.news.settings.insert(self.name.clone());
    }

    /// Begins what may be undone.
    pub(super) fn mark(&self) -> rusqlite::Result<Mark> {
        self.db.prepare_cached("savepoint mark")?.execute([])?;
        let takers = self.takers.as_ref().map(Takers::mark);
        Ok(Mark { queue: *self.queue, log: self.log.len(), takers, keep: self.keep })
    }

    /// Undoes all since `mark`.
    pub(super) fn rewind(&mut self, mark: &Mark) -> rusqlite::Result<()> {
        self.db.prepare_cached("rollback to mark")?.execute([])?;
        *self.queue = mark.queue;
        self.log.truncate(mark.log);
        if let (Some(takers), Some(mark)) = (&mut self.takers, mark.takers) {
            takers.rewind(mark);
        }
        self.keep = mark.keep;
        Ok(())
    }

    /// Ends what may be undone.
    pub(super) fn release(&self) -> rusqlite::Result<()> {
        self.db.prepare_cached("release mark")?.execute([])?;
        Ok(())
    }

    /// Takes note that a job has come to its end, `state`; those that are too many then go when the
    /// call ends, all at once.
    pub(super) fn keep(&mut self, state: State, keep: Keep) {
        if keep.count.is_some() {
            self.keep[state as usize] = Some(keep);
        }
    }

    /// Forgets the finished jobs that are too many, earliest to go first.
    fn trim(&mut self) -> rusqlite::Result<()> {
        for (state, keep) in State::ALL.into_iter().zip(self.keep) {
            let jobs = self.queue.jobs(state);
            if let Some(keep) = keep
                && let (Some(count), Some(most)) = (keep.count, keep.most())
                && jobs > i64::from(most)
            {
                forget(self, state, i64::MAX, jobs - i64::from(count))?;
            }
        }
        Ok(())
    }

    /// Ends a call that tells nothing of what it did.
    pub(super) fn done(self) {
        if *self.queue != self.before {
            self.news.changed.insert(self.name.clone());
        }
    }

    /// Ends the call: writes its events as one entry of the log.
    pub(super) fn finish(mut self, now: Timestamp) -> Result<(), Failure> {
        self.trim()?;
        if self.queue.jobs(State::Ready) == 0 {
            // An earlier call of the batch may have had news of jobs that are gone.
            self.news.ready.remove(self.name);
        } else if self.opened() {
            self.news.ready.insert(self.name.clone());
            self.queue.passed_by = false;
        }
        if !self.log.is_empty() {
            super::log::append(&mut self, now)?;
            self.news.logged.insert(self.name.clone());
        }
        self.done();
        Ok(())
    }
}

impl Call<'_> {
    /// True when the ready jobs there are may be more or more free than before the call.
    fn opened(&self) -> bool {
        let full = |queue: &Queue| queue.gates.is_full(queue.jobs(State::Leased));
        self.before.jobs(State::Ready) == 0
            || (full(&self.before) && !full(self.queue))
            || (self.before.choked && !self.queue.choked)
            || (self.before.passed_by && self.before.arrived != self.queue.arrived)
            || self.before.gates.revision != self.queue.gates.revision
    }
}

/// When the next thing in a queue falls due.
pub(super) fn next_due(db: &Connection, queue: i64) -> rusqlite::Result<Option<Timestamp>> {
    let mut find = db.prepare_cached(include_str!("sql/next_due.sql"))?;
    let at = find.query_row([queue], |row| row.get::<_, Option<i64>>(0)).optional()?;
    Ok(at.flatten().map(time))
}

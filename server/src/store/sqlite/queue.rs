//! A queue's counters: how many jobs are in each state, the ends of the ready line and of the log.
//!
//! They are kept in memory between transactions and written once per transaction, so counting
//! costs the moves nothing.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::job::{QueueName, State};
use crate::store::Counts;

/// One queue, as its row in the table `queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// The number of the row.
    pub(super) id: i64,
    /// Jobs ever inserted.
    pub(super) inserted: i64,
    /// The number of the newest entry of the event log.
    pub(super) logged: i64,
    /// The time of the newest entry of the event log.
    pub(super) logged_at: i64,
    /// Jobs by state, in the order of [`State::ALL`].
    jobs: [i64; State::ALL.len()],
    front: i64,
    back: i64,
}

impl Queue {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut jobs = [0; State::ALL.len()];
        for (column, number) in (2..).zip(&mut jobs) {
            *number = row.get(column)?;
        }
        Ok(Self {
            id: row.get(0)?,
            inserted: row.get(1)?,
            jobs,
            front: row.get(11)?,
            back: row.get(12)?,
            logged: row.get(13)?,
            logged_at: row.get(14)?,
        })
    }

    /// Reads the queue of that name.
    fn find(db: &Connection, name: &QueueName) -> rusqlite::Result<Option<Self>> {
        let mut find = db.prepare_cached(include_str!("sql/queue.sql"))?;
        find.query_row([name.as_str()], Self::read).optional()
    }

    /// Writes the counters.
    pub(super) fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        let [scheduled, ready, leased, retrying, blocked, succeeded, dead, cancelled, expired] =
            self.jobs;
        db.prepare_cached(include_str!("sql/save_queue.sql"))?.execute(params![
            self.id,
            self.inserted,
            scheduled,
            ready,
            leased,
            retrying,
            blocked,
            succeeded,
            dead,
            cancelled,
            expired,
            self.front,
            self.back,
            self.logged,
            self.logged_at,
        ])?;
        Ok(())
    }

    /// How many jobs are in `state`.
    pub(super) fn jobs(&self, state: State) -> i64 {
        self.jobs[state as usize]
    }

    /// `number` jobs came into `state`.
    pub(super) fn gain(&mut self, state: State, number: i64) {
        self.jobs[state as usize] += number;
    }

    /// `number` jobs went from `state`.
    pub(super) fn lose(&mut self, state: State, number: i64) {
        self.jobs[state as usize] -= number;
    }

    /// The place behind all that was given so far.
    pub(super) fn next_back(&mut self) -> i64 {
        self.back += 1;
        self.back
    }

    /// The place ahead of all that was given so far.
    pub(super) fn next_front(&mut self) -> i64 {
        self.front -= 1;
        self.front
    }

    /// The jobs by state.
    pub(super) fn counts(&self) -> Counts {
        let jobs = |state| u64::try_from(self.jobs(state)).unwrap_or(0);
        Counts {
            scheduled: jobs(State::Scheduled),
            ready: jobs(State::Ready),
            leased: jobs(State::Leased),
            retrying: jobs(State::Retrying),
            blocked: jobs(State::Blocked),
            succeeded: jobs(State::Succeeded),
            dead: jobs(State::Dead),
            cancelled: jobs(State::Cancelled),
            expired: jobs(State::Expired),
        }
    }
}

/// The queues met so far. Forget it after a rollback: it may be ahead of the file.
#[derive(Debug, Default)]
pub(super) struct Queues(HashMap<QueueName, Queue>);

impl Queues {
    /// The queue of that name, if it exists.
    pub(super) fn find(
        &mut self,
        db: &Connection,
        name: &QueueName,
    ) -> rusqlite::Result<Option<&mut Queue>> {
        if !self.0.contains_key(name) {
            let Some(queue) = Queue::find(db, name)? else { return Ok(None) };
            self.0.insert(name.clone(), queue);
        }
        Ok(self.0.get_mut(name))
    }

    /// Makes the queue of that name, unless it exists.
    pub(super) fn make(&mut self, db: &Connection, name: &QueueName) -> rusqlite::Result<()> {
        if !self.0.contains_key(name) {
            db.prepare_cached("insert into queue (name) values (?1) on conflict do nothing")?
                .execute([name.as_str()])?;
        }
        Ok(())
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

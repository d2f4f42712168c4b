//! A queue's counters: how many jobs are in each state and were ever in some, the ends of the ready
//! line and of the log, where its gates stand.
//!
//! They are kept in memory between transactions and written once per transaction, so counting
//! costs the moves nothing.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};

use super::gate::Gates;
use super::lately::Lately;
use super::row::{Failure, blob, corrupt};
use crate::job::{QueueName, State};
use crate::store::record::decode_settings;
use crate::store::{Counts, Totals};

/// One queue, as its row in the table `queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// The number of the row.
    pub(super) id: i64,
    /// Jobs ever inserted.
    pub(super) inserted: i64,
    /// Jobs that ever succeeded.
    pub(super) succeeded_ever: i64,
    /// Jobs that ever became dead letters.
    pub(super) dead_ever: i64,
    /// Leases that were ever lost.
    pub(super) lease_expired_ever: i64,
    /// What happened lately.
    pub(super) lately: Lately,
    /// Bytes of the records of unfinished jobs.
    pub(super) bytes: i64,
    /// The number of the newest entry of the event log.
    pub(super) logged: i64,
    /// The time of the newest entry of the event log.
    pub(super) logged_at: i64,
    /// Events ever told.
    pub(super) told: i64,
    /// What its settings say about claims.
    pub(super) gates: Gates,
    /// A claim stopped looking, as too many jobs at the head of the line have expired.
    pub(super) choked: bool,
    /// A claim for some types left ready jobs of others.
    pub(super) passed_by: bool,
    /// How many jobs became ready, since the queue was read.
    pub(super) arrived: u64,
    /// Jobs by state, in the order of [`State::ALL`].
    jobs: [i64; State::ALL.len()],
    front: i64,
    back: i64,
}

impl Queue {
    fn read(row: &Row<'_>, name: &QueueName) -> Result<Self, Failure> {
        let mut jobs = [0; State::ALL.len()];
        for (column, number) in (2..).zip(&mut jobs) {
            *number = row.get(column)?;
        }
        let settings = blob(row.get_ref(20)?);
        let gates = if settings.is_empty() {
            Gates::default()
        } else {
            let settings = decode_settings(settings)
                .map_err(|why| corrupt(format_args!("queue {name}"), why))?;
            Gates::of(&settings, row.get(21)?)
        };
        Ok(Self {
            id: row.get(0)?,
            inserted: row.get(1)?,
            jobs,
            front: row.get(11)?,
            back: row.get(12)?,
            logged: row.get(13)?,
            logged_at: row.get(14)?,
            told: row.get(22)?,
            succeeded_ever: row.get(15)?,
            dead_ever: row.get(16)?,
            lease_expired_ever: row.get(17)?,
            lately: Lately::decode(&blob(row.get_ref(18)?)),
            bytes: row.get(19)?,
            gates,
            choked: false,
            passed_by: false,
            arrived: 0,
        })
    }

    /// Reads the queue of that name.
    fn find(db: &Connection, name: &QueueName) -> Result<Option<Self>, Failure> {
        let mut find = db.prepare_cached(include_str!("sql/queue.sql"))?;
        let mut rows = find.query([name.as_str()])?;
        rows.next()?.map(|row| Self::read(row, name)).transpose()
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
            self.succeeded_ever,
            self.dead_ever,
            self.lease_expired_ever,
            self.lately.encode(),
            self.bytes,
            self.gates.tat,
            self.told,
        ])?;
        Ok(())
    }

    /// How many jobs are in `state`.
    pub(super) fn jobs(&self, state: State) -> i64 {
        self.jobs[state as usize]
    }

    /// How many jobs there are.
    pub(super) fn all_jobs(&self) -> i64 {
        self.jobs.iter().sum()
    }

    /// How many jobs are not finished.
    pub(super) fn unfinished(&self) -> i64 {
        let unfinished = State::ALL.into_iter().filter(|state| !state.is_terminal());
        unfinished.map(|state| self.jobs(state)).sum()
    }

    /// A job whose record has so many bytes came into `state`.
    pub(super) fn gain(&mut self, state: State, bytes: i64) {
        self.jobs[state as usize] += 1;
        self.arrived += u64::from(state == State::Ready);
        if !state.is_terminal() {
            self.bytes += bytes;
        }
    }

    /// A job whose record has so many bytes went from `state`.
    pub(super) fn lose(&mut self, state: State, bytes: i64) {
        self.jobs[state as usize] -= 1;
        if !state.is_terminal() {
            self.bytes -= bytes;
        }
    }

    /// A job went from one state to another, neither being an end.
    pub(super) fn step(&mut self, from: State, to: State) {
        self.jobs[from as usize] -= 1;
        self.jobs[to as usize] += 1;
        self.arrived += u64::from(to == State::Ready);
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
        let jobs = |state| count(self.jobs(state));
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

    /// What happened since the queue began.
    pub(super) fn totals(&self) -> Totals {
        Totals {
            enqueued: count(self.inserted),
            succeeded: count(self.succeeded_ever),
            dead: count(self.dead_ever),
            lease_expired: count(self.lease_expired_ever),
        }
    }
}

/// A counter as others see it.
pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
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
    ) -> Result<Option<&mut Queue>, Failure> {
        if !self.0.contains_key(name) {
            let Some(queue) = Queue::find(db, name)? else { return Ok(None) };
            self.0.insert(name.clone(), queue);
        }
        Ok(self.0.get_mut(name))
    }

    /// The queue of that name, if it was met.
    pub(super) fn known(&self, name: &QueueName) -> Option<&Queue> {
        self.0.get(name)
    }

    /// Makes the queue of that name, unless it exists.
    pub(super) fn make(&mut self, db: &Connection, name: &QueueName) -> rusqlite::Result<()> {
        if !self.0.contains_key(name) {
            db.prepare_cached("insert into queue (name) values (?1) on conflict do nothing")?
                .execute([name.as_str()])?;
        }
        Ok(())
    }

    /// Forgets one, which is gone.
    pub(super) fn forget(&mut self, name: &QueueName) {
        self.0.remove(name);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

//! Rows ↔ jobs.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::types::{FromSql, ValueRef};
use rusqlite::{CachedStatement, Connection, Params, Row};

use crate::clock::{Timestamp, millis};
use crate::job::{
    Attempt, Counters, Details, Job, JobId, JobName, Lease, LeaseSecret, QueueName, Spec, State,
    WorkerId,
};
use crate::store::Error;
use crate::store::record::{
    Unreadable, decode_attempt, decode_cancel, decode_failure, decode_payload, decode_progress,
    decode_spec,
};

/// Why a call could not be carried out.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database failed; nothing of the transaction holds.
    Database(rusqlite::Error),
    /// A record is unreadable; only the call that met it suffers.
    Record(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// The record of `name` can't be read.
pub(super) fn corrupt(name: impl Display, why: impl Display) -> Failure {
    Failure::Record(Error::Corrupt { name: name.to_string(), why: why.to_string() })
}

/// A moment as the database has it.
pub(super) fn integer(moment: Timestamp) -> i64 {
    whole(moment.as_millis())
}

/// A span in milliseconds as the database has it.
pub(super) fn span(span: Duration) -> i64 {
    whole(millis(span))
}

/// A number as the database has it, capped at what fits.
pub(super) fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A moment from the database.
pub(super) fn time(integer: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(integer).unwrap_or(0))
}

/// A state as the database has it.
pub(super) fn letter(state: State) -> String {
    char::from(state.letter()).to_string()
}

/// A state from the database.
pub(super) fn state(letter: &str) -> Result<State, String> {
    let known = letter.bytes().next().and_then(State::from_letter);
    known.ok_or_else(|| format!("no state has the letter {letter:?}"))
}

/// Any 64 bits as the database has them.
pub(super) fn bits(number: u64) -> i64 {
    number.cast_signed()
}

/// A job that was read.
#[derive(Debug)]
pub(super) struct Found {
    /// Its row.
    pub(super) row: i64,
    /// The job with its details.
    pub(super) job: Job,
    /// The bytes of its records that a claim counts.
    pub(super) size: usize,
}

impl Found {
    /// A job that is not in a row yet, with a record of so many bytes.
    pub(super) fn new(job: &Job, bytes: usize) -> Self {
        Self { row: 0, job: job.clone(), size: bytes + OVERHEAD }
    }
}

/// What is counted for a job beside its records.
const OVERHEAD: usize = 256;

/// About how many bytes of records one read answers.
const PORTION: usize = 4 << 20;

/// How much a read may still answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portion {
    jobs: usize,
    bytes: usize,
    /// Nothing was answered yet.
    empty: bool,
}

impl Portion {
    /// So many jobs, but fewer when their records are large.
    pub(super) fn of(jobs: usize) -> Self {
        Self::within(jobs, PORTION)
    }

    /// So many jobs of so many bytes, but one in any case.
    pub(super) fn within(jobs: usize, bytes: usize) -> Self {
        Self { jobs, bytes, empty: true }
    }

    /// True when there is no room for `next`, nor for any after it; else it is counted.
    pub(super) fn is_full_before(&mut self, next: &Found) -> bool {
        if self.jobs == 0 || (next.size > self.bytes && !self.empty) {
            self.jobs = 0;
            return true;
        }
        *self =
            Self { jobs: self.jobs - 1, bytes: self.bytes.saturating_sub(next.size), empty: false };
        false
    }
}

/// Reads whole jobs of one queue with a statement that begins with `job.sql`.
pub(super) struct Jobs<'a> {
    db: &'a Connection,
    queue: &'a QueueName,
}

impl<'a> Jobs<'a> {
    /// A reader of jobs of `queue`.
    pub(super) fn of(db: &'a Connection, queue: &'a QueueName) -> Self {
        Self { db, queue }
    }

    /// Reads the one job that the statement finds, if there is one.
    pub(super) fn find(
        &self,
        mut statement: CachedStatement<'_>,
        params: impl Params,
    ) -> Result<Option<Found>, Failure> {
        let mut rows = statement.query(params)?;
        rows.next()?.map(|row| self.one(row)).transpose()
    }

    /// Reads the job in that row, if there is one.
    pub(super) fn at_row(&self, row: i64) -> Result<Option<Found>, Failure> {
        let select = concat!(include_str!("sql/job.sql"), include_str!("sql/one.sql"));
        self.find(self.db.prepare_cached(select)?, [row])
    }

    /// Reads until there are no more, or `enough` says so of the next one. One that can't be read
    /// is passed over.
    pub(super) fn read(
        &self,
        mut statement: CachedStatement<'_>,
        params: impl Params,
        mut enough: impl FnMut(&Found) -> bool,
    ) -> Result<Vec<Found>, Failure> {
        let mut found = Vec::new();
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            let Some(one) = pass_over(self.one(row).map(Some))? else { continue };
            if enough(&one) {
                break;
            }
            found.push(one);
        }
        Ok(found)
    }

    /// Reads the job in `row`, whose columns begin with those of `job.sql`.
    pub(super) fn one(&self, row: &Row<'_>) -> Result<Found, Failure> {
        let mut columns = Columns { row, next: 0 };
        let number: i64 = columns.take()?;
        let id: String = columns.take()?;
        let id = JobId::parse(&id).map_err(|why| corrupt(self.queue, why))?;
        let name = JobName { queue: self.queue.clone(), id };
        let mut found = decode(name.clone(), number, &mut columns)?.map_err(|why| {
            // A row whose parts can't be read is the job's trouble, not the database's.
            corrupt(&name, why)
        })?;
        // The newest attempt came with the row.
        let newest = found.job.details_mut().attempts.pop();
        if found.job.counters.deliveries > 1 {
            self.add_attempts(&mut found)?;
        }
        found.job.details_mut().attempts.extend(newest);
        Ok(found)
    }

    fn add_attempts(&self, found: &mut Found) -> Result<(), Failure> {
        let select = "select body from attempt where job = ?1 order by delivery";
        let mut statement = self.db.prepare_cached(select)?;
        let mut rows = statement.query([found.row])?;
        while let Some(row) = rows.next()? {
            let body = blob(row.get_ref(0)?);
            found.size += body.len();
            let attempt: Attempt =
                decode_attempt(body).map_err(|why| corrupt(&found.job.name, why))?;
            found.job.details_mut().attempts.push(attempt);
        }
        Ok(())
    }
}

/// Passes over a job that can't be read, so that it does not keep the others from being leased and
/// swept; reading it by name tells what is wrong.
pub(super) fn pass_over(job: Result<Option<Found>, Failure>) -> Result<Option<Found>, Failure> {
    match job {
        Err(Failure::Record(error)) => {
            tracing::error!(%error, "a job is passed over");
            Ok(None)
        }
        job => job,
    }
}

/// The columns of a row, one after the other.
struct Columns<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl Columns<'_> {
    fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn take_blob(&mut self) -> rusqlite::Result<Option<Bytes>> {
        self.next += 1;
        Ok(match self.row.get_ref(self.next - 1)? {
            ValueRef::Null => None,
            value => Some(blob(value)),
        })
    }
}

/// The bytes of a column; empty when it holds none.
pub(super) fn blob(value: ValueRef<'_>) -> Bytes {
    value.as_blob().map(Bytes::copy_from_slice).unwrap_or_default()
}

/// Decodes the columns after the id. The outer error is the database's, the inner one the job's.
fn decode(
    name: JobName,
    row: i64,
    columns: &mut Columns<'_>,
) -> rusqlite::Result<Result<Found, String>> {
    let letter: String = columns.take()?;
    let at = time(columns.take()?);
    let counters = Counters {
        deliveries: columns.take()?,
        attempts: columns.take()?,
        lease_losses: columns.take()?,
    };
    let revision = columns.take()?;
    let started = columns.take::<Option<i64>>()?.map(time);
    let ended = columns.take::<Option<i64>>()?.map(time);
    let secret: Option<i64> = columns.take()?;
    let worker: Option<String> = columns.take()?;
    let lease_started: Option<i64> = columns.take()?;
    let lease_duration: Option<i64> = columns.take()?;
    let cancel = columns.take_blob()?;
    let attempt = columns.take_blob()?;
    let spec = columns.take_blob()?.unwrap_or_default();
    let left = Left {
        progress: columns.take_blob()?,
        checkpoint: columns.take_blob()?,
        failure: columns.take_blob()?,
        result: columns.take_blob()?,
    };
    let attempt_size = attempt.as_ref().map_or(0, Bytes::len);
    let size = spec.len() + left.size() + attempt_size + OVERHEAD;
    let decoded = || -> Result<Found, String> {
        let lease = match (secret, worker, lease_started, lease_duration) {
            (Some(secret), Some(worker), Some(started), Some(duration)) => Some(Lease {
                secret: LeaseSecret(secret.cast_unsigned()),
                worker: WorkerId::parse(&worker).map_err(|why| why.to_string())?,
                started: time(started),
                duration: time(duration).since(Timestamp::default()),
            }),
            _ => None,
        };
        let cancel = cancel.map(decode_cancel).transpose().map_err(|why| why.to_string())?;
        let spec: Spec = decode_spec(spec).map_err(|why| why.to_string())?;
        let mut details = left.decode().map_err(|why| why.to_string())?;
        let attempt = attempt.map(decode_attempt).transpose().map_err(|why| why.to_string())?;
        details.attempts.extend(attempt);
        let state = state(&letter)?;
        let job = Job {
            name,
            spec: spec.into(),
            state,
            at,
            counters,
            revision,
            started,
            ended,
            lease,
            cancel,
            details: details.into(),
        };
        Ok(Found { row, job, size })
    };
    Ok(decoded())
}

/// The lease of a job as its row has it: secret, worker, start and duration.
pub(super) fn lease_columns(job: &Job) -> (Option<i64>, Option<&str>, Option<i64>, Option<i64>) {
    let Some(Lease { secret, worker, started, duration }) = &job.lease else {
        return (None, None, None, None);
    };
    (Some(bits(secret.0)), Some(worker.as_str()), Some(integer(*started)), Some(span(*duration)))
}

/// The row of a job in the table `detail`.
struct Left {
    progress: Option<Bytes>,
    checkpoint: Option<Bytes>,
    failure: Option<Bytes>,
    result: Option<Bytes>,
}

impl Left {
    /// What a claim counts of it.
    fn size(&self) -> usize {
        [&self.checkpoint, &self.failure].into_iter().flatten().map(Bytes::len).sum()
    }

    fn decode(self) -> Result<Details, Unreadable> {
        Ok(Details {
            progress: self.progress.map(decode_progress).transpose()?,
            checkpoint: self.checkpoint.map(decode_payload).transpose()?,
            result: self.result.map(decode_payload).transpose()?,
            last_failure: self.failure.map(decode_failure).transpose()?,
            attempts: Vec::new(),
        })
    }
}

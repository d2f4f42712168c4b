//! A table of jobs in a SQLite database, such as an application keeps for itself.

mod columns;
mod row;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, ToSql, params_from_iter};

use super::report::ACTIVE;
use super::source::{Found, Place, Source, Survey, Waiting};
use crate::failure::Usage;
pub(super) use columns::{Field, parse_pair};
use row::{Row, text};

/// How long to wait for somebody who writes.
const PATIENCE: Duration = Duration::from_secs(5);
/// The states in which a worker has a job.
const ACTIVE_STATES: [&str; 6] = ["active", "processing", "running", "started", "leased", "locked"];

pub(super) struct Store {
    db: Connection,
    path: PathBuf,
    table: String,
    columns: BTreeMap<Field, String>,
    states: Vec<String>,
    /// 1, or -1 where the lower number runs first.
    priority_sign: i64,
}

impl Store {
    pub(super) fn open(
        path: &Path,
        table: &str,
        chosen: &[(Field, String)],
        states: Vec<String>,
        lower_first: bool,
    ) -> anyhow::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let wrong = || format!("can't read {}", path.display());
        let db = Connection::open_with_flags(path, flags).with_context(wrong)?;
        let names = || -> rusqlite::Result<_> {
            db.busy_timeout(PATIENCE)?;
            let mut names = db.prepare("SELECT name FROM pragma_table_info(?1)")?;
            let names = names.query_map([table], |row| row.get(0))?;
            names.collect::<Result<Vec<String>, _>>()
        };
        let there = names().with_context(wrong)?;
        if there.is_empty() {
            return Err(Usage(format!("{} has no table {table}", path.display())).into());
        }
        let columns = columns::columns(table, &there, chosen)?;
        let (path, table) = (path.to_owned(), table.to_owned());
        let priority_sign = if lower_first { -1 } else { 1 };
        Ok(Self { db, path, table, columns, states, priority_sign })
    }

    /// The column that holds this, quoted, or NULL.
    fn column(&self, field: Field) -> String {
        self.columns.get(&field).map_or_else(|| "NULL".to_owned(), |name| quoted(name))
    }

    /// The condition that a row is of a queue, and what it compares with.
    fn of_queue(&self, queue: &str) -> (String, Vec<String>) {
        match self.columns.get(&Field::Queue) {
            Some(name) => (format!("{} = ?", quoted(name)), vec![queue.to_owned()]),
            None => ("1".to_owned(), Vec::new()),
        }
    }

    fn pending(&self) -> String {
        format!("{} IN ({})", self.column(Field::Status), marks(self.states.len()))
    }
}

impl Source for Store {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn place(&self) -> String {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|(field, column)| format!("{field:?}={column}").to_lowercase())
            .collect();
        format!("{} of {}, with {}", self.table, self.path.display(), columns.join(", "))
    }

    /// The queues of the table, or one of its name if it knows none.
    async fn queues(&mut self) -> anyhow::Result<Vec<String>> {
        if !self.columns.contains_key(&Field::Queue) {
            return Ok(vec![self.table.clone()]);
        }
        let queue = self.column(Field::Queue);
        let sql = format!(
            "SELECT DISTINCT {queue} FROM {} WHERE {queue} IS NOT NULL ORDER BY 1",
            quoted(&self.table)
        );
        let mut names = self.db.prepare(&sql)?;
        let names = names.query_map([], |row| Ok(text(&row.get::<_, Value>(0)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    async fn survey(&mut self, queue: &str, _to: &str) -> anyhow::Result<Survey> {
        let mut survey = Survey::default();
        let (of_queue, mut bound) = self.of_queue(queue);
        let table = quoted(&self.table);
        let state = self.column(Field::Status);
        let sql = format!("SELECT {state}, count(*) FROM {table} WHERE {of_queue} GROUP BY 1");
        let mut counts = self.db.prepare(&sql)?;
        let mut counts = counts.query(params_from_iter(&bound))?;
        while let Some(row) = counts.next()? {
            let state = text(&row.get::<_, Value>(0)?);
            if !self.states.contains(&state) {
                let active = ACTIVE_STATES.contains(&state.to_lowercase().as_str());
                let why = if active { ACTIVE.to_owned() } else { format!("status {state:?}") };
                survey.leave(why, row.get::<_, i64>(1)?.unsigned_abs());
            }
        }
        let (id, run_at) = (self.column(Field::Id), self.column(Field::RunAt));
        let pending = self.pending();
        let sql = format!(
            "SELECT rowid, {id}, {run_at} FROM {table} WHERE {of_queue} AND {pending} ORDER BY rowid"
        );
        bound.extend(self.states.iter().cloned());
        let mut rows = self.db.prepare(&sql)?;
        let mut rows = rows.query(params_from_iter(&bound))?;
        while let Some(row) = rows.next()? {
            let run_at = Row(BTreeMap::from([(Field::RunAt, row.get(2)?)]));
            // One that can't be read is told when the job is.
            let due = run_at.due().unwrap_or_default();
            survey.waiting.push(Waiting {
                id: text(&row.get(1)?),
                place: if due.is_some() { Place::Delayed } else { Place::Waiting },
                due,
                row: row.get(0)?,
            });
        }
        Ok(survey)
    }

    async fn read(&mut self, _queue: &str, jobs: &[Waiting]) -> anyhow::Result<Vec<Found>> {
        let fields: Vec<_> = self.columns.keys().copied().collect();
        let columns: Vec<_> = fields.iter().map(|field| self.column(*field)).collect();
        let sql = format!(
            "SELECT rowid, {} FROM {} WHERE rowid IN ({}) AND {}",
            columns.join(", "),
            quoted(&self.table),
            marks(jobs.len()),
            self.pending()
        );
        let mut rows = self.db.prepare(&sql)?;
        let bound = jobs.iter().map(|job| &job.row as &dyn ToSql);
        let bound = bound.chain(self.states.iter().map(|state| state as &dyn ToSql));
        let mut rows = rows.query(params_from_iter(bound))?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let mut values = BTreeMap::new();
            for (at, field) in fields.iter().enumerate() {
                values.insert(*field, row.get(at + 1)?);
            }
            found.insert(row.get::<_, i64>(0)?, Row(values));
        }
        let job = |job: &Waiting| match found.get(&job.row) {
            Some(row) if row.text(Field::Id).as_ref() == Some(&job.id) => match row.due() {
                Ok(_) => row.job(&self.table, self.priority_sign),
                Err(why) => Found::left(why),
            },
            _ => Found::Gone,
        };
        Ok(jobs.iter().map(job).collect())
    }
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// So many places for values.
fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

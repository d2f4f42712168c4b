//! `list`: a page of an index.

use rusqlite::Params;

use super::batch::{Batch, Call};
use super::row::{Failure, Found, Jobs, Portion, integer, letter};
use super::term::OWNER;
use crate::job::{QueueName, State};
use crate::store::{Index, Mark, Order, Page};

/// Reads a page of `index`, from its beginning or after `mark`.
pub(super) fn list(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    index: &Index,
    order: Order,
    mark: Option<&Mark>,
    limit: usize,
) -> Result<Page, Failure> {
    let Some(call) = batch.call(queue)? else { return Ok(Page::default()) };
    // A mark of something else counts as none.
    let after = mark.and_then(After::parse).unwrap_or_else(|| After::beginning(index, order));
    let mut walk = Walk { call: &call, order, portion: Portion::of(limit), found: Vec::new() };
    let more = match index {
        Index::State(State::Ready) => walk.ready(&after)?,
        Index::State(State::Blocked) => walk.blocked(&after)?,
        Index::State(state) => walk.state(*state, &after)?,
        Index::Label(name, value) => walk.term(name, value, &after)?,
        Index::Owner(owner) => walk.term(OWNER, owner, &after)?,
    };
    let last = walk.found.last().filter(|_| more);
    let next = last.map(|found| After::of(&call, index, found)).transpose()?.map(|at| at.mark());
    Ok(Page { jobs: walk.found.into_iter().map(|found| found.job).collect(), next })
}

/// Where a job stands in its index.
#[derive(Debug)]
struct After {
    /// The greater part: a priority or a time.
    first: i64,
    /// The lesser part: a place or a row; 0 where `id` is the lesser part.
    second: i64,
    id: String,
}

impl After {
    /// Before all jobs.
    fn beginning(index: &Index, order: Order) -> Self {
        let (least, greatest) = match order {
            Order::Forward => (i64::MIN, i64::MAX),
            Order::Backward => (i64::MAX, i64::MIN),
        };
        let first = if *index == Index::State(State::Ready) { greatest } else { least };
        // No job has that time, so any id will do.
        Self { first, second: least, id: String::new() }
    }

    fn of(call: &Call<'_>, index: &Index, found: &Found) -> rusqlite::Result<Self> {
        let job = &found.job;
        let (first, second) = match index {
            Index::State(State::Ready) => {
                let find = "select priority, place from job where job = ?1";
                call.db.prepare_cached(find)?.query_row([found.row], |row| row.try_into())?
            }
            Index::State(State::Blocked) | Index::Label(..) | Index::Owner(_) => {
                (integer(job.spec.created), found.row)
            }
            Index::State(_) => (integer(job.at), 0),
        };
        Ok(Self { first, second, id: job.name.id.to_string() })
    }

    fn mark(&self) -> Mark {
        let parts = [&self.first.to_be_bytes()[..], &self.second.to_be_bytes(), self.id.as_bytes()];
        Mark(parts.concat().into())
    }

    fn parse(mark: &Mark) -> Option<Self> {
        let (first, rest) = mark.0.split_first_chunk()?;
        let (second, id) = rest.split_first_chunk()?;
        Some(Self {
            first: i64::from_be_bytes(*first),
            second: i64::from_be_bytes(*second),
            id: str::from_utf8(id).ok()?.to_owned(),
        })
    }
}

/// A walk along an index.
struct Walk<'a> {
    call: &'a Call<'a>,
    order: Order,
    portion: Portion,
    found: Vec<Found>,
}

impl Walk<'_> {
    /// The rest of a priority, then the lesser priorities.
    fn ready(&mut self, after: &After) -> Result<bool, Failure> {
        let queue = self.call.queue.id;
        Ok(self.read(SAME_PRIORITY, (queue, after.first, after.second))?
            || self.read(LESSER_PRIORITIES, (queue, after.first))?)
    }

    fn state(&mut self, state: State, after: &After) -> Result<bool, Failure> {
        self.read(STATE, (self.call.queue.id, letter(state), after.first, &after.id))
    }

    fn blocked(&mut self, after: &After) -> Result<bool, Failure> {
        self.read(BLOCKED, (self.call.queue.id, after.first, after.second))
    }

    fn term(&mut self, name: &str, value: &str, after: &After) -> Result<bool, Failure> {
        self.read(TERM, (self.call.queue.id, name, value, after.first, after.second))
    }

    /// Reads on, as long as the portion has room; true when there are more.
    fn read(&mut self, rest: &str, params: impl Params) -> Result<bool, Failure> {
        let select = self.call.db.prepare_cached(&statement(rest, self.order))?;
        let mut more = false;
        let jobs = Jobs::of(self.call.db, self.call.name);
        let found = jobs.read(select, params, |next| {
            more = self.portion.is_full_before(next);
            more
        })?;
        self.found.extend(found);
        Ok(more)
    }
}

// What finds the jobs of an index, in the forward order. cross join: the index comes first, so that
// reading can stop after any job.
pub(super) const SAME_PRIORITY: &str = include_str!("sql/list_same_priority.sql");
pub(super) const LESSER_PRIORITIES: &str = include_str!("sql/list_lesser_priorities.sql");
pub(super) const STATE: &str = include_str!("sql/list_state.sql");
pub(super) const BLOCKED: &str = include_str!("sql/list_blocked.sql");
pub(super) const TERM: &str = include_str!("sql/list_term.sql");

/// The statement that walks one of the above in `order`.
pub(super) fn statement(rest: &str, order: Order) -> String {
    let turned = |word| match word {
        ">" => "<",
        "<" => ">",
        "asc" => "desc",
        "asc," => "desc,",
        "desc" => "asc",
        "desc," => "asc,",
        word => word,
    };
    let rest: Vec<&str> = match order {
        Order::Forward => rest.split_whitespace().collect(),
        Order::Backward => rest.split_whitespace().map(turned).collect(),
    };
    format!("{} {}", include_str!("sql/job.sql"), rest.join(" "))
}

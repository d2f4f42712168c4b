//! Requests that may come twice: what each made.
//!
//! A row of the table `request` is about one job, which it names, or about a batch: then `made` has
//! a bit for each of its jobs that came to be, and the ids follow from the request.

use rusqlite::{OptionalExtension, params};

use super::batch::Call;
use super::row::{Failure, bits, corrupt, integer};
use crate::clock::Timestamp;
use crate::job::JobId;
use crate::store::{Inserted, REQUEST_MEMORY, Request};

/// What is remembered of a request.
struct Row {
    digest: i64,
    job: String,
    made: Option<Vec<u8>>,
}

fn find(call: &Call<'_>, request: Request, now: Timestamp) -> rusqlite::Result<Option<Row>> {
    call.db
        .prepare_cached(
            "select digest, job, made from request where queue = ?1 and id = ?2 and until > ?3",
        )?
        .query_row(params![call.queue.id, request.id.as_bytes(), integer(now)], |row| {
            Ok(Row { digest: row.get(0)?, job: row.get(1)?, made: row.get(2)? })
        })
        .optional()
}

/// What a request for one job is answered that was carried out before.
pub(super) fn known(
    call: &Call<'_>,
    request: Request,
    now: Timestamp,
) -> Result<Option<Inserted>, Failure> {
    let Some(Row { digest, job, made }) = find(call, request, now)? else { return Ok(None) };
    Ok(Some(if digest == bits(request.digest) && made.is_none() {
        Inserted::Replayed(JobId::parse(&job).map_err(|why| corrupt(call.name, why))?)
    } else {
        Inserted::RequestReused
    }))
}

/// Remembers which job a request made.
pub(super) fn remember(
    call: &Call<'_>,
    request: Option<Request>,
    job: &JobId,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let Some(request) = request else { return Ok(()) };
    save(call, request, job.as_str(), None, now)
}

fn save(
    call: &Call<'_>,
    request: Request,
    job: &str,
    made: Option<&[u8]>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    call.db.prepare_cached(include_str!("sql/remember_request.sql"))?.execute(params![
        call.queue.id,
        request.id.as_bytes(),
        bits(request.digest),
        job,
        integer(now.after(REQUEST_MEMORY)),
        made,
    ])?;
    Ok(())
}

/// Which jobs of a batch were made: a bit for each, the lowest of the first byte for the first.
#[derive(Debug, Default)]
pub(super) struct Made(Vec<u8>);

impl Made {
    /// What the request for a batch made; `None` when its id was used for something else.
    pub(super) fn by(
        call: &Call<'_>,
        request: Request,
        now: Timestamp,
    ) -> rusqlite::Result<Option<Self>> {
        Ok(match find(call, request, now)? {
            None => Some(Self::default()),
            Some(Row { digest, made, .. }) if digest == bits(request.digest) => made.map(Self),
            Some(_) => None,
        })
    }

    /// True when the job at `index` was made.
    pub(super) fn has(&self, index: usize) -> bool {
        self.0.get(index / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Notes the jobs that came to be; false when none did.
    pub(super) fn note(&mut self, outcomes: &[Inserted]) -> bool {
        let mut any = false;
        for (index, outcome) in outcomes.iter().enumerate() {
            if matches!(outcome, Inserted::New | Inserted::Behind(_)) {
                self.0.resize(self.0.len().max(index / 8 + 1), 0);
                self.0[index / 8] |= 1 << (index % 8);
                any = true;
            }
        }
        any
    }

    /// Remembers it.
    pub(super) fn remember(
        &self,
        call: &Call<'_>,
        request: Request,
        now: Timestamp,
    ) -> rusqlite::Result<()> {
        save(call, request, "", Some(&self.0), now)
    }
}

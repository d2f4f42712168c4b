//! What guards and events need to know of a job, without its payload.

use rusqlite::{Connection, OptionalExtension};

use super::batch::Call;
use super::row::{Failure, bits, blob, corrupt, state, time};
use crate::clock::Timestamp;
use crate::job::{Event, Guard, JobId, JobName, LeaseSecret, State, WorkerId};
use crate::store::record::{decode_spec, encode_event};

/// Where a job stands.
pub(super) struct Standing {
    /// Its row.
    pub(super) row: i64,
    /// Its state.
    pub(super) state: State,
    /// Who holds it.
    pub(super) worker: Option<WorkerId>,
    pub(super) at: Timestamp,
    deliveries: u32,
    secret: Option<i64>,
}

impl Standing {
    /// Reads where a job of the call's queue stands; `None` when there is no such job.
    pub(super) fn find(call: &Call<'_>, id: &JobId) -> Result<Option<Self>, Failure> {
        type Columns = (i64, String, i64, u32, Option<i64>, Option<String>);
        let mut find = call.db.prepare_cached(include_str!("sql/standing.sql"))?;
        let columns: Option<Columns> =
            find.query_row((call.queue.id, id.as_str()), |row| row.try_into()).optional()?;
        let Some((row, letter, at, deliveries, secret, worker)) = columns else {
            return Ok(None);
        };
        let unreadable =
            |why: String| corrupt(JobName { queue: call.name.clone(), id: id.clone() }, why);
        Ok(Some(Self {
            row,
            state: state(&letter).map_err(unreadable)?,
            // An event without its worker is better than a job that can't be settled.
            worker: worker.and_then(|worker| WorkerId::parse(&worker).ok()),
            at: time(at),
            deliveries,
            secret,
        }))
    }

    /// True when the job is leased with this secret.
    pub(super) fn is_held(&self, secret: LeaseSecret) -> bool {
        self.state == State::Leased && self.secret == Some(bits(secret.0))
    }

    /// True when `guard` holds.
    pub(super) fn allows(&self, guard: Guard) -> bool {
        match guard {
            Guard::Leased(secret) => self.is_held(secret),
            Guard::Overdue { secret, now } => self.is_held(secret) && self.at <= now,
            Guard::Standing(version) => {
                self.state == version.state
                    && self.at == version.at
                    && self.deliveries == version.deliveries
            }
        }
    }

    /// Tells `event` of this job, with what its sender did not know: who holds the job, its type,
    /// labels and trace context.
    pub(super) fn tell(&self, call: &mut Call<'_>, event: &Event) -> Result<(), Failure> {
        let mut event = event.clone();
        if event.worker.is_none() {
            event.worker.clone_from(&self.worker);
        }
        if event.job_type.is_empty() {
            add_spec(call.db, self.row, &mut event)?;
        }
        call.log.extend(encode_event(&event));
        Ok(())
    }
}

/// Takes type, labels and trace context from the spec in `row`; an unreadable one leaves them out,
/// as the move itself does not need it.
pub(super) fn add_spec(db: &Connection, row: i64, event: &mut Event) -> rusqlite::Result<()> {
    let mut find = db.prepare_cached("select body from spec where job = ?1")?;
    let body = find.query_row([row], |row| Ok(blob(row.get_ref(0)?))).optional()?;
    if let Some(Ok(spec)) = body.map(decode_spec) {
        event.job_type = spec.job_type;
        event.labels = spec.labels;
        event.trace_context = spec.trace_context;
    }
    Ok(())
}

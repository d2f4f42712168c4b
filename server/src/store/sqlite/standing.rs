//! What guards and events need to know of a job, without its payload.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::batch::Call;
use super::row::{Failure, bits, blob, corrupt, state, time};
use crate::clock::Timestamp;
use crate::job::{
    Cancel, Event, Guard, JobId, JobName, LeaseSecret, Spec, State, Transition, Version, WorkerId,
};
use crate::store::record::{decode_cancel, decode_spec, encode_event, encode_spec};

/// Where a job stands.
pub(super) struct Standing {
    /// Its row.
    pub(super) row: i64,
    /// Its state.
    pub(super) state: State,
    /// The time of its state.
    pub(super) at: Timestamp,
    /// The size of its record.
    pub(super) bytes: i64,
    /// How many terms it has.
    pub(super) terms: i64,
    /// Who holds it.
    pub(super) worker: Option<WorkerId>,
    /// The cancellation it was asked for.
    pub(super) cancel: Option<Cancel>,
    /// How often it was leased.
    pub(super) deliveries: u32,
    /// Its newest attempt, encoded.
    pub(super) attempt: Option<Bytes>,
    /// What events tell of it; `None`: look in its spec.
    told: Option<Bytes>,
    revision: u32,
    secret: Option<i64>,
}

impl Standing {
    /// Reads where a job of the call's queue stands; `None` when there is no such job.
    pub(super) fn find(call: &Call<'_>, id: &JobId) -> Result<Option<Self>, Failure> {
        let mut find = call.db.prepare_cached(include_str!("sql/standing.sql"))?;
        let mut rows = find.query((call.queue.id, id.as_str()))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let name = || JobName { queue: call.name.clone(), id: id.clone() };
        let cancel = blob(row.get_ref(9)?);
        Ok(Some(Self {
            row: row.get(0)?,
            state: state(row.get_ref(1)?.as_str().unwrap_or_default())
                .map_err(|why| corrupt(name(), why))?,
            at: time(row.get(2)?),
            deliveries: row.get(3)?,
            revision: row.get(4)?,
            bytes: row.get(5)?,
            terms: row.get(6)?,
            secret: row.get(7)?,
            // An event without its worker is better than a job that can't be settled.
            worker: row.get::<_, Option<String>>(8)?.and_then(|text| WorkerId::parse(&text).ok()),
            cancel: (!cancel.is_empty())
                .then(|| decode_cancel(cancel))
                .transpose()
                .map_err(|why| corrupt(name(), why))?,
            told: row.get_ref(10)?.as_blob_or_null().ok().flatten().map(Bytes::copy_from_slice),
            attempt: row.get_ref(11)?.as_blob_or_null().ok().flatten().map(Bytes::copy_from_slice),
        }))
    }

    /// True when the job is leased with this secret.
    pub(super) fn is_held(&self, secret: LeaseSecret) -> bool {
        self.state == State::Leased && self.secret == Some(bits(secret.0))
    }

    /// True when the guard of `transition` holds.
    pub(super) fn allows(&self, transition: &Transition) -> bool {
        let to = transition.to;
        let knows = self.cancel.is_none() || matches!(to, State::Succeeded | State::Cancelled);
        match transition.guard {
            Guard::Leased(secret) => self.is_held(secret) && knows,
            Guard::Overdue { secret, now } => self.is_held(secret) && knows && self.at <= now,
            Guard::Standing(version) => self.state != State::Leased && self.version() == version,
        }
    }

    fn version(&self) -> Version {
        let Self { state, at, deliveries, revision, .. } = *self;
        Version { state, at, deliveries, revision }
    }

    /// Tells `event` of this job, with what its sender did not know: who holds the job, its type,
    /// labels and trace context.
    pub(super) fn tell(&self, call: &mut Call<'_>, event: &Event) -> Result<(), Failure> {
        let mut event = event.clone();
        if event.worker.is_none() {
            event.worker.clone_from(&self.worker);
        }
        if event.job_type.is_empty() {
            match &self.told {
                Some(told) => tell_spec(told.clone(), &mut event),
                None => add_spec(call.db, self.row, &mut event)?,
            }
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
    if let Some(spec) = body {
        tell_spec(spec, event);
    }
    Ok(())
}

/// What events tell of a job with that spec, as a row keeps it.
pub(super) fn told(spec: &Spec) -> Vec<u8> {
    let Spec { job_type, labels, trace_context, .. } = spec;
    if job_type.is_empty() && labels.is_empty() && trace_context.is_empty() {
        return Vec::new();
    }
    encode_spec(&Spec {
        job_type: job_type.clone(),
        labels: labels.clone(),
        trace_context: trace_context.clone(),
        ..Spec::default()
    })
}

fn tell_spec(spec: Bytes, event: &mut Event) {
    if spec.is_empty() {
        return;
    }
    if let Ok(spec) = decode_spec(spec) {
        event.job_type = spec.job_type;
        event.labels = spec.labels;
        event.trace_context = spec.trace_context;
    }
}

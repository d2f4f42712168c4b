//! What is inserted, and what becomes of it.

use std::time::Duration;

use crate::job::{Event, EventKind, Job, JobId, OnDuplicate, RequestId, State};

/// One job to insert.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The job, [`State::Ready`] or [`State::Scheduled`]. Behind the holder of its dedup key it
    /// becomes [`State::Blocked`].
    pub job: Job,
    /// The id was chosen by the caller, so it may be taken.
    pub chosen_id: bool,
    /// The request that asks for it.
    pub request: Option<Request>,
    /// What made it, where that is not its producer: for the event.
    pub reason: String,
}

/// Jobs that one caller asks for together.
#[derive(Clone, Debug)]
pub struct Group {
    /// The jobs.
    pub inserts: Vec<Insert>,
    /// What the queue has room for.
    pub room: Room,
    /// All or none: one job that is refused keeps the others out. Else each stands for itself.
    pub atomic: bool,
    /// The request that asks for all of them, if it may come twice. The store remembers in one
    /// record which of the jobs it made; if it made none, it may forget the request. A repetition
    /// makes those that were not, and answers the others [`Inserted::Replayed`]; so their ids must
    /// follow from the request ([`JobIds`](crate::job::JobIds)).
    pub request: Option<Request>,
}

impl Group {
    /// Jobs that come to be together or not at all.
    pub fn all_or_none(inserts: Vec<Insert>, room: Room) -> Self {
        Self { inserts, room, atomic: true, request: None }
    }
}

/// How much a queue may hold; `None`: any amount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Unfinished jobs.
    pub jobs: Option<u64>,
    /// Bytes of the records of unfinished jobs.
    pub bytes: Option<u64>,
}

/// A request that may come twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: RequestId,
    /// A digest of what it asks, to tell a repetition from a misuse.
    pub digest: u64,
}

/// How long a request id is remembered after its insert.
pub const REQUEST_MEMORY: Duration = Duration::from_hours(24);

/// What became of one insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The job is in the store now.
    New,
    /// The request was carried out before; it made this job.
    Replayed(JobId),
    /// The dedup key is held by this job; nothing was inserted.
    Duplicate(JobId),
    /// The dedup key is held by this job, which now does what was asked for.
    Replaced(JobId),
    /// The job is in the store now and waits, [`State::Blocked`], for this one to end.
    Behind(JobId),
    /// The dedup key is held by this job and the insert would not give way
    /// ([`OnDuplicate::Reject`]). Nothing of the group was inserted.
    Rejected(JobId, State),
    /// The queue has no room for the group. Nothing of it was inserted.
    Full(Room),
    /// The request id was used before, for something else. Nothing of the group was inserted.
    RequestReused,
    /// The chosen id is taken. Nothing of the group was inserted.
    Exists(State),
    /// Another insert of the group was refused, so this one was not made.
    Withheld,
}

impl Inserted {
    /// True when this outcome keeps the whole group out.
    pub fn refuses(&self) -> bool {
        matches!(self, Self::RequestReused | Self::Exists(_) | Self::Rejected(..) | Self::Full(_))
    }
}

/// What a store tells of a job it inserted.
pub(super) fn created(insert: &Insert) -> Event {
    let job = &insert.job;
    let (queue, id) = (job.name.queue.clone(), job.name.id.clone());
    let mut event = Event::new(EventKind::Created, job.spec.created, queue, id, job.state);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event.reason.clone_from(&insert.reason);
    event
}

/// What the insert does that meets a holder of its dedup key.
pub(super) fn on_duplicate(insert: &Insert) -> OnDuplicate {
    insert.job.spec.dedup.as_ref().map_or_else(OnDuplicate::default, |dedup| dedup.on_duplicate)
}

//! A watch of one job: its present state first, then what happens to it, until its life is over.

use super::{Watch, WatchRequest, WatchStart, Watched};
use crate::broker::{Broker, Error, Result};
use crate::job::{Event, EventKind, Job, JobName, State};

/// The reason in the event that shows a job's present state.
pub const PRESENT: &str = "PRESENT_STATE";

/// How far the watch of one job is.
pub(super) struct OneJob {
    name: JobName,
    /// The job as it was when the watch began; shown before all else.
    first: Option<Job>,
    /// Nothing more will happen to it.
    over: bool,
}

impl OneJob {
    /// True when the event is of this job.
    pub(super) fn is_meant(&self, event: &Event) -> bool {
        event.job.as_ref() == Some(&self.name.id)
    }

    /// True when nothing more will happen to it.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Takes note of an event of this job.
    pub(super) fn follow(&mut self, event: &Event) {
        // A move to an end is told by one stored event, which may show as two: the last one is it.
        self.over |= event.kind == EventKind::Purged || ends(event);
    }
}

/// True when this is the event that tells the end of a job.
fn ends(event: &Event) -> bool {
    let kind = event.to.filter(|state| state.is_terminal()).map(kind);
    kind == Some(event.kind)
}

impl Watch {
    /// Looks at the one job, once its log is followed: so nothing falls between the two.
    pub(super) async fn look(&mut self, name: JobName) -> Result<()> {
        let resumed = matches!(self.request.start, WatchStart::Cursor(_));
        let first = match self.store.get(&name).await? {
            Some(job) => Some(job).filter(|_| !resumed),
            // Its last events may be after the cursor.
            None if resumed => None,
            None => return Err(Error::NotFound(name)),
        };
        self.one = Some(OneJob { name, first, over: false });
        Ok(())
    }

    /// The one job as it was when the watch began.
    pub(in crate::broker) fn first(&self) -> Option<Job> {
        self.one.as_ref()?.first.clone()
    }

    /// True when nothing more will be told.
    pub(super) fn is_over(&self) -> bool {
        self.one.as_ref().is_some_and(OneJob::is_over)
    }

    /// The event that shows the job's present state, the first time.
    pub(super) fn present(&mut self) -> Option<Watched> {
        let one = self.one.as_mut()?;
        let job = one.first.take()?;
        one.over = job.state.is_terminal();
        let event = present(&job);
        let result = (self.request.with_results && job.state == State::Succeeded)
            .then_some(job.details.result.clone())
            .flatten();
        let meant = self.request.means(&event);
        meant.then(|| Watched { id: format!("{}/{}", job.name, job.etag()), event, result })
    }

    /// There is no news: the one job may be gone without any, or was over before the cursor.
    /// Answers what came meanwhile.
    pub(super) async fn check_end(&mut self) -> Result<Vec<Watched>> {
        let Some(one) = &self.one else { return Ok(Vec::new()) };
        let job = self.store.get(&one.name).await?;
        if job.is_some_and(|job| !job.state.is_terminal()) {
            return Ok(Vec::new());
        }
        // Its last event may have come between reading and looking.
        self.unread.insert(one.name.queue.clone());
        let events = self.read().await?;
        if let Some(one) = self.one.as_mut().filter(|_| events.is_empty()) {
            one.over = true;
        }
        Ok(events)
    }
}

impl WatchRequest {
    /// True when an event of this kind, with these labels, is asked for.
    pub(super) fn means(&self, event: &Event) -> bool {
        let mut labels = self.labels.iter();
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && labels.all(|(key, value)| event.labels.get(key) == Some(value))
    }
}

/// A job's present state, as an event.
fn present(job: &Job) -> Event {
    let at = match (&job.lease, job.ended) {
        (Some(lease), _) => lease.started,
        (None, Some(ended)) => ended,
        (None, None) if job.state == State::Ready => job.at,
        (None, None) => job.spec.created,
    };
    let (queue, id) = (job.name.queue.clone(), job.name.id.clone());
    let mut event = Event::new(kind(job.state), at, queue, id, job.state);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event.attempt = job.counters.attempts;
    event.worker = job.lease.as_ref().map(|lease| lease.worker.clone());
    event.progress.clone_from(&job.details.progress);
    event.failure.clone_from(&job.details.last_failure);
    PRESENT.clone_into(&mut event.reason);
    event
}

/// The event that tells of reaching a state.
fn kind(state: State) -> EventKind {
    match state {
        State::Scheduled => EventKind::Scheduled,
        State::Ready => EventKind::Ready,
        State::Leased => EventKind::Leased,
        State::Retrying => EventKind::Retrying,
        State::Blocked => EventKind::Blocked,
        State::Succeeded => EventKind::Succeeded,
        State::Dead => EventKind::Dead,
        State::Cancelled => EventKind::Cancelled,
        State::Expired => EventKind::Expired,
    }
}

impl Broker {
    /// Begins a watch of one job and answers it as it is.
    pub(in crate::broker) async fn watch_job(&self, name: &JobName) -> Result<Watch> {
        self.watch(WatchRequest { job: Some(name.clone()), ..WatchRequest::default() }).await
    }
}

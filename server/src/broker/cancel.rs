//! Cancel: a pending job ends at once, a leased one through its worker.

use std::time::Duration;

use super::settle::after;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::operate::{self, Refusal};
use crate::job::{Cancel, Event, EventKind, Job, JobName, Lease, State};
use crate::store::{Extended, Extension, Guarded};

/// How often a job may move between being read and being cancelled.
const TRIES: usize = 16;

/// A wish to call a job off.
#[derive(Clone, Debug)]
pub struct CancelRequest {
    /// The job.
    pub name: JobName,
    /// Why, for its worker and for the event.
    pub reason: String,
    /// How long the worker of a leased job has.
    pub grace: Duration,
    /// Only if this is still the job's etag; empty: in any case.
    pub etag: String,
    /// Who asks, for the event; empty: nobody knows.
    pub actor: String,
}

impl Broker {
    /// Calls a job off. One that was called off already is answered as it is, so the call may be
    /// repeated; but of two graces of a leased job the one that ends sooner holds.
    pub async fn cancel(&self, request: CancelRequest) -> Result<Job> {
        let CancelRequest { name, reason, grace, etag, actor } = request;
        for _ in 0..TRIES {
            let job = self.get(&name).await?;
            let now = self.clock.now();
            let by = now.after(grace);
            let asked = job.cancel.as_ref().is_some_and(|cancel| cancel.by <= by);
            if job.state == State::Cancelled || asked {
                return Ok(job);
            }
            if !etag.is_empty() && etag != job.etag() {
                return Err(Error::EtagMismatch);
            }
            if let Some(lease) = &job.lease {
                let cancel = Cancel { by, reason: reason.clone() };
                let extension = ask(&job, lease, cancel, &actor, now);
                let queue = name.queue.clone();
                match self.folder.extend(queue, extension).await? {
                    Extended::Held { .. } => {
                        self.call_off(&name).await;
                        return self.get(&name).await;
                    }
                    // Settled, or lost, since it was read.
                    Extended::Lost => continue,
                }
            }
            let mut decided = operate::cancel(&job, &reason, now).map_err(|why: Refusal| {
                Error::Refused { name: name.clone(), state: job.state, why }
            })?;
            decided.event.actor.clone_from(&actor);
            let cancelled = after(&job, &decided);
            if self.folder.commit(decided).await? == Guarded::Applied {
                return Ok(cancelled);
            }
        }
        Err(Error::Unavailable(format!("{name} keeps moving")))
    }

    /// The worker of a job shall hear at once that its lease was called off. If it does not, its
    /// next heartbeat tells it.
    pub(super) async fn call_off(&self, name: &JobName) {
        if let Err(error) = self.store.call_off(name).await {
            tracing::debug!(%error, "can't tell that a lease was called off");
        }
    }
}

/// What is asked of the store for a leased job: its worker shall know, and its lease ends in time.
fn ask(job: &Job, lease: &Lease, cancel: Cancel, actor: &str, now: Timestamp) -> Extension {
    let (queue, id) = (job.name.queue.clone(), job.name.id.clone());
    let mut event = Event::new(EventKind::CancelRequested, now, queue, id, State::Leased);
    event.from = Some(State::Leased);
    event.job_type.clone_from(&job.spec.job_type);
    event.labels.clone_from(&job.spec.labels);
    event.trace_context.clone_from(&job.spec.trace_context);
    event.attempt = job.counters.attempts;
    event.worker = Some(lease.worker.clone());
    event.reason.clone_from(&cancel.reason);
    actor.clone_into(&mut event.actor);
    Extension {
        id: job.name.id.clone(),
        secret: lease.secret,
        until: None,
        progress: None,
        checkpoint: None,
        cancel: Some(cancel),
        event: Some(event),
    }
}

//! A job goes to another queue: a copy there, then the guarded end of the original.
//!
//! Two queues can't be changed in one step. Cut off between the two, the job is in both; the same
//! move made again finds the copy by its request id and ends the original. The request id carries
//! the version of the original, so an original that moved on is another one.

use super::enqueue::{Expiry, NewJob, Outcome, Start};
use super::operate::Asked;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::fnv::Fnv;
use crate::job::operate::{self, Refusal};
use crate::job::{Job, JobName, QueueName, RequestId, State};
use crate::store::{Guarded, Request};

/// What became of a job that should go to another queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relocated {
    /// It is there now, and no longer here.
    Moved,
    /// It stays: its id or its dedup key is taken there, or it was leased meanwhile.
    Stays,
}

impl Broker {
    /// Moves a job that nobody holds into the queue `to`, under the same id. It begins there anew:
    /// a dead letter is ready, one that waits for a time still does.
    pub(super) async fn relocate(
        &self,
        job: &Job,
        to: &QueueName,
        actor: &str,
    ) -> Result<Relocated> {
        let now = self.clock.now();
        let end = operate::delete(job, &format!("MOVED to queues/{to}"), now);
        let mut end = end.map_err(|why: Refusal| Error::Refused {
            name: job.name.clone(),
            state: job.state,
            why,
        })?;
        actor.clone_into(&mut end.event.actor);
        let copied = match self.enqueue(copy(job, to, now)).await {
            Ok(enqueued) => enqueued,
            Err(Error::Exists { .. } | Error::Duplicate { .. }) => return Ok(Relocated::Stays),
            Err(error) => return Err(error),
        };
        if copied.outcome == Outcome::Deduplicated {
            return Ok(Relocated::Stays);
        }
        if self.folder.commit(end).await? == Guarded::Applied {
            return Ok(Relocated::Moved);
        }
        // It moved since it was read: by the same move made twice, or by a worker.
        if copied.outcome == Outcome::Created {
            self.take_back(&copied.job.name).await?;
        }
        Ok(Relocated::Stays)
    }

    /// Forgets a copy whose original lives on, unless it was leased already: then the work is done
    /// twice, as after a lost lease.
    async fn take_back(&self, copy: &JobName) -> Result<()> {
        let asked = Asked { reason: "NOT_MOVED".to_owned(), ..Asked::default() };
        match self.delete_job(copy, &asked).await {
            Ok(()) | Err(Error::NotFound(_) | Error::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The job as it is asked for in its new queue.
fn copy(job: &Job, to: &QueueName, now: Timestamp) -> NewJob {
    let waits = matches!(job.state, State::Scheduled | State::Retrying);
    let expires = job.spec.expires.filter(|moment| job.state.is_pending() || *moment > now);
    NewJob {
        id: Some(job.name.id.clone()),
        request: Some(request(job, to)),
        start: if waits { Start::At(job.at) } else { Start::Now },
        expiry: expires.map_or(Expiry::Never, Expiry::At),
        reason: format!("MOVED from {}", job.name),
        ..NewJob::new(to.clone(), job.spec.clone())
    }
}

/// The same for the same move of the same version of a job.
fn request(job: &Job, to: &QueueName) -> Request {
    let version = job.version();
    let mut digest = Fnv::default();
    digest.write_sized(job.name.to_string().as_bytes());
    digest.write_sized(to.as_str().as_bytes());
    digest.write(&[version.state.letter()]);
    digest.write_number(version.at.as_millis());
    digest.write_number(version.deliveries.into());
    digest.write_number(version.revision.into());
    digest.write_number(job.spec.created.as_millis());
    let digest = digest.finish();
    Request { id: RequestId::of_move(&job.name, to, digest), digest }
}

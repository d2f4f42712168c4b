//! What operators do to one job: read it, decide, commit where it is still as it was read.

use super::settle::after;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::operate::{self, Refusal, Update};
use crate::job::{Job, JobName, Transition};
use crate::store::Guarded;

/// How often a move is decided anew because the job moved between the read and the commit.
const ROUNDS: usize = 16;

/// What comes with every change that an operator asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Change only what still has this etag; `None`: in any case.
    pub etag: Option<String>,
    /// Why, for the event; may be empty.
    pub reason: String,
    /// Who asks, for the event; empty: nobody knows.
    pub actor: String,
}

impl Asked {
    /// The same, asked by `actor`.
    #[must_use]
    pub fn by(self, actor: String) -> Self {
        Self { actor, ..self }
    }

    /// Fails when the caller has read something else than there is.
    pub(super) fn check(&self, etag: &str) -> Result<()> {
        match &self.etag {
            Some(read) if read != etag => Err(Error::EtagMismatch),
            _ => Ok(()),
        }
    }
}

impl Broker {
    /// Changes what was asked for in a pending job.
    pub async fn update_job(&self, name: &JobName, update: &Update, asked: &Asked) -> Result<Job> {
        self.operate(name, asked, |job, now| operate::update(job, update.clone(), now)).await
    }

    /// Gives a dead, cancelled or expired job another life.
    pub async fn retry_job(&self, name: &JobName, asked: &Asked) -> Result<Job> {
        self.operate(name, asked, |job, now| operate::redrive(job, &asked.reason, now)).await
    }

    /// Makes a scheduled or retrying job ready at once.
    pub async fn promote_job(&self, name: &JobName, asked: &Asked) -> Result<Job> {
        self.operate(name, asked, |job, now| operate::promote(job, &asked.reason, now)).await
    }

    /// Forgets a job that nobody holds.
    pub async fn delete_job(&self, name: &JobName, asked: &Asked) -> Result<()> {
        self.operate(name, asked, |job, now| operate::delete(job, &asked.reason, now)).await?;
        Ok(())
    }

    /// Takes a leased job from its worker.
    pub async fn revoke_lease(&self, name: &JobName, asked: &Asked) -> Result<Job> {
        let revoke = |job: &Job, now| operate::revoke(job, &asked.reason, now);
        let revoked = self.operate(name, asked, revoke).await?;
        self.call_off(name).await;
        Ok(revoked)
    }

    /// Makes the move that `decide` decides, and answers the job after it.
    pub(super) async fn operate(
        &self,
        name: &JobName,
        asked: &Asked,
        decide: impl Fn(&Job, Timestamp) -> std::result::Result<Transition, Refusal>,
    ) -> Result<Job> {
        for _ in 0..ROUNDS {
            let job = self.get(name).await?;
            asked.check(&job.etag())?;
            let mut decided = decide(&job, self.clock.now()).map_err(|why| Error::Refused {
                name: name.clone(),
                state: job.state,
                why,
            })?;
            decided.event.actor.clone_from(&asked.actor);
            let moved = after(&job, &decided);
            if self.folder.commit(decided).await? == Guarded::Applied {
                return Ok(moved);
            }
        }
        // It moved every time between the read and the commit.
        Err(Error::Overloaded)
    }
}

//! `WaitJob`: a caller waits until a job reaches a state.

use std::time::Duration;

use super::watch::Watch;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::{Job, JobName, State};

/// What to wait for.
#[derive(Clone, Debug)]
pub struct WaitRequest {
    /// The job.
    pub name: JobName,
    /// States that end the wait; empty: the terminal ones.
    pub until: Vec<State>,
    /// How long to wait; zero: answer at once.
    pub wait: Duration,
}

/// How a wait ended.
#[derive(Clone, Debug)]
pub struct Waited {
    /// The job now; if it was forgotten meanwhile, as it was at its end.
    pub job: Job,
    /// It is in one of the states asked for, or was while the call waited.
    pub reached: bool,
}

impl Broker {
    /// Waits until the job is in one of the states, or its life is over, or the wait is, or the
    /// broker drains. Dropping the future ends the wait.
    pub async fn wait_job(&self, request: WaitRequest) -> Result<Waited> {
        if request.wait.is_zero() {
            let job = self.get(&request.name).await?;
            let reached = request.means(job.state);
            return Ok(Waited { job, reached });
        }
        let deadline = self.clock.now().after(request.wait);
        // Register, then look: what happens after the look is in the watch.
        let watch = self.watch_job(&request.name).await?;
        self.wait_with(watch, request, deadline).await
    }

    /// As [`Broker::wait_job`], with a watch of the job that has begun.
    pub(super) async fn wait_with(
        &self,
        mut watch: Watch,
        request: WaitRequest,
        deadline: Timestamp,
    ) -> Result<Waited> {
        let (mut last, mut reached, mut ended) = (watch.first(), false, None);
        while !reached {
            let page = tokio::select! {
                () = self.clock.sleep_until(deadline) => break,
                page = watch.next() => page,
            };
            let events = match page {
                Ok(Some(page)) => page.events,
                // The job's life is over, or the broker drains.
                Ok(None) | Err(Error::Draining) => break,
                Err(error) => return Err(error),
            };
            for event in events.into_iter().map(|one| one.event) {
                let Some(state) = event.to else { continue };
                reached |= request.means(state);
                ended = state.is_terminal().then_some((state, event.at));
            }
        }
        if let Some(job) = self.store.get(&request.name).await? {
            last = Some(job);
        } else if let (Some(job), Some((state, at))) = (&mut last, ended) {
            // A job may be forgotten as soon as it ends.
            (job.state, job.at, job.ended) = (state, at, Some(at));
            (job.lease, job.cancel) = (None, None);
        } else {
            return Err(Error::NotFound(request.name));
        }
        let job = last.ok_or_else(|| Error::NotFound(request.name.clone()))?;
        let reached = reached || request.means(job.state);
        Ok(Waited { job, reached })
    }
}

impl WaitRequest {
    /// True when this state ends the wait.
    fn means(&self, state: State) -> bool {
        if self.until.is_empty() { state.is_terminal() } else { self.until.contains(&state) }
    }
}

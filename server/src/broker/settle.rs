//! Ack, nack and extend: what a worker says of a job it leased.

use std::sync::Arc;
use std::time::Duration;

use super::enqueue::{NewJob, refusal};
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::transition::{self, Disposition, Transition, Verb, Verdict};
use crate::job::{
    Details, Event, EventKind, Failure, Job, LeaseToken, Payload, Progress, Spec, State,
};
use crate::store::{self, Commit, Extension, Guarded, Insert, Inserted};

/// How often a nack is decided anew because its job was changed under it.
const NACK_TRIES: usize = 3;

/// How a settle ended, when it was not refused.
#[derive(Clone, Debug)]
pub struct Settled {
    /// Whether this call did it.
    pub outcome: Outcome,
    /// The job after it. After an ack it holds what the token knows: name, state, counters, times.
    pub job: Job,
}

/// Whether a settle was the first of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This call settled the lease.
    Settled,
    /// The same settle was recorded before.
    AlreadySettled,
    /// The lease had run out, but nobody else had the job.
    SettledLate,
}

/// An extended lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// The new end of the visibility timeout.
    pub until: Timestamp,
    /// The job is to be cancelled; why.
    pub cancel: Option<String>,
    /// The worker shall finish what it holds and lease nothing more.
    pub drain: bool,
    /// The moment it was decided at.
    pub now: Timestamp,
}

/// What a worker says of one lease.
#[derive(Clone, Debug)]
pub enum Settle {
    /// The job is done.
    Ack(LeaseToken, Ack),
    /// The job is not done.
    Nack(LeaseToken, Nack),
    /// The handler is alive.
    Extend(LeaseToken, Extend),
}

impl Settle {
    /// The lease that is meant.
    pub fn token(&self) -> &LeaseToken {
        match self {
            Self::Ack(token, _) | Self::Nack(token, _) | Self::Extend(token, _) => token,
        }
    }
}

/// What became of a [`Settle`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// The job is done.
    Acked(Settled),
    /// The job is not done.
    Nacked(Settled),
    /// The lease is extended.
    Extended(Extended),
}

/// What a worker says of a job that it finished.
#[derive(Clone, Debug, Default)]
pub struct Ack {
    /// What the handler returned.
    pub result: Option<Payload>,
    /// Jobs of the same queue that come to be with the ack, or keep it from being made.
    pub then: Vec<NewJob>,
}

/// What a worker says of a job that it did not finish.
#[derive(Clone, Debug)]
pub struct Nack {
    /// What shall become of the job.
    pub disposition: Disposition,
    /// Why.
    pub failure: Option<Failure>,
    /// What the next attempt may go on from.
    pub checkpoint: Option<Payload>,
}

/// A heartbeat.
#[derive(Clone, Debug, Default)]
pub struct Extend {
    /// The visibility timeout from now; `None`: the one the lease was made with.
    pub lease_duration: Option<Duration>,
    /// How far the handler is.
    pub progress: Option<Progress>,
    /// What the next attempt may go on from.
    pub checkpoint: Option<Payload>,
}

impl Broker {
    /// Carries out what a worker says of one lease.
    pub async fn settle(&self, settle: Settle) -> Result<Answer> {
        match settle {
            Settle::Ack(token, ack) => self.ack(token, ack).await.map(Answer::Acked),
            Settle::Nack(token, nack) => self.nack(token, nack).await.map(Answer::Nacked),
            Settle::Extend(token, extend) => self.extend(token, extend).await.map(Answer::Extended),
        }
    }

    /// The job is done.
    pub async fn ack(&self, token: LeaseToken, ack: Ack) -> Result<Settled> {
        self.workers.tells(&token.worker);
        let Ack { result, then } = ack;
        let then = self.follow_ups(&token, then).await?;
        let now = self.clock.now();
        let dedup = if token.has_dedup {
            // Only such jobs pay for a read: their end gives the key free.
            let job = self.store.get(&token.name).await?;
            job.and_then(|job| job.held_key())
        } else {
            None
        };
        let transition = transition::ack(&token, result.clone(), dedup, now);
        let job = moved(bare(&token), &transition);
        match self
            .folder
            .commit(Commit { transition: Box::new(transition), then: then.clone() })
            .await?
        {
            Guarded::Applied => Ok(Settled { outcome: Outcome::Settled, job }),
            Guarded::Lost => {
                let again = Again { verb: Verb::Ack, result, then, now };
                self.settle_again(&token, again).await
            }
            Guarded::Refused { index, why } => Err(refused(&then, index, why)),
        }
    }

    /// Acks of leases that hold no dedup key, without follow-ups: as so many calls of
    /// [`ack`](Self::ack), for less. Each stands for itself.
    pub(super) async fn ack_all(
        &self,
        acks: Vec<(LeaseToken, Option<Payload>)>,
    ) -> Vec<Result<Settled>> {
        let now = self.clock.now();
        let (mut jobs, mut commits) = (Vec::new(), Vec::new());
        for (token, result) in &acks {
            let transition = transition::ack(token, result.clone(), None, now);
            jobs.push(moved(bare(token), &transition));
            commits.push(Commit::from(transition));
        }
        let answers = self.folder.commit_all(commits).await;
        let mut settled = Vec::with_capacity(answers.len());
        for ((answer, job), (token, result)) in answers.into_iter().zip(jobs).zip(acks) {
            settled.push(match answer {
                Ok(Guarded::Applied) => Ok(Settled { outcome: Outcome::Settled, job }),
                Ok(Guarded::Lost | Guarded::Refused { .. }) => {
                    let again = Again { verb: Verb::Ack, result, then: Vec::new(), now };
                    self.settle_again(&token, again).await
                }
                Err(error) => Err(error),
            });
        }
        settled
    }

    /// What the store is asked to insert together with an ack.
    async fn follow_ups(&self, token: &LeaseToken, then: Vec<NewJob>) -> Result<Vec<Insert>> {
        if then.is_empty() {
            return Ok(Vec::new());
        }
        let settings = self.settings.of(&token.name.queue).await?;
        let now = self.clock.now();
        Ok(then.into_iter().map(|job| job.into_insert(&settings, now)).collect())
    }

    /// The job is not done.
    pub async fn nack(&self, token: LeaseToken, nack: Nack) -> Result<Settled> {
        let now = self.clock.now();
        self.workers.tells(&token.worker);
        // A cancellation that comes between reading and deciding makes another move of the nack.
        for _ in 0..NACK_TRIES {
            let Some(job) = self.store.get(&token.name).await? else { break };
            let Nack { disposition, failure, checkpoint } = nack.clone();
            let random = fastrand::f64();
            let decided =
                transition::nack(&job, &token, disposition, failure, checkpoint, now, random);
            let Some(decided) = decided else { break };
            let job = after(&job, &decided);
            if self.folder.commit(decided).await? == Guarded::Applied {
                return Ok(Settled { outcome: Outcome::Settled, job });
            }
        }
        self.settle_again(&token, Again { verb: Verb::Nack, result: None, then: Vec::new(), now })
            .await
    }

    /// The handler is alive: its lease ends later, or sooner.
    pub async fn extend(&self, token: LeaseToken, extend: Extend) -> Result<Extended> {
        let now = self.clock.now();
        self.workers.tells(&token.worker);
        let wanted = now.after(extend.lease_duration.unwrap_or(token.lease_duration));
        // No attempt becomes longer than it may, however often its worker shows that it lives.
        let until = wanted.min(token.leased_at.after(token.attempt_timeout));
        let event = extend.progress.clone().map(|progress| {
            let name = &token.name;
            let (queue, id) = (name.queue.clone(), name.id.clone());
            let mut event = Event::new(EventKind::Progress, now, queue, id, State::Leased);
            event.from = Some(State::Leased);
            event.attempt = token.counters.attempts;
            event.progress = Some(progress);
            event
        });
        let extension = Extension {
            id: token.name.id.clone(),
            secret: token.secret,
            until: Some(until),
            progress: extend.progress,
            checkpoint: extend.checkpoint,
            cancel: None,
            event,
        };
        match self.folder.extend(token.name.queue.clone(), extension).await? {
            store::Extended::Held { until, cancel } => {
                let cancel = cancel.map(|cancel| cancel.reason);
                let drain = self.workers.is_drained(&token.worker);
                Ok(Extended { until, cancel, drain, now })
            }
            store::Extended::Lost => {
                let job = self.store.get(&token.name).await?;
                Err(lost(&token, job.as_ref()))
            }
        }
    }

    /// Whether a lease is held, until when, and what its worker should know.
    pub(super) async fn check(&self, token: &LeaseToken) -> Result<store::Extended> {
        let extension = Extension {
            id: token.name.id.clone(),
            secret: token.secret,
            until: None,
            progress: None,
            checkpoint: None,
            cancel: None,
            event: None,
        };
        self.folder.extend(token.name.queue.clone(), extension).await
    }

    /// A lease that never reached its worker; returns at once, the move follows.
    pub fn give_back(&self, job: &Job) {
        if let Some(decided) = transition::give_back(job, self.clock.now()) {
            self.folder.commit_later(decided);
        }
    }

    /// A settle found its lease gone: find out what that means.
    async fn settle_again(&self, token: &LeaseToken, again: Again) -> Result<Settled> {
        let Again { verb, result, then, now } = again;
        let job = self.store.get(&token.name).await?;
        match (transition::settle_again(job.as_ref(), token, verb, result, now), job) {
            (Verdict::AlreadySettled, Some(job)) => {
                Ok(Settled { outcome: Outcome::AlreadySettled, job })
            }
            (Verdict::Late(decided), Some(job)) => {
                let settled = after(&job, &decided);
                let commit = Commit { transition: decided, then: then.clone() };
                match self.folder.commit(commit).await? {
                    Guarded::Applied => Ok(Settled { outcome: Outcome::SettledLate, job: settled }),
                    Guarded::Lost => Err(lost(token, Some(&job))),
                    Guarded::Refused { index, why } => Err(refused(&then, index, why)),
                }
            }
            (Verdict::OtherSettle(outcome), _) => {
                Err(Error::LeaseSettled { name: token.name.clone(), outcome })
            }
            (_, job) => Err(lost(token, job.as_ref())),
        }
    }
}

/// A settle that did not find its lease.
struct Again {
    verb: Verb,
    result: Option<Payload>,
    then: Vec<Insert>,
    now: Timestamp,
}

/// Why an ack was not made: one of its follow-ups was refused.
fn refused(then: &[Insert], index: usize, why: Inserted) -> Error {
    let refused = then.get(index).map(|insert| refusal(&insert.job.name, why));
    Error::FollowUp { index, why: Box::new(refused.unwrap_or(Error::Withheld)) }
}

fn lost(token: &LeaseToken, job: Option<&Job>) -> Error {
    Error::LeaseLost {
        name: token.name.clone(),
        state: job.map(|job| job.state),
        attempt: job.map_or(0, |job| job.counters.attempts),
    }
}

/// What a token tells of its job.
fn bare(token: &LeaseToken) -> Job {
    Job {
        name: token.name.clone(),
        spec: Spec::none(),
        state: State::Leased,
        at: token.leased_at.after(token.lease_duration),
        counters: token.counters,
        revision: 0,
        started: Some(token.first_leased_at),
        ended: None,
        lease: None,
        cancel: None,
        details: Details::none(),
    }
}

/// The job as a transition makes it.
pub(super) fn after(job: &Job, decided: &Transition) -> Job {
    moved(job.clone(), decided)
}

fn moved(mut job: Job, decided: &Transition) -> Job {
    job.state = decided.to;
    job.at = decided.at;
    job.counters = decided.counters;
    job.started = decided.started;
    job.ended = decided.ended;
    job.lease = None;
    job.cancel = None;
    if let Some(spec) = &decided.spec {
        job.spec = Arc::clone(spec);
        job.revision = job.revision.saturating_add(1);
    }
    if decided.failure.is_some() {
        job.details_mut().last_failure.clone_from(&decided.failure);
    }
    job
}

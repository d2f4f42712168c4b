//! The same move for all jobs that a filter matches, step by step, and the forgetting of finished
//! jobs by age.
//!
//! A call works for a bounded time and tells where to go on. Nothing of it is kept between calls:
//! the token is the place in the walk, so any broker goes on with it.

use std::time::Duration;

use futures_util::future::join_all;

use prost::Message;

use super::cancel::CancelRequest;
use super::filter::{JobFilter, Leg, Unserved};
use super::lists::Place;
use super::operate::Asked;
use super::relocate::Relocated;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::operate::{self, Refusal};
use crate::job::{Job, QueueName, State, Transition};
use crate::store::{Guarded, Index, Order, Request};

/// How long one call works at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Jobs changed by one call at most.
pub const MOST: usize = 10_000;

/// Jobs looked at by one call at most.
const LOOKED_AT: usize = 20_000;

/// Jobs changed at the same time: they share store calls.
const CHUNK: usize = 100;

/// How long the workers of leased jobs have that are cancelled.
const GRACE: Duration = Duration::from_secs(30);

/// Longer than any call waits.
const FARTHEST: Duration = Duration::from_hours(24);

/// A move of many jobs.
#[derive(Clone, Debug)]
pub struct Bulk {
    /// Of which queue.
    pub queue: QueueName,
    /// What becomes of each.
    pub action: Action,
    /// Which of them.
    pub filter: JobFilter,
    /// The indexes that find them; see [`JobFilter::walk`].
    pub walk: Vec<Leg>,
    /// What was asked for, as the caller wrote it: a token holds for the same only.
    pub arguments: String,
    /// Jobs to change at most.
    pub max_jobs: usize,
    /// Jobs to change per second at most.
    pub per_second: Option<f64>,
    /// Count them only.
    pub dry_run: bool,
    /// Where to go on; empty: at the beginning.
    pub token: String,
    /// Of the call, which may come twice; and what it asks, to tell a repetition from a misuse.
    pub request: Option<Request>,
    /// Who asks, for the events.
    pub actor: String,
}

/// What becomes of each job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It gets another life.
    Retry,
    /// It is called off.
    Cancel,
    /// It is ready at once.
    Promote,
    /// It is forgotten.
    Purge,
    /// It goes to this queue.
    Move(QueueName),
}

impl Action {
    /// Leaves of a walk what the move may be made for.
    pub fn narrow(&self, mut walk: Vec<Leg>) -> std::result::Result<Vec<Leg>, Unserved> {
        walk.retain(|leg| match leg.index {
            Index::State(state) => self.fits(state),
            Index::Label(..) | Index::Owner(_) => true,
        });
        if walk.is_empty() {
            let why = "names a state from which this action is not possible";
            return Err(Unserved::Filter(why.to_owned()));
        }
        Ok(walk)
    }

    /// True when the rules may allow the move from this state; what does not is passed over.
    fn fits(&self, state: State) -> bool {
        match self {
            Self::Retry => matches!(state, State::Dead | State::Cancelled | State::Expired),
            Self::Cancel => !state.is_terminal(),
            Self::Promote => matches!(state, State::Scheduled | State::Retrying),
            Self::Purge => state != State::Leased,
            Self::Move(_) => {
                matches!(state, State::Scheduled | State::Ready | State::Retrying | State::Dead)
            }
        }
    }
}

/// What one call did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Jobs that the filter matched and that are in a state for the move.
    pub matched: usize,
    /// Jobs that were changed.
    pub changed: usize,
    /// Where to go on; empty when all is done.
    pub token: String,
}

/// Which finished jobs to forget.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Of which queue.
    pub queue: QueueName,
    /// In which state.
    pub state: State,
    /// Only those that entered it longer ago than this.
    pub older_than: Option<Duration>,
    /// So many at most.
    pub max_jobs: usize,
    /// Count them only.
    pub dry_run: bool,
    /// Who asks, for the events.
    pub actor: String,
}

/// Where a step goes on.
#[derive(Clone, PartialEq, Message)]
struct Rest {
    /// How far the walk has come.
    #[prost(bytes = "vec", tag = "1")]
    place: Vec<u8>,
    /// When the next job may be changed, in milliseconds.
    #[prost(uint64, tag = "2")]
    not_before: u64,
}

/// Sees to it that a call works neither too fast nor too long.
struct Pace {
    /// When the first job may be changed.
    began: Timestamp,
    /// When the call ends.
    ends: Timestamp,
    per_second: Option<f64>,
}

impl Pace {
    fn new(now: Timestamp, not_before: Timestamp, per_second: Option<f64>) -> Self {
        Self { began: now.max(not_before), ends: now.after(PATIENCE), per_second }
    }

    /// When the job after `changed` others may be changed.
    fn next(&self, changed: usize) -> Timestamp {
        let Some(rate) = self.per_second else { return self.began };
        let count = f64::from(u32::try_from(changed).unwrap_or(u32::MAX));
        self.began.after(Duration::try_from_secs_f64(count / rate).unwrap_or(FARTHEST))
    }

    /// How many jobs may be changed now.
    fn allows(&self, changed: usize, now: Timestamp) -> usize {
        (0..CHUNK).take_while(|more| self.next(changed + more) <= now).count()
    }
}

impl Broker {
    /// Makes one step of a move of many jobs. The same request again, soon, is answered alike.
    pub async fn bulk(&self, bulk: &Bulk) -> Result<Done> {
        if let Some(request) = bulk.request
            && let Some(done) = self.replays.get(request, self.clock.now())?
        {
            return Ok(done);
        }
        let done = self.bulk_step(bulk).await?;
        if let Some(request) = bulk.request {
            self.replays.put(request, done.clone(), self.clock.now());
        }
        Ok(done)
    }

    async fn bulk_step(&self, bulk: &Bulk) -> Result<Done> {
        let token = self.page_token("bulk", |digest| {
            digest.text(bulk.queue.as_str());
            digest.text(&bulk.arguments);
        });
        let token = token.await?;
        let bad = |_| Error::BadContinuation;
        let rest = token.read(&bulk.token).map_err(bad)?.unwrap_or_default();
        let rest = Rest::decode(rest.as_slice()).map_err(|_| Error::BadContinuation)?;
        let begin = Place::decode(&rest.place).map_err(bad)?;
        self.known(&bulk.queue).await?;
        let not_before = Timestamp::from_millis(rest.not_before);
        let pace = Pace::new(self.clock.now(), not_before, bulk.per_second);
        let mut walker = self.walker(&bulk.queue, &bulk.filter, &bulk.walk, begin);
        let mut done = Done::default();
        let mut looked_at = 0;
        while !walker.is_over() && looked_at < LOOKED_AT {
            let counted = if bulk.dry_run { done.matched } else { done.changed };
            let room = bulk.max_jobs.saturating_sub(counted);
            let now = self.clock.now();
            if room == 0 || now >= pace.ends {
                break;
            }
            let allowed = if bulk.dry_run { CHUNK } else { pace.allows(done.changed, now) };
            if allowed == 0 {
                self.clock.sleep_until(pace.next(done.changed).min(pace.ends)).await;
                continue;
            }
            // Never more than may be changed: what is read is done with.
            let met = walker.step(allowed.min(room)).await?;
            looked_at += met.len().max(1);
            let meant = |job: &&Job| bulk.filter.matches(job) && bulk.action.fits(job.state);
            let meant: Vec<&Job> = met.iter().filter(meant).collect();
            done.matched += meant.len();
            if !bulk.dry_run {
                done.changed += self.change_all(bulk, &meant).await?;
            }
        }
        if !walker.is_over() {
            let not_before = pace.next(done.changed).as_millis();
            let rest = Rest { place: walker.place.encode(), not_before };
            done.token = token.write(&rest.encode_to_vec());
        }
        Ok(done)
    }

    /// Makes the move for each; answers how many were changed.
    async fn change_all(&self, bulk: &Bulk, jobs: &[&Job]) -> Result<usize> {
        let changes = jobs.iter().map(|job| self.change_one(&bulk.action, job, &bulk.actor));
        count(join_all(changes).await)
    }

    async fn change_one(&self, action: &Action, job: &Job, actor: &str) -> Result<bool> {
        let decide = match action {
            Action::Retry => operate::redrive,
            Action::Promote => operate::promote,
            Action::Purge => operate::delete,
            Action::Cancel if job.state != State::Leased => operate::cancel,
            Action::Cancel => {
                let (name, actor) = (job.name.clone(), actor.to_owned());
                let (reason, etag) = (String::new(), String::new());
                let request = CancelRequest { name, reason, grace: GRACE, etag, actor };
                return self.cancel(request).await.map(|_| true);
            }
            Action::Move(to) => {
                return Ok(self.relocate(job, to, actor).await? == Relocated::Moved);
            }
        };
        self.move_read(job, actor, |job, now| decide(job, "", now)).await
    }

    /// Makes a move of a job as it was listed; one that moved since is read again.
    async fn move_read(
        &self,
        job: &Job,
        actor: &str,
        decide: impl Fn(&Job, Timestamp) -> std::result::Result<Transition, Refusal> + Send + Sync,
    ) -> Result<bool> {
        let (name, state) = (job.name.clone(), job.state);
        let decided = decide(job, self.clock.now());
        let mut decided = decided.map_err(|why| Error::Refused { name, state, why })?;
        actor.clone_into(&mut decided.event.actor);
        if self.folder.commit(decided).await? != Guarded::Applied {
            let asked = Asked::default().by(actor.to_owned());
            self.operate(&job.name, &asked, decide).await?;
        }
        Ok(true)
    }

    /// Forgets jobs of one state, those first that come first in its order.
    pub async fn purge_jobs(&self, purge: &Purge) -> Result<usize> {
        self.known(&purge.queue).await?;
        let filter = JobFilter { state: Some(purge.state), ..JobFilter::default() };
        let walk = [Leg { index: Index::State(purge.state), order: Order::Forward }];
        let began = self.clock.now();
        let entered_by = purge.older_than.map(|age| began.before(age));
        let mut walker = self.walker(&purge.queue, &filter, &walk, Place::default());
        let (mut purged, mut looked_at) = (0, 0);
        while purged < purge.max_jobs && looked_at < LOOKED_AT && !walker.is_over() {
            if self.clock.now() >= began.after(PATIENCE) {
                break;
            }
            let met = walker.step(CHUNK.min(purge.max_jobs - purged)).await?;
            looked_at += met.len().max(1);
            let is_old = |job: &&Job| entered_by.is_none_or(|moment| entered(job) < moment);
            let old = met.iter().filter(is_old);
            purged += if purge.dry_run {
                old.count()
            } else {
                let changes = old.map(|job| self.change_one(&Action::Purge, job, &purge.actor));
                count(join_all(changes).await)?
            };
        }
        Ok(purged)
    }
}

/// How many moves were made. A job that is gone, or has moved since it was read, is passed over.
fn count(results: Vec<Result<bool>>) -> Result<usize> {
    let mut changed = 0;
    for one in results {
        match one {
            Ok(moved) => changed += usize::from(moved),
            Err(Error::NotFound(_) | Error::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}

/// When the job entered its state, as far as it is known.
fn entered(job: &Job) -> Timestamp {
    let attempt = job.details.attempts.last().map(|attempt| attempt.ended);
    match job.state {
        State::Ready => job.at,
        State::Retrying => attempt.unwrap_or(job.spec.created),
        _ => job.ended.unwrap_or(job.spec.created),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_pace_spreads_changes_over_time_and_calls() {
        let free = Pace::new(at(0), at(0), None);
        assert_eq!(free.allows(9000, at(0)), CHUNK);
        let pace = Pace::new(at(0), at(0), Some(10.0));
        assert_eq!(pace.allows(0, at(0)), 1);
        assert_eq!(pace.allows(1, at(0)), 0);
        assert_eq!((pace.next(1), pace.allows(1, at(250))), (at(100), 2));
        let later = Pace::new(at(0), at(5000), Some(10.0));
        assert_eq!((later.allows(0, at(4999)), later.allows(0, at(5000))), (0, 1));
        let never = Pace::new(at(0), at(0), Some(f64::MIN_POSITIVE));
        assert!(never.next(1) > at(1_000_000));
    }

    #[test]
    fn a_walk_leaves_out_the_states_that_the_move_is_not_for() {
        let all = || JobFilter::default().walk(None).unwrap();
        let states = |action: &Action| action.narrow(all()).unwrap().len();
        assert_eq!((states(&Action::Retry), states(&Action::Promote)), (3, 2));
        assert_eq!((states(&Action::Cancel), states(&Action::Purge)), (5, 8));
        let ready = JobFilter { state: Some(State::Ready), ..JobFilter::default() };
        let refused = Action::Retry.narrow(ready.walk(None).unwrap());
        assert!(matches!(refused, Err(Unserved::Filter(_))));
    }
}

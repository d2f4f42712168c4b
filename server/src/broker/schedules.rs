//! Schedules: what operators ask of them, and how one fires.
//!
//! A schedule is a document of the store. Whoever finds it due enqueues its ticks and then moves it
//! on by compare-and-set. A tick is a request with an id of its own, so it makes one job however
//! many brokers enqueue it, and however often one dies before it has moved the schedule on.

use bytes::Bytes;

use super::enqueue::{Expiry, NewJob, Start};
use super::lease::QueuePattern;
use super::operate::Asked;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::schedule::{Overlap, Settings};
use crate::job::{Job, JobName, RequestId, Schedule, ScheduleId};
use crate::store::record::{decode_schedule, encode_schedule};
use crate::store::{Document, Guarded, Kind, Put, Request};

/// How often a write that another one crossed is tried again, and how many rounds of ticks are
/// fired in one go.
const ROUNDS: usize = 8;

/// All requests of one tick are the same one, whatever its schedule says meanwhile.
const TICK_DIGEST: u64 = 0;

/// Which schedules are wanted.
#[derive(Clone, Debug, Default)]
pub struct ScheduleQuery {
    /// The last name first.
    pub backward: bool,
    /// How many at most.
    pub size: usize,
    /// Goes on after a page; empty for the first.
    pub page_token: String,
    /// Only those whose jobs go to these queues; `None`: all.
    pub known: Option<Vec<QueuePattern>>,
}

/// A schedule as it was read.
pub(super) struct Standing {
    pub(super) schedule: Schedule,
    /// The revision of its document.
    pub(super) revision: u64,
    /// The moment just before: what is due is judged by it, so that no tick fires of a schedule
    /// that was changed before its time.
    pub(super) read_at: Timestamp,
}

impl Broker {
    /// Creates a schedule.
    pub async fn create_schedule(&self, id: ScheduleId, settings: Settings) -> Result<Schedule> {
        let schedule = Schedule::new(id, settings, self.clock.now());
        if self.put_schedule(&schedule, 0).await? {
            Ok(schedule)
        } else {
            Err(Error::ScheduleExists(schedule.id))
        }
    }

    /// Reads a schedule.
    pub async fn schedule(&self, id: &ScheduleId) -> Result<Schedule> {
        let standing = self.standing(id).await?;
        standing.map(|standing| standing.schedule).ok_or_else(|| unknown(id))
    }

    /// All schedules that can be read, by id.
    pub async fn schedules(&self) -> Result<Vec<Schedule>> {
        let read_at = self.clock.now();
        let documents = self.store.documents(Kind::Schedule).await?;
        let read = documents.into_iter().filter_map(|document| read(document, read_at).ok());
        Ok(read.map(|standing| standing.schedule).collect())
    }

    /// One page of the schedules, and the token of the next.
    pub async fn list_schedules(&self, query: &ScheduleQuery) -> Result<(Vec<Schedule>, String)> {
        let token =
            self.page_token("schedules", |digest| digest.number(query.backward.into())).await?;
        let after = token.read(&query.page_token)?;
        let mut schedules = self.schedules().await?;
        if let Some(known) = &query.known {
            let is_known = |schedule: &Schedule| {
                known.iter().any(|pattern| pattern.matches(&schedule.settings.queue))
            };
            schedules.retain(is_known);
        }
        if let Some(after) = after {
            schedules.retain(|schedule| {
                let id = schedule.id.as_str().as_bytes();
                if query.backward { *id < *after } else { *id > *after }
            });
        }
        if query.backward {
            schedules.reverse();
        }
        let is_last = schedules.len() <= query.size;
        schedules.truncate(query.size);
        let last = schedules.last().filter(|_| !is_last);
        let next = last.map_or_else(String::new, |last| token.write(last.id.as_str().as_bytes()));
        Ok((schedules, next))
    }

    /// Changes a schedule. `settings` makes the new ones of the present ones; it is asked again when
    /// another change came between.
    pub async fn update_schedule<E: From<Error>>(
        &self,
        id: &ScheduleId,
        asked: &Asked,
        settings: impl Fn(&Schedule) -> std::result::Result<Settings, E>,
    ) -> std::result::Result<Schedule, E> {
        self.change(id, asked, |schedule, now| {
            let settings = settings(schedule)?;
            schedule.change(settings, now);
            Ok(())
        })
        .await
    }

    /// Stops a schedule from firing.
    pub async fn pause_schedule(&self, id: &ScheduleId, asked: &Asked) -> Result<Schedule> {
        self.change(id, asked, |schedule, _| {
            schedule.pause();
            Ok(())
        })
        .await
    }

    /// Lets a schedule fire again, from its next tick on.
    pub async fn resume_schedule(&self, id: &ScheduleId, asked: &Asked) -> Result<Schedule> {
        self.change(id, asked, |schedule, now| {
            if schedule.paused {
                schedule.resume(now);
            }
            Ok(())
        })
        .await
    }

    /// Deletes a schedule; its jobs stay.
    pub async fn delete_schedule(&self, id: &ScheduleId, asked: &Asked) -> Result<()> {
        for _ in 0..ROUNDS {
            let Standing { schedule, revision, .. } = self.up_to_date(id, asked).await?;
            let put = Put { key: schedule.id.to_string(), expected: Some(revision), body: None };
            if self.write(put).await? {
                tracing::info!(schedule = %id, reason = asked.reason, "schedule deleted");
                return Ok(());
            }
        }
        Err(crossed(id))
    }

    /// Fires a schedule now, besides its own times, paused or not and whatever its last job does.
    pub async fn trigger_schedule(&self, id: &ScheduleId, asked: &Asked) -> Result<Job> {
        let standing = self.up_to_date(id, asked).await?;
        let mut new = new_job(&standing.schedule, None);
        if !asked.reason.is_empty() {
            new.reason = format!("{}: {}", new.reason, asked.reason);
        }
        let job = self.enqueue(new).await?.job;
        let created = standing.schedule.created;
        let made = Made { created, tick: job.spec.created, job: job.name.clone() };
        // The job is there; that its schedule does not know it must not hide that.
        if let Err(error) = self.note(standing, &made).await {
            tracing::debug!(schedule = %id, %error, "can't note the job that was triggered");
        }
        Ok(job)
    }

    /// Fires all ticks of a schedule that are due and moves it on; `None` when there is no such
    /// schedule.
    pub(super) async fn fire_due(&self, id: &ScheduleId) -> Result<Option<Standing>> {
        let mut made = None;
        for _ in 0..ROUNDS {
            let Some(mut standing) = self.standing(id).await? else { return Ok(None) };
            let before = standing.schedule.clone();
            if let Some(made) = &made {
                remember(&mut standing.schedule, made);
            }
            let due = before.due(standing.read_at);
            let mut ended = Ok(());
            standing.schedule.next = due.next;
            for tick in due.fire {
                match self.fire(&standing.schedule, tick).await {
                    Ok(Some(job)) => {
                        let new = Made { created: before.created, tick, job };
                        remember(&mut standing.schedule, &new);
                        made = Some(new);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        standing.schedule.next = Some(tick);
                        ended = Err(error);
                        break;
                    }
                }
            }
            if standing.schedule == before {
                return ended.map(|()| Some(standing));
            }
            // When another broker came first, what it made of the schedule is read anew.
            self.put_schedule(&standing.schedule, standing.revision).await?;
            ended?;
        }
        self.standing(id).await
    }

    /// Enqueues the job of one tick; `None` when this tick makes none. An error is one that
    /// passes.
    async fn fire(&self, schedule: &Schedule, tick: Timestamp) -> Result<Option<JobName>> {
        if schedule.settings.overlap == Overlap::Skip
            && let Some(last) = &schedule.last_job
            && self.store.get(last).await?.is_some_and(|job| !job.state.is_terminal())
        {
            tracing::debug!(schedule = %schedule.id, job = %last, "the last job is unfinished");
            return Ok(None);
        }
        match self.enqueue(new_job(schedule, Some(tick))).await {
            Ok(enqueued) => Ok(Some(enqueued.job.name)),
            Err(error) if passes(&error) => Err(error),
            Err(error) => {
                tracing::warn!(schedule = %schedule.id, %error, "a tick made no job");
                Ok(None)
            }
        }
    }

    /// Applies a change by an operator to what has fired all that was due before it.
    async fn change<E: From<Error>>(
        &self,
        id: &ScheduleId,
        asked: &Asked,
        change: impl Fn(&mut Schedule, Timestamp) -> std::result::Result<(), E>,
    ) -> std::result::Result<Schedule, E> {
        for _ in 0..ROUNDS {
            let Standing { mut schedule, revision, read_at } = self.up_to_date(id, asked).await?;
            let before = schedule.clone();
            change(&mut schedule, read_at)?;
            if schedule == before {
                return Ok(schedule);
            }
            schedule.revision += 1;
            if self.put_schedule(&schedule, revision).await? {
                let (paused, reason) = (schedule.paused, &asked.reason);
                tracing::info!(schedule = %id, paused, reason, "schedule changed");
                return Ok(schedule);
            }
        }
        Err(crossed(id).into())
    }

    /// A schedule that has fired all that is due, in the version that the caller means.
    async fn up_to_date(&self, id: &ScheduleId, asked: &Asked) -> Result<Standing> {
        let standing = self.fire_due(id).await?.ok_or_else(|| unknown(id))?;
        asked.check(&standing.schedule.etag())?;
        Ok(standing)
    }

    /// Writes down what a schedule made besides its ticks.
    async fn note(&self, mut standing: Standing, made: &Made) -> Result<()> {
        for _ in 0..ROUNDS {
            remember(&mut standing.schedule, made);
            if self.put_schedule(&standing.schedule, standing.revision).await? {
                return Ok(());
            }
            let id = &standing.schedule.id;
            let Some(again) = self.standing(id).await? else { return Ok(()) };
            standing = again;
        }
        Ok(())
    }

    async fn standing(&self, id: &ScheduleId) -> Result<Option<Standing>> {
        let read_at = self.clock.now();
        let document = self.store.document(Kind::Schedule, id.as_str()).await?;
        document.map(|document| read(document, read_at)).transpose()
    }

    /// Writes a schedule if its document still has this revision; answers whether it had.
    async fn put_schedule(&self, schedule: &Schedule, revision: u64) -> Result<bool> {
        let body = Some(Bytes::from(encode_schedule(schedule)));
        self.write(Put { key: schedule.id.to_string(), expected: Some(revision), body }).await
    }

    async fn write(&self, put: Put) -> Result<bool> {
        let outcomes = self.store.put_documents(Kind::Schedule, vec![put]).await?;
        Ok(outcomes.first() == Some(&Guarded::Applied))
    }
}

/// A firing that made a job.
struct Made {
    /// Of which schedule: another one of its name may be there meanwhile.
    created: Timestamp,
    tick: Timestamp,
    job: JobName,
}

/// Ticks may be told out of order when brokers cross; the latest one counts.
fn remember(schedule: &mut Schedule, made: &Made) {
    if schedule.created == made.created && schedule.fired.is_none_or(|fired| fired < made.tick) {
        schedule.fired = Some(made.tick);
        schedule.last_job = Some(made.job.clone());
    }
}

/// Reads a schedule from its document.
pub(super) fn read(document: Document, read_at: Timestamp) -> Result<Standing> {
    let Document { key, revision, body } = document;
    let corrupt = |why: String| Error::Corrupt { name: format!("schedules/{key}"), why };
    let id = ScheduleId::parse(&key).map_err(|wrong| corrupt(wrong.to_string()))?;
    let schedule = decode_schedule(id, body).map_err(|wrong| corrupt(wrong.to_string()))?;
    Ok(Standing { schedule, revision, read_at })
}

fn new_job(schedule: &Schedule, tick: Option<Timestamp>) -> NewJob {
    let job = &schedule.settings.job;
    let request = tick.map(|tick| Request {
        id: RequestId::of_tick(&schedule.id, schedule.created, tick),
        digest: TICK_DIGEST,
    });
    NewJob {
        request,
        start: job.delay.map_or(Start::Now, Start::In),
        expiry: job.ttl.map_or(Expiry::Never, Expiry::In),
        open: job.open,
        reason: format!("schedules/{}", schedule.id),
        ..NewJob::new(schedule.settings.queue.clone(), job.spec.clone())
    }
}

/// True when the same tick may make a job later.
fn passes(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable(_)
            | Error::StoreFull(_)
            | Error::QueueFull { .. }
            | Error::Overloaded
            | Error::Draining
    )
}

fn unknown(id: &ScheduleId) -> Error {
    Error::NoSchedule(id.clone())
}

fn crossed(id: &ScheduleId) -> Error {
    Error::Unavailable(format!("schedules/{id} is written by many at once"))
}

#[cfg(test)]
mod tests;

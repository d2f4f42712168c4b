//! Schedules: jobs that are enqueued again and again.

use std::time::Duration;

use lessor_proto::v1::schedule::Overlap;
use lessor_proto::v1::{
    CreateScheduleRequest, GetScheduleRequest, Job, ListSchedulesRequest, Schedule,
    UpdateScheduleRequest,
};
use prost_types::FieldMask;

use crate::queues::PAGE;
use crate::{Action, Client, NewJob, Result, span};

impl Client {
    /// Creates a schedule, `schedules/{id}`. A taken id is refused.
    pub async fn create_schedule(
        &self,
        id: impl Into<String>,
        schedule: NewSchedule,
    ) -> Result<Schedule> {
        let request = CreateScheduleRequest { schedule: Some(schedule.0), schedule_id: id.into() };
        self.administer(request, |mut admin, request| async move {
            admin.create_schedule(request).await
        })
        .await
    }

    /// One schedule, `schedules/{id}`.
    pub async fn get_schedule(&self, name: impl Into<String>) -> Result<Schedule> {
        let request = GetScheduleRequest { name: name.into() };
        self.administer(
            request,
            |mut admin, request| async move { admin.get_schedule(request).await },
        )
        .await
    }

    /// All schedules, in pages of one call each.
    pub async fn list_schedules(&self) -> Result<Vec<Schedule>> {
        let mut schedules = Vec::new();
        let mut request =
            ListSchedulesRequest { page_size: PAGE, ..ListSchedulesRequest::default() };
        loop {
            let page = self
                .administer(request.clone(), |mut admin, request| async move {
                    admin.list_schedules(request).await
                })
                .await?;
            schedules.extend(page.schedules);
            if page.next_page_token.is_empty() {
                return Ok(schedules);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes a schedule.
    pub async fn update_schedule(&self, update: ScheduleUpdate) -> Result<Schedule> {
        let ScheduleUpdate(request) = update;
        self.administer(request, |mut admin, request| async move {
            admin.update_schedule(request).await
        })
        .await
    }

    /// Deletes a schedule. The jobs that it has enqueued stay.
    pub async fn delete_schedule(&self, schedule: impl Into<Action>) -> Result<()> {
        let request = schedule.into().on_schedule();
        self.administer(request, |mut admin, request| async move {
            admin.delete_schedule(request).await
        })
        .await
    }

    /// Stops a schedule from firing until it is resumed.
    pub async fn pause_schedule(&self, schedule: impl Into<Action>) -> Result<Schedule> {
        let request = schedule.into().on_schedule();
        self.administer(
            request,
            |mut admin, request| async move { admin.pause_schedule(request).await },
        )
        .await
    }

    /// Ends the pause of a schedule.
    pub async fn resume_schedule(&self, schedule: impl Into<Action>) -> Result<Schedule> {
        let request = schedule.into().on_schedule();
        self.administer(request, |mut admin, request| async move {
            admin.resume_schedule(request).await
        })
        .await
    }

    /// Fires a schedule now, besides its own times: the job that it enqueued.
    pub async fn trigger_schedule(&self, schedule: impl Into<Action>) -> Result<Job> {
        let request = schedule.into().on_schedule();
        self.administer(request, |mut admin, request| async move {
            admin.trigger_schedule(request).await
        })
        .await
    }
}

/// A schedule to be.
///
/// ```
/// use lessor::{NewJob, NewSchedule};
///
/// let report = NewJob::new("reports").job_type("weekly");
/// let schedule = NewSchedule::cron("0 6 * * MON", report).time_zone("Europe/Berlin");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a schedule does nothing until it is created"]
pub struct NewSchedule(Schedule);

impl NewSchedule {
    /// Enqueues the job at the times of a cron expression, in UTC unless a time zone is set.
    pub fn cron(expression: impl Into<String>, job: NewJob) -> Self {
        Self(Schedule { cron: expression.into(), job: Some(job.into()), ..Schedule::default() })
    }

    /// Enqueues the job once per interval.
    pub fn every(interval: Duration, job: NewJob) -> Self {
        Self(Schedule {
            interval: Some(span::to_wire(interval)),
            job: Some(job.into()),
            ..Schedule::default()
        })
    }

    /// The IANA time zone of the cron expression. Default UTC.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.0.time_zone = name.into();
        self
    }

    /// What a firing does while the job of the last one is unfinished. Default: enqueue another.
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.0.overlap = overlap.into();
        self
    }

    /// Firings that were missed while no broker ran are made up for if they are younger than this.
    pub fn catch_up(mut self, age: Duration) -> Self {
        self.0.catch_up = Some(span::to_wire(age));
        self
    }
}

/// What to change about a schedule. What is not named stays.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "it does nothing until `update_schedule`"]
pub struct ScheduleUpdate(UpdateScheduleRequest);

impl ScheduleUpdate {
    /// A change of the schedule of this name, `schedules/{id}`.
    pub fn schedule(name: impl Into<String>) -> Self {
        let schedule = Schedule { name: name.into(), ..Schedule::default() };
        Self(UpdateScheduleRequest { schedule: Some(schedule), ..UpdateScheduleRequest::default() })
    }

    /// Fire at the times of this cron expression, and no longer by an interval.
    pub fn cron(self, expression: impl Into<String>) -> Self {
        self.set("cron", |schedule| schedule.cron = expression.into()).set("interval", |_unset| {})
    }

    /// Fire once per interval, and no longer by a cron expression.
    pub fn every(self, interval: Duration) -> Self {
        self.set("interval", |schedule| schedule.interval = Some(span::to_wire(interval)))
            .set("cron", |_unset| {})
    }

    /// Another IANA time zone for the cron expression.
    pub fn time_zone(self, name: impl Into<String>) -> Self {
        self.set("time_zone", |schedule| schedule.time_zone = name.into())
    }

    /// Another job in the place of the former one.
    pub fn job(self, job: NewJob) -> Self {
        self.set("job", |schedule| schedule.job = Some(job.into()))
    }

    /// What a firing does while the job of the last one is unfinished.
    pub fn overlap(self, overlap: Overlap) -> Self {
        self.set("overlap", |schedule| schedule.overlap = overlap.into())
    }

    /// How old missed firings may be that are made up for.
    pub fn catch_up(self, age: Duration) -> Self {
        self.set("catch_up", |schedule| schedule.catch_up = Some(span::to_wire(age)))
    }

    /// Change the schedule only while it still has this etag; otherwise fail with `ETAG_MISMATCH`.
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.0.schedule.get_or_insert_default().etag = etag.into();
        self
    }

    /// Why, for the event that tells of it.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = reason.into();
        self
    }

    fn set(mut self, path: &str, set: impl FnOnce(&mut Schedule)) -> Self {
        set(self.0.schedule.get_or_insert_default());
        let mask = self.0.update_mask.get_or_insert_with(FieldMask::default);
        mask.paths.push(path.to_owned());
        self
    }
}

//! Enqueue: a request becomes a job in the store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::settings::room;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::fnv::Fnv;
use crate::job::queue::Open;
use crate::job::{Job, JobId, JobIds, JobName, QueueName, QueueSettings, RequestId, Spec};
use crate::store::{Group, Insert, Inserted, Request};

/// A job that a producer asks for.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The queue, created by its first job.
    pub queue: QueueName,
    /// The id, when the producer chose one.
    pub id: Option<JobId>,
    /// The request, when the producer made it repeatable.
    pub request: Option<Request>,
    /// When it may run.
    pub start: Start,
    /// When it is no longer worth starting.
    pub expiry: Expiry,
    /// What the settings of the queue decide.
    pub open: Open,
    /// What made it, where that is not its producer.
    pub reason: String,
    /// Only find out what would become of it.
    pub validate_only: bool,
    /// The rest. `created`, `scheduled` and `expires` are filled in by the broker.
    pub spec: Arc<Spec>,
}

/// When a new job may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once.
    Now,
    /// After this span.
    In(Duration),
    /// Not before this moment.
    At(Timestamp),
}

/// When a new job is no longer worth starting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// It always is.
    #[default]
    Never,
    /// After this span.
    In(Duration),
    /// From this moment on.
    At(Timestamp),
}

/// What became of a request to enqueue.
#[derive(Clone, Debug)]
pub struct Enqueued {
    /// The job, new or the one that was there before.
    pub job: Job,
    /// Which of the two.
    pub outcome: Outcome,
}

/// How a request to enqueue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A job was made.
    Created,
    /// A job with the same dedup key is there already.
    Deduplicated,
    /// A job with the same dedup key does from now on what was asked for.
    Replaced,
    /// The same request made the job before.
    Replayed,
}

impl NewJob {
    /// A job of `queue` that does what `spec` says, at once, with nothing left open.
    pub fn new(queue: QueueName, spec: impl Into<Arc<Spec>>) -> Self {
        Self {
            queue,
            id: None,
            request: None,
            start: Start::Now,
            expiry: Expiry::Never,
            open: Open::default(),
            reason: String::new(),
            validate_only: false,
            spec: spec.into(),
        }
    }

    /// What it is to do, to be changed.
    pub fn spec_mut(&mut self) -> &mut Spec {
        Arc::make_mut(&mut self.spec)
    }

    /// The job with this number of a request, whose id follows from it if it was not chosen.
    fn of(mut self, request: Option<JobIds>, number: u32) -> Self {
        if let Some(ids) = request {
            self.id.get_or_insert_with(|| ids.at(number));
        }
        self
    }

    /// What the store is asked to insert, `now`, into a queue of these settings.
    pub(super) fn into_insert(mut self, settings: &QueueSettings, now: Timestamp) -> Insert {
        let spec = Arc::make_mut(&mut self.spec);
        settings.complete(spec, self.open);
        spec.created = now;
        spec.scheduled = match self.start {
            Start::Now => None,
            Start::In(span) => Some(now.after(span)),
            Start::At(moment) => Some(moment),
        };
        spec.expires = match self.expiry {
            Expiry::Never => None,
            Expiry::In(span) => Some(now.after(span)),
            Expiry::At(moment) => Some(moment),
        };
        let chosen_id = self.id.is_some();
        let id = self.id.unwrap_or_else(JobId::generate);
        let job = Job::enqueued(JobName { queue: self.queue, id }, self.spec);
        Insert { job, chosen_id, request: self.request, reason: self.reason }
    }
}

/// The jobs of a batch that are of one queue.
#[derive(Default)]
struct Part {
    /// Where they stand in the batch.
    places: Vec<usize>,
    /// A digest of their numbers.
    numbers: Fnv,
    jobs: Vec<NewJob>,
}

/// The ids of so many jobs that come together: those of their request, or others that follow each other.
fn ids_for(count: usize, request: Option<Request>) -> Option<JobIds> {
    match request {
        Some(request) => Some(JobIds::of(&request.id)),
        None => (count > 1).then(|| JobIds::of(&RequestId::generate())),
    }
}

impl Broker {
    /// Enqueues one job.
    pub async fn enqueue(&self, new: NewJob) -> Result<Enqueued> {
        let group = self.enqueue_all(vec![new], None).await?;
        group.into_iter().next().unwrap_or(Err(Error::Withheld))
    }

    /// Enqueues jobs of one queue, all or none: when one is refused, the others answer
    /// [`Error::Withheld`]. The caller sees to it that the queue is one, and that all or none are
    /// to be validated only. A `request` for all of them makes them repeatable.
    pub async fn enqueue_all(
        &self,
        jobs: Vec<NewJob>,
        request: Option<Request>,
    ) -> Result<Vec<Result<Enqueued>>> {
        let Some((queue, validate_only)) =
            jobs.first().map(|job| (job.queue.clone(), job.validate_only))
        else {
            return Ok(Vec::new());
        };
        if validate_only {
            return self.rehearse(&queue, jobs).await;
        }
        let ids = ids_for(jobs.len(), request);
        let jobs = jobs.into_iter().zip(0..).map(|(job, index)| job.of(ids, index));
        self.insert(queue, jobs, true, request).await
    }

    /// Enqueues each job for itself, in any queues. A `request` for all of them makes them
    /// repeatable; then the numbers of the jobs in it, which come with them, tell them apart.
    pub async fn enqueue_each(
        &self,
        jobs: Vec<(u32, NewJob)>,
        request: Option<Request>,
    ) -> Vec<Result<Enqueued>> {
        let mut answers = vec![Err(Error::Withheld); jobs.len()];
        let mut by_queue: HashMap<QueueName, Part> = HashMap::new();
        let mut rehearsed = Vec::new();
        let ids = ids_for(jobs.len(), request);
        for (place, (number, job)) in jobs.into_iter().enumerate() {
            if job.validate_only {
                rehearsed.push((place, job));
                continue;
            }
            if !by_queue.contains_key(&job.queue) {
                by_queue.insert(job.queue.clone(), Part::default());
            }
            if let Some(part) = by_queue.get_mut(&job.queue) {
                part.places.push(place);
                part.numbers.write(&number.to_be_bytes());
                part.jobs.push(job.of(ids, number));
            }
        }
        let calls = by_queue.into_iter().map(|(queue, part)| async move {
            let Part { places, numbers, jobs } = part;
            // A store knows the jobs of a request by their places among those of its queue. These
            // are others when a job that was refused before is valid now.
            let request = request.map(|request| {
                let digest = request.digest ^ numbers.finish();
                Request { digest, ..request }
            });
            (places, self.insert(queue, jobs.into_iter(), false, request).await)
        });
        for (places, outcomes) in futures_util::future::join_all(calls).await {
            match outcomes {
                Ok(outcomes) => {
                    for (place, outcome) in places.into_iter().zip(outcomes) {
                        answers[place] = outcome;
                    }
                }
                Err(error) => {
                    for place in places {
                        answers[place] = Err(error.clone());
                    }
                }
            }
        }
        for (place, job) in rehearsed {
            answers[place] = self.enqueue(job).await;
        }
        answers
    }

    /// Inserts jobs of one queue as one group.
    async fn insert(
        &self,
        queue: QueueName,
        jobs: impl Iterator<Item = NewJob>,
        atomic: bool,
        request: Option<Request>,
    ) -> Result<Vec<Result<Enqueued>>> {
        let settings = self.settings.of(&queue).await?;
        let now = self.clock.now();
        let inserts: Vec<Insert> = jobs.map(|job| job.into_insert(&settings, now)).collect();
        let jobs: Vec<Job> = inserts.iter().map(|insert| insert.job.clone()).collect();
        let group = Group { inserts, room: room(&settings), atomic, request };
        let outcomes = self.folder.insert(queue, group).await?;
        let mut answers = Vec::with_capacity(jobs.len());
        for (job, inserted) in jobs.into_iter().zip(outcomes) {
            answers.push(self.answer(job, inserted).await);
        }
        Ok(answers)
    }

    /// Finds out what enqueuing these jobs of one queue together would answer, and changes nothing:
    /// a taken id and a full queue are found; request ids and dedup keys are not looked at.
    async fn rehearse(
        &self,
        queue: &QueueName,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Result<Enqueued>>> {
        let settings = self.settings.of(queue).await?;
        let now = self.clock.now();
        let room = room(&settings);
        let survey = self.store.survey(queue, now).await?;
        let full = room.jobs.is_some_and(|most| survey.unfinished() + jobs.len() as u64 > most)
            || room.bytes.is_some_and(|most| survey.bytes >= most);
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Insert { job, chosen_id, .. } = job.into_insert(&settings, now);
            let taken = if chosen_id { self.store.get(&job.name).await? } else { None };
            answers.push(match taken {
                Some(taken) => Err(Error::Exists { name: taken.name, state: taken.state }),
                None if full => Err(Error::QueueFull { queue: queue.clone(), room }),
                None => Ok(Enqueued { job, outcome: Outcome::Created }),
            });
        }
        Ok(answers)
    }

    /// The surviving job of an insert.
    async fn answer(&self, job: Job, inserted: Inserted) -> Result<Enqueued> {
        let queue = job.name.queue.clone();
        let (id, outcome) = match inserted {
            Inserted::New => return Ok(Enqueued { job, outcome: Outcome::Created }),
            Inserted::Replayed(id) => {
                // A replayed job may have run and been forgotten since; then the request itself
                // tells what it was.
                let first = JobName { queue, id };
                let known = self.store.get(&first).await?;
                let job = known.unwrap_or(Job { name: first, ..job });
                return Ok(Enqueued { job, outcome: Outcome::Replayed });
            }
            // The new job itself is there, but in another state than it asked for.
            Inserted::Behind(_) => (job.name.id.clone(), Outcome::Created),
            Inserted::Replaced(id) => (id, Outcome::Replaced),
            Inserted::Duplicate(id) => (id, Outcome::Deduplicated),
            refused => return Err(refusal(&job.name, refused)),
        };
        let name = JobName { queue, id };
        let job = self.store.get(&name).await?.ok_or(Error::NotFound(name))?;
        Ok(Enqueued { job, outcome })
    }
}

/// Why an insert was refused.
pub(super) fn refusal(name: &JobName, inserted: Inserted) -> Error {
    let queue = name.queue.clone();
    match inserted {
        Inserted::RequestReused => Error::RequestReused,
        Inserted::Exists(state) => Error::Exists { name: name.clone(), state },
        Inserted::Rejected(id, state) => Error::Duplicate { name: JobName { queue, id }, state },
        Inserted::Full(room) => Error::QueueFull { queue, room },
        _ => Error::Withheld,
    }
}

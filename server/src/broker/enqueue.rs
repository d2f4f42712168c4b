//! Enqueue: a request becomes a job in the store.

use std::collections::HashMap;
use std::time::Duration;

use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::{Job, JobId, JobName, QueueName, Spec};
use crate::store::{Group, Insert, Inserted, Request, Room};

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
    /// The rest. `created` and `scheduled` are filled in by the broker.
    pub spec: Spec,
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
    /// The same request made the job before.
    Replayed,
}

impl Broker {
    /// Enqueues one job.
    pub async fn enqueue(&self, new: NewJob) -> Result<Enqueued> {
        let group = self.enqueue_all(vec![new]).await?;
        group.into_iter().next().unwrap_or(Err(Error::Withheld))
    }

    /// Enqueues jobs of one queue, all or none: when one is refused, the others answer
    /// [`Error::Withheld`]. The caller sees to it that the queue is one.
    pub async fn enqueue_all(&self, jobs: Vec<NewJob>) -> Result<Vec<Result<Enqueued>>> {
        let Some(queue) = jobs.first().map(|job| job.queue.clone()) else {
            return Ok(Vec::new());
        };
        let now = self.clock.now();
        let inserts: Vec<Insert> = jobs.into_iter().map(|job| insert(job, now)).collect();
        let jobs: Vec<Job> = inserts.iter().map(|insert| insert.job.clone()).collect();
        let group = Group { inserts, room: Room::default() };
        let outcomes = self.folder.insert(queue, group).await?;
        let mut answers = Vec::with_capacity(jobs.len());
        for (job, inserted) in jobs.into_iter().zip(outcomes) {
            answers.push(self.answer(job, inserted).await);
        }
        Ok(answers)
    }

    /// Enqueues each job for itself, in any queues.
    pub async fn enqueue_each(&self, jobs: Vec<NewJob>) -> Vec<Result<Enqueued>> {
        let now = self.clock.now();
        let mut by_queue: HashMap<QueueName, Vec<(usize, Insert)>> = HashMap::new();
        let count = jobs.len();
        for (index, job) in jobs.into_iter().enumerate() {
            by_queue.entry(job.queue.clone()).or_default().push((index, insert(job, now)));
        }
        let calls = by_queue.into_iter().map(|(queue, items)| async move {
            let (indexes, inserts): (Vec<usize>, Vec<Insert>) = items.into_iter().unzip();
            let jobs: Vec<Job> = inserts.iter().map(|insert| insert.job.clone()).collect();
            let alone = |insert| Group { inserts: vec![insert], room: Room::default() };
            let groups = inserts.into_iter().map(alone).collect();
            let outcomes = self.folder.insert_each(queue, groups).await;
            (indexes, jobs, outcomes)
        });
        let mut answers: Vec<Result<Enqueued>> = vec![Err(Error::Withheld); count];
        for (indexes, jobs, outcomes) in futures_util::future::join_all(calls).await {
            for ((index, job), outcome) in indexes.into_iter().zip(jobs).zip(outcomes) {
                answers[index] = match outcome {
                    Ok(inserted) => self.answer(job, inserted).await,
                    Err(error) => Err(error),
                };
            }
        }
        answers
    }

    /// The surviving job of an insert.
    async fn answer(&self, job: Job, inserted: Inserted) -> Result<Enqueued> {
        let queue = job.name.queue.clone();
        match inserted {
            Inserted::New => Ok(Enqueued { job, outcome: Outcome::Created }),
            Inserted::Replayed(id) => {
                // A replayed job may have run and been forgotten since; then the request itself
                // tells what it was.
                let first = JobName { queue, id };
                let known = self.store.get(&first).await?;
                let job = known.unwrap_or(Job { name: first, ..job });
                Ok(Enqueued { job, outcome: Outcome::Replayed })
            }
            Inserted::Replaced(id) | Inserted::Behind(id) | Inserted::Duplicate(id) => {
                let holder = JobName { queue, id };
                let known = self.store.get(&holder).await?;
                let job = known.ok_or(Error::NotFound(holder))?;
                Ok(Enqueued { job, outcome: Outcome::Deduplicated })
            }
            Inserted::RequestReused => Err(Error::RequestReused),
            Inserted::Exists(state) | Inserted::Rejected(_, state) => {
                Err(Error::Exists { name: job.name, state })
            }
            Inserted::Full(_) => Err(Error::StoreFull("the queue is full".to_owned())),
            Inserted::Withheld => Err(Error::Withheld),
        }
    }
}

fn insert(new: NewJob, now: Timestamp) -> Insert {
    let mut spec = new.spec;
    spec.created = now;
    spec.scheduled = match new.start {
        Start::Now => None,
        Start::In(span) => Some(now.after(span)),
        Start::At(moment) => Some(moment),
    };
    let chosen_id = new.id.is_some();
    let id = new.id.unwrap_or_else(JobId::generate);
    let job = Job::enqueued(JobName { queue: new.queue, id }, spec);
    Insert { job, chosen_id, request: new.request, reason: String::new() }
}

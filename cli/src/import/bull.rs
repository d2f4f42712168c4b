//! Bull and BullMQ, which keep jobs in nearly the same way: a hash for each job, lists and sorted
//! sets of their ids.

mod job;

use std::collections::HashSet;
use std::time::Duration;

use redis::{cmd, pipe};
use serde_json::Value;

use super::reader::{Next, Reader};
use super::report::ACTIVE;
use super::source::{Found, Place, Schedule, Source, Survey, Waiting};
use crate::failure::Usage;
use job::{FIELDS, Fields, Held};

/// The scores of what is delayed hold a time and a number that keeps equal times in order.
const SCORES_PER_MILLI: f64 = 4096.0;
/// What the id of a job begins with that a scheduler made.
const SCHEDULED: &str = "repeat:";
/// Older versions keep such entries among the ids, to wake workers.
const MARKER: &str = "0:";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bull,
    BullMq,
}

impl Kind {
    /// The end of a key that each of its queues has.
    fn sign(self) -> &'static str {
        match self {
            Self::Bull => ":id",
            Self::BullMq => ":meta",
        }
    }
}

pub(super) struct Store {
    kind: Kind,
    reader: Reader,
    prefix: String,
}

impl Store {
    pub(super) fn new(kind: Kind, reader: Reader, prefix: String) -> Self {
        Self { kind, reader, prefix }
    }

    fn key(&self, queue: &str, of: &str) -> String {
        format!("{}:{queue}:{of}", self.prefix)
    }

    async fn named(&mut self, kind: Kind) -> anyhow::Result<Vec<String>> {
        self.reader.names(&format!("{}:", self.prefix), kind.sign()).await
    }

    async fn leave(&mut self, queue: &str, survey: &mut Survey) -> anyhow::Result<()> {
        let mut counts = pipe();
        counts.cmd("LLEN").arg(self.key(queue, "active"));
        for set in ["completed", "failed", "waiting-children"] {
            counts.cmd("ZCARD").arg(self.key(queue, set));
        }
        let (active, completed, failed, parents): (u64, u64, u64, u64) =
            self.reader.ask_all(&counts).await?;
        survey.leave(ACTIVE, active);
        survey.leave("completed", completed);
        survey.leave("failed: retry them there first to import them", failed);
        survey.leave("parents of a flow, which wait for their children", parents);
        Ok(())
    }

    /// What makes jobs again and again. The next job of each tells what it is; where there is none,
    /// BullMQ has a hash that does.
    async fn schedules(
        &mut self,
        queue: &str,
        next: &[String],
        survey: &mut Survey,
    ) -> anyhow::Result<()> {
        let mut known = HashSet::new();
        for id in next {
            let fields = ["name", "data", "opts", "rjk"];
            let hash = cmd("HMGET").arg(self.key(queue, id)).arg(&fields).take();
            let [name, data, opts, key]: [Option<String>; 4] = self.reader.ask(&hash).await?;
            let opts: Value =
                opts.and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default();
            let key = key.as_deref().or_else(|| opts["repeat"]["key"].as_str());
            let text = |field: &str| opts["repeat"][field].as_str().map(str::to_owned);
            let every = opts["repeat"]["every"].as_u64().map(Duration::from_millis);
            let cron = text("pattern").or_else(|| text("cron"));
            if key.is_some_and(|key| !known.insert(key.to_owned()))
                || (cron.is_none() && every.is_none())
            {
                continue;
            }
            let name = name.unwrap_or_default();
            survey.schedules.push(Schedule {
                id: id_of(key, &name, &survey.schedules),
                job_type: name,
                payload: data.unwrap_or_default(),
                cron,
                time_zone: text("tz"),
                every,
            });
        }
        let members = self.reader.sorted(&self.key(queue, "repeat")).await?;
        let count = members.len();
        for (id, _) in members.into_iter().filter(|(id, _)| !known.contains(id)) {
            let key = self.key(queue, &format!("{SCHEDULED}{id}"));
            let hash =
                cmd("HMGET").arg(key).arg(&["name", "pattern", "every", "tz", "data"]).take();
            let [name, cron, every, time_zone, data]: [Option<String>; 5] =
                self.reader.ask(&hash).await?;
            let every = every.and_then(|it| it.parse().ok()).map(Duration::from_millis);
            if cron.is_some() || every.is_some() {
                let name = name.unwrap_or_default();
                survey.schedules.push(Schedule {
                    id: id_of(Some(&id), &name, &survey.schedules),
                    job_type: name,
                    payload: data.unwrap_or_default(),
                    cron,
                    time_zone,
                    every,
                });
            }
        }
        if survey.schedules.len() < count {
            survey.warnings.push(format!(
                "of {count} repeatable jobs not all could be read; make them with \
                 `lessor schedule create`"
            ));
        }
        Ok(())
    }

    /// Limits of the whole queue, which BullMQ keeps in the store.
    async fn limits(&mut self, queue: &str, to: &str, survey: &mut Survey) -> anyhow::Result<()> {
        let limits = cmd("HMGET")
            .arg(self.key(queue, "meta"))
            .arg(&["concurrency", "max", "duration", "paused"])
            .take();
        let [concurrency, max, duration, paused]: [Option<String>; 4] =
            self.reader.ask(&limits).await?;
        if let Some(count) = concurrency {
            survey.warnings.push(format!(
                "the limit of {count} active jobs is not taken over: \
                 lessor queue update {to} --max-leased {count}"
            ));
        }
        if let (Some(count), Some(millis)) = (max, duration) {
            survey.warnings.push(format!(
                "the limit of {count} jobs per {millis} ms is not taken over: \
                 lessor queue update {to} --rate {count}/{millis}ms"
            ));
        }
        if paused.is_some() {
            survey.warnings.push(format!(
                "the queue is paused there; here its jobs run unless you pause it, too: \
                 lessor queue pause {to}"
            ));
        }
        Ok(())
    }

    /// What holds the deduplication ids of these jobs.
    async fn held(&mut self, queue: &str, fields: &[Fields]) -> anyhow::Result<Vec<Option<Held>>> {
        let keys: Vec<_> = fields
            .iter()
            .map(|job| job.dedup_id.as_ref().map(|id| self.key(queue, &format!("de:{id}"))))
            .collect();
        let mut asked = pipe();
        for key in keys.iter().flatten() {
            asked.cmd("GET").arg(key).cmd("PTTL").arg(key);
        }
        if asked.is_empty() {
            return Ok(fields.iter().map(|_| None).collect());
        }
        let answers: Vec<(Option<String>, i64)> = self.reader.ask_all(&asked).await?;
        let mut answers = answers.into_iter();
        Ok(keys
            .into_iter()
            .map(|key| {
                let (holder, millis) = key.and_then(|_| answers.next())?;
                Some(Held { holder: holder?, left: u64::try_from(millis).ok() })
            })
            .collect())
    }
}

impl Source for Store {
    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Bull => "bull",
            Kind::BullMq => "bullmq",
        }
    }

    fn place(&self) -> String {
        format!("{} at {}, prefix {}", self.kind(), self.reader.place(), self.prefix)
    }

    async fn queues(&mut self) -> anyhow::Result<Vec<String>> {
        let mq: HashSet<_> = self.named(Kind::BullMq).await?.into_iter().collect();
        let all = self.named(Kind::Bull).await?;
        let (own, other): (Vec<_>, Vec<_>) = match self.kind {
            Kind::Bull => all.into_iter().partition(|queue| !mq.contains(queue)),
            Kind::BullMq => {
                let mut own: Vec<_> = mq.iter().cloned().collect();
                own.sort_unstable();
                (own, all.into_iter().filter(|queue| !mq.contains(queue)).collect())
            }
        };
        if own.is_empty() {
            let hint = match self.kind {
                _ if other.is_empty() => "look at --prefix and the number of the database",
                Kind::Bull => "there are queues of BullMQ: lessor import bullmq",
                Kind::BullMq => "there are queues of Bull: lessor import bull",
            };
            return Err(Usage(format!("no queue of {}: {hint}", self.place())).into());
        }
        Ok(own)
    }

    async fn survey(&mut self, queue: &str, to: &str) -> anyhow::Result<Survey> {
        let mut survey = Survey::default();
        let mut found = Vec::new();
        for list in ["wait", "paused"] {
            let ids = self.reader.list(&self.key(queue, list), Next::Last).await?;
            found.extend(ids.into_iter().map(|id| (id, Place::Waiting, None)));
        }
        let prioritized = self.reader.sorted(&self.key(queue, "prioritized")).await?;
        found.extend(prioritized.into_iter().map(|(id, _)| (id, Place::Prioritized, None)));
        let delayed = self.reader.sorted(&self.key(queue, "delayed")).await?;
        found.extend(delayed.into_iter().map(|(id, score)| (id, Place::Delayed, Some(due(score)))));

        let mut next = Vec::new();
        let mut seen = HashSet::new();
        for (id, place, due) in found {
            if id.starts_with(MARKER) || !seen.insert(id.clone()) {
                continue;
            }
            if id.starts_with(SCHEDULED) {
                next.push(id);
            } else {
                survey.waiting.push(Waiting { id, place, due, row: 0 });
            }
        }
        survey.leave(
            "made by a scheduler, which is a schedule here",
            u64::try_from(next.len()).unwrap_or_default(),
        );
        self.leave(queue, &mut survey).await?;
        self.schedules(queue, &next, &mut survey).await?;
        if self.kind == Kind::BullMq {
            self.limits(queue, to, &mut survey).await?;
        }
        Ok(survey)
    }

    async fn read(&mut self, queue: &str, jobs: &[Waiting]) -> anyhow::Result<Vec<Found>> {
        let mut asked = pipe();
        for job in jobs {
            asked.cmd("HMGET").arg(self.key(queue, &job.id)).arg(FIELDS);
            asked.cmd("EXISTS").arg(self.key(queue, &format!("{}:lock", job.id)));
        }
        let answers: Vec<([Option<Vec<u8>>; FIELDS.len()], bool)> =
            self.reader.ask_all(&asked).await?;
        let fields: Vec<_> =
            answers.into_iter().map(|(values, locked)| Fields::of(values, locked)).collect();
        let held = self.held(queue, &fields).await?;
        let found = jobs.iter().zip(fields).zip(held);
        Ok(found.map(|((job, fields), held)| fields.job(self.kind, job, held.as_ref())).collect())
    }
}

/// The id of a schedule: the one that was chosen, if there was one, else the name of its jobs.
fn id_of(key: Option<&str>, name: &str, others: &[Schedule]) -> String {
    // Keys are digests, or hold colons, where nobody chose them.
    let is_digest = |key: &str| key.len() == 32 && key.bytes().all(|it| it.is_ascii_hexdigit());
    let chosen = key.filter(|key| !is_digest(key) && !key.contains(':'));
    let free = |id: &&str| others.iter().all(|other| other.id != **id);
    chosen.or(Some(name).filter(free)).or(key).unwrap_or(name).to_owned()
}

/// The time in the score of what is delayed.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a time")]
fn due(score: f64) -> u64 {
    (score / SCORES_PER_MILLI) as u64
}

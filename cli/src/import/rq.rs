//! RQ: a hash for each job, a list of ids for each queue, sorted sets for what is not in it.

mod job;
mod pickle;

use std::time::Duration;

use redis::{cmd, pipe};

use super::reader::{Next, Reader};
use super::report::ACTIVE;
use super::source::{Found, Place, Source, Survey, Waiting};
use crate::failure::Usage;
use job::{FIELDS, Fields};

pub(super) struct Store {
    reader: Reader,
    prefix: String,
}

impl Store {
    pub(super) fn new(reader: Reader, prefix: String) -> Self {
        Self { reader, prefix }
    }

    fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.prefix)
    }

    async fn leave(&mut self, queue: &str, survey: &mut Survey) -> anyhow::Result<()> {
        let mut counts = pipe();
        counts.cmd("LLEN").arg(format!("{}:intermediate", self.key("queue", queue)));
        for registry in ["wip", "finished", "failed", "deferred", "ready", "canceled"] {
            counts.cmd("ZCARD").arg(self.key(registry, queue));
        }
        let [taken, started, finished, failed, deferred, ready, canceled]: [u64; 7] =
            self.reader.ask_all(&counts).await?;
        survey.leave(ACTIVE, taken + started);
        survey.leave("finished", finished);
        survey.leave("failed: requeue them there first to import them", failed);
        survey.leave("deferred: they wait for other jobs", deferred + ready);
        survey.leave("canceled", canceled);
        Ok(())
    }

    /// Jobs that no queue has, since a limit holds them back.
    async fn held_back(&mut self) -> anyhow::Result<u64> {
        let keys = format!("{}:rl-keys", self.prefix);
        let keys: Vec<String> = self.reader.ask(cmd("SMEMBERS").arg(keys)).await?;
        let mut count = 0;
        for key in keys {
            let held = format!("{}:rate_limited", self.key("rl", &key));
            count += self.reader.ask::<u64>(cmd("ZCARD").arg(held)).await?;
        }
        Ok(count)
    }
}

impl Source for Store {
    fn kind(&self) -> &'static str {
        "rq"
    }

    fn place(&self) -> String {
        format!("rq at {}, prefix {}", self.reader.place(), self.prefix)
    }

    async fn queues(&mut self) -> anyhow::Result<Vec<String>> {
        let keys: Vec<String> =
            self.reader.ask(cmd("SMEMBERS").arg(format!("{}:queues", self.prefix))).await?;
        let before = self.key("queue", "");
        let mut queues: Vec<_> =
            keys.iter().filter_map(|key| Some(key.strip_prefix(&before)?.to_owned())).collect();
        queues.sort_unstable();
        if queues.is_empty() {
            let place = self.place();
            let hint = "look at --prefix and the number of the database";
            return Err(Usage(format!("no queue of {place}: {hint}")).into());
        }
        Ok(queues)
    }

    async fn survey(&mut self, queue: &str, _to: &str) -> anyhow::Result<Survey> {
        let mut survey = Survey::default();
        let list = self.reader.list(&self.key("queue", queue), Next::First).await?;
        let place = Place::Waiting;
        survey.waiting.extend(list.into_iter().map(|id| Waiting { id, place, due: None, row: 0 }));
        let scheduled = self.reader.sorted(&self.key("scheduled", queue)).await?;
        survey.waiting.extend(scheduled.into_iter().map(|(id, seconds)| {
            let due = Duration::try_from_secs_f64(seconds).unwrap_or_default();
            let due = due.as_millis().try_into().ok();
            Waiting { id, place: Place::Delayed, due, row: 0 }
        }));
        self.leave(queue, &mut survey).await?;
        let held = self.held_back().await?;
        if held > 0 {
            survey.warnings.push(format!(
                "{held} jobs, of any queue, are held back by a rate limit and left out"
            ));
        }
        Ok(survey)
    }

    async fn read(&mut self, _queue: &str, jobs: &[Waiting]) -> anyhow::Result<Vec<Found>> {
        let mut asked = pipe();
        for job in jobs {
            let key = self.key("job", &job.id);
            asked.cmd("HMGET").arg(&key).arg(FIELDS);
            asked.cmd("PTTL").arg(key);
        }
        let answers: Vec<([Option<Vec<u8>>; FIELDS.len()], i64)> =
            self.reader.ask_all(&asked).await?;
        let found = jobs.iter().zip(answers);
        Ok(found.map(|(job, (values, lives))| Fields::of(values, lives).job(job)).collect())
    }
}

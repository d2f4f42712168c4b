//! How a queue fares, at a cost that does not grow with its jobs.

use std::time::Duration;

use super::workers::Worker;
use super::{Broker, Result};
use crate::job::queue::Health;
use crate::job::{EventKind, QueueName, QueueSettings};
use crate::store::{Entry, Minute, Survey};

/// So many of the newest entries of the event log are looked at for waits and runs, the next number
/// only if those before hold few events: an entry may be of one job or of a thousand.
const ENTRIES: [usize; 3] = [2, 32, 256];

/// The newest waits and runs of them that count.
const SAMPLES: usize = 1000;

/// Ready jobs that waited for so long should have met a worker.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a queue fares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// What it holds and what became of its jobs.
    pub survey: Survey,
    /// How long the ready job waits that has waited longest, about.
    pub oldest_ready_age: Option<Duration>,
    /// What happened per second, over the last minute.
    pub rates: Rates,
    /// How long the newest jobs waited between ready and leased.
    pub waits: Percentiles,
    /// How long their attempts ran.
    pub runs: Percentiles,
    /// Which thresholds are crossed, for people.
    pub unhealthy: Vec<String>,
    /// It gives out no jobs.
    pub paused: bool,
    /// Workers that asked it for jobs lately.
    pub workers: usize,
    /// A watch after this cursor misses nothing that happened after these numbers.
    pub event_cursor: String,
}

/// What happens per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Jobs enqueued.
    pub enqueued: f64,
    /// Jobs that succeeded or became dead letters.
    pub finished: f64,
}

impl Rates {
    pub(super) fn of(minute: Minute) -> Self {
        let per_second = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / 60.0;
        Self { enqueued: per_second(minute.enqueued), finished: per_second(minute.finished) }
    }
}

/// What half and nearly all of some spans do not exceed; `None` without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// The median.
    pub half: Option<Duration>,
    /// The 95th percentile.
    pub most: Option<Duration>,
}

impl Percentiles {
    fn of(mut spans: Vec<Duration>) -> Self {
        spans.sort_unstable();
        // The nearest rank: the least span that so many of a hundred do not exceed.
        let rank = |percent: usize| {
            let rank = (spans.len() * percent).div_ceil(100);
            rank.checked_sub(1).map(|index| spans[index])
        };
        Self { half: rank(50), most: rank(95) }
    }
}

impl Broker {
    /// How a queue fares; one that there is not has no jobs.
    pub async fn stats(&self, queue: &QueueName) -> Result<Stats> {
        // Before the numbers: what happens meanwhile is told, and may be in them, too.
        let event_cursor = self.event_cursor(queue).await?;
        let now = self.clock.now();
        let survey = self.store.survey(queue, now).await?;
        let settings = self.store.settings(queue).await?.unwrap_or_default();
        let recent = self.sample(queue).await?;
        let workers = self.serving(queue).await?.len();
        let (waits, runs) = spans(&recent);
        let oldest_ready_age = survey.oldest_ready.map(|since| now.since(since));
        let unhealthy = verdict(&settings, &survey, oldest_ready_age, workers);
        Ok(Stats {
            oldest_ready_age,
            rates: Rates::of(survey.minute),
            waits: Percentiles::of(waits),
            runs: Percentiles::of(runs),
            unhealthy,
            paused: settings.paused,
            workers,
            event_cursor,
            survey,
        })
    }

    /// The newest part of the event log: enough of it to tell how waits and runs are.
    async fn sample(&self, queue: &QueueName) -> Result<Vec<Entry>> {
        let mut recent = Vec::new();
        for entries in ENTRIES {
            recent = self.store.recent(queue, entries).await?;
            let events: usize = recent.iter().map(|entry| entry.events.len()).sum();
            if recent.len() < entries || events >= SAMPLES {
                break;
            }
        }
        Ok(recent)
    }

    /// The workers that asked `queue` for jobs lately and may go on.
    pub(super) async fn serving(&self, queue: &QueueName) -> Result<Vec<Worker>> {
        let mut workers = self.workers().await?;
        workers.retain(|worker| worker.serves(queue) && !worker.draining);
        Ok(workers)
    }
}

/// The newest waits and runs that the log tells of.
fn spans(entries: &[Entry]) -> (Vec<Duration>, Vec<Duration>) {
    let (mut waits, mut runs) = (Vec::new(), Vec::new());
    for event in entries.iter().rev().flat_map(|entry| entry.events.iter().rev()) {
        if let Some(waited) = event.waited.filter(|_| waits.len() < SAMPLES) {
            waits.push(waited);
        }
        // A lease that was given back or lost says nothing of how long the work takes.
        let ran = event.ran.filter(|_| {
            matches!(
                event.kind,
                EventKind::Succeeded | EventKind::AttemptFailed | EventKind::TimedOut
            )
        });
        if let Some(ran) = ran.filter(|_| runs.len() < SAMPLES) {
            runs.push(ran);
        }
    }
    (waits, runs)
}

/// Which thresholds are crossed.
fn verdict(
    settings: &QueueSettings,
    survey: &Survey,
    oldest: Option<Duration>,
    workers: usize,
) -> Vec<String> {
    let Health { max_ready, max_dead_ratio, max_oldest_ready_age } = settings.health;
    let mut reasons = Vec::new();
    let ready = survey.counts.ready;
    if ready > max_ready {
        reasons.push(format!("{ready} jobs are ready, more than {max_ready}"));
    }
    let share = dead_share(survey);
    if share > max_dead_ratio {
        let (share, most) = (share * 100.0, max_dead_ratio * 100.0);
        reasons.push(format!(
            "{share:.1} % of the jobs that finished are dead letters, more than {most} %"
        ));
    }
    if let (Some(age), Some(most)) = (oldest, max_oldest_ready_age)
        && age > most
    {
        let (age, most) = (whole(age), whole(most));
        reasons.push(format!("the oldest ready job has waited for {age:?}, longer than {most:?}"));
    }
    let ignored = oldest.is_some_and(|age| age >= PATIENCE);
    if workers == 0 && ignored && !settings.paused {
        reasons.push("jobs are ready, but no worker has asked for them lately".to_owned());
    }
    reasons
}

/// Dead letters among all jobs that ever succeeded or became one.
fn dead_share(survey: &Survey) -> f64 {
    let count = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let (dead, succeeded) = (survey.totals.dead, survey.totals.succeeded);
    if dead == 0 { 0.0 } else { count(dead) / (count(dead) + count(succeeded)) }
}

/// A span without what nobody reads.
fn whole(span: Duration) -> Duration {
    if span < Duration::from_secs(10) { span } else { Duration::from_secs(span.as_secs()) }
}

/// When the ready jobs ahead are done, at this rate; `None` when nothing finishes.
pub(super) fn time_for(jobs: u64, per_second: f64) -> Option<Duration> {
    let jobs = f64::from(u32::try_from(jobs).unwrap_or(u32::MAX));
    (per_second > 0.0).then(|| Duration::from_secs_f64(jobs / per_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::job::{Event, State};
    use crate::store::{Counts, Position, Totals};

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn queue() -> QueueName {
        QueueName::parse("mail").unwrap()
    }

    fn entry(events: Vec<Event>) -> Entry {
        Entry { position: Position::default(), events }
    }

    fn event(kind: EventKind, waited: Option<u64>, ran: Option<u64>) -> Event {
        let id = crate::job::JobId::parse("j").unwrap();
        let event = Event::new(kind, Timestamp::from_millis(1), queue(), id, State::Ready);
        Event { waited: waited.map(seconds), ran: ran.map(seconds), ..event }
    }

    #[test]
    fn percentiles_are_the_nearest_rank() {
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
        let one = Percentiles::of(vec![seconds(7)]);
        assert_eq!((one.half, one.most), (Some(seconds(7)), Some(seconds(7))));
        let hundred = Percentiles::of((1..=100).rev().map(seconds).collect());
        assert_eq!((hundred.half, hundred.most), (Some(seconds(50)), Some(seconds(95))));
    }

    #[test]
    fn waits_and_runs_are_the_newest_and_of_work_that_was_done() {
        let mut entries: Vec<Entry> =
            (0..1200).map(|n| entry(vec![event(EventKind::Leased, Some(n), None)])).collect();
        entries.push(entry(vec![
            event(EventKind::Succeeded, None, Some(3)),
            event(EventKind::AttemptFailed, None, Some(4)),
            event(EventKind::Released, None, Some(5)),
            event(EventKind::LeaseExpired, None, Some(6)),
        ]));
        let (waits, runs) = spans(&entries);
        assert_eq!((waits.len(), waits[0]), (SAMPLES, seconds(1199)));
        assert_eq!(runs, [seconds(4), seconds(3)]);
    }

    #[test]
    fn each_threshold_has_its_reason() {
        let settings = QueueSettings {
            health: Health {
                max_ready: 10,
                max_dead_ratio: 0.1,
                max_oldest_ready_age: Some(seconds(60)),
            },
            ..QueueSettings::default()
        };
        let survey = |ready, dead, succeeded| Survey {
            counts: Counts { ready, ..Counts::default() },
            totals: Totals { succeeded, dead, ..Totals::default() },
            ..Survey::default()
        };
        let told = |survey: &Survey, age: Option<u64>, workers| {
            verdict(&settings, survey, age.map(seconds), workers).join("; ")
        };
        assert_eq!(told(&survey(10, 1, 9), Some(60), 1), "");
        assert_eq!(told(&survey(11, 0, 0), None, 1), "11 jobs are ready, more than 10");
        assert_eq!(
            told(&survey(0, 1, 3), None, 1),
            "25.0 % of the jobs that finished are dead letters, more than 10 %"
        );
        assert!(told(&survey(1, 0, 0), Some(61), 1).contains("waited for 61s, longer than 60s"));
        assert!(told(&survey(1, 0, 0), Some(31), 0).contains("no worker has asked"));
        assert_eq!(told(&survey(1, 0, 0), Some(5), 0), "");
        let paused = QueueSettings { paused: true, ..settings.clone() };
        assert!(verdict(&paused, &survey(1, 0, 0), Some(seconds(31)), 0).is_empty());
    }
}

//! Why a job does not run yet, and how long that may last, at a cost that does not grow with the
//! jobs there are.

use std::time::Duration;

use super::stats::{Rates, time_for};
use super::workers::Worker;
use super::{Broker, Result};
use crate::clock::Timestamp;
use crate::job::{Failure, Job, JobName, QueueSettings, State};
use crate::store::{Gate, Survey};

/// Why a job does not run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// What holds it back; empty: nothing.
    pub causes: Vec<Cause>,
    /// Ready jobs that run before it, about.
    pub ahead: u64,
    /// How long it will wait, as things are; `None`: nobody knows.
    pub wait: Option<Duration>,
}

/// One thing that holds a job back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// A word that never changes.
    pub code: &'static str,
    /// The same for people.
    pub message: String,
    /// When it passes by itself, if that is known.
    pub clears_at: Option<Timestamp>,
    /// The variables of the message.
    pub metadata: Vec<(&'static str, String)>,
}

impl Cause {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), clears_at: None, metadata: Vec::new() }
    }

    fn until(self, moment: Timestamp) -> Self {
        Self { clears_at: Some(moment), ..self }
    }

    fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((key, value.into()));
        self
    }
}

/// What is known of the queue of a job.
struct Scene {
    settings: QueueSettings,
    survey: Survey,
    workers: Vec<Worker>,
    gate: Option<Gate>,
    /// Ready jobs before this one.
    ahead: u64,
    now: Timestamp,
}

impl Broker {
    /// Says why a job does not run.
    pub async fn explain(&self, name: &JobName) -> Result<Explanation> {
        let job = self.get(name).await?;
        let queue = &name.queue;
        let now = self.clock.now();
        let is_ready = job.state == State::Ready;
        // A claim of nothing tells whether there could be one.
        let gate =
            if is_ready { self.store.claim(queue, Vec::new(), now).await?.gate } else { None };
        let scene = Scene {
            settings: self.store.settings(queue).await?.unwrap_or_default(),
            survey: self.store.survey(queue, now).await?,
            workers: self.serving(queue).await?,
            gate,
            ahead: if is_ready { self.store.ahead(&job).await? } else { 0 },
            now,
        };
        Ok(Explanation {
            causes: causes(&job, &scene),
            ahead: scene.ahead,
            wait: wait(&job, &scene),
        })
    }
}

/// What holds the job back, the most certain first.
fn causes(job: &Job, scene: &Scene) -> Vec<Cause> {
    let mut causes = match job.state {
        State::Scheduled => vec![Cause::new("SCHEDULED", "it waits for its time").until(job.at)],
        State::Retrying => vec![backoff(job)],
        State::Blocked => vec![blocked(job)],
        State::Leased => leased(job),
        State::Ready => ready(scene),
        State::Succeeded | State::Dead | State::Cancelled | State::Expired => vec![ended(job)],
    };
    if job.state.is_pending() {
        causes.extend(no_handler(job));
        causes.extend(job.spec.expires.map(|moment| {
            Cause::new("EXPIRES", "it is given up unless it is started before this").until(moment)
        }));
    }
    causes
}

fn backoff(job: &Job) -> Cause {
    let made = job.counters.attempts;
    let most = job.spec.retry.max_attempts;
    let of = most.map_or_else(String::new, |most| format!(" of {most}"));
    let message = format!("it waits for its next attempt after {made}{of}");
    let cause = Cause::new("BACKOFF", message).until(job.at).with("attempts", made.to_string());
    let code = job.details.last_failure.as_ref().map(|failure| failure.code.as_str());
    match code.filter(|code| !code.is_empty()) {
        Some(code) => cause.with("failureCode", code),
        None => cause,
    }
}

fn blocked(job: &Job) -> Cause {
    let cause = Cause::new("BLOCKED", "it runs after the job that holds its dedup key");
    match &job.spec.dedup {
        Some(dedup) => cause.with("dedupKey", dedup.key.as_str()),
        None => cause,
    }
}

fn leased(job: &Job) -> Vec<Cause> {
    let worker = job.lease.as_ref().map_or("", |lease| lease.worker.as_str());
    let held = Cause::new("LEASED", format!("worker {worker} runs it"));
    let mut causes = vec![held.until(job.at).with("workerId", worker)];
    if let Some(cancel) = &job.cancel {
        let message = "its worker was asked to stop, and loses it at this time";
        let cause = Cause::new("CANCEL_REQUESTED", message).until(cancel.by);
        causes.push(cause.with("reason", cancel.reason.as_str()));
    }
    causes
}

fn ended(job: &Job) -> Cause {
    match job.state {
        State::Succeeded => Cause::new("SUCCEEDED", "it is done"),
        State::Cancelled => Cause::new("CANCELLED", "it was cancelled"),
        State::Expired => Cause::new("EXPIRED", "it was not started in time"),
        _ => {
            let failure = job.details.last_failure.as_ref();
            let code = failure.map_or("", |failure| failure.code.as_str());
            let made = job.counters.attempts;
            let message = format!("it was given up after {made} attempts; RetryJob runs it again");
            Cause::new("DEAD", message).with("attempts", made.to_string()).with("failureCode", code)
        }
    }
}

/// What holds a ready job back.
fn ready(scene: &Scene) -> Vec<Cause> {
    let Scene { settings, survey, .. } = scene;
    let mut causes = Vec::new();
    if settings.paused {
        causes.push(Cause::new("PAUSED", "its queue is paused"));
    }
    let leased = survey.counts.leased;
    if let Some(most) = settings.max_leased.filter(|most| leased >= u64::from(*most)) {
        let message = format!("{leased} jobs of its queue are leased, of at most {most}");
        let cause = Cause::new("MAX_LEASED", message);
        causes.push(cause.with("leased", leased.to_string()).with("maxLeased", most.to_string()));
    }
    if let (Some(Gate::Limited { until }), Some(rate)) = (scene.gate, settings.rate_limit) {
        let (permits, period) = (rate.permits, rate.period);
        let message = format!("its queue gives out {permits} jobs per {period:?}");
        let cause = Cause::new("RATE_LIMIT", message).until(until);
        causes
            .push(cause.with("permits", permits.to_string()).with("period", format!("{period:?}")));
    }
    if scene.workers.is_empty() {
        causes.push(Cause::new("NO_WORKERS", "no worker has asked for jobs of its queue lately"));
    }
    if scene.ahead > 0 {
        let ahead = scene.ahead;
        let cause = Cause::new("QUEUED", format!("{ahead} jobs of its queue run before it"));
        causes.push(cause.with("jobsAhead", ahead.to_string()));
    }
    causes
}

/// The last worker that took it could not run it.
fn no_handler(job: &Job) -> Option<Cause> {
    let failure = job.details.last_failure.as_ref()?;
    (failure.code == Failure::NO_HANDLER).then(|| {
        let job_type = &job.spec.job_type;
        let message = format!("the last worker that took it has no handler for type {job_type:?}");
        Cause::new("NO_HANDLER", message).with("type", job_type.as_str())
    })
}

/// How long it will wait, as things are.
fn wait(job: &Job, scene: &Scene) -> Option<Duration> {
    let rate = Rates::of(scene.survey.minute).finished;
    match job.state {
        _ if scene.settings.paused => None,
        State::Ready => {
            let turn = if scene.ahead == 0 && idle(scene) {
                Some(Duration::ZERO)
            } else {
                // Those before it, and one of those that run now.
                time_for(scene.ahead.saturating_add(1), rate)
            }?;
            Some(match scene.gate {
                Some(Gate::Limited { until }) => turn.max(until.since(scene.now)),
                _ => turn,
            })
        }
        State::Scheduled | State::Retrying => {
            let rest = job.at.since(scene.now);
            // What is ready now may be done by then.
            let turn = match scene.survey.counts.ready {
                0 => Some(Duration::ZERO),
                ready => time_for(ready, rate),
            };
            turn.map(|turn| turn.max(rest))
        }
        _ => None,
    }
}

/// True when a worker is there that has nothing to do, as far as one can tell.
fn idle(scene: &Scene) -> bool {
    let slots: u64 =
        scene.workers.iter().map(|worker| u64::from(worker.profile.concurrency.max(1))).sum();
    scene.gate.is_none() && slots > scene.survey.counts.leased
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::queue::RateLimit;
    use crate::job::{Cancel, Lease, LeaseSecret, Spec, WorkerId};
    use crate::store::{Counts, Minute};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn job(state: State) -> Job {
        let spec = Spec { job_type: "welcome".to_owned(), ..Spec::default() };
        let name = JobName::parse("queues/mail/jobs/j").unwrap();
        Job { state, at: at(5000), ..Job::enqueued(name, spec) }
    }

    fn worker() -> Worker {
        Worker {
            id: WorkerId::parse("w").unwrap(),
            profile: super::super::workers::Profile::default(),
            queues: Vec::new(),
            last_seen: at(0),
            draining: false,
        }
    }

    fn scene() -> Scene {
        Scene {
            settings: QueueSettings::default(),
            survey: Survey::default(),
            workers: vec![worker()],
            gate: None,
            ahead: 0,
            now: at(1000),
        }
    }

    fn codes(job: &Job, scene: &Scene) -> Vec<&'static str> {
        causes(job, scene).iter().map(|cause| cause.code).collect()
    }

    #[test]
    fn a_ready_job_that_nothing_holds_back_has_no_cause() {
        assert_eq!(codes(&job(State::Ready), &scene()), [""; 0]);
        assert_eq!(wait(&job(State::Ready), &scene()), Some(Duration::ZERO));
    }

    #[test]
    fn every_gate_is_told() {
        let mut scene = scene();
        scene.settings.paused = true;
        scene.settings.max_leased = Some(2);
        scene.settings.rate_limit =
            Some(RateLimit { permits: 1, period: Duration::from_secs(9), burst: 1 });
        scene.survey.counts = Counts { leased: 2, ..Counts::default() };
        scene.gate = Some(Gate::Limited { until: at(9000) });
        scene.workers.clear();
        scene.ahead = 3;
        let told = causes(&job(State::Ready), &scene);
        let codes: Vec<&str> = told.iter().map(|cause| cause.code).collect();
        assert_eq!(codes, ["PAUSED", "MAX_LEASED", "RATE_LIMIT", "NO_WORKERS", "QUEUED"]);
        assert_eq!(told[2].clears_at, Some(at(9000)));
        assert_eq!(wait(&job(State::Ready), &scene), None);
    }

    #[test]
    fn every_state_is_explained() {
        for (state, code) in [
            (State::Scheduled, "SCHEDULED"),
            (State::Retrying, "BACKOFF"),
            (State::Blocked, "BLOCKED"),
            (State::Leased, "LEASED"),
            (State::Succeeded, "SUCCEEDED"),
            (State::Dead, "DEAD"),
            (State::Cancelled, "CANCELLED"),
            (State::Expired, "EXPIRED"),
        ] {
            assert_eq!(codes(&job(state), &scene()), [code]);
        }
        let mut leased = job(State::Leased);
        leased.lease = Some(Lease {
            secret: LeaseSecret(1),
            worker: WorkerId::parse("w").unwrap(),
            started: at(0),
            duration: Duration::from_secs(30),
        });
        leased.cancel = Some(Cancel { by: at(7000), reason: "wrong".to_owned() });
        let told = causes(&leased, &scene());
        assert_eq!(codes(&leased, &scene()), ["LEASED", "CANCEL_REQUESTED"]);
        assert_eq!((told[0].clears_at, told[1].clears_at), (Some(at(5000)), Some(at(7000))));
        let mut waiting = job(State::Retrying);
        waiting.spec_mut().expires = Some(at(8000));
        waiting.details_mut().last_failure =
            Some(Failure::found(Failure::NO_HANDLER, String::new()));
        assert_eq!(codes(&waiting, &scene()), ["BACKOFF", "NO_HANDLER", "EXPIRES"]);
    }

    #[test]
    fn the_wait_follows_from_the_rate() {
        let mut scene = scene();
        scene.ahead = 9;
        assert_eq!(wait(&job(State::Ready), &scene), None);
        scene.survey.minute = Minute { enqueued: 0, finished: 120 };
        assert_eq!(wait(&job(State::Ready), &scene), Some(Duration::from_secs(5)));
        assert_eq!(wait(&job(State::Scheduled), &scene), Some(Duration::from_secs(4)));
        scene.survey.counts.ready = 20;
        assert_eq!(wait(&job(State::Retrying), &scene), Some(Duration::from_secs(10)));
        assert_eq!(wait(&job(State::Dead), &scene), None);
    }
}

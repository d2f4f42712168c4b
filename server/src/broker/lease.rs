//! Lease: a worker asks for jobs and may wait for them.

use std::fmt;
use std::time::Duration;

use super::dispatch::Wish;
use super::workers::Profile;
use super::{Broker, Error, Result};
use crate::job::{Job, LeaseSecret, QueueName, RequestId, WorkerId};
use crate::store::Claim;

/// Which queues a worker serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QueuePattern {
    /// This one.
    Name(QueueName),
    /// All whose names begin so; empty: all.
    Prefix(String),
}

impl QueuePattern {
    /// Reads a name, a prefix such as `mail-*`, or `*`.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(prefix) = text.strip_suffix('*') else {
            return QueueName::parse(text).ok().map(Self::Name);
        };
        // Whatever begins a name is a name itself, so its rules are those of a prefix.
        let is_prefix = prefix.is_empty() || QueueName::parse(prefix).is_ok();
        is_prefix.then(|| Self::Prefix(prefix.to_owned()))
    }

    /// True when `queue` is meant.
    pub fn matches(&self, queue: &QueueName) -> bool {
        match self {
            Self::Name(name) => name == queue,
            Self::Prefix(prefix) => queue.as_str().starts_with(prefix),
        }
    }
}

impl fmt::Display for QueuePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// A worker's call.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// Where it takes jobs from; no queue starves another.
    pub queues: Vec<QueuePattern>,
    /// Who asks.
    pub worker: WorkerId,
    /// At most so many jobs.
    pub max_jobs: usize,
    /// At most so many bytes of records, but at least one job.
    pub max_bytes: usize,
    /// The visibility timeout; `None`: each job's own.
    pub lease_duration: Option<Duration>,
    /// How long to wait for the first job; zero: answer at once.
    pub wait: Duration,
    /// Repeating it while the leases live answers the same leases.
    pub request: Option<RequestId>,
    /// What the worker says about itself; `None`: what it said before.
    pub profile: Option<Profile>,
}

/// The answer to a worker's call.
#[derive(Clone, Debug, Default)]
pub struct Leased {
    /// The jobs, leased to the worker; may be empty.
    pub jobs: Vec<Job>,
    /// Empty because the broker is shutting down, or the worker shall lease no more.
    pub draining: bool,
}

impl Broker {
    /// Leases jobs, waiting for the first one if there is none. Dropping the future ends the wait;
    /// a job that was taken for it meanwhile goes back at once, uncounted.
    pub async fn lease(&self, request: LeaseRequest) -> Result<Leased> {
        let presence = self.workers.asks(&request.worker, request.profile, &request.queues);
        if self.is_draining() || self.workers.is_drained(&request.worker) {
            return Ok(Leased { draining: true, ..Leased::default() });
        }
        let wait = request.wait;
        let claim = Claim {
            worker: request.worker,
            limit: request.max_jobs,
            max_bytes: request.max_bytes,
            lease_duration: request.lease_duration,
            types: Vec::new(),
            secret: LeaseSecret(fastrand::u64(1..)),
            request: request.request,
        };
        let deadline = self.clock.now().after(wait);
        let queues = self.resolve(&request.queues).await?;
        let repeated = self.replay(&queues, &claim).await?;
        if !repeated.is_empty() {
            return Ok(Leased { jobs: repeated, draining: false });
        }
        let patterns = request.queues.into_iter();
        let patterns = patterns.filter(|one| matches!(one, QueuePattern::Prefix(_))).collect();
        let patient = !wait.is_zero();
        let mut answer = self.dispatcher.ask(Wish { queues, patterns, claim, patient })?;
        let timeout = async {
            if wait.is_zero() {
                std::future::pending::<()>().await;
            }
            self.clock.sleep_until(deadline).await;
        };
        let drained = tokio::select! {
            // Cancel-safe: an answer that is not taken here is taken below.
            leased = answer.receive() => return leased,
            () = timeout => false,
            () = presence.drained() => true,
        };
        answer.hurry();
        // A claim may be under way for this call: its jobs are worth a last moment.
        let leased = answer.receive().await?;
        Ok(Leased { draining: leased.draining || drained, ..leased })
    }

    /// The queues meant, each once, beginning anywhere: a fixed order would starve the last one.
    async fn resolve(&self, patterns: &[QueuePattern]) -> Result<Vec<QueueName>> {
        let mut queues = Vec::new();
        if patterns.iter().any(|one| matches!(one, QueuePattern::Prefix(_))) {
            let known = self.store.queues().await?;
            queues.extend(
                known
                    .into_iter()
                    .filter(|queue| patterns.iter().any(|pattern| pattern.matches(queue))),
            );
        }
        queues.extend(patterns.iter().filter_map(|pattern| match pattern {
            QueuePattern::Name(name) => Some(name.clone()),
            QueuePattern::Prefix(_) => None,
        }));
        queues.sort_unstable();
        queues.dedup();
        if !queues.is_empty() {
            let first = fastrand::usize(..queues.len());
            queues.rotate_left(first);
        }
        Ok(queues)
    }

    /// Leases that the same request made before and that still live. One queue needs no extra
    /// look: its claim replays by itself.
    async fn replay(&self, queues: &[QueueName], claim: &Claim) -> Result<Vec<Job>> {
        if claim.request.is_none() || queues.len() < 2 {
            return Ok(Vec::new());
        }
        let look = Claim { limit: 0, ..claim.clone() };
        let now = self.clock.now();
        let looks = queues.iter().map(|queue| self.store.claim(queue, vec![look.clone()], now));
        let mut jobs = Vec::new();
        for found in futures_util::future::join_all(looks).await {
            jobs.extend(found.map_err(Error::from)?.jobs.into_iter().flatten());
        }
        Ok(jobs)
    }
}

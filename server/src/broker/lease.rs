//! Lease: a worker asks for jobs and may wait for them.

use std::fmt;
use std::time::Duration;

use super::dispatch::{Linger, Route, Wish};
use super::workers::Profile;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;
use crate::job::id::OWN_QUEUES;
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

    /// All queues.
    pub fn all() -> Self {
        Self::Prefix(String::new())
    }

    /// True when `queue` is meant.
    pub fn matches(&self, queue: &QueueName) -> bool {
        match self {
            Self::Name(name) => name == queue,
            Self::Prefix(prefix) => queue.as_str().starts_with(prefix),
        }
    }

    /// True when a worker of these queues serves `queue`: one that takes any job gets none of the
    /// broker's own queues.
    pub fn serves(&self, queue: &QueueName) -> bool {
        let is_meant = match self {
            Self::Name(_) => true,
            Self::Prefix(prefix) => !queue.is_own() || prefix.starts_with(OWN_QUEUES),
        };
        is_meant && self.matches(queue)
    }

    /// True when all queues that `other` means are meant.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Name(queue)) => self.matches(queue),
            (Self::Prefix(prefix), Self::Prefix(longer)) => longer.starts_with(prefix),
            (Self::Name(_), Self::Prefix(_)) => false,
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
    /// Where it takes jobs from.
    pub queues: Vec<QueuePattern>,
    /// In which order it looks there.
    pub order: Order,
    /// Only jobs of these types; empty: of any.
    pub types: Vec<String>,
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
    /// Waits for more once there are some.
    pub linger: Option<Linger>,
    /// Repeating it while the leases live answers the same leases.
    pub request: Option<RequestId>,
    /// What the worker says about itself; `None`: what it said before.
    pub profile: Option<Profile>,
}

impl LeaseRequest {
    /// One job of any type, at once.
    pub fn new(queues: Vec<QueuePattern>, worker: WorkerId) -> Self {
        Self {
            queues,
            order: Order::Fair,
            types: Vec::new(),
            worker,
            max_jobs: 1,
            max_bytes: 3 << 20,
            lease_duration: None,
            wait: Duration::ZERO,
            linger: None,
            request: None,
            profile: None,
        }
    }
}

/// The answer to a worker's call.
#[derive(Clone, Debug, Default)]
pub struct Leased {
    /// The jobs, leased to the worker; may be empty.
    pub jobs: Vec<Job>,
    /// Why they are, then.
    pub empty: Empty,
}

/// Why a worker gets no job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Empty {
    /// There is none.
    #[default]
    NoJobs,
    /// All its queues are paused.
    Paused,
    /// As many jobs are leased as may be, or the rate is used up.
    Limited {
        /// Until this moment at least, if that is known.
        until: Option<Timestamp>,
    },
    /// The broker is shutting down, or the worker shall lease no more.
    Draining,
}

/// How a worker chooses between its queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By chance, so that none starves.
    #[default]
    Fair,
    /// In the order of the request.
    Strict,
    /// By chance, in proportion to these weights of the entries of the request.
    Weighted(Vec<u32>),
}

impl Broker {
    /// Leases jobs, waiting for the first one if there is none. Dropping the future ends the wait;
    /// a job that was taken for it meanwhile goes back at once, uncounted.
    pub async fn lease(&self, request: LeaseRequest) -> Result<Leased> {
        let presence = self.workers.asks(&request.worker, request.profile, &request.queues);
        if self.is_draining() || presence.is_drained() {
            return Ok(Leased { empty: Empty::Draining, ..Leased::default() });
        }
        let wait = request.wait;
        let mut types = request.types;
        types.sort_unstable();
        types.dedup();
        let claim = Claim {
            worker: request.worker,
            limit: request.max_jobs,
            max_bytes: request.max_bytes,
            lease_duration: request.lease_duration,
            types,
            secret: LeaseSecret(fastrand::u64(1..)),
            request: request.request,
        };
        let deadline = self.clock.now().after(wait);
        let route = self.resolve(&request.queues, request.order).await?;
        let repeated = self.replay(&route, &claim, request.linger).await?;
        if !repeated.is_empty() {
            return Ok(Leased { jobs: repeated, empty: Empty::NoJobs });
        }
        let patient = !wait.is_zero();
        let linger = request.linger;
        let mut answer = self.dispatcher.ask(Wish { route, claim, patient, linger })?;
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
        Ok(if drained { Leased { empty: Empty::Draining, ..leased } } else { leased })
    }

    /// The queues meant, and those that may come to be.
    pub(super) async fn resolve(&self, patterns: &[QueuePattern], order: Order) -> Result<Route> {
        // A queue that comes to be after the look is told to the dispatcher.
        let guest = self.dispatcher.guest();
        let has_prefix = patterns.iter().any(|one| matches!(one, QueuePattern::Prefix(_)));
        let known = if has_prefix { self.store.queues().await? } else { Vec::new() };
        Ok(Route::new(patterns, &known, order, guest))
    }

    /// Leases that the same request made before and that still live. One queue needs no extra
    /// look: its claim replays by itself, unless the request made several claims.
    async fn replay(
        &self,
        route: &Route,
        claim: &Claim,
        linger: Option<Linger>,
    ) -> Result<Vec<Job>> {
        let (Some(request), true) = (claim.request, route.queues().len() > 1 || linger.is_some())
        else {
            return Ok(Vec::new());
        };
        let mut look = Claim { limit: 0, request: Some(request), ..claim.clone() };
        let mut jobs = Vec::new();
        loop {
            let now = self.clock.now();
            let looks =
                route.queues().map(|queue| self.store.claim(queue, vec![look.clone()], now));
            let before = jobs.len();
            for found in futures_util::future::join_all(looks).await {
                jobs.extend(found.map_err(Error::from)?.jobs.into_iter().flatten());
            }
            if linger.is_none() || jobs.len() == before || jobs.len() >= claim.limit {
                return Ok(jobs);
            }
            look.request = look.request.map(|request| request.next());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_own_queues_are_served_by_those_who_say_so() {
        let queue = |name| QueueName::parse(name).unwrap();
        let serves = |pattern, name| QueuePattern::parse(pattern).unwrap().serves(&queue(name));
        for pattern in ["*", "l*", "lessor*"] {
            assert!(!serves(pattern, "lessor.sink.a"), "{pattern}");
            assert!(serves(pattern, "lessors"), "{pattern}");
        }
        for pattern in ["lessor.*", "lessor.sink.*", "lessor.sink.a"] {
            assert!(serves(pattern, "lessor.sink.a"), "{pattern}");
        }
        assert!(!serves("lessor.sink.b*", "lessor.sink.a"));
    }
}

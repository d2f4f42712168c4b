//! One queue with an endpoint, at one broker: leases its jobs and sends them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio_util::sync::CancellationToken;

use super::Sender;
use super::attempt::attempt;
use crate::broker::dispatch::Subscription;
use crate::broker::workers::{Presence, Profile};
use crate::clock::{Clock, Timestamp};
use crate::job::{Job, Push, QueueName, WorkerId};

/// Pause before the dispatcher is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// The longest that a whole queue waits because its endpoint asks for time; a job may wait longer.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// Longest id of a worker.
const ID_LIMIT: usize = 128;

/// Sends the jobs of one queue to one endpoint.
pub(super) struct Pusher {
    pub(super) sender: Arc<Sender>,
    pub(super) queue: QueueName,
    pub(super) push: Arc<Push>,
    /// No more jobs are leased.
    pub(super) leave: CancellationToken,
    /// What is under way is given back.
    pub(super) stop: CancellationToken,
}

type Attempts = FuturesUnordered<BoxFuture<'static, Option<Duration>>>;

impl Pusher {
    /// Sends until `leave`, and then finishes what is under way.
    pub(super) async fn run(self) {
        let mut attempts = Attempts::new();
        let mut post: Option<(Presence, Subscription)> = None;
        // The endpoint asked to be left alone until then.
        let mut rested = Timestamp::default();
        let clock = self.sender.broker.clock().clone();
        let most = usize::try_from(self.push.max_parallel).unwrap_or(usize::MAX);
        loop {
            let now = clock.now();
            if rested > now {
                post = None;
            } else if post.is_none() {
                post = self.subscribe(most.saturating_sub(attempts.len()));
            }
            let waits = post.is_none();
            tokio::select! {
                () = self.leave.cancelled() => break,
                // Both are cancel-safe: what is not taken stays where it is.
                Some(delay) = attempts.next() => match (delay, &post) {
                    (Some(delay), _) => {
                        let end = clock.now().after(delay.min(LONGEST_REST));
                        rested = rested.max(end);
                    }
                    (None, Some((_, subscription))) => subscription.credit(1),
                    (None, None) => {}
                },
                leased = next(&mut post) => match leased {
                    Ok(jobs) => attempts.extend(jobs.into_iter().map(|job| self.send(job))),
                    Err(()) => break,
                },
                () = clock.sleep_until(rested), if rested > now => {}
                () = Clock::pause(RETRY), if waits && rested <= now => {}
            }
        }
        drop(post);
        while attempts.next().await.is_some() {}
    }

    fn send(&self, job: Job) -> BoxFuture<'static, Option<Duration>> {
        let (sender, push) = (Arc::clone(&self.sender), Arc::clone(&self.push));
        Box::pin(attempt(sender, push, job, self.stop.clone()))
    }

    fn subscribe(&self, most: usize) -> Option<(Presence, Subscription)> {
        let worker = self.worker()?;
        let profile = Profile {
            display_name: "push".to_owned(),
            sdk: concat!("lessor/", env!("CARGO_PKG_VERSION")).to_owned(),
            concurrency: self.push.max_parallel,
            ..Profile::default()
        };
        self.sender.broker.serve_queue(&self.queue, &worker, profile, most).ok()
    }

    /// A worker of its own for each queue, so that what is told of workers is true of each.
    fn worker(&self) -> Option<WorkerId> {
        let mut id = format!("{}/{}", self.sender.name, self.queue);
        id.truncate(ID_LIMIT);
        WorkerId::parse(&id).ok()
    }
}

/// The next jobs; an error when there will be none. Waits for ever without a subscription.
async fn next(post: &mut Option<(Presence, Subscription)>) -> Result<Vec<Job>, ()> {
    let Some((presence, subscription)) = post else { return std::future::pending().await };
    tokio::select! {
        // Both are cancel-safe.
        leased = subscription.next() => leased.map(|leased| leased.jobs).map_err(|_| ()),
        () = presence.drained() => Err(()),
    }
}

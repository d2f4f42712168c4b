//! The beginning of a stream: what the worker holds already, and how often it must show itself.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::deliveries::Arrived;
use super::desk::{Move, Notes};
use super::held::Held;
use super::{Hello, Welcome};
use crate::broker::lease::QueuePattern;
use crate::broker::settle::Extend;
use crate::broker::{Broker, Error};
use crate::job::{DEFAULT_LEASE_DURATION, LeaseToken};
use crate::store::Extended;

/// A worker sends so many frames at least in the time of one lease.
pub(super) const PINGS: u32 = 3;

/// Takes the leases that the worker says to hold from its older stream, and looks at each.
pub(super) async fn greet(
    broker: &Broker,
    hello: &Hello,
    seq: u64,
    notes: &Arc<Notes>,
) -> (Welcome, Held) {
    let ping_interval = ping_interval(broker, hello).await;
    if let Some(older) = broker.desk.enter(&hello.worker, notes) {
        let (done, moved) = oneshot::channel();
        let held = hello.held.clone().into();
        older.write(|news| news.moved = Some(Move { held, done }));
        // An error means that it has ended by itself.
        let _ended = moved.await;
    }
    let mut held = Held::new(ping_interval);
    let looks = hello.held.iter().map(|token| look(broker, token, hello.auto_extend));
    let mut verdicts = Vec::with_capacity(hello.held.len());
    for (token, verdict) in hello.held.iter().zip(join_all(looks).await) {
        let remaining = verdict.map(|(arrived, remaining)| {
            held.insert(arrived);
            remaining
        });
        verdicts.push((token.clone(), remaining));
    }
    let session = format!("{:016x}", fastrand::u64(..));
    (Welcome { seq, session, ping_interval, held: verdicts }, held)
}

/// Whether a lease is held still, until when, and how long that is.
async fn look(broker: &Broker, token: &LeaseToken, extend: bool) -> Option<(Arrived, Duration)> {
    let until = if extend {
        match broker.extend(token.clone(), Extend::default()).await {
            Ok(extended) => Some(extended.until),
            Err(Error::LeaseLost { .. }) => return None,
            Err(_) => None,
        }
    } else {
        match broker.check(token).await {
            Ok(Extended::Held { until, .. }) => Some(until),
            Ok(Extended::Lost) => return None,
            Err(_) => None,
        }
    };
    let now = broker.clock().now();
    // The store does not answer: to drop the work would be a loss, to go on is safe.
    let until = until.unwrap_or_else(|| now.after(token.lease_duration));
    Some((Arrived { token: Arc::new(token.clone()), until }, until.since(now)))
}

/// A third of the visibility timeout: that of the stream, or else the shortest of its queues.
async fn ping_interval(broker: &Broker, hello: &Hello) -> Duration {
    if let Some(duration) = hello.lease_duration {
        return duration / PINGS;
    }
    let mut shortest = DEFAULT_LEASE_DURATION;
    for queue in &hello.queues {
        if let QueuePattern::Name(name) = queue
            && let Ok(settings) = broker.settings.of(name).await
        {
            shortest = shortest.min(settings.lease_duration.unwrap_or(DEFAULT_LEASE_DURATION));
        }
    }
    shortest / PINGS
}

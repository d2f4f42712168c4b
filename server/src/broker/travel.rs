//! Time travel: moves a manual clock through everything that falls due on the way.
//!
//! The tasks that sweep and fire run as ever; they may be first at any of it, since all of it is
//! guarded. But nothing is left to them: what is due at a moment is done before the clock goes on.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::sweep::sweep;
use super::{Broker, Error, Result};
use crate::clock::Timestamp;

/// Moments that one journey halts at.
const MOST_HALTS: usize = 100_000;

/// How often what is due at one moment is done; what one round does may make the next one needed.
const ROUNDS: usize = 1000;

/// Journeys that may wait for the one under way.
const BACKLOG: usize = 64;

/// The way in to the travelling task; cheap to clone.
#[derive(Clone)]
pub struct Traveller {
    journeys: mpsc::Sender<Journey>,
}

/// The task that travels, one journey after another.
pub struct Travelling {
    broker: Broker,
    journeys: mpsc::Receiver<Journey>,
}

struct Journey {
    span: Duration,
    arrived: oneshot::Sender<Result<Timestamp>>,
}

/// A travelling task for a broker with a manual clock, and the way in to it.
pub fn pair(broker: Broker) -> (Traveller, Travelling) {
    let (sender, journeys) = mpsc::channel(BACKLOG);
    (Traveller { journeys: sender }, Travelling { broker, journeys })
}

impl Traveller {
    /// Moves the clock by `span` and does all that falls due until then. Answers where the clock
    /// stands.
    pub async fn advance(&self, span: Duration) -> Result<Timestamp> {
        let (arrived, arrival) = oneshot::channel();
        let journey = Journey { span, arrived };
        self.journeys.send(journey).await.map_err(|_| Error::Draining)?;
        arrival.await.unwrap_or(Err(Error::Draining))
    }
}

impl Travelling {
    /// Travels until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let travelling = async {
            while let Some(Journey { span, arrived }) = self.journeys.recv().await {
                // Nobody need wait for the end.
                let _unread = arrived.send(self.travel(span).await);
            }
        };
        stop.run_until_cancelled(travelling).await;
    }

    async fn travel(&self, span: Duration) -> Result<Timestamp> {
        let clock = &self.broker.clock;
        let end = clock.now().after(span);
        for _ in 0..MOST_HALTS {
            let halt = self.do_due().await?.filter(|halt| *halt <= end);
            clock.advance(halt.unwrap_or(end).since(clock.now()));
            if halt.is_none() {
                break;
            }
        }
        Ok(clock.now())
    }

    /// Does all that is due now; answers when the next thing falls due.
    async fn do_due(&self) -> Result<Option<Timestamp>> {
        let now = self.broker.clock.now();
        for _ in 0..ROUNDS {
            let next = self.round().await?;
            if next.is_none_or(|next| next > now) {
                return Ok(next);
            }
        }
        Err(Error::Unavailable("what is due does not come to an end".to_owned()))
    }

    async fn round(&self) -> Result<Option<Timestamp>> {
        let Broker { store, clock, settings, dispatcher, .. } = &self.broker;
        let now = clock.now();
        for schedule in self.broker.schedules().await? {
            if schedule.next.is_some_and(|next| next <= now) {
                self.broker.fire_due(&schedule.id).await?;
            }
        }
        for queue in store.queues().await? {
            sweep(&**store, clock, settings, &queue).await?;
        }
        // A job that became ready is leased now, not at the next halt.
        dispatcher.rest().await?;
        let mut next = None;
        for queue in store.queues().await? {
            next = earliest(next, store.next_due(&queue).await?);
        }
        for schedule in self.broker.schedules().await? {
            next = earliest(next, schedule.next);
        }
        Ok(next)
    }
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests;

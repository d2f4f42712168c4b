//! The clockwork of schedules: fires what is due, on every broker, with no leader.
//!
//! A timer per schedule is armed for its next tick. All brokers fire at the same moment; the store
//! makes one job of it (see [`schedules`](super::schedules)).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::schedules::{Standing, read};
use super::{Broker, Error, Result};
use crate::clock::{Clock, Timestamp};
use crate::job::ScheduleId;
use crate::store::{Kind, Signal};

/// Schedules that fire at once.
const PARALLEL: usize = 16;

/// Shortest time between two looks at all schedules, so that changes which come together are seen
/// together.
const REST: Duration = Duration::from_millis(250);

/// All schedules are looked at again after this long, in case a signal was lost on its way.
const SAFETY_NET: Duration = Duration::from_mins(1);

/// Pause before a store that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// The task that fires schedules.
pub struct Ticking {
    broker: Broker,
    known: HashMap<ScheduleId, Known>,
    timers: BTreeSet<(Timestamp, ScheduleId)>,
    busy: HashSet<ScheduleId>,
    firing: FuturesUnordered<BoxFuture<'static, Fired>>,
}

/// What was last read of a schedule.
struct Known {
    revision: u64,
    next: Option<Timestamp>,
}

/// A schedule that was seen to.
struct Fired {
    id: ScheduleId,
    standing: Result<Option<Standing>>,
}

impl Ticking {
    /// The clockwork of all schedules of `broker`.
    pub(super) fn new(broker: Broker) -> Self {
        Self {
            broker,
            known: HashMap::new(),
            timers: BTreeSet::new(),
            busy: HashSet::new(),
            firing: FuturesUnordered::new(),
        }
    }

    /// Fires until `stop`. A tick under way is finished.
    pub async fn run(mut self, stop: CancellationToken) {
        let clock = self.broker.clock.clone();
        let mut signals = self.broker.store.signals();
        let mut net = clock.now().after(SAFETY_NET);
        // Something was changed, and it is not time yet to look what.
        let mut heard = true;
        let mut rest: Option<BoxFuture<'static, ()>> = None;
        loop {
            if heard && rest.is_none() {
                heard = self.look_at_all().await.is_err();
                rest = Some(Box::pin(Clock::pause(if heard { RETRY } else { REST })));
            }
            self.launch(&stop);
            let wake = self.timers.first().map_or(net, |(at, _)| net.min(*at));
            let full = self.firing.len() >= PARALLEL;
            tokio::select! {
                () = stop.cancelled() => break,
                // Cancel-safe: a signal is taken only when this branch wins.
                signal = signals.recv() => match signal {
                    Ok(Signal::Documents(Kind::Schedule) | Signal::Reset)
                    | Err(RecvError::Lagged(_)) => heard = true,
                    Ok(_) => {}
                    Err(RecvError::Closed) => break,
                },
                Some(fired) = self.firing.next() => self.finish(fired),
                // Cancel-safe: the pause stays where it was.
                () = async { if let Some(rest) = &mut rest { rest.await } }, if rest.is_some() => {
                    rest = None;
                }
                () = clock.sleep_until(wake), if !full => {
                    if clock.now() >= net {
                        net = clock.now().after(SAFETY_NET);
                        heard = true;
                    }
                }
            }
        }
        while self.firing.next().await.is_some() {}
    }

    /// Reads all schedules and arms those that were changed.
    async fn look_at_all(&mut self) -> Result<()> {
        let now = self.broker.clock.now();
        let documents = self.broker.store.documents(Kind::Schedule).await.map_err(Error::from);
        let documents =
            documents.inspect_err(|error| tracing::debug!(%error, "can't read the schedules"))?;
        let mut gone: HashSet<ScheduleId> = self.known.keys().cloned().collect();
        for document in documents {
            let Ok(id) = ScheduleId::parse(&document.key) else { continue };
            gone.remove(&id);
            let revision = document.revision;
            if self.known.get(&id).is_some_and(|known| known.revision == revision) {
                continue;
            }
            let next = match read(document, now) {
                Ok(standing) => standing.schedule.next,
                Err(error) => {
                    tracing::error!(%error, "a schedule does not fire");
                    None
                }
            };
            self.arm(id, Known { revision, next });
        }
        for id in gone {
            self.disarm(&id);
        }
        Ok(())
    }

    fn arm(&mut self, id: ScheduleId, known: Known) {
        self.disarm(&id);
        if let Some(next) = known.next
            && !self.busy.contains(&id)
        {
            self.timers.insert((next, id.clone()));
        }
        self.known.insert(id, known);
    }

    fn disarm(&mut self, id: &ScheduleId) -> Option<Known> {
        let known = self.known.remove(id)?;
        if let Some(next) = known.next {
            self.timers.remove(&(next, id.clone()));
        }
        Some(known)
    }

    /// Starts to fire the schedules that are due.
    fn launch(&mut self, stop: &CancellationToken) {
        let now = self.broker.clock.now();
        while self.firing.len() < PARALLEL
            && self.timers.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, id)) = self.timers.pop_first()
        {
            self.busy.insert(id.clone());
            let (broker, stop) = (self.broker.clone(), stop.clone());
            self.firing.push(Box::pin(async move {
                let standing = broker.fire_due(&id).await;
                if let Err(error) = &standing {
                    tracing::debug!(schedule = %id, %error, "can't fire; will try again");
                    stop.run_until_cancelled(Clock::pause(RETRY)).await;
                }
                Fired { id, standing }
            }));
        }
    }

    fn finish(&mut self, fired: Fired) {
        let Fired { id, standing } = fired;
        self.busy.remove(&id);
        let Some(known) = self.disarm(&id) else { return };
        match standing {
            // Unless a newer one was read meanwhile.
            Ok(Some(Standing { schedule, revision, .. })) if known.revision <= revision => {
                self.arm(id, Known { revision, next: schedule.next });
            }
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => self.arm(id, known),
        }
    }
}

//! What the sender of jobs to endpoints asks: which queues have one, and the jobs of such a queue.

use tokio::sync::broadcast::{self, error::RecvError};

use super::dispatch::{Route, Subscription, Wish};
use super::enqueue::NewJob;
use super::lease::{Order, QueuePattern};
use super::workers::{Presence, Profile};
use super::{Broker, Result};
use crate::job::{LeaseSecret, Open, Push, QueueName, RequestId, Spec, WorkerId};
use crate::store::{Claim, Kind, Put, Request, Signal};

/// Bytes of records that one claim takes at most, but at least one job.
const CLAIM_BYTES: usize = 3 << 20;

/// All requests of one event are the same one, whatever is read of it later.
const EVENT_DIGEST: u64 = 0;

/// Settings that are read at the same time.
const READS: usize = 32;

/// Changes of the settings of queues, from when this was made.
pub struct Changes(broadcast::Receiver<Signal>);

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The settings of this queue.
    Of(QueueName),
    /// Perhaps those of any queue.
    Any,
}

impl Changes {
    /// Waits for the next change; `None` once the store is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            match self.0.recv().await {
                Ok(Signal::Settings(queue)) => return Some(Change::Of(queue)),
                Ok(Signal::Reset) | Err(RecvError::Lagged(_)) => return Some(Change::Any),
                Ok(_) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Broker {
    /// Hears of changed settings from now on.
    pub fn changes(&self) -> Changes {
        Changes(self.store.signals())
    }

    /// The endpoint of a queue, if it has one.
    pub async fn push_of(&self, queue: &QueueName) -> Result<Option<Push>> {
        let settings = self.store.settings(queue).await?;
        Ok(settings.and_then(|settings| settings.push))
    }

    /// All queues that have an endpoint.
    pub async fn pushed(&self) -> Result<Vec<(QueueName, Push)>> {
        let mut pushed = Vec::new();
        for some in self.store.queues().await?.chunks(READS) {
            let endpoints = some.iter().map(|queue| self.push_of(queue));
            let endpoints = futures_util::future::try_join_all(endpoints).await?;
            let found = some.iter().zip(endpoints);
            pushed.extend(found.filter_map(|(queue, push)| Some((queue.clone(), push?))));
        }
        Ok(pushed)
    }

    /// Enqueues what tells of an event, once however often it is asked for.
    pub async fn enqueue_event(&self, queue: &QueueName, event: &str, spec: Spec) -> Result<()> {
        let id = RequestId::of_event(queue, event);
        let new = NewJob {
            request: Some(Request { id, digest: EVENT_DIGEST }),
            open: Open { retry: true, retention: true },
            ..NewJob::new(queue.clone(), spec)
        };
        self.enqueue(new).await.map(|_| ())
    }

    /// The cursor up to which the brokers have followed the events for a sink.
    pub async fn reached(&self, sink: &QueueName) -> Result<Option<String>> {
        let found = self.store.document(Kind::Sink, sink.as_str()).await?;
        Ok(found.map(|found| String::from_utf8_lossy(&found.body).into_owned()))
    }

    /// Notes the cursor of a sink. Brokers do so as they come: one that is behind makes others look
    /// at events again, of which each is enqueued once.
    pub async fn reach(&self, sink: &QueueName, cursor: &str) -> Result<()> {
        let body = Some(cursor.to_owned().into());
        let put = Put { key: sink.to_string(), expected: None, body };
        self.store.put_documents(Kind::Sink, vec![put]).await?;
        Ok(())
    }

    /// Serves a queue as `worker`: at first `most` jobs are allowed.
    pub fn serve_queue(
        &self,
        queue: &QueueName,
        worker: &WorkerId,
        profile: Profile,
        most: usize,
    ) -> Result<(Presence, Subscription)> {
        let queues = [QueuePattern::Name(queue.clone())];
        let presence = self.workers.asks(worker, Some(profile), &queues);
        let route = Route::new(&queues, &[], Order::Fair, self.dispatcher.guest());
        let claim = Claim {
            worker: worker.clone(),
            limit: most,
            max_bytes: CLAIM_BYTES,
            lease_duration: None,
            types: Vec::new(),
            secret: LeaseSecret(fastrand::u64(1..)),
            request: None,
        };
        let wish = Wish { route, claim, patient: true, linger: None };
        Ok((presence, self.dispatcher.subscribe(wish)?))
    }
}

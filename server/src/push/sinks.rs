//! Sinks: events of chosen types, sent to an HTTP endpoint.
//!
//! A sink is a queue with an endpoint, whose jobs are events. Each broker follows the log and
//! enqueues what the sink wants, as a request whose id follows from the event: so an event makes
//! one job however many brokers follow. How far they are is kept in the store, so that what happens
//! while no broker runs is sent later.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::broker::lease::QueuePattern;
use crate::broker::operate::Asked;
use crate::broker::watch::{WatchPage, WatchRequest, WatchStart, Watched};
use crate::broker::{Broker, Error, Result};
use crate::clock::Clock;
use crate::job::{EventKind, Payload, Push, QueueName, QueueSettings, RetryPolicy, Spec};

/// Pause before a store that failed is asked again.
const RETRY: Duration = Duration::from_millis(500);

/// Where events go.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// Its queue, one of the broker's own.
    pub queue: QueueName,
    /// Whose events; empty: those of all queues but the broker's own.
    pub queues: Vec<QueuePattern>,
    /// Which events.
    pub kinds: Vec<EventKind>,
    /// Where they are sent.
    pub push: Push,
}

/// Writes an event as it is sent: its type, and itself as JSON.
pub(crate) type Writer = Arc<dyn Fn(Watched) -> Option<(String, Bytes)> + Send + Sync>;

/// The task that turns events into jobs of sinks.
pub(crate) struct Sinking {
    pub(crate) broker: Broker,
    pub(crate) sinks: Vec<Sink>,
    pub(crate) writer: Writer,
}

impl Sinking {
    /// Follows the events until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(join_all(self.sinks.iter().map(|sink| self.serve(sink)))).await;
        // A broker that drains may end its watches before it is told to stop.
        stop.cancelled().await;
    }

    /// Follows the events for one sink until the broker drains.
    async fn serve(&self, sink: &Sink) {
        let mut start = None;
        loop {
            let Err(error) = self.follow(sink, start.take()).await;
            let name = &sink.queue;
            match error {
                Error::Draining => return,
                Error::CursorTrimmed { oldest } => {
                    tracing::warn!(sink = %name, "events are gone before they were sent");
                    start = Some(WatchStart::Cursor(oldest));
                }
                Error::StoreReset | Error::BadCursor => {
                    tracing::warn!(sink = %name, "the store is another one than before");
                    start = Some(WatchStart::Oldest);
                }
                error => {
                    tracing::debug!(sink = %name, %error, "can't follow the events");
                    Clock::pause(RETRY).await;
                }
            }
        }
    }

    /// Follows the events from `start`, or from where the brokers are.
    async fn follow(
        &self,
        sink: &Sink,
        start: Option<WatchStart>,
    ) -> Result<std::convert::Infallible> {
        // What happens once the sink's queue is there is sent.
        let begin = self.broker.clock().now();
        self.set_up(sink).await?;
        let start = match start {
            Some(start) => start,
            None => match self.broker.reached(&sink.queue).await? {
                Some(cursor) => WatchStart::Cursor(cursor),
                None => WatchStart::Time(begin),
            },
        };
        let request = WatchRequest {
            queues: sink.queues.clone(),
            kinds: sink.kinds.clone(),
            start,
            ..WatchRequest::default()
        };
        let mut watch = self.broker.watch(request).await?;
        let mut reached = String::new();
        loop {
            let Some(WatchPage { events, cursor }) = watch.next().await? else {
                return Err(Error::Draining);
            };
            for event in events {
                self.send(sink, event).await?;
            }
            if cursor != reached {
                self.broker.reach(&sink.queue, &cursor).await?;
                reached = cursor;
            }
        }
    }

    /// Gives the sink's queue its endpoint. What operators set besides stays.
    async fn set_up(&self, sink: &Sink) -> Result<()> {
        let asked = Asked { reason: "the settings name this sink".to_owned(), ..Asked::default() };
        let change = |settings: &mut QueueSettings| settings.push = Some(sink.push.clone());
        self.broker.update_queue(&sink.queue, &asked, change).await.map(|_| ())
    }

    /// Enqueues an event; waits while there is no room for it.
    async fn send(&self, sink: &Sink, watched: Watched) -> Result<()> {
        // Else what becomes of one event would be the next one.
        if watched.event.queue.is_own() {
            return Ok(());
        }
        let id = watched.id.clone();
        let trace_context = watched.event.trace_context.clone();
        let Some((job_type, data)) = (self.writer)(watched) else { return Ok(()) };
        let content_type = "application/json".to_owned();
        let spec = Spec {
            job_type,
            payload: Some(Payload { data, content_type, ..Payload::default() }),
            trace_context,
            retry: retry(),
            ..Spec::default()
        };
        loop {
            match self.broker.enqueue_event(&sink.queue, &id, spec.clone()).await {
                Err(Error::QueueFull { .. } | Error::StoreFull(_) | Error::Overloaded) => {
                    Clock::pause(RETRY).await;
                }
                Err(error @ (Error::Unavailable(_) | Error::Draining)) => return Err(error),
                Err(error) => {
                    tracing::warn!(sink = %sink.queue, %error, "an event is not sent");
                    return Ok(());
                }
                Ok(()) => return Ok(()),
            }
        }
    }
}

/// How patiently an event is sent, unless the settings of the sink's queue say otherwise: for about
/// five hours.
fn retry() -> RetryPolicy {
    RetryPolicy {
        max_attempts: Some(12),
        initial_backoff: Duration::from_secs(5),
        multiplier: 3.0,
        ..RetryPolicy::default()
    }
}

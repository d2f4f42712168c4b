//! `WatchEvents`: pages of the broker's watch as a stream.
//!
//! Pull-driven: the next page is read when the client has room for it, so a slow watcher costs no
//! memory and catches up from its cursor.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream::unfold;
use lessor_proto::v1;
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::auth::Access;
use super::convert::lease::REPLY_LIMIT;
use super::convert::watch::{Watching, proto_event, watch};
use super::status::{Fault, Reason};
use crate::broker::Broker;
use crate::broker::watch::{Watch, WatchPage, WatchStart};
use crate::clock::Clock;
use crate::telemetry::metrics::Metrics;

/// Streams open at once.
const MOST_STREAMS: usize = 4096;

/// What `WatchEvents` answers.
pub(super) type EventStream =
    Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

/// The open streams.
pub(super) struct Events {
    broker: Broker,
    metrics: Metrics,
    streams: Arc<Semaphore>,
}

impl Events {
    pub(super) fn new(broker: Broker, metrics: Metrics) -> Self {
        Self { broker, metrics, streams: Arc::new(Semaphore::new(MOST_STREAMS)) }
    }

    /// Opens a stream. A cursor that can't be resumed fails here, before the stream begins.
    pub(super) async fn watch(
        &self,
        request: v1::WatchEventsRequest,
        access: &Access,
    ) -> Result<EventStream, Fault> {
        let Watching { mut request, muted } = watch(request)?;
        match &request.job {
            Some(job) => access.job(&self.broker, job).await?,
            None if request.queues.is_empty() => request.queues = access.watched()?,
            None => access.queues(&request.queues)?,
        }
        let permit = Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| Fault::new(Reason::TooManyStreams, "too many event streams are open"))?;
        let cursor = match &request.start {
            WatchStart::Cursor(cursor) => cursor.clone(),
            WatchStart::Now | WatchStart::Oldest | WatchStart::Time(_) => String::new(),
        };
        let watch = self.broker.watch(request).await?;
        let (clock, metrics) = (self.broker.clock().clone(), self.metrics.clone());
        let split = VecDeque::new();
        let session = Session { watch, clock, metrics, muted, cursor, split, _permit: permit };
        Ok(Box::pin(unfold(Some(session), |session| async move {
            let mut session = session?;
            match session.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(session))),
                Ok(None) => None,
                // A failure is the last word of a stream.
                Err(fault) => Some((Err(fault.into()), None)),
            }
        })))
    }
}

/// One open stream.
struct Session {
    watch: Watch,
    clock: Clock,
    metrics: Metrics,
    muted: bool,
    /// Where the page before the present one ended.
    cursor: String,
    /// The rest of a page that is too large for one response.
    split: VecDeque<v1::WatchEventsResponse>,
    _permit: OwnedSemaphorePermit,
}

impl Session {
    /// The next response; `None` when the job that is watched has ended.
    async fn next(&mut self) -> Result<Option<v1::WatchEventsResponse>, Fault> {
        loop {
            if let Some(response) = self.split.pop_front() {
                return Ok(Some(response));
            }
            let Some(page) = self.watch.next().await? else { return Ok(None) };
            self.take(page);
        }
    }

    fn take(&mut self, page: WatchPage) {
        let WatchPage { events, cursor } = page;
        if let Some(oldest) = events.iter().map(|event| event.event.at).min() {
            self.metrics.lagged(self.clock.now().since(oldest));
        }
        let before = std::mem::replace(&mut self.cursor, cursor.clone());
        let events = if self.muted { Vec::new() } else { events };
        self.split = split(events.into_iter().map(proto_event), &before, cursor);
    }
}

/// Puts events into as few responses as their size allows. Only the last one moves the cursor: a
/// watcher that resumes in the middle of a page gets the page again, for it has no cursor inside.
fn split(
    events: impl Iterator<Item = v1::Event>,
    before: &str,
    cursor: String,
) -> VecDeque<v1::WatchEventsResponse> {
    let mut responses = VecDeque::new();
    let (mut part, mut size) = (Vec::new(), 0);
    for event in events {
        // Tag and length of the entry come on top, and the cursor.
        let more = event.encoded_len() + 8;
        if size + more > REPLY_LIMIT - cursor.len().max(before.len()) && !part.is_empty() {
            let events = std::mem::take(&mut part);
            responses.push_back(v1::WatchEventsResponse { events, cursor: before.to_owned() });
            size = 0;
        }
        size += more;
        part.push(event);
    }
    responses.push_back(v1::WatchEventsResponse { events: part, cursor });
    responses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u32, bytes: usize) -> v1::Event {
        v1::Event { id: id.to_string(), reason: "x".repeat(bytes), ..v1::Event::default() }
    }

    #[test]
    fn a_large_page_is_split_and_only_its_end_moves_the_cursor() {
        let events = (0..7).map(|id| event(id, 1 << 20));
        let responses = split(events, "before", "after".to_owned());
        let cursors: Vec<&str> = responses.iter().map(|one| one.cursor.as_str()).collect();
        assert_eq!(cursors, ["before", "before", "before", "after"]);
        let ids: Vec<String> =
            responses.iter().flat_map(|one| &one.events).map(|event| event.id.clone()).collect();
        assert_eq!(ids, ["0", "1", "2", "3", "4", "5", "6"]);
        for response in responses {
            assert!(response.encoded_len() <= REPLY_LIMIT);
        }
    }

    #[test]
    fn a_page_without_events_is_a_bookmark() {
        let responses = split(std::iter::empty(), "before", "after".to_owned());
        assert_eq!(responses.len(), 1);
        assert_eq!((responses[0].events.len(), responses[0].cursor.as_str()), (0, "after"));
    }
}

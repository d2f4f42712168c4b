//! Watching: what happens to jobs, as it happens, from now or from a cursor on.

#![expect(clippy::disallowed_methods, reason = "a reconnect's pause is the client's own")]

use std::time::{Duration, SystemTime};

use futures_util::{Stream, stream};
use lessor_proto::v1::event::Type;
use lessor_proto::v1::watch_events_request::Start;
use lessor_proto::v1::{WatchEventsRequest, WatchEventsResponse};
use tokio::time::Instant;
use tonic::Streaming;

use crate::pause::Pauses;
use crate::{Client, Result, connect, span};

impl Client {
    /// Begins to watch. Fails when the broker refuses, or cannot be reached in a few tries.
    pub async fn watch(&self, options: WatchOptions) -> Result<Watch> {
        let WatchOptions { request, resume } = options;
        let deadline = Instant::now() + self.timeout();
        let pages = connect::persist(deadline, || self.open_watch(&request)).await?;
        Ok(Watch {
            client: self.clone(),
            request,
            resume,
            pauses: Pauses::new(),
            state: State::Open(pages),
        })
    }

    async fn open_watch(&self, request: &WatchEventsRequest) -> Result<Pages> {
        let pages = self
            .open(request.clone(), |mut broker, request| async move {
                broker.watch_events(request).await
            })
            .await?;
        Ok(Box::new(pages))
    }
}

/// A watch that goes on: pages of events, in the order in which they happened in each queue.
///
/// Each page carries the cursor after it; a page without events is a sign of life. An event may
/// come twice after a break, with the same id, but none is left out.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    request: WatchEventsRequest,
    resume: bool,
    pauses: Pauses,
    state: State,
}

type Pages = Box<Streaming<WatchEventsResponse>>;

#[derive(Debug)]
enum State {
    Open(Pages),
    Cut,
    Ended,
}

impl Watch {
    /// The next page, or `None` when the watch is over: the broker ended it, or an error was
    /// returned.
    ///
    /// May be dropped while it waits: no page is lost.
    pub async fn next(&mut self) -> Option<Result<WatchEventsResponse>> {
        loop {
            let outcome = match &mut self.state {
                State::Ended => return None,
                State::Cut => match self.client.open_watch(&self.request).await {
                    Ok(pages) => {
                        self.state = State::Open(pages);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                State::Open(pages) => {
                    pages.message().await.map_err(|status| self.client.error(&status))
                }
            };
            match outcome {
                Ok(Some(page)) => {
                    self.note(&page);
                    return Some(Ok(page));
                }
                Ok(None) => {
                    self.state = State::Ended;
                    return None;
                }
                Err(error) if self.resume && error.is_unavailable() => {
                    self.state = State::Cut;
                    tokio::time::sleep(self.pauses.next(&error)).await;
                }
                Err(error) => {
                    self.state = State::Ended;
                    return Some(Err(error));
                }
            }
        }
    }

    /// The cursor after the last page: [`WatchOptions::cursor`] goes on from there.
    pub fn cursor(&self) -> Option<&str> {
        match &self.request.start {
            Some(Start::Cursor(cursor)) => Some(cursor),
            _ => None,
        }
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchEventsResponse>> + Send + 'static {
        stream::unfold(
            self,
            |mut watch| async move { watch.next().await.map(|page| (page, watch)) },
        )
    }

    /// A page came: go on after it, and be quick again after the next break.
    fn note(&mut self, page: &WatchEventsResponse) {
        self.pauses = Pauses::new();
        if !page.cursor.is_empty() {
            self.request.start = Some(Start::Cursor(page.cursor.clone()));
        }
    }
}

/// What to watch, and from where on.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "options do nothing until `watch`"]
pub struct WatchOptions {
    request: WatchEventsRequest,
    resume: bool,
}

impl WatchOptions {
    /// Everything that happens in these queues from now on. A queue may be a name, a prefix such
    /// as `mail-*`, or `*` for all.
    pub fn queues<S: Into<String>>(queues: impl IntoIterator<Item = S>) -> Self {
        let queues = queues.into_iter().map(Into::into).collect();
        WatchEventsRequest { queues, ..WatchEventsRequest::default() }.into()
    }

    /// One job: its current state comes first, and the watch ends after its terminal event. The
    /// name is `queues/{queue}/jobs/{job}`.
    pub fn job(name: impl Into<String>) -> Self {
        WatchEventsRequest { job: name.into(), ..WatchEventsRequest::default() }.into()
    }

    /// Only events of these types.
    pub fn types(mut self, types: impl IntoIterator<Item = Type>) -> Self {
        self.request.types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Only events of jobs with this label, beside the other labels asked for.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.insert(key.into(), value.into());
        self
    }

    /// Go on strictly after this cursor of an earlier page.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.request.start = Some(Start::Cursor(cursor.into()));
        self
    }

    /// Begin with what happened at this time.
    pub fn since(mut self, time: SystemTime) -> Self {
        self.request.start = Some(Start::StartTime(time.into()));
        self
    }

    /// Begin with the oldest event that is kept.
    pub fn oldest(mut self) -> Self {
        self.request.start = Some(Start::Oldest(true));
        self
    }

    /// How often an empty page comes when nothing happens. Default 15 s.
    pub fn bookmark_interval(mut self, interval: Duration) -> Self {
        self.request.bookmark_interval = Some(span::to_wire(interval));
        self
    }

    /// Send the result along when a job succeeds.
    pub fn include_result(mut self) -> Self {
        self.request.include_result = true;
        self
    }

    /// Whether a watch that is cut off is opened again after its last page, for as long as it
    /// takes. Default true; otherwise the break is an error.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }
}

/// A request of one's own making, for what the builder has no method for.
impl From<WatchEventsRequest> for WatchOptions {
    fn from(request: WatchEventsRequest) -> Self {
        Self { request, resume: true }
    }
}

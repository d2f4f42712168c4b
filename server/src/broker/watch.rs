//! Watching events: a cursor over the logs of several queues, followed as they grow.
//!
//! Pull-driven: a watcher that reads slowly is simply not read to, and goes on from its cursor.

mod cursor;
mod fill;
mod one;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use self::cursor::{Cursor, Reached};
use self::fill::Filler;
use self::one::OneJob;
pub use self::one::PRESENT;
use super::lease::QueuePattern;
use super::{Broker, Error, Result};
use crate::clock::{Clock, Timestamp};
use crate::job::{Event, EventKind, JobName, Payload, QueueName};
use crate::store::{Entry, Following, LogStart, Position, Signal, Store};

/// Log entries read from one queue at once.
const ENTRIES: usize = 16;

/// Events of one page at most.
const PAGE: usize = 512;

/// The longest silence of a watch that names none.
pub const USUAL_BOOKMARK: Duration = Duration::from_secs(15);

/// Bytes of results in one page at most, but for the last one.
const RESULT_BYTES: usize = 2 * 1024 * 1024;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub struct WatchRequest {
    /// Which queues; empty: all.
    pub queues: Vec<QueuePattern>,
    /// Only this job, whose present state comes first, and until it ends. `queues` is not used
    /// then, and `start` is [`WatchStart::Now`] or a cursor.
    pub job: Option<JobName>,
    /// Only jobs with all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Which kinds of events; empty: all.
    pub kinds: Vec<EventKind>,
    /// Where to begin.
    pub start: WatchStart,
    /// A page without events is sent after so long without one; zero: after [`USUAL_BOOKMARK`].
    pub bookmark_interval: Duration,
    /// Read the job's result for each [`EventKind::Succeeded`].
    pub with_results: bool,
}

/// Where to begin watching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WatchStart {
    /// With what happens from now on.
    #[default]
    Now,
    /// With the oldest event kept.
    Oldest,
    /// With the first event at or after this moment.
    Time(Timestamp),
    /// Strictly after this cursor.
    Cursor(String),
}

/// Events and the cursor behind them.
#[derive(Clone, Debug)]
pub struct WatchPage {
    /// In order per queue; empty: a bookmark.
    pub events: Vec<Watched>,
    /// Resume here.
    pub cursor: String,
}

/// One event as a watcher sees it.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Unique, the same in every watch: by it a repeated event is known.
    pub id: String,
    /// The event.
    pub event: Event,
    /// The job's result, when asked for and still kept.
    pub result: Option<Payload>,
}

/// A watch under way.
pub struct Watch {
    store: Arc<dyn Store>,
    clock: Clock,
    request: WatchRequest,
    draining: CancellationToken,
    signals: broadcast::Receiver<Signal>,
    _following: Following,
    epoch: String,
    reached: BTreeMap<QueueName, Reached>,
    /// Queues that may have more to read.
    unread: BTreeSet<QueueName>,
    filler: Filler,
    /// The one job that is watched.
    one: Option<OneJob>,
    /// The first page was given.
    begun: bool,
}

impl Broker {
    /// Begins a watch; fails when the cursor can't be resumed.
    pub async fn watch(&self, request: WatchRequest) -> Result<Watch> {
        let signals = self.store.signals();
        let following = self.store.follow().await;
        let epoch = self.store.epoch().await?;
        let cursor = match &request.start {
            WatchStart::Cursor(text) => Some(Cursor::parse(text)?),
            _ => None,
        };
        if cursor.as_ref().is_some_and(|cursor| cursor.epoch != epoch) {
            return Err(Error::StoreReset);
        }
        let mut watch = Watch {
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            request,
            draining: self.draining.clone(),
            signals,
            _following: following,
            epoch,
            reached: cursor.map(|cursor| cursor.queues).unwrap_or_default(),
            unread: BTreeSet::new(),
            filler: Filler::default(),
            one: None,
            begun: false,
        };
        watch.check_cursor().await?;
        if let Some(job) = watch.request.job.clone() {
            watch.request.queues = vec![QueuePattern::Name(job.queue.clone())];
            watch.join(&job.queue, true).await?;
            watch.look(job).await?;
            return Ok(watch);
        }
        for queue in watch.store.queues().await? {
            watch.join(&queue, true).await?;
        }
        Ok(watch)
    }
}

impl Broker {
    /// A cursor behind all that has happened in a queue.
    pub(super) async fn event_cursor(&self, queue: &QueueName) -> Result<String> {
        let start = LogStart::After(self.store.log_end(queue).await?);
        let queues = [(queue.clone(), Reached { start, skip: 0 })].into();
        Ok(Cursor { epoch: self.store.epoch().await?, queues }.to_string())
    }
}

impl Watch {
    /// The next page, after at most the bookmark interval; `None` when the one job that is watched
    /// has ended. When the broker drains it fails with [`Error::Draining`]. The
    /// first page comes at once, a bookmark if need be: with its cursor a watch that is cut before
    /// the first event misses nothing.
    pub async fn next(&mut self) -> Result<Option<WatchPage>> {
        if self.is_over() {
            return Ok(None);
        }
        let interval = Some(self.request.bookmark_interval).filter(|span| !span.is_zero());
        let bookmark_at = self.clock.now().after(interval.unwrap_or(USUAL_BOOKMARK));
        let is_first = !std::mem::replace(&mut self.begun, true);
        loop {
            let mut events: Vec<Watched> = self.present().into_iter().collect();
            if !self.is_over() {
                events.extend(self.read().await?);
            }
            if is_first && events.is_empty() {
                events = self.check_end().await?;
            }
            if is_first || !events.is_empty() || self.is_over() {
                return Ok(Some(WatchPage { events, cursor: self.cursor() }));
            }
            let clock = self.clock.clone();
            tokio::select! {
                () = self.draining.cancelled() => return Err(Error::Draining),
                () = clock.sleep_until(bookmark_at) => {
                    let events = self.check_end().await?;
                    return Ok(Some(WatchPage { events, cursor: self.cursor() }));
                }
                // Cancel-safe: a signal is taken only when this branch wins.
                signal = self.signals.recv() => self.hear(signal).await?,
            }
        }
    }

    async fn hear(&mut self, signal: std::result::Result<Signal, RecvError>) -> Result<()> {
        match signal {
            Ok(Signal::Logged(queue)) => self.join(&queue, false).await?,
            Ok(Signal::Reset) | Err(RecvError::Lagged(_)) => {
                if self.store.epoch().await? != self.epoch {
                    return Err(Error::StoreReset);
                }
                for queue in self.store.queues().await? {
                    self.join(&queue, false).await?;
                }
            }
            Ok(_) => {}
            Err(RecvError::Closed) => return Err(Error::Draining),
        }
        Ok(())
    }

    /// Sees to it that `queue` is read, if it is meant. One that was there when the watch began is
    /// read from where the watch begins; a later one from its first event.
    async fn join(&mut self, queue: &QueueName, at_start: bool) -> Result<()> {
        let patterns = &self.request.queues;
        if !patterns.is_empty() && !patterns.iter().any(|pattern| pattern.matches(queue)) {
            return Ok(());
        }
        if !self.reached.contains_key(queue) {
            let start = match self.request.start {
                WatchStart::Now if at_start => LogStart::After(self.store.log_end(queue).await?),
                WatchStart::Time(moment) => LogStart::Time(moment),
                _ => LogStart::Oldest,
            };
            self.reached.insert(queue.clone(), Reached { start, skip: 0 });
        }
        self.unread.insert(queue.clone());
        Ok(())
    }

    /// A cursor whose next entries are gone can't be resumed: better said than a silent hole.
    async fn check_cursor(&self) -> Result<()> {
        for (queue, reached) in &self.reached {
            let LogStart::After(position) = reached.start else { continue };
            let end = self.store.log_end(queue).await?;
            if end.number < position.number {
                return Err(Error::StoreReset);
            }
            let next = self.store.log(queue, reached.start, 1).await?;
            if next.is_empty() && end.number > position.number {
                return Err(self.trimmed(queue).await?);
            }
        }
        Ok(())
    }

    /// Up to a page of events of the queues that may have some.
    async fn read(&mut self) -> Result<Vec<Watched>> {
        let mut page = Vec::new();
        let mut bytes = 0;
        while page.len() < PAGE
            && bytes < RESULT_BYTES
            && let Some(queue) = self.unread.first().cloned()
        {
            let Some(reached) = self.reached.get(&queue).copied() else {
                self.unread.remove(&queue);
                continue;
            };
            let entries = self.store.log(&queue, reached.start, ENTRIES).await?;
            if let (LogStart::After(position), Some(next)) = (reached.start, entries.first())
                && next.position.number != position.number + 1
            {
                // Entries are numbered in order; those of a store that lost its data begin again.
                if next.position.number <= position.number {
                    return Err(Error::StoreReset);
                }
                return Err(self.trimmed(&queue).await?);
            }
            if entries.len() < ENTRIES {
                self.unread.remove(&queue);
            }
            for entry in entries {
                if !self.read_entry(&queue, entry, &mut page, &mut bytes).await? {
                    self.unread.insert(queue);
                    return Ok(page);
                }
            }
        }
        Ok(page)
    }

    /// Adds the events of one entry; false when the page was full before its end.
    async fn read_entry(
        &mut self,
        queue: &QueueName,
        entry: Entry,
        page: &mut Vec<Watched>,
        bytes: &mut usize,
    ) -> Result<bool> {
        let skip = self.reached.get(queue).map_or(0, |reached| reached.skip);
        let (millis, sequence) = entry.position.entry;
        let events = entry.events.into_iter().flat_map(Event::unfold);
        for (index, mut event) in events.enumerate().skip(skip) {
            let mut meant =
                self.request.kinds.is_empty() || self.request.kinds.contains(&event.kind);
            if let Some(one) = &self.one {
                if !one.is_meant(&event) {
                    continue;
                }
                meant &= !one.is_over();
            }
            if meant && (page.len() >= PAGE || *bytes >= RESULT_BYTES) {
                if let Some(reached) = self.reached.get_mut(queue) {
                    reached.skip = index;
                }
                return Ok(false);
            }
            self.filler.learn(&event);
            if meant {
                let with_result = self.request.with_results && event.kind == EventKind::Succeeded;
                let result = self.filler.fill(&*self.store, &mut event, with_result).await?;
                if let Some(one) = &mut self.one {
                    one.follow(&event);
                }
                if !self.request.means(&event) {
                    continue;
                }
                *bytes += result.as_ref().map_or(0, |result| result.data.len());
                let id = format!("{queue}/{millis}-{sequence}/{index}");
                page.push(Watched { id, event, result });
            } else {
                self.filler.pass(&event);
                if let Some(one) = &mut self.one {
                    one.follow(&event);
                }
            }
        }
        let after = Reached { start: LogStart::After(entry.position), skip: 0 };
        self.reached.insert(queue.clone(), after);
        Ok(true)
    }

    fn cursor(&self) -> String {
        Cursor { epoch: self.epoch.clone(), queues: self.reached.clone() }.to_string()
    }

    /// The error of a cursor behind which events of `queue` are gone.
    async fn trimmed(&self, queue: &QueueName) -> Result<Error> {
        let oldest = self.store.log(queue, LogStart::Oldest, 1).await?;
        let mut queues = self.reached.clone();
        let position = match oldest.first() {
            // Just before the oldest entry that is left.
            Some(entry) => Position {
                entry: before(entry.position.entry),
                number: entry.position.number.saturating_sub(1),
            },
            None => self.store.log_end(queue).await?,
        };
        queues.insert(queue.clone(), Reached { start: LogStart::After(position), skip: 0 });
        let oldest = Cursor { epoch: self.epoch.clone(), queues }.to_string();
        Ok(Error::CursorTrimmed { oldest })
    }
}

fn before((high, low): (u64, u64)) -> (u64, u64) {
    match (high, low) {
        (high, low) if low > 0 => (high, low - 1),
        (high, _) => (high.saturating_sub(1), u64::MAX),
    }
}

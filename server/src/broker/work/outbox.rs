//! What a worker is told, on its way from the stream's task to the wire.
//!
//! The task never waits for the wire: it puts in all that is ready and looks how much has not left
//! yet. The wire takes all there is in one go, so that it leaves together.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Reply;
use crate::broker::Error;

/// So many replies may wait for the wire before the worker is read no more.
pub(super) const ENOUGH: usize = 1024;

/// How a stream ends.
#[derive(Debug)]
pub enum End<W> {
    /// In good order.
    Done,
    /// The broker can't go on with it.
    Failed(Error),
    /// What the worker sent can't be understood.
    Refused(W),
    /// Its task is gone: a bug.
    Died,
}

/// The task's end.
pub(super) struct Outbox<W>(Arc<Shared<W>>);

/// The wire's end: what the worker is told, until the end of the stream.
pub struct Outlet<W> {
    shared: Arc<Shared<W>>,
    /// Taken, and not given out yet.
    taken: VecDeque<Reply<W>>,
}

struct Shared<W> {
    state: Mutex<State<W>>,
    reader: AtomicWaker,
    /// Rings for the task: there is room again, or nobody reads any more.
    writer: Notify,
}

struct State<W> {
    queue: VecDeque<Reply<W>>,
    end: Option<End<W>>,
    closed: bool,
}

/// The two ends.
pub(super) fn pair<W>() -> (Outbox<W>, Outlet<W>) {
    let state = State { queue: VecDeque::new(), end: None, closed: false };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        reader: AtomicWaker::new(),
        writer: Notify::new(),
    });
    (Outbox(Arc::clone(&shared)), Outlet { shared, taken: VecDeque::new() })
}

impl<W> Outbox<W> {
    /// Puts in all of `replies`.
    pub(super) fn put(&self, replies: &mut Vec<Reply<W>>) {
        if replies.is_empty() {
            return;
        }
        {
            let mut state = self.0.state.lock();
            if state.closed {
                replies.clear();
                return;
            }
            state.queue.extend(replies.drain(..));
        }
        self.0.reader.wake();
    }

    /// How many replies wait for the wire; `None` when nobody reads them any more.
    pub(super) fn waiting(&self) -> Option<usize> {
        let state = self.0.state.lock();
        (!state.closed).then_some(state.queue.len())
    }

    /// Returns when there may be room again, or nobody reads any more. Cancel-safe: a ring that
    /// nobody waits for is kept.
    pub(super) async fn stirs(&self) {
        self.0.writer.notified().await;
    }

    /// The stream ends so.
    pub(super) fn end(self, end: End<W>) {
        self.0.state.lock().end = Some(end);
    }
}

impl<W> Drop for Outbox<W> {
    fn drop(&mut self) {
        self.0.state.lock().end.get_or_insert(End::Died);
        self.0.reader.wake();
    }
}

impl<W: Unpin> Stream for Outlet<W> {
    type Item = Result<Reply<W>, End<W>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(reply) = self.taken.pop_front() {
            return Poll::Ready(Some(Ok(reply)));
        }
        // Registered before looking, so that nothing falls between the two.
        self.shared.reader.register(context.waker());
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        if state.queue.is_empty() {
            return match state.end.take() {
                Some(End::Done) => {
                    state.end = Some(End::Done);
                    Poll::Ready(None)
                }
                Some(end) => {
                    state.end = Some(End::Done);
                    Poll::Ready(Some(Err(end)))
                }
                None => Poll::Pending,
            };
        }
        let had_enough = state.queue.len() >= ENOUGH;
        std::mem::swap(&mut state.queue, &mut self.taken);
        drop(state);
        if had_enough {
            shared.writer.notify_one();
        }
        Poll::Ready(self.taken.pop_front().map(Ok))
    }
}

impl<W> Drop for Outlet<W> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.queue = VecDeque::new();
        drop(state);
        self.shared.writer.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn pongs(numbers: impl IntoIterator<Item = u64>) -> Vec<Reply<()>> {
        numbers.into_iter().map(Reply::Pong).collect()
    }

    fn number(reply: Option<Result<Reply<()>, End<()>>>) -> u64 {
        match reply {
            Some(Ok(Reply::Pong(number))) => number,
            other => panic!("{other:?} is no pong"),
        }
    }

    #[test]
    fn all_that_is_ready_leaves_together_and_in_order() {
        let (outbox, mut outlet) = pair();
        outbox.put(&mut pongs(0..10));
        outbox.put(&mut pongs(10..20));
        for expected in 0..20 {
            assert_eq!(number(outlet.next().now_or_never().flatten()), expected);
        }
        assert!(outlet.next().now_or_never().is_none());
        assert_eq!(outbox.waiting(), Some(0));
    }

    #[test]
    fn the_end_comes_after_what_was_told_before_it() {
        let (outbox, mut outlet) = pair();
        outbox.put(&mut pongs([7]));
        outbox.end(End::Failed(Error::Silent));
        assert_eq!(number(outlet.next().now_or_never().flatten()), 7);
        let end = outlet.next().now_or_never();
        assert!(matches!(end, Some(Some(Err(End::Failed(Error::Silent))))), "{end:?}");
        assert!(outlet.next().now_or_never().is_some_and(|end| end.is_none()));
    }

    #[test]
    fn a_task_that_is_gone_without_an_end_has_died() {
        let (outbox, mut outlet) = pair::<()>();
        drop(outbox);
        assert!(matches!(outlet.next().now_or_never(), Some(Some(Err(End::Died)))));
    }

    #[test]
    fn the_task_hears_of_room_and_that_nobody_reads() {
        let (outbox, mut outlet) = pair();
        outbox.put(&mut pongs(0..ENOUGH as u64));
        assert!(outbox.stirs().now_or_never().is_none());
        number(outlet.next().now_or_never().flatten());
        assert!(outbox.stirs().now_or_never().is_some());
        drop(outlet);
        assert!(outbox.stirs().now_or_never().is_some());
        assert_eq!(outbox.waiting(), None);
    }
}

//! The thread that flushes what was committed, and answers only then.
//!
//! A flush takes about as long as the work of a transaction, and needs nothing of the connection. So the
//! writer goes on with the next calls meanwhile, and what it has committed by the end of a flush shares
//! the next one. Nobody learns of anything that a power loss may take: what a call found is told once
//! all that was committed before it, and by it, is on the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::writer::Task;
use crate::store::{Error, Signal};

/// Transactions that wait while a flush is under way. With more, calls would wait here instead of
/// sharing a transaction.
const WAITING: usize = 1;

/// Brings all that was committed to the disk.
pub(super) type Flush = Box<dyn FnMut() -> io::Result<()> + Send>;

/// Calls whose transaction is committed.
pub(super) struct Committed {
    /// The calls, each with what it found.
    pub(super) tasks: Vec<Box<dyn Task>>,
    /// What to tell.
    pub(super) news: Vec<Signal>,
    /// It changed something.
    pub(super) wrote: bool,
}

impl Committed {
    fn answer(self, signals: &broadcast::Sender<Signal>) {
        for signal in self.news {
            // Nobody need listen.
            drop(signals.send(signal));
        }
        for task in self.tasks {
            task.answer(None);
        }
    }

    fn refuse(self, error: &Error) {
        for task in self.tasks {
            task.answer(Some(error.clone()));
        }
    }
}

/// Answers calls once their transaction is safe.
pub(super) struct Flusher {
    signals: broadcast::Sender<Signal>,
    state: Arc<State>,
    /// `None` where a commit needs no flush.
    thread: Option<(SyncSender<Committed>, JoinHandle<()>)>,
}

#[derive(Default)]
struct State {
    /// Transactions that were passed on and not yet answered.
    passed: AtomicUsize,
    /// Why a flush failed. What the system then has in memory may never reach the disk, whatever
    /// later flushes say, so nothing is done any more.
    broken: Mutex<Option<Error>>,
}

impl Flusher {
    /// Answers after a `flush`; without one, at once.
    pub(super) fn start(
        flush: Option<Flush>,
        signals: broadcast::Sender<Signal>,
    ) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let start = |flush| {
            let (committed, inbox) = sync_channel(WAITING);
            let (state, signals) = (Arc::clone(&state), signals.clone());
            let thread = Builder::new().name("sqlite flusher".to_owned());
            let thread = thread.spawn(move || serve(flush, &inbox, &state, &signals))?;
            io::Result::Ok((committed, thread))
        };
        let thread = flush.map(start).transpose()?;
        Ok(Self { signals, state, thread })
    }

    /// Why nothing can be done any more.
    pub(super) fn broken(&self) -> Option<Error> {
        self.state.broken.lock().clone()
    }

    /// Answers `committed` once it is safe.
    pub(super) fn pass(&self, committed: Committed) {
        let Some((thread, _)) = &self.thread else { return committed.answer(&self.signals) };
        // What only read has seen nothing that is not safe if all before it is.
        if !committed.wrote && self.state.passed.load(Ordering::Acquire) == 0 {
            return committed.answer(&self.signals);
        }
        self.state.passed.fetch_add(1, Ordering::AcqRel);
        if thread.send(committed).is_err() {
            tracing::error!("the thread that flushes the store is gone");
        }
    }

    /// Answers what was passed on, and ends.
    pub(super) fn close(self) {
        let Some((inbox, thread)) = self.thread else { return };
        drop(inbox);
        if thread.join().is_err() {
            tracing::error!("the thread that flushes the store panicked");
        }
    }
}

fn serve(
    mut flush: Flush,
    inbox: &Receiver<Committed>,
    state: &State,
    signals: &broadcast::Sender<Signal>,
) {
    while let Ok(first) = inbox.recv() {
        let all: Vec<Committed> = [first].into_iter().chain(inbox.try_iter()).collect();
        let number = all.len();
        if all.iter().any(|committed| committed.wrote)
            && state.broken.lock().is_none()
            && let Err(error) = flush()
        {
            tracing::error!(%error, "a flush failed; nothing is stored any more");
            let why =
                format!("the disk did not take what was written, restart the broker: {error}");
            *state.broken.lock() = Some(Error::Unavailable(why));
        }
        let broken = state.broken.lock().clone();
        // Whoever acts on an answer may find that all is safe by then.
        state.passed.fetch_sub(number, Ordering::AcqRel);
        for committed in all {
            match &broken {
                Some(error) => committed.refuse(error),
                None => committed.answer(signals),
            }
        }
    }
}

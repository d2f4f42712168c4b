//! The thread that owns the connection.
//!
//! It takes every call that waits, carries them all out in one transaction and commits. Signals are told
//! and calls answered once that is safe ([`flusher`](super::flusher)); meanwhile the next calls gather.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::batch::Batch;
use super::flusher::{Committed, Flusher};
use super::open::Opened;
use super::queue::Queues;
use super::row::Failure;
use crate::store::{Error, Result, Signal, Status};

/// How many calls may wait, and how many share a transaction.
const MOST: usize = 1024;

/// Work in a transaction. It may run again, after a rollback, so it changes nothing of its own.
pub(super) trait Task: Send {
    /// Does the work.
    fn run(&mut self, batch: &mut Batch<'_>) -> std::result::Result<(), Failure>;

    /// Answers the caller: `failed`, or what the last run found.
    fn answer(self: Box<Self>, failed: Option<Error>);
}

struct Work<F, T> {
    run: F,
    found: Option<T>,
    caller: oneshot::Sender<Result<T>>,
}

impl<F, T> Task for Work<F, T>
where
    F: Fn(&mut Batch<'_>) -> std::result::Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, batch: &mut Batch<'_>) -> std::result::Result<(), Failure> {
        self.found = Some((self.run)(batch)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<Error>) {
        let outcome = match failed {
            Some(error) => Err(error),
            None => self.found.ok_or_else(closed),
        };
        // The caller may have left; the work is done all the same.
        drop(self.caller.send(outcome));
    }
}

enum Message {
    Do(Box<dyn Task>),
    Close,
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Writer {
    calls: mpsc::Sender<Message>,
    signals: broadcast::Sender<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread, opens the store in it, and answers what the store says of itself.
    pub(super) async fn start(
        open: impl FnOnce() -> Result<Opened> + Send + 'static,
        signals: usize,
    ) -> Result<(Self, Status)> {
        let (calls, inbox) = mpsc::channel(MOST);
        let signals = broadcast::Sender::new(signals);
        let (opened, outcome) = oneshot::channel();
        let telling = signals.clone();
        let start = move || {
            let mut store = open()?;
            let flusher =
                Flusher::start(store.flush.take(), telling).map_err(|error| no_thread(&error))?;
            Ok((store, flusher))
        };
        let thread = Builder::new()
            .name("sqlite writer".to_owned())
            .spawn(move || match start() {
                Ok((store, flusher)) => {
                    if opened.send(Ok(store.status.clone())).is_ok() {
                        serve(store, inbox, flusher);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(|error| no_thread(&error))?;
        let status = outcome.await.map_err(|_| closed())??;
        Ok((Self { calls, signals, thread: Mutex::new(Some(thread)) }, status))
    }

    /// Has `work` done in the next transaction and answers what it found, once that is committed.
    pub(super) async fn call<F, T>(&self, work: F) -> Result<T>
    where
        F: Fn(&mut Batch<'_>) -> std::result::Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let task = Box::new(Work { run: work, found: None, caller });
        self.calls.send(Message::Do(task)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Tells what no transaction does.
    pub(super) fn tell(&self, signal: Signal) {
        // Nobody may be listening.
        drop(self.signals.send(signal));
    }

    /// Signals from now on.
    pub(super) fn signals(&self) -> broadcast::Receiver<Signal> {
        self.signals.subscribe()
    }

    /// Lets the thread finish what waits, and waits for its end.
    pub(super) async fn close(&self) {
        // An error says that the thread has ended already.
        drop(self.calls.send(Message::Close).await);
        // The thread drops its end of the channel last, so the join below does not block.
        self.calls.closed().await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the store panicked");
        }
    }
}

fn no_thread(error: &io::Error) -> Error {
    Error::Unusable(format!("no thread for the store: {error}"))
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".to_owned())
}

/// The life of the thread, until it is told to close or the store was dropped.
fn serve(store: Opened, mut inbox: mpsc::Receiver<Message>, flusher: Flusher) {
    let Opened { db, lock, .. } = store;
    let mut queues = Queues::default();
    let mut closing = false;
    while let Some(first) = next(&mut inbox, closing) {
        let mut tasks = Vec::new();
        let mut message = Some(first);
        while let Some(one) = message {
            match one {
                Message::Do(task) => tasks.push(task),
                Message::Close => closing = true,
            }
            message = if tasks.len() < MOST { inbox.try_recv().ok() } else { None };
        }
        match flusher.broken() {
            Some(error) => tasks.into_iter().for_each(|task| task.answer(Some(error.clone()))),
            None => carry_out(&db, &mut queues, tasks, &flusher),
        }
    }
    flusher.close();
    if let Err(error) = db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(())) {
        tracing::warn!(%error, "could not empty the write-ahead log; the next start will");
    }
    if let Err((_, error)) = db.close() {
        tracing::warn!(%error, "could not close the database");
    }
    drop(lock);
}

/// The next message: waits for it, unless the store is closing.
fn next(inbox: &mut mpsc::Receiver<Message>, closing: bool) -> Option<Message> {
    if closing { inbox.try_recv().ok() } else { inbox.blocking_recv() }
}

/// Carries out `tasks` in one transaction and has them answered.
fn carry_out(
    db: &Connection,
    queues: &mut Queues,
    mut tasks: Vec<Box<dyn Task>>,
    flusher: &Flusher,
) {
    // Each round but the last takes one task out.
    while !tasks.is_empty() {
        let changes = db.total_changes();
        let (culprit, failure) = match transact(db, queues, &mut tasks) {
            Ok(news) => {
                let wrote = db.total_changes() != changes;
                return flusher.pass(Committed { tasks, news, wrote });
            }
            Err(failed) => failed,
        };
        undo(db, queues);
        match failure {
            Failure::Record(error) => {
                tracing::error!(%error, "a call met an unreadable record");
                tasks.remove(culprit).answer(Some(error));
            }
            Failure::Database(error) => {
                let calls = tasks.len();
                tracing::error!(%error, calls, "a transaction failed, with all calls in it");
                let error = match error.sqlite_error_code() {
                    Some(ErrorCode::DiskFull) => Error::Full(error.to_string()),
                    _ => Error::Unavailable(error.to_string()),
                };
                for task in tasks {
                    task.answer(Some(error.clone()));
                }
                return;
            }
        }
    }
}

/// Runs `tasks` and commits. An error comes with the index of the task that met it.
fn transact(
    db: &Connection,
    queues: &mut Queues,
    tasks: &mut [Box<dyn Task>],
) -> std::result::Result<Vec<Signal>, (usize, Failure)> {
    let whole = |error: rusqlite::Error| (0, Failure::Database(error));
    let run = |sql| db.prepare_cached(sql).and_then(|mut sql| sql.execute([])).map_err(whole);
    run("begin immediate")?;
    let mut batch = Batch::new(db, queues);
    for (index, task) in tasks.iter_mut().enumerate() {
        task.run(&mut batch).map_err(|failure| (index, failure))?;
    }
    let news = batch.finish().map_err(whole)?;
    run("commit")?;
    Ok(news)
}

/// Rolls back what a failed transaction left.
fn undo(db: &Connection, queues: &mut Queues) {
    queues.clear();
    // Some failures, a full disk for one, have rolled back already.
    if !db.is_autocommit()
        && let Err(error) = db.execute_batch("rollback")
    {
        tracing::error!(%error, "could not roll back");
    }
}

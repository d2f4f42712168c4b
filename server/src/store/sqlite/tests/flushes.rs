//! When calls are answered, by a flush that the test holds up.

use std::io;
use std::sync::mpsc::{Sender, channel};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, poll};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::store::sqlite::SIGNALS;
use crate::store::sqlite::open::{Opened, Place};

/// A store in memory whose flushes tell when they begin, and end as the test says; once it says nothing
/// any more, at once.
async fn held() -> (SqliteStore, UnboundedReceiver<()>, Sender<io::Result<()>>) {
    let (telling, begun) = unbounded_channel();
    let (end, ends) = channel();
    let flush = move || {
        let _told = telling.send(());
        ends.recv().unwrap_or(Ok(()))
    };
    let open = || Ok(Opened { flush: Some(Box::new(flush)), ..Opened::at(&Place::Memory)? });
    let (writer, status) = Writer::start(open, SIGNALS).await.unwrap();
    (SqliteStore { writer, status }, begun, end)
}

/// A call that was sent and has no answer yet.
async fn sent<'c, T>(call: impl Future<Output = T> + Send + 'c) -> BoxFuture<'c, T> {
    let mut call = call.boxed();
    assert!(poll!(&mut call).is_pending());
    call
}

async fn insert<'s>(store: &'s SqliteStore, id: &'s str) -> BoxFuture<'s, Result<(), Error>> {
    sent(async move { store.insert(&queue(), one(id), NOW).await.map(drop) }).await
}

#[tokio::test]
async fn a_write_is_answered_once_it_is_flushed() {
    let (store, mut begun, end) = held().await;
    let mut insert = insert(&store, "a").await;
    begun.recv().await.unwrap();
    assert!(poll!(&mut insert).is_pending());
    end.send(Ok(())).unwrap();
    insert.await.unwrap();
}

#[tokio::test]
async fn calls_are_carried_out_while_a_flush_is_under_way() {
    let (store, mut begun, end) = held().await;
    let mut first = insert(&store, "a").await;
    begun.recv().await.unwrap();
    let (done, mut dones) = unbounded_channel();
    let work = move |batch: &mut Batch<'_>| {
        let outcome = crate::store::sqlite::insert::insert(batch, &queue(), &one("b"), NOW)?;
        let _told = done.send(());
        Ok(outcome)
    };
    let mut second = sent(store.writer.call(work)).await;
    dones.recv().await.unwrap();
    assert!(poll!(&mut first).is_pending());
    end.send(Ok(())).unwrap();
    first.await.unwrap();
    // It came after the first flush began, so it needs one of its own.
    begun.recv().await.unwrap();
    assert!(poll!(&mut second).is_pending());
    end.send(Ok(())).unwrap();
    assert_eq!(second.await.unwrap(), [[Inserted::New]]);
}

#[tokio::test]
async fn a_read_waits_for_what_it_may_have_seen_and_else_for_nothing() {
    let (store, mut begun, end) = held().await;
    let name = JobName { queue: queue(), id: JobId::parse("a").unwrap() };
    assert_eq!(store.get(&name).await.unwrap(), None);
    let insert = insert(&store, "a").await;
    begun.recv().await.unwrap();
    let (done, mut dones) = unbounded_channel();
    let work = move |_: &mut Batch<'_>| {
        let _told = done.send(());
        Ok(())
    };
    let mut read = sent(store.writer.call(work)).await;
    dones.recv().await.unwrap();
    assert!(poll!(&mut read).is_pending());
    end.send(Ok(())).unwrap();
    insert.await.unwrap();
    read.await.unwrap();
    // The reads needed no flush of their own.
    assert!(begun.try_recv().is_err());
}

#[tokio::test]
async fn after_a_failed_flush_nothing_is_done_any_more() {
    let (store, mut begun, end) = held().await;
    let first = insert(&store, "a").await;
    begun.recv().await.unwrap();
    end.send(Err(io::Error::other("the disk is gone"))).unwrap();
    let Err(Error::Unavailable(why)) = first.await else { panic!("stored") };
    assert!(why.contains("the disk is gone"), "{why}");
    let again = store.insert(&queue(), one("b"), NOW).await;
    assert!(matches!(again, Err(Error::Unavailable(_))), "{again:?}");
    assert!(begun.try_recv().is_err());
}

#[tokio::test]
async fn signals_are_told_once_what_they_tell_of_is_flushed() {
    let (store, mut begun, end) = held().await;
    let mut signals = store.signals();
    let insert = insert(&store, "a").await;
    begun.recv().await.unwrap();
    assert!(matches!(signals.try_recv(), Err(TryRecvError::Empty)));
    end.send(Ok(())).unwrap();
    insert.await.unwrap();
    assert!(signals.try_recv().is_ok());
}

#[tokio::test]
async fn closing_answers_what_is_not_flushed_yet() {
    let (store, mut begun, end) = held().await;
    let insert = insert(&store, "a").await;
    begun.recv().await.unwrap();
    let close = sent(store.writer.close()).await;
    end.send(Ok(())).unwrap();
    close.await;
    insert.await.unwrap();
}

#[test]
fn only_a_file_that_shall_survive_a_power_loss_is_flushed() {
    let (_folder, path) = place();
    let flushes = |sync| {
        let place = Place::File { path: path.clone(), sync };
        Opened::at(&place).unwrap().flush.map(|mut flush| flush().unwrap()).is_some()
    };
    assert!(flushes(Synchronous::Full));
    assert!(!flushes(Synchronous::Normal));
    assert!(Opened::at(&Place::Memory).unwrap().flush.is_none());
}

#[cfg(unix)]
#[test]
fn the_log_of_a_file_behind_a_link_is_found() {
    let (folder, path) = place();
    drop(Opened::at(&Place::File { path: path.clone(), sync: Synchronous::Full }).unwrap());
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let opened = Opened::at(&Place::File { path: link, sync: Synchronous::Full }).unwrap();
    opened.flush.unwrap()().unwrap();
}

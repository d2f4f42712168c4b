//! What this store alone promises; what all stores promise is in `server/tests/store/`.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod flushes;
mod numbers;
mod plans;
mod upgrade;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::broadcast::error::TryRecvError;

use super::batch::Batch;
use super::row::Failure;
use super::writer::Writer;
use super::{SqliteStore, Synchronous};
use crate::clock::Timestamp;
use crate::job::transition::{ack, expire, give_back};
use crate::job::{
    Dedup, DedupKey, DedupScope, Job, JobId, JobName, LeaseSecret, OnDuplicate, Payload, QueueName,
    RequestId, Spec, State, WorkerId,
};
use crate::store::{
    Claim, EVENTS_KEPT, Error, Extension, Group, Index, Insert, Inserted, LogStart, Mark, Order,
    Position, Request, Room, Signal, Store,
};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn queue() -> QueueName {
    QueueName::parse("mail").unwrap()
}

fn job(id: &str, priority: i16) -> Job {
    let payload = Payload { data: vec![7; 300].into(), ..Payload::default() };
    let spec = Spec { priority, payload: Some(payload), created: NOW, ..Spec::default() };
    Job::enqueued(JobName { queue: queue(), id: JobId::parse(id).unwrap() }, spec)
}

fn one(id: &str) -> Vec<Group> {
    let insert = Insert { chosen_id: true, ..inserted(job(id, 0)) };
    alone(insert)
}

fn inserted(job: Job) -> Insert {
    Insert { job, chosen_id: false, request: None, reason: String::new() }
}

fn alone(insert: Insert) -> Vec<Group> {
    vec![Group::all_or_none(vec![insert], Room::default())]
}

fn claim(secret: u64, limit: usize) -> Claim {
    Claim {
        worker: WorkerId::parse("w").unwrap(),
        limit,
        max_bytes: usize::MAX,
        lease_duration: None,
        types: Vec::new(),
        secret: LeaseSecret(secret),
        request: None,
    }
}

/// A folder with a place for a store in it; goes with the first value.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.db");
    (folder, path)
}

async fn refusal(path: &Path) -> String {
    match SqliteStore::open(path, Synchronous::Full).await {
        Err(Error::Unusable(why)) => why,
        other => panic!("opened or failed otherwise: {other:?}"),
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_reopening() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    for (id, priority) in [("a", 0), ("b", 5), ("c", 0)] {
        store.insert(&queue(), alone(inserted(job(id, priority))), NOW).await.unwrap();
    }
    let leased =
        store.claim(&queue(), vec![claim(1, 1)], NOW).await.unwrap().jobs.remove(0).remove(0);
    let end = store.log_end(&queue()).await.unwrap();
    let counts = store.survey(&queue(), NOW).await.unwrap().counts;
    let status = store.status().await.unwrap();
    store.close().await;

    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    assert_eq!(leased.name.id.as_str(), "b");
    assert_eq!(store.get(&leased.name).await.unwrap(), Some(leased));
    assert_eq!(store.log_end(&queue()).await.unwrap(), end);
    assert_eq!((counts.ready, counts.leased), (2, 1));
    assert_eq!(store.survey(&queue(), NOW).await.unwrap().counts, counts);
    assert_eq!(store.status().await.unwrap(), status);
    store.insert(&queue(), one("d"), NOW).await.unwrap();
    let rest = store.claim(&queue(), vec![claim(2, 9)], NOW).await.unwrap().jobs.remove(0);
    let rest: Vec<_> = rest.iter().map(|job| job.name.id.as_str()).collect();
    assert_eq!(rest, ["a", "c", "d"]);
}

#[tokio::test]
async fn a_second_broker_is_refused_until_the_first_has_closed() {
    let (_folder, path) = place();
    let first = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    assert!(refusal(&path).await.contains("another broker has it open"));
    first.close().await;
    SqliteStore::open(&path, Synchronous::Normal).await.unwrap();
}

#[tokio::test]
async fn another_program_may_read_the_file_meanwhile() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    store.insert(&queue(), one("a"), NOW).await.unwrap();
    let reader = Connection::open(&path).unwrap();
    let jobs: i64 = reader.query_row("select count(*) from job", [], |row| row.get(0)).unwrap();
    assert_eq!(jobs, 1);
}

#[tokio::test]
async fn a_file_of_a_newer_broker_is_refused() {
    let (_folder, path) = place();
    SqliteStore::open(&path, Synchronous::Full).await.unwrap().close().await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(refusal(&path).await.contains("a newer broker wrote it: schema 99"));
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_and_left_alone() {
    let (_folder, path) = place();
    Connection::open(&path).unwrap().execute_batch("create table recipe (name text)").unwrap();
    let before = std::fs::read(&path).unwrap();
    assert!(refusal(&path).await.contains("it is a database of another program"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::write(&path, "no database at all").unwrap();
    refusal(&path).await;
    assert_eq!(std::fs::read(&path).unwrap(), b"no database at all");
}

#[tokio::test]
async fn concurrent_inserts_share_transactions() {
    const CALLS: usize = 200;
    let (_folder, path) = place();
    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    let mut signals = store.signals();
    let queue = queue();
    let calls = (0..CALLS).map(|n| store.insert(&queue, one(&format!("job-{n}")), NOW));
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap(), [[Inserted::New]]);
    }
    // A transaction tells once that the log of a queue grew, however many calls wrote to it.
    let mut transactions = 0;
    loop {
        match signals.try_recv() {
            Ok(Signal::Logged(_)) => transactions += 1,
            Ok(_) => {}
            Err(TryRecvError::Empty) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..CALLS / 2).contains(&transactions), "{transactions} transactions");
    assert_eq!(store.log(&queue, LogStart::Oldest, CALLS * 2).await.unwrap().len(), CALLS);
}

/// Keeps the thread of `store` busy until the answer is dropped, so that calls made meanwhile fall
/// into one transaction.
async fn hold_up(store: &Arc<SqliteStore>) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let store = store.clone();
    let started = Mutex::new(Some(started));
    let wait = move |_: &mut Batch<'_>| {
        started.lock().unwrap().take().map(|started| started.send(()));
        released.recv().ok();
        Ok(())
    };
    let mut call = Box::pin(async move { store.writer.call(wait).await });
    // Polled once, the call is under way; its answer is of no interest.
    assert!(futures_util::poll!(&mut call).is_pending());
    has_started.await.unwrap();
    release
}

#[tokio::test]
async fn a_failed_transaction_fails_all_calls_in_it_and_leaves_nothing() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.insert(&queue(), one("a"), NOW).await.unwrap();
    let held = hold_up(&store).await;
    let queue = queue();
    let insert = store.insert(&queue, one("b"), NOW);
    let fail = store.writer.call(|batch| {
        batch.db().execute("insert into no_table values (1)", []).map_err(Failure::Database)
    });
    let release = async { drop(held) };
    let (insert, fail, ()) = tokio::join!(insert, fail, release);
    assert!(matches!(insert, Err(Error::Unavailable(_))), "{insert:?}");
    assert!(matches!(fail, Err(Error::Unavailable(_))), "{fail:?}");
    assert_eq!(store.survey(&queue, NOW).await.unwrap().counts.ready, 1);
    assert_eq!(store.insert(&queue, one("b"), NOW).await.unwrap(), [[Inserted::New]]);
}

#[tokio::test]
async fn an_unreadable_record_fails_only_the_call_that_meets_it() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.insert(&queue(), one("a"), NOW).await.unwrap();
    let spoil =
        |batch: &mut Batch<'_>| Ok(batch.db().execute("update spec set body = x'ff'", [])?);
    assert_eq!(store.writer.call(spoil).await.unwrap(), 1);
    let held = hold_up(&store).await;
    let queue = queue();
    let name = job("a", 0).name;
    let (before, read, after, ()) = tokio::join!(
        store.insert(&queue, one("b"), NOW),
        store.get(&name),
        store.insert(&queue, one("c"), NOW),
        async { drop(held) }
    );
    assert_eq!(before.unwrap(), [[Inserted::New]]);
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    assert_eq!(after.unwrap(), [[Inserted::New]]);
    assert_eq!(store.survey(&queue, NOW).await.unwrap().counts.ready, 3);
}

#[tokio::test]
async fn an_unreadable_record_does_not_hold_up_the_jobs_behind_it() {
    let store = SqliteStore::in_memory().await.unwrap();
    for id in ["a", "b", "c"] {
        store.insert(&queue(), one(id), NOW).await.unwrap();
    }
    let spoil = |id: &'static str| {
        let update = "update spec set body = x'ff' where job = (select job from job where id = ?1)";
        store.writer.call(move |batch| Ok(batch.db().execute(update, [id])?))
    };
    assert_eq!(spoil("a").await.unwrap(), 1);
    let served = store.claim(&queue(), vec![claim(1, 1), claim(2, 1)], NOW).await.unwrap();
    let ids: Vec<_> = served.jobs.iter().flatten().map(|job| job.name.id.as_str()).collect();
    assert_eq!(ids, ["b", "c"]);
    assert_eq!(spoil("b").await.unwrap(), 1);
    let later = NOW.after(Duration::from_hours(1));
    let overdue = store.overdue(&queue(), later, 10).await.unwrap();
    let ids: Vec<_> = overdue.iter().map(|job| job.name.id.as_str()).collect();
    assert_eq!(ids, ["c"]);
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let store = SqliteStore::in_memory().await.unwrap();
    let queue = queue();
    // What was asked before the closing is still answered.
    let (insert, ()) = tokio::join!(store.insert(&queue, one("a"), NOW), store.close());
    assert_eq!(insert.unwrap(), [[Inserted::New]]);
    store.close().await;
    let late = store.survey(&queue, NOW).await;
    assert!(matches!(&late, Err(Error::Unavailable(why)) if why == "the store is closed"));
}

#[tokio::test]
async fn a_log_with_too_many_events_drops_its_oldest_entries() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.insert(&queue(), one("a"), NOW).await.unwrap();
    store.insert(&queue(), one("b"), NOW).await.unwrap();
    // As if the second entry had told all but one of the events that are kept.
    let full = i64::try_from(EVENTS_KEPT).unwrap();
    let skip = move |batch: &mut Batch<'_>| {
        let call = batch.call(&QueueName::parse("mail").unwrap())?.map(|call| {
            call.queue.told = full;
        });
        Ok(call.is_some())
    };
    assert!(store.writer.call(skip).await.unwrap());
    store.insert(&queue(), one("c"), NOW).await.unwrap();
    let entries = store.log(&queue(), LogStart::Oldest, 9).await.unwrap();
    let numbers: Vec<_> = entries.iter().map(|entry| entry.position.number).collect();
    assert_eq!(numbers, [2, 3]);
    assert_eq!(store.log_end(&queue()).await.unwrap(), entries[1].position);
    assert!(entries[0].position > Position::default());
}

#[tokio::test]
async fn a_claim_is_remembered_until_its_last_lease_is_gone_however_extended() {
    let store = SqliteStore::in_memory().await.unwrap();
    store.insert(&queue(), one("a"), NOW).await.unwrap();
    let request = RequestId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
    let asked = || vec![Claim { request: Some(request), ..claim(1, 1) }];
    let taken = store.claim(&queue(), asked(), NOW).await.unwrap();
    let hour = NOW.after(Duration::from_hours(1));
    let until = hour.after(Duration::from_mins(1));
    let extension = Extension {
        id: taken.jobs[0][0].name.id.clone(),
        secret: LeaseSecret(1),
        until: Some(until),
        progress: None,
        checkpoint: None,
        cancel: None,
        event: None,
    };
    store.extend(&queue(), vec![extension], NOW).await.unwrap();
    store.purge(&queue(), hour, 10).await.unwrap();
    let again = store.claim(&queue(), asked(), hour).await.unwrap();
    assert_eq!(again.jobs[0][0].at, until);
    assert_eq!(again.jobs[0][0].name, taken.jobs[0][0].name);

    let release = give_back(&again.jobs[0][0], hour).unwrap();
    store.commit(&queue(), vec![release.into()], hour).await.unwrap();
    store.purge(&queue(), until.after(Duration::from_secs(2)), 10).await.unwrap();
    assert_eq!(rows_of(&store, "replay").await, 0);
}

#[tokio::test]
async fn memories_fade_without_a_purge() {
    let store = SqliteStore::in_memory().await.unwrap();
    let dedup = |n: u32| Dedup {
        key: DedupKey::parse(&format!("key-{n}")).unwrap(),
        scope: DedupScope::Window(Duration::from_secs(1)),
        on_duplicate: OnDuplicate::Keep,
    };
    let id = |n: u32| RequestId::parse(&format!("01890a5d-ac96-774b-bcce-{n:012}")).unwrap();
    for day in 0..300 {
        let now = NOW.after(Duration::from_hours(24) * day);
        let mut job = job(&format!("job-{day}"), 0);
        job.spec_mut().dedup = Some(dedup(day));
        let request = Some(Request { id: id(day), digest: 0 });
        let insert = Insert { request, ..inserted(job) };
        store.insert(&queue(), alone(insert), now).await.unwrap();
        let claim = Claim { request: Some(id(day)), ..claim(u64::from(day), 1) };
        let jobs = store.claim(&queue(), vec![claim], now).await.unwrap().jobs.remove(0);
        let ack = ack(&jobs[0].token().unwrap(), None, None, now);
        store.commit(&queue(), vec![ack.into()], now).await.unwrap();
    }
    for table in ["request", "dedup", "replay"] {
        let rows = rows_of(&store, table).await;
        assert!(rows <= 2, "{rows} rows in {table}");
    }
}

async fn rows_of(store: &SqliteStore, table: &'static str) -> i64 {
    let count = move |batch: &mut Batch<'_>| {
        let select = format!("select count(*) from {table}");
        Ok(batch.db().query_row(&select, [], |row| row.get(0))?)
    };
    store.writer.call(count).await.unwrap()
}

#[tokio::test]
async fn a_forgotten_job_leaves_no_row_behind() {
    const TABLES: [&str; 4] = ["job", "spec", "detail", "attempt"];
    let store = SqliteStore::in_memory().await.unwrap();
    store.insert(&queue(), one("a"), NOW).await.unwrap();
    let jobs = store.claim(&queue(), vec![claim(1, 1)], NOW).await.unwrap().jobs.remove(0);
    // Only an attempt that is not the newest has a row of its own.
    let lost = expire(&jobs[0], 3, NOW.after(Duration::from_hours(1)), 0.0).unwrap();
    let again = lost.at;
    store.commit(&queue(), vec![lost.into()], again).await.unwrap();
    let jobs = store.claim(&queue(), vec![claim(2, 1)], again).await.unwrap().jobs.remove(0);
    let result = Some(Payload::default());
    let ack = ack(&jobs[0].token().unwrap(), result, None, again);
    let end = ack.at;
    store.commit(&queue(), vec![ack.into()], NOW).await.unwrap();
    for table in TABLES {
        assert_eq!(rows_of(&store, table).await, 1, "{table}");
    }
    assert_eq!(store.purge(&queue(), end, 9).await.unwrap(), 1);
    for table in TABLES {
        assert_eq!(rows_of(&store, table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_list_goes_on_from_its_own_marks_only() {
    let store = SqliteStore::in_memory().await.unwrap();
    for id in ["a", "b", "c"] {
        store.insert(&queue(), one(id), NOW).await.unwrap();
    }
    let list = async |mark: Option<&Mark>| {
        let index = Index::State(State::Ready);
        store.list(&queue(), &index, Order::Forward, mark, 2).await.unwrap()
    };
    let first = list(None).await;
    for rubbish in ["", "x", "sixteen bytes or more \u{e9}"] {
        assert_eq!(list(Some(&Mark(rubbish.into()))).await.jobs.len(), 2, "{rubbish}");
    }
    let rest = list(first.next.as_ref()).await;
    assert_eq!(rest.jobs[0].name.id.as_str(), "c");
    assert_eq!(rest.next, None);
}

#[tokio::test]
async fn a_job_that_is_handed_over_is_written_as_leased_at_once() {
    let store = SqliteStore::in_memory().await.unwrap();
    let changes = || store.writer.call(|batch| Ok(batch.db().total_changes()));
    store.insert(&queue(), one("a"), NOW).await.unwrap();
    assert_eq!(store.claim(&queue(), vec![claim(1, 1)], NOW).await.unwrap().jobs[0].len(), 1);
    let before = changes().await.unwrap();
    let both = store.hand_over(&queue(), &one("b"), &[claim(2, 1)], NOW).await.unwrap();
    assert_eq!(both.unwrap().1.jobs[0].len(), 1);
    // The job, its spec, an entry of the log, the counters of the queue.
    assert_eq!(changes().await.unwrap() - before, 4);
}

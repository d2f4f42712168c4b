//! What `SQLite` alone promises: all that ends, ends by the time that callers pass. What concerns
//! its file is tested beside its code.

use std::time::Duration;

use crate::fixture::{Queue, UNTIL_FINISHED, at, deduplicated, id_of, request, spec};
use crate::job::{DedupScope, Spec};
use crate::store::{EVENT_MEMORY, Inserted, LogStart, REQUEST_MEMORY};

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_request_is_remembered_for_a_day() {
    let queue = Queue::in_sqlite_memory().await;
    queue.insert_one(queue.asked("a", spec(), request(1, 7))).await;
    let forgotten = at(0).after(REQUEST_MEMORY);
    let again = |created| queue.asked("b", Spec { created, ..spec() }, request(1, 7));
    let last_moment = forgotten.before(MILLISECOND);
    assert_eq!(queue.insert_one(again(last_moment)).await, Inserted::Replayed(id_of("a")));
    assert_eq!(queue.insert_one(again(forgotten.after(MILLISECOND))).await, Inserted::New);
}

#[tokio::test]
async fn a_dedup_window_ends_to_the_millisecond() {
    let queue = Queue::in_sqlite_memory().await;
    let window = DedupScope::Window(Duration::from_millis(50));
    queue.add("a", deduplicated("key", window)).await;
    let double = |millis| {
        let created = at(0).after(Duration::from_millis(millis));
        queue.item("b", Spec { created, ..deduplicated("key", UNTIL_FINISHED) })
    };
    assert_eq!(queue.insert_one(double(49)).await, Inserted::Duplicate(id_of("a")));
    assert_eq!(queue.insert_one(double(50)).await, Inserted::New);
}

#[tokio::test]
async fn the_log_is_read_from_the_moment_of_an_entry_on() {
    let queue = Queue::in_sqlite_memory().await;
    for second in 0..3 {
        queue.add(&format!("job-{second}"), Spec { created: at(second), ..spec() }).await;
    }
    for (start, left) in
        [(at(1), 2), (at(1).after(MILLISECOND), 1), (at(2), 1), (at(2).after(MILLISECOND), 0)]
    {
        let entries = queue.store.log(&queue.name, LogStart::Time(start), 10).await.unwrap();
        assert_eq!(entries.len(), left, "from {start:?} on");
    }
}

#[tokio::test]
async fn events_are_forgotten_after_a_day() {
    let queue = Queue::in_sqlite_memory().await;
    queue.add("a", spec()).await;
    queue.add("b", Spec { created: at(1), ..spec() }).await;
    queue.purge(at(0).after(EVENT_MEMORY).before(MILLISECOND)).await;
    assert_eq!(queue.log().await.len(), 2);
    queue.purge(at(0).after(EVENT_MEMORY).after(MILLISECOND)).await;
    let left = queue.log().await;
    assert_eq!(left.len(), 1);
    // The numbers go on, so a reader sees that it missed something.
    assert_eq!(left[0].position.number, 2);
    queue.purge(at(1).after(EVENT_MEMORY).after(MILLISECOND)).await;
    assert!(queue.log().await.is_empty());
    assert_eq!(queue.store.log_end(&queue.name).await.unwrap(), left[0].position);
}

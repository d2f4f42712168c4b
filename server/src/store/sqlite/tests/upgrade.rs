//! Files of older brokers.

use std::collections::BTreeMap;

use rusqlite::params;

use super::*;
use crate::store::record::encode_spec;

/// Marks a file as a store of that schema.
fn mark(db: &Connection, version: i32) {
    db.pragma_update(None, "application_id", 0x4c73_7372).unwrap();
    db.pragma_update(None, "user_version", version).unwrap();
}

/// A file as the first schema had it, with a ready job, a leased one and a finished one.
fn write_first_schema(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.execute_batch(include_str!("../migrations/0001_jobs.sql")).unwrap();
    mark(&db, 1);
    let queue = "insert into queue (name, inserted, ready, leased, succeeded, back)
      values ('mail', 3, 1, 1, 1, 2)";
    db.execute(queue, []).unwrap();
    let mut bytes = 0;
    for (row, letter) in [(1_u32, "R"), (2, "L"), (3, "K")] {
        let spec = Spec {
            job_type: "letter".to_owned(),
            labels: BTreeMap::from([("tenant".to_owned(), "t1".to_owned())]),
            created: NOW.after(Duration::from_secs(row.into())),
            ..(*job("any", 0).spec).clone()
        };
        let body = encode_spec(&spec);
        let ended = (letter == "K").then_some(7);
        bytes += if ended.is_none() { i64::try_from(body.len()).unwrap() } else { 0 };
        let insert = "insert into job (job, queue, id, state, at, priority, place, ended)
          values (?1, 1, ?2, ?3, ?4, 0, ?1, ?5)";
        let at = i64::try_from(NOW.as_millis()).unwrap();
        db.execute(insert, params![row, format!("job-{row}"), letter, at, ended]).unwrap();
        db.execute("insert into spec (job, body) values (?1, ?2)", params![row, body]).unwrap();
    }
    bytes
}

#[tokio::test]
async fn a_file_of_the_first_schema_opens_and_its_jobs_are_found_by_all_that_is_new() {
    let (_folder, path) = place();
    let bytes = write_first_schema(&path);
    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    let survey = store.survey(&queue(), NOW).await.unwrap();
    assert_eq!(survey.bytes, bytes.cast_unsigned());
    assert_eq!(survey.totals.enqueued, 3);
    let index = Index::Label("tenant".to_owned(), "t1".to_owned());
    let page = store.list(&queue(), &index, Order::Forward, None, 9).await.unwrap();
    let states: Vec<_> = page.jobs.iter().map(|job| job.state).collect();
    assert_eq!(states, [State::Ready, State::Leased, State::Succeeded]);
    let claims = vec![Claim { types: vec!["letter".to_owned()], ..claim(1, 9) }];
    let claimed = store.claim(&queue(), claims, NOW).await.unwrap();
    assert_eq!(claimed.jobs[0][0].name.id.as_str(), "job-1");
    assert_eq!(store.settings(&queue()).await.unwrap(), None);
    store.close().await;
    SqliteStore::open(&path, Synchronous::Full).await.unwrap();
}

#[tokio::test]
async fn a_file_of_the_second_schema_opens_and_remembers_its_requests() {
    let (_folder, path) = place();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(include_str!("../migrations/0001_jobs.sql")).unwrap();
    db.execute_batch(include_str!("../migrations/0002_life.sql")).unwrap();
    mark(&db, 2);
    db.execute("insert into queue (name) values ('mail')", []).unwrap();
    let id = RequestId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
    let until = i64::try_from(NOW.after(Duration::from_mins(1)).as_millis()).unwrap();
    let insert =
        "insert into request (queue, id, digest, job, until) values (1, ?1, 7, 'job-1', ?2)";
    db.execute(insert, params![id.as_bytes(), until]).unwrap();
    drop(db);

    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    let request = Some(Request { id, digest: 7 });
    let insert = Insert { request, ..inserted(job("job-2", 0)) };
    let again = store.insert(&queue(), alone(insert.clone()), NOW).await.unwrap();
    assert_eq!(again, [[Inserted::Replayed(job("job-1", 0).name.id)]]);
    let batch = Group { request, ..Group::all_or_none(vec![insert], Room::default()) };
    let other = store.insert(&queue(), vec![batch], NOW).await.unwrap();
    assert_eq!(other, [[Inserted::RequestReused]], "the id is that of a single job");
}

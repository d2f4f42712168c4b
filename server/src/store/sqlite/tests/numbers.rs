//! What the row of a queue keeps, and what is told of a queue without counting its jobs.

use super::*;
use crate::clock::millis;
use crate::job::operate::lapse;
use crate::job::queue::RateLimit;
use crate::job::{Event, EventKind, QueueSettings};
use crate::store::Gate;

fn at(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

/// Inserts so many jobs of a priority at once, `change`d.
async fn fill(store: &SqliteStore, prefix: &str, number: usize, change: impl Fn(&mut Job)) {
    let inserts = (0..number).map(|n| {
        let mut job = job(&format!("{prefix}-{n}"), 0);
        change(&mut job);
        inserted(job)
    });
    let group = Group::all_or_none(inserts.collect(), Room::default());
    let outcomes = store.insert(&queue(), vec![group], NOW).await.unwrap();
    assert_eq!(outcomes[0], vec![Inserted::New; number]);
}

async fn set(store: &SqliteStore, settings: QueueSettings) {
    let event = Event::of_queue(EventKind::QueueUpdated, NOW, queue());
    store.set_settings(&queue(), &settings, &event, NOW).await.unwrap();
}

#[tokio::test]
async fn settings_gates_and_totals_survive_a_reopening() {
    let (_folder, path) = place();
    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    let rate = RateLimit { permits: 1, period: Duration::from_mins(1), burst: 1 };
    set(&store, QueueSettings { rate_limit: Some(rate), ..QueueSettings::default() }).await;
    fill(&store, "job", 3, |_| ()).await;
    let claimed = store.claim(&queue(), vec![claim(1, 9)], NOW).await.unwrap();
    assert_eq!(claimed.jobs[0].len(), 1);
    let settings = store.settings(&queue()).await.unwrap();
    let survey = store.survey(&queue(), NOW).await.unwrap();
    assert_eq!((survey.totals.enqueued, survey.minute.enqueued), (3, 3));
    store.close().await;

    let store = SqliteStore::open(&path, Synchronous::Full).await.unwrap();
    assert_eq!(store.settings(&queue()).await.unwrap(), settings);
    assert_eq!(store.survey(&queue(), NOW).await.unwrap(), survey);
    let claimed = store.claim(&queue(), vec![claim(2, 9)], at(59)).await.unwrap();
    assert_eq!((claimed.jobs[0].len(), claimed.gate), (0, Some(Gate::Limited { until: at(60) })));
}

#[tokio::test]
async fn the_jobs_ahead_are_counted_up_to_a_thousand_and_estimated_beyond() {
    let store = SqliteStore::in_memory().await.unwrap();
    for (priority, prefix) in [(0, "low"), (5, "high")] {
        fill(&store, prefix, 3000, |job| job.spec_mut().priority = priority).await;
    }
    for (id, wanted) in [("high-0", 0), ("high-999", 999), ("high-1000", 1000)] {
        assert_eq!(store.ahead(&job(id, 5)).await.unwrap(), wanted, "{id}");
    }
    for (id, wanted) in [("high-2000", 2000), ("low-0", 3000), ("low-2999", 5999)] {
        let ahead = store.ahead(&job(id, 0)).await.unwrap();
        assert!(ahead.abs_diff(wanted) <= 10, "{id}: {ahead}");
    }
    // Gaps make it an estimate, but never one below what was counted or beyond what there is.
    store.claim(&queue(), vec![claim(1, 2500)], NOW).await.unwrap();
    let ahead = store.ahead(&job("low-2999", 0)).await.unwrap();
    assert!((1001..3500).contains(&ahead), "{ahead}");
}

#[tokio::test]
async fn a_claim_that_met_too_many_expired_jobs_is_called_again_when_they_are_gone() {
    let store = SqliteStore::in_memory().await.unwrap();
    fill(&store, "old", 1500, |job| job.spec_mut().expires = Some(at(1))).await;
    fill(&store, "live", 1, |_| ()).await;
    let taken = store.claim(&queue(), vec![claim(1, 1)], at(2)).await.unwrap();
    assert_eq!(taken.jobs[0], []);
    let mut signals = store.signals();
    let overdue = store.overdue(&queue(), at(2), 1000).await.unwrap();
    let ends = overdue.iter().map(|job| lapse(job, at(2)).unwrap().into()).collect();
    store.commit(&queue(), ends, at(2)).await.unwrap();
    let rung =
        std::iter::from_fn(|| signals.try_recv().ok()).any(|one| one == Signal::Ready(queue()));
    assert!(rung, "nobody was told to look again");
    let taken = store.claim(&queue(), vec![claim(1, 1)], at(2)).await.unwrap();
    assert_eq!(taken.jobs[0][0].name.id.as_str(), "live-0");
}

#[tokio::test]
async fn what_a_slow_rate_used_up_does_not_hold_up_a_fast_one() {
    let store = SqliteStore::in_memory().await.unwrap();
    fill(&store, "job", 20, |_| ()).await;
    let hourly = RateLimit { permits: 1, period: Duration::from_hours(1), burst: 9 };
    set(&store, QueueSettings { rate_limit: Some(hourly), ..QueueSettings::default() }).await;
    let taken = store.claim(&queue(), vec![claim(1, 20)], NOW).await.unwrap();
    assert_eq!(taken.jobs[0].len(), 9);
    let fast = RateLimit { permits: 10, period: Duration::from_secs(1), burst: 1 };
    let settings =
        QueueSettings { revision: 1, rate_limit: Some(fast), ..QueueSettings::default() };
    set(&store, settings).await;
    let taken = store.claim(&queue(), vec![claim(2, 20)], NOW).await.unwrap();
    let next = NOW.after(Duration::from_millis(millis(fast.period) / 10));
    assert_eq!((taken.jobs[0].len(), taken.gate), (0, Some(Gate::Limited { until: next })));
}

#[tokio::test]
async fn a_claim_that_takes_the_last_ready_job_says_so() {
    let store = SqliteStore::in_memory().await.unwrap();
    fill(&store, "job", 3, |_| ()).await;
    for (secret, limit, wanted) in [(1, 1, false), (2, 2, true)] {
        let taken = store.claim(&queue(), vec![claim(secret, limit)], NOW).await.unwrap();
        assert_eq!(taken.exhausted, [wanted]);
    }
}

#[tokio::test]
async fn the_oldest_ready_job_is_seen_behind_one_that_was_given_back() {
    let store = SqliteStore::in_memory().await.unwrap();
    fill(&store, "job", 2, |job| job.spec_mut().priority = 5).await;
    let leased = store.claim(&queue(), vec![claim(1, 1)], at(5)).await.unwrap().jobs.remove(0);
    let back = give_back(&leased[0], at(6)).unwrap();
    store.commit(&queue(), vec![back.into()], at(6)).await.unwrap();
    let survey = store.survey(&queue(), at(7)).await.unwrap();
    assert_eq!((survey.counts.ready, survey.oldest_ready), (2, Some(NOW)));
}

#[tokio::test]
async fn a_wiped_queue_leaves_no_row_in_any_table() {
    const TABLES: [&str; 9] =
        ["job", "spec", "detail", "term", "behind", "request", "dedup", "replay", "queue"];
    let store = SqliteStore::in_memory().await.unwrap();
    set(&store, QueueSettings::default()).await;
    let key = DedupKey::parse("key").unwrap();
    let dedup = |on_duplicate| {
        let scope = DedupScope::UntilFinished { cap: None };
        Some(Dedup { key: key.clone(), scope, on_duplicate })
    };
    let id = RequestId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
    let full = |job: &mut Job| {
        job.spec_mut().owner = "o".to_owned();
        job.spec_mut().labels.insert("tenant".to_owned(), "t1".to_owned());
        job.spec_mut().dedup = dedup(OnDuplicate::RunAfter);
    };
    fill(&store, "holder", 1, full).await;
    let asked = Claim { request: Some(id), ..claim(1, 1) };
    let jobs = store.claim(&queue(), vec![asked], NOW).await.unwrap().jobs.remove(0);
    let checkpoint = Some(Payload::default());
    let extension = Extension {
        id: jobs[0].name.id.clone(),
        secret: LeaseSecret(1),
        until: None,
        progress: None,
        checkpoint,
        cancel: None,
        event: None,
    };
    store.extend(&queue(), vec![extension], NOW).await.unwrap();
    let mut behind = job("behind", 0);
    full(&mut behind);
    let request = Some(Request { id, digest: 0 });
    let insert = Insert { request, ..inserted(behind) };
    store.insert(&queue(), alone(insert), NOW).await.unwrap();
    assert_eq!(store.get(&job("behind", 0).name).await.unwrap().unwrap().state, State::Blocked);
    for table in TABLES {
        assert!(rows_of(&store, table).await > 0, "{table} is not tried");
    }
    while !store.wipe(&queue(), 1).await.unwrap() {}
    for table in TABLES.into_iter().chain(["attempt", "event"]) {
        assert_eq!(rows_of(&store, table).await, 0, "{table}");
    }
}

//! The statements whose cost must not grow with the jobs there are.

use super::super::claim::{READY, line_of_types};
use super::super::list;
use super::*;

/// A column of what `SQLite` says of a statement, asked as `how` says.
async fn explained(store: &SqliteStore, how: &str, sql: &str, column: usize) -> Vec<String> {
    let explain = format!("{how} {sql}");
    let steps = store.writer.call(move |batch| {
        let mut explained = batch.db().prepare(&explain)?;
        let values = rusqlite::params_from_iter(vec![1; explained.parameter_count()]);
        let steps = explained.query_map(values, |row| row.get(column))?.collect();
        Ok(rusqlite::Result::<Vec<String>>::from(steps)?)
    });
    steps.await.unwrap()
}

/// What `SQLite` does for a statement, step by step.
async fn plan(store: &SqliteStore, sql: &str) -> String {
    explained(store, "explain query plan", sql, 3).await.join("\n")
}

/// What `SQLite`'s machine does for a statement.
async fn opcodes(store: &SqliteStore, sql: &str) -> Vec<String> {
    explained(store, "explain", sql, 1).await
}

/// Fails if the statement reads a whole table or sorts, or does not use the index.
async fn walks(store: &SqliteStore, sql: &str, index: &str) {
    // These hold what a statement itself makes: values, one row per priority or claimed job.
    const SMALL: [&str; 6] = ["7-ROW VALUES", "line", "candidate", "taken", "due", "(subquery"];
    let plan = plan(store, sql).await;
    assert!(plan.contains(index), "{index} is not used\n{sql}\n{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    for step in plan.lines().filter_map(|step| step.strip_prefix("SCAN ")) {
        let small = step == "CONSTANT ROW" || SMALL.iter().any(|small| step.starts_with(small));
        assert!(small, "reads all of {step}\n{sql}\n{plan}");
    }
}

#[tokio::test]
async fn reads_of_many_jobs_walk_an_index_in_its_order() {
    let store = SqliteStore::in_memory().await.unwrap();
    for (sql, index) in [
        (READY, "job_ready "),
        (&line_of_types(1), "job_ready_type "),
        (&line_of_types(3), "job_ready_type "),
        (concat!(include_str!("../sql/job.sql"), include_str!("../sql/overdue.sql")), "job_due "),
        (
            concat!(include_str!("../sql/job.sql"), include_str!("../sql/lapsed.sql")),
            "job_expires ",
        ),
        (include_str!("../sql/log.sql"), "sqlite_autoindex_event_1 "),
        (include_str!("../sql/recent.sql"), "sqlite_autoindex_event_1 "),
        (include_str!("../sql/oldest_events.sql"), "sqlite_autoindex_event_1 "),
        (include_str!("../sql/purge.sql"), "job_due "),
        (include_str!("../sql/purge_requests.sql"), "request_until "),
        (include_str!("../sql/purge_dedup.sql"), "dedup_until "),
        (include_str!("../sql/review_replays.sql"), "replay_until "),
    ] {
        walks(&store, sql, index).await;
    }
}

#[tokio::test]
async fn pages_of_a_list_walk_an_index_both_ways() {
    let store = SqliteStore::in_memory().await.unwrap();
    for (rest, index) in [
        (list::SAME_PRIORITY, "job_ready (queue=? AND priority=? AND place"),
        (list::LESSER_PRIORITIES, "job_ready (queue=? AND priority"),
        (list::STATE, "job_due (queue=? AND state=? AND (at,id)"),
        (list::BLOCKED, "behind_created (queue=? AND created"),
        (list::TERM, "PRIMARY KEY (queue=? AND name=? AND value=? AND (created,job)"),
    ] {
        for order in [Order::Forward, Order::Backward] {
            walks(&store, &list::statement(rest, order), index).await;
        }
    }
}

#[tokio::test]
async fn numbers_are_read_with_a_few_steps_into_an_index() {
    let store = SqliteStore::in_memory().await.unwrap();
    for (sql, index) in [
        (include_str!("../sql/ahead.sql"), "job_ready (queue=? AND priority=? AND place<?)"),
        (include_str!("../sql/lines.sql"), "job_ready (queue=? AND priority<?)"),
        (include_str!("../sql/oldest_ready.sql"), "job_ready (queue=? AND priority=? AND place>?)"),
        (include_str!("../sql/next_due.sql"), "job_expires (queue=?"),
        (include_str!("../sql/standing.sql"), "(queue=? AND id=?)"),
        (include_str!("../sql/holder.sql"), "PRIMARY KEY (queue=? AND key=?)"),
        (include_str!("../sql/behind.sql"), "(holder=?)"),
        ("delete from term where job = ?1", "term_job "),
    ] {
        walks(&store, sql, index).await;
    }
}

/// A table of its own is a cache of pages of its own, made and thrown away at each run.
#[tokio::test]
async fn what_runs_in_each_call_makes_no_table_of_its_own() {
    let store = SqliteStore::in_memory().await.unwrap();
    for sql in [
        READY,
        include_str!("../sql/insert.sql"),
        include_str!("../sql/claim.sql"),
        include_str!("../sql/standing.sql"),
        include_str!("../sql/commit.sql"),
        include_str!("../sql/purge.sql"),
        include_str!("../sql/append.sql"),
        include_str!("../sql/oldest_events.sql"),
        include_str!("../sql/next_due.sql"),
        include_str!("../sql/save_queue.sql"),
        include_str!("../sql/remember_request.sql"),
        include_str!("../sql/remember_claim.sql"),
    ] {
        let opcodes = opcodes(&store, sql).await;
        assert!(opcodes.contains(&"Halt".to_owned()), "{sql}\n{opcodes:?}");
        for table in ["OpenEphemeral", "OpenAutoindex", "SorterOpen"] {
            assert!(!opcodes.contains(&table.to_owned()), "{sql}\n{opcodes:?}");
        }
    }
}

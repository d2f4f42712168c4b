//! What Redis alone does with ready lists: lists of several types are read as one, and a long one keeps
//! the entries of jobs that went another way until somebody comes by.

use crate::fixture::{
    Queue, acked, at, claim, given_back, id_of, ids, priority, roomy, spec, typed,
};
use crate::job::{Spec, State, operate};
use crate::redis_server::RedisServer;
use crate::store::{Claim, Index, Inserted, Order};

/// More than a list may have to be searched for an entry.
const LONG: usize = 1200;

async fn open() -> Queue {
    Queue::open(&RedisServer::shared().url(), None).await
}

fn length(queue: &Queue, line: &str) -> usize {
    let key = format!("{{{}:{}}}:r:{line}", queue.namespace, queue.name);
    redis::cmd("LLEN").arg(key).query(&mut RedisServer::shared().connection()).unwrap()
}

/// Adds so many jobs; answers their ids.
async fn crowd(queue: &Queue, number: usize) -> Vec<String> {
    let names: Vec<String> = (0..number).map(|n| format!("job-{n:05}")).collect();
    for names in names.chunks(400) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        queue.add_all(&names, spec()).await;
    }
    names
}

#[tokio::test]
async fn types_of_one_priority_are_claimed_in_the_order_in_which_they_came() {
    let queue = open().await;
    let mut wanted = Vec::new();
    for n in 0..40 {
        let name = format!("job-{n}");
        queue.add(&name, typed(["a", "b", "c"][n * n % 3])).await;
        wanted.push(name);
    }
    let served = queue.claim(3, at(1)).await;
    assert_eq!(ids(&served), wanted[..3]);
    queue.apply(given_back(&served[2], at(2)), at(2)).await;
    queue.apply(given_back(&served[1], at(2)), at(2)).await;
    assert_eq!(ids(&queue.claim(40, at(3)).await), wanted[1..]);
    assert_eq!(length(&queue, "0:a") + length(&queue, "0:b") + length(&queue, "0:c"), 0);
}

#[tokio::test]
async fn a_claim_that_is_full_leaves_several_types_in_order() {
    let queue = open().await;
    let names = ["1", "2", "3", "4", "5"];
    for (n, name) in names.into_iter().enumerate() {
        queue.add(name, typed(["a", "b"][n % 2])).await;
    }
    for name in names {
        let few = Claim { max_bytes: 1, ..claim(9) };
        assert_eq!(ids(&queue.serve(few, at(1)).await), [name]);
    }
}

#[tokio::test]
async fn a_job_that_leaves_a_short_list_takes_its_entry_along() {
    let queue = open().await;
    queue.add_all(&["a", "b", "c"], spec()).await;
    queue.cancel("b", at(1)).await;
    assert_eq!(length(&queue, "0:"), 2);
    queue.delete("a", at(1)).await;
    queue.cancel("c", at(1)).await;
    assert_eq!(length(&queue, "0:"), 0);
}

#[tokio::test]
async fn what_left_a_long_list_is_neither_counted_nor_listed_nor_claimed() {
    let queue = open().await;
    let names = crowd(&queue, LONG).await;
    for name in &names[..10] {
        queue.cancel(name, at(1)).await;
    }
    assert_eq!(length(&queue, "0:"), LONG);
    assert_eq!(queue.count().await.ready, LONG as u64 - 10);
    let page = queue.store.list(&queue.name, &Index::State(State::Ready), Order::Forward, None, 3);
    assert_eq!(ids(&page.await.unwrap().jobs), names[10..13]);
    assert_eq!(queue.survey(at(2)).await.oldest_ready, Some(at(0)));
    assert_eq!(ids(&queue.claim(2, at(2)).await), names[10..12]);
    assert_eq!(length(&queue, "0:"), LONG - 12);
}

#[tokio::test]
async fn another_life_of_a_job_does_not_run_at_its_old_place() {
    let queue = open().await;
    let names = crowd(&queue, LONG).await;
    queue.cancel(&names[0], at(1)).await;
    queue.redrive(&names[0], at(2)).await;
    // The same id at the same moment: both entries tell of the job as it is, but it runs once.
    queue.delete(&names[1], at(2)).await;
    let again = queue.insert_one(queue.chosen(&names[1], spec())).await;
    assert_eq!(again, Inserted::New);
    let mut served = Vec::new();
    while served.len() < LONG {
        let jobs = queue.claim(300, at(3)).await;
        assert!(!jobs.is_empty(), "only {} of {LONG} were claimed", served.len());
        served.extend(jobs.into_iter().map(|job| job.name.id));
    }
    assert_eq!(queue.claim(9, at(3)).await, []);
    assert_eq!(served.iter().position(|id| *id == id_of(&names[0])), Some(LONG - 1));
    let mut distinct = served.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), LONG);
    assert_eq!(length(&queue, "0:"), 0);
}

#[tokio::test]
async fn purging_clears_the_front_of_a_list_that_nobody_claims_from() {
    let queue = open().await;
    let names = crowd(&queue, LONG).await;
    for name in &names[..150] {
        queue.cancel(name, at(1)).await;
    }
    assert_eq!(length(&queue, "0:"), LONG);
    queue.purge(at(2)).await;
    assert_eq!(length(&queue, "0:"), LONG - 150);
    assert_eq!(queue.claim(1, at(3)).await[0].name.id, id_of(&names[150]));
}

#[tokio::test]
async fn a_job_in_a_long_list_knows_how_many_are_ahead() {
    let queue = open().await;
    queue.add_all(&["sooner-1", "sooner-2"], priority(5)).await;
    let names = crowd(&queue, LONG).await;
    queue.add("other", typed("other")).await;
    let last = queue.get(&names[LONG - 1]).await;
    let ahead = queue.store.ahead(&last).await.unwrap();
    // All jobs are of one moment, so the search by time is of no help: about half are told.
    assert!((2..=LONG as u64 + 2).contains(&ahead), "{ahead}");
    let other = queue.get("other").await;
    assert_eq!(queue.store.ahead(&other).await.unwrap(), LONG as u64 + 2);
}

/// In a list so long that its middle is not looked into, places near the ends are exact, those
/// between are taken to be spread evenly.
#[tokio::test]
async fn a_job_in_the_middle_of_a_very_long_list_is_placed_by_its_time() {
    let (queue, number) = (open().await, 30_000);
    let ids: Vec<String> = (0..number).map(|n| format!("job-{n:05}")).collect();
    // Late jobs come twice as fast, which only the ends of the list show.
    let since = |n: usize| at(if n < 15_000 { 2 * n as u64 } else { n as u64 + 15_000 });
    for (first, ids) in (0..number).step_by(1000).zip(ids.chunks(1000)) {
        let jobs = ids.iter().zip(first..);
        let jobs = jobs.map(|(id, n)| queue.item(id, Spec { created: since(n), ..spec() }));
        let outcomes = queue.insert_group(jobs.collect()).await;
        assert_eq!(outcomes, vec![Inserted::New; ids.len()]);
    }
    let ahead = async |n: usize| {
        let job = queue.get(&ids[n]).await;
        queue.store.ahead(&job).await.unwrap()
    };
    for exact in [0, 1, 9_000, 21_000, 29_999] {
        assert_eq!(ahead(exact).await, exact as u64);
    }
    // By time it stands at 2/3 of the way from the 10,000th to the 20,000th.
    assert_eq!(ahead(15_000).await, 16_666);
}

#[tokio::test]
async fn an_ack_and_a_cancellation_of_a_full_list_leave_nothing_behind() {
    let queue = open().await;
    let names = crowd(&queue, LONG).await;
    let leased = queue.claim(100, at(1)).await;
    queue.commit_all(leased.iter().map(|job| acked(job, at(2))).collect(), at(2)).await;
    for names in names[100..].chunks(300) {
        let mut ends = Vec::new();
        for name in names {
            ends.push(operate::cancel(&queue.get(name).await, "", at(3)).unwrap());
        }
        queue.commit_all(ends, at(3)).await;
    }
    assert_eq!((queue.count().await.ready, queue.survey(at(3)).await.bytes), (0, 0));
    assert_eq!(queue.claim(1, at(4)).await, []);
    assert_eq!(length(&queue, "0:"), 0);
    let group = roomy(vec![queue.item("new", spec())]);
    queue.store.insert(&queue.name, vec![group], at(5)).await.unwrap();
    assert_eq!(ids(&queue.claim(9, at(5)).await), ["new"]);
}

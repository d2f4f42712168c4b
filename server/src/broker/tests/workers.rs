//! Who is seen, and who is drained.

use super::handover::on_silent;
use super::*;
use crate::broker::workers::{LATELY, Profile};
use crate::store::Kind;

fn worker(id: &str) -> WorkerId {
    WorkerId::parse(id).unwrap()
}

fn profile() -> Profile {
    Profile { display_name: "one".to_owned(), concurrency: 4, ..Profile::default() }
}

impl Running {
    async fn ids(&self) -> Vec<String> {
        let workers = self.broker.workers().await.unwrap();
        workers.iter().map(|worker| worker.id.to_string()).collect()
    }

    /// Waits until the store knows `count` workers.
    async fn written(&self, count: usize) {
        while self.store.documents(Kind::Worker).await.unwrap().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_worker_is_seen_while_it_waits_and_for_a_while_after() {
    let running = running().await;
    let asked = LeaseRequest { profile: Some(profile()), ..request(&["a"], LONG) };
    let mut waiting = Box::pin(running.broker.lease(asked));
    assert!(waiting.as_mut().now_or_never().is_none());
    running.written(1).await;
    running.clock.advance(Duration::from_secs(50));
    let seen = running.broker.workers().await.unwrap().remove(0);
    assert_eq!((seen.id.clone(), seen.profile.clone()), (worker("w1"), profile()));
    assert_eq!(seen.last_seen, START.after(Duration::from_secs(50)));
    assert!(seen.serves(&name("a")) && !seen.serves(&name("b")) && !seen.draining);
    drop(waiting);
    running.clock.advance(LATELY);
    assert_eq!(running.ids().await, ["w1"]);
    running.clock.advance(Duration::from_millis(1));
    assert_eq!(running.ids().await, [""; 0]);
    running.stop().await;
}

#[tokio::test]
async fn a_heartbeat_shows_that_a_worker_lives() {
    let running = running().await;
    let job = running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    let hour = Extend { lease_duration: Some(Duration::from_mins(10)), ..Extend::default() };
    running.broker.extend(token.clone(), hour.clone()).await.unwrap();
    running.clock.advance(LATELY + Duration::from_secs(1));
    assert_eq!(running.ids().await, [""; 0]);
    running.broker.extend(token, hour).await.unwrap();
    assert_eq!(running.ids().await, ["w1"]);
    assert_eq!(running.state(&job).await, State::Leased);
    running.stop().await;
}

#[tokio::test]
async fn a_drained_worker_is_answered_at_once_and_gets_no_more() {
    let running = running().await;
    running.enqueue("b").await;
    let (_, token) = running.take("b").await;
    let mut waiting = Box::pin(running.lease(&["a"], LONG));
    assert!(waiting.as_mut().now_or_never().is_none());
    let unknown = running.broker.drain_worker(&worker("w2"), "").await.unwrap_err();
    assert_eq!(unknown, Error::NoWorker(worker("w2")));
    assert!(running.broker.drain_worker(&worker("w1"), "deploy").await.unwrap().draining);
    assert_eq!(waiting.await.empty, Empty::Draining);
    running.enqueue("a").await;
    let leased = running.lease(&["a"], LONG).await;
    assert_eq!((leased.jobs, leased.empty), (vec![], Empty::Draining));
    let extended = running.broker.extend(token, Extend::default()).await.unwrap();
    assert!(extended.drain);
    let other = LeaseRequest { worker: worker("w3"), ..request(&["a"], LONG) };
    assert_eq!(running.broker.lease(other).await.unwrap().jobs.len(), 1);
    assert!(running.broker.workers().await.unwrap()[0].draining);
    running.stop().await;
}

#[tokio::test]
async fn the_broker_that_is_asked_for_a_drain_knows_of_it_when_it_answers() {
    // The store tells nobody.
    let (running, _faulty) = on_silent().await;
    running.enqueue("a").await;
    let (_, token) = running.take("a").await;
    running.broker.drain_worker(&worker("w1"), "deploy").await.unwrap();
    assert!(running.broker.extend(token, Extend::default()).await.unwrap().drain);
    running.stop().await;
}

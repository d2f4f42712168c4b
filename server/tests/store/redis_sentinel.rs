//! A store that sentinels watch goes on with the server that they choose.

use crate::fixture::{Queue, acked, at, eventually, ids, roomy, spec};
use crate::job::State;
use crate::redis_server::RedisSentinels;
use crate::store::Signal;

#[tokio::test]
async fn after_a_failover_the_other_server_has_all_jobs_and_takes_more() {
    let mut redis = RedisSentinels::start();
    let queue = Queue::open(&redis.url(), None).await;
    let other = queue.twin(&redis.url()).await;
    queue.add_all(&["done", "leased", "waiting"], spec()).await;
    let served = queue.claim(2, at(1)).await;
    queue.apply(acked(&served[0], at(2)), at(2)).await;
    let copies: u32 =
        redis::cmd("WAIT").arg(1).arg(60_000).query(&mut redis.servers[0].connection()).unwrap();
    assert_eq!(copies, 1);
    let mut signals = queue.signals().await;
    redis.servers[0].stop();
    // What is under way meanwhile fails as unavailable; so each is tried until it works.
    eventually("the other server to take jobs", async || {
        let job = other.chosen("more", spec());
        other.store.insert(&other.name, vec![roomy(vec![job])], at(3)).await.ok()
    })
    .await;
    signals.expect(Signal::Reset).await;
    assert_eq!(queue.state("done").await, Some(State::Succeeded));
    assert_eq!(queue.state("leased").await, Some(State::Leased));
    queue.apply(acked(&served[1], at(4)), at(4)).await;
    assert_eq!(ids(&queue.claim(9, at(5)).await), ["waiting", "more"]);
    // It hears what the other broker does there.
    let mut signals = queue.signals().await;
    other.add("last", spec()).await;
    signals.expect(Signal::Ready(queue.name.clone())).await;
}

//! What Redis alone promises: it outlives restarts of its server, and its keys fit a cluster.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use crate::fixture::{
    Queue, UNTIL_FINISHED, acked, at, claim, deduplicated, eventually, extension, given_back, held,
    ids, nacked, payload, request, request_id, roomy, scheduled, seconds, spec,
};
use crate::job::transition::Disposition;
use crate::job::{Job, QueueName, Spec, State};
use crate::redis_server::{RedisCluster, RedisServer};
use crate::store::open::{OpenOptions, open};
use crate::store::{Claim, EVENTS_KEPT, Error, Group, Inserted, LogStart, Request, Room, Signal};

#[tokio::test]
async fn a_restarted_server_is_found_again_with_all_it_had() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let queue = Queue::open(&server.url(), None).await;
    let mut signals = queue.signals().await;
    queue.add_leased("leased", spec()).await;
    queue.add_all(&["a", "b"], spec()).await;
    server.stop();
    let refused =
        queue.store.insert(&queue.name, vec![roomy(vec![queue.item("c", spec())])], at(0)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    server.start_again();
    let jobs = eventually("the store to come back", async || {
        let claims = vec![Claim { request: Some(request_id(1)), ..claim(9) }];
        queue.store.claim(&queue.name, claims, at(1)).await.ok()
    })
    .await;
    assert_eq!(ids(&jobs.jobs[0]), ["a", "b"]);
    // The feed of signals comes back too, and says that some may be missing.
    signals.expect(Signal::Reset).await;
    queue.signals().await;
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    let job = queue.add_leased("a", spec()).await;
    let mut connection = server.connection();
    let mut flush = || redis::cmd("SCRIPT").arg("FLUSH").exec(&mut connection).unwrap();
    flush();
    queue.add("b", scheduled(at(1))).await;
    flush();
    assert_eq!(queue.promote(at(1)).await, 1);
    flush();
    assert_eq!(ids(&queue.claim(9, at(1)).await), ["b"]);
    flush();
    queue.apply(acked(&job, at(1)), at(1)).await;
    flush();
    queue.purge(at(1)).await;
}

#[tokio::test]
async fn a_cut_connection_is_mended() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    queue.add("a", spec()).await;
    for kind in ["normal", "pubsub"] {
        let mut kill = redis::cmd("CLIENT");
        kill.arg("KILL").arg("TYPE").arg(kind).exec(&mut server.connection()).unwrap();
    }
    eventually("the store to come back", async || {
        queue.store.survey(&queue.name, at(0)).await.ok()
    })
    .await;
    queue.signals().await;
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_another_store() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    let mut signals = queue.twin(&server.url()).await.signals_at(&queue.store).await;
    queue.add("a", spec()).await;
    let before = queue.store.epoch().await.unwrap();
    redis::cmd("FLUSHALL").exec(&mut server.connection()).unwrap();
    // The store knew the queue and need not announce it; the server has forgotten it.
    queue.add("b", spec()).await;
    let after = queue.store.epoch().await.unwrap();
    assert_ne!(after, before);
    signals.expect(Signal::Reset).await;
    assert!(queue.store.queues().await.unwrap().contains(&queue.name));
    assert_eq!((queue.find("a").await, queue.count().await.ready), (None, 1));
    assert_eq!(queue.store.epoch().await.unwrap(), after);
}

#[tokio::test]
async fn a_full_server_takes_no_jobs_but_lets_them_end() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    // As every broker does when it starts.
    queue.store.epoch().await.unwrap();
    queue.add_all(&["a", "b", "c"], spec()).await;
    let jobs = queue.claim(3, at(0)).await;
    let mut connection = server.connection();
    let mut limit = |bytes: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes).exec(&mut connection).unwrap();
    };
    limit("1");
    let group = || vec![roomy(vec![queue.item("d", spec())])];
    let refused = queue.store.insert(&queue.name, group(), at(1)).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    let extension = extension(&jobs[2], at(100));
    let extended = queue.store.extend(&queue.name, vec![extension], at(1)).await.unwrap();
    assert_eq!(extended, [held(at(100))]);
    queue.apply(acked(&jobs[0], at(1)), at(1)).await;
    queue.apply(nacked(&jobs[1], Disposition::Retry(Some(seconds(9))), at(1)), at(1)).await;
    // So brokers serve on, and say why they take no jobs.
    let status = queue.store.status().await.unwrap();
    assert!(status.warnings.iter().any(|it| it.contains("maxmemory is reached")), "{status:?}");
    limit("0");
    let inserted = queue.store.insert(&queue.name, group(), at(1)).await.unwrap();
    assert_eq!(inserted, [[Inserted::New]]);
}

#[tokio::test]
async fn an_unreadable_record_does_not_hold_up_the_jobs_behind_it() {
    // Behind the head of a record, which scripts read, comes what only brokers read.
    const HEAD: usize = 17;
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    queue.add_all(&["a", "b", "c"], spec()).await;
    let mut connection = server.connection();
    let mut spoil = |id: &str| {
        let key = format!("{{{}:{}}}:j", queue.namespace, queue.name);
        let read = redis::cmd("HGET").arg(&key).arg(id).query(&mut connection);
        let mut record: Vec<u8> = read.unwrap();
        record.truncate(HEAD);
        record.extend([0xff_u8; 9]);
        redis::cmd("HSET").arg(&key).arg(id).arg(record).exec(&mut connection).unwrap();
    };
    spoil("a");
    assert_eq!(ids(&queue.claim(3, at(0)).await), ["b", "c"]);
    let read = queue.store.get(&queue.job_name("a")).await;
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    spoil("b");
    assert_eq!(ids(&queue.overdue(at(60)).await), ["c"]);
}

#[tokio::test]
async fn an_entry_whose_job_is_gone_holds_nobody_up_and_is_dropped() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    queue.add_all(&["ready", "behind"], spec()).await;
    queue.add("waiting", scheduled(at(5))).await;
    let mut connection = server.connection();
    for id in ["ready", "waiting"] {
        let key = format!("{{{}:{}}}:j", queue.namespace, queue.name);
        redis::cmd("HDEL").arg(key).arg(id).exec(&mut connection).unwrap();
    }
    assert_eq!(ids(&queue.claim(3, at(0)).await), ["behind"]);
    assert_eq!(queue.store.next_due(&queue.name).await.unwrap(), Some(at(5)));
    queue.store.promote(&queue.name, at(5), 9).await.unwrap();
    assert_eq!(ids(&queue.claim(3, at(5)).await), [""; 0]);
    assert_eq!(queue.store.next_due(&queue.name).await.unwrap(), Some(at(30)));
}

#[tokio::test]
async fn a_log_of_large_batches_keeps_no_more_events_than_one_of_small_ones() {
    // The length is looked after at every 64th entry.
    const CALLS: usize = 128;
    const BATCH: usize = 1000;
    let queue = Queue::in_redis().await;
    for call in 0..CALLS {
        let job = |index| queue.item(&format!("{call}-{index}"), spec());
        queue.insert_group((0..BATCH).map(job).collect()).await;
    }
    let log = queue.store.log(&queue.name, LogStart::Oldest, CALLS).await.unwrap();
    let events: usize = log.iter().map(|entry| entry.events.len()).sum();
    assert!((EVENTS_KEPT..=EVENTS_KEPT + 2 * BATCH).contains(&events), "{events}");
}

#[tokio::test]
async fn a_claim_is_remembered_little_longer_than_its_leases() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    queue.add("a", spec()).await;
    let asked = Claim { request: Some(request_id(1)), ..claim(1) };
    queue.store.claim(&queue.name, vec![asked], at(0)).await.unwrap();
    let mut connection = server.connection();
    let pattern = format!("{{{}:{}}}:c:*", queue.namespace, queue.name);
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
    let left: i64 = redis::cmd("PTTL").arg(&keys[0]).query(&mut connection).unwrap();
    assert!((60_000..=90_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn a_request_is_remembered_in_as_little_for_many_jobs_as_for_one() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    // Ones that have nothing special, and ones with dedup keys, which another script inserts.
    for (number, key) in [(1, None), (2, Some("key"))] {
        let job = |index: usize| match key {
            Some(key) => deduplicated(&format!("{key}-{index}"), UNTIL_FINISHED),
            None => spec(),
        };
        let inserts = (0..50).map(|index| queue.item(&format!("{number}-{index}"), job(index)));
        let request = Some(Request { id: request_id(number), digest: 7 });
        let group = Group { request, ..Group::all_or_none(inserts.collect(), Room::default()) };
        assert_eq!(queue.put(group, 0).await, vec![Inserted::New; 50]);
    }
    let mut connection = server.connection();
    let pattern = format!("{{{}:{}}}:q:*", queue.namespace, queue.name);
    let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
    let length = |key: &String| redis::cmd("STRLEN").arg(key).query::<usize>(&mut connection);
    let lengths: Vec<usize> = keys.iter().map(length).map(Result::unwrap).collect();
    assert_eq!(lengths, [16, 16]);
}

#[tokio::test]
async fn the_growth_of_logs_is_told_only_while_somebody_follows() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    queue.signals().await;
    let mut connection = server.connection();
    let channel = format!("{}:logged", queue.namespace);
    let mut listeners = || -> u32 {
        let mut asking = redis::cmd("PUBSUB");
        let (_, number): (String, u32) =
            asking.arg("NUMSUB").arg(&channel).query(&mut connection).unwrap();
        number
    };
    assert_eq!(listeners(), 0);
    let _following = queue.store.follow().await;
    assert_eq!(listeners(), 1);
}

#[tokio::test]
async fn a_broker_is_not_told_of_its_own_inserts_but_of_what_comes_back() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    let other = queue.twin(&server.url()).await;
    queue.add("first", spec()).await;
    queue.claim_one(at(0)).await;
    let mut own = other.signals_at(&queue.store).await;
    queue.add("a", spec()).await;
    let job = queue.claim_one(at(0)).await;
    other.sibling("between").add("b", spec()).await;
    let told = Signal::Ready(queue.name.clone());
    let between = Signal::Ready(other.sibling("between").name);
    assert!(!own.expect(between).await.contains(&told), "told of its own insert");
    queue.apply(given_back(&job, at(1)), at(1)).await;
    own.expect(told).await;
}

#[tokio::test]
async fn a_broker_is_told_of_an_insert_of_its_own_that_claims_can_overtake() {
    let server = RedisServer::start(&[]);
    let elder = Queue::open(&server.url(), None).await;
    let told = Signal::Ready(elder.name.clone());
    elder.add("taken", spec()).await;
    // Another broker has to register the queue before its first insert.
    let queue = elder.twin(&server.url()).await;
    let mut own = queue.signals_at(&queue.store).await;
    queue.add("a", spec()).await;
    own.expect(told.clone()).await;
    queue.catch_up(&mut own).await;
    // An insert that can't be done quickly is done in a second call.
    let groups = vec![vec![queue.chosen("taken", spec())], vec![queue.item("b", spec())]];
    let wanted = [vec![Inserted::Exists(State::Ready)], vec![Inserted::New]];
    assert_eq!(queue.insert(groups).await, wanted);
    own.expect(told).await;
}

#[tokio::test]
async fn a_namespace_sees_nothing_of_another() {
    let url = RedisServer::shared().url();
    let (queue, stranger) = (Queue::open(&url, None).await, Queue::open(&url, None).await);
    queue.add("a", spec()).await;
    assert_eq!(stranger.store.get(&queue.job_name("a")).await.unwrap(), None);
    assert_eq!(stranger.store.queues().await.unwrap(), Vec::<QueueName>::new());
}

#[tokio::test]
async fn two_brokers_on_one_server_share_the_jobs_out() {
    let url = RedisServer::shared().url();
    let one = Queue::open(&url, None).await;
    let other = one.twin(&url).await;
    let names: Vec<String> = (0..100).map(|n| format!("job-{n}")).collect();
    one.add_all(&names.iter().map(String::as_str).collect::<Vec<_>>(), spec()).await;
    let brokers = [&one, &other];
    let served = join_all((0..50).map(|n| brokers[n % 2].claim(3, at(0)))).await;
    let jobs: Vec<Job> = served.into_iter().flatten().collect();
    let distinct: BTreeSet<&str> = ids(&jobs).into_iter().collect();
    assert_eq!((jobs.len(), distinct.len()), (100, 100));
}

#[tokio::test]
async fn what_one_broker_moves_is_signalled_to_the_other() {
    for url in [RedisServer::shared().url(), RedisCluster::shared().url()] {
        let one = Queue::open(&url, None).await;
        let other = one.twin(&url).await;
        let mut signals = other.signals().await;
        one.add("a", spec()).await;
        signals.expect(Signal::Ready(one.name.clone())).await;
        one.claim_one(at(0)).await;
        signals.expect(Signal::Due(one.name.clone(), at(30))).await;
    }
}

#[tokio::test]
async fn a_server_that_may_drop_jobs_is_refused_unless_allowed() {
    let server = RedisServer::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let refused = open(&server.url(), &OpenOptions::default()).await.err();
    assert!(matches!(refused, Some(Error::Unusable(_))), "{refused:?}");
    let allowed = OpenOptions { allow_eviction: true, ..OpenOptions::default() };
    let store = open(&server.url(), &allowed).await.unwrap();
    assert!(!store.status().await.unwrap().warnings.is_empty());
}

#[tokio::test]
async fn all_keys_of_a_queue_share_its_hash_tag() {
    let server = RedisServer::start(&[]);
    let queue = Queue::open(&server.url(), None).await;
    live_through_everything(&queue).await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut server.connection()).unwrap();
    let own: Vec<&String> = keys.iter().filter(|key| key.contains(queue.name.as_str())).collect();
    assert!(own.len() >= 5, "{keys:?}");
    let tag = format!("{{{}:{}}}", queue.namespace, queue.name);
    for key in own {
        assert!(key.starts_with(&tag), "{key} does not begin with {tag}");
    }
    // What belongs to no queue is little: it must not grow with the jobs.
    let common = keys.iter().filter(|key| !key.contains(queue.name.as_str())).count();
    assert!(common <= 2, "{keys:?}");
}

#[tokio::test]
async fn the_queues_of_a_cluster_live_on_all_its_masters() {
    let cluster = RedisCluster::shared();
    let queue = Queue::in_redis_cluster().await;
    let mut names = Vec::new();
    for n in 0..30 {
        let sibling = queue.sibling(&n.to_string());
        live_through_everything(&sibling).await;
        names.push(sibling.name);
    }
    names.sort();
    assert_eq!(queue.store.queues().await.unwrap(), names);
    let mut holders: BTreeMap<usize, usize> = BTreeMap::new();
    for (master, mut connection) in cluster.connections().enumerate() {
        let pattern = format!("{{*:{}.*", queue.name);
        let keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query(&mut connection).unwrap();
        if !keys.is_empty() {
            holders.insert(master, keys.len());
        }
    }
    assert_eq!(holders.len(), 3, "{holders:?}");
}

/// Makes a queue use every kind of key it has.
async fn live_through_everything(queue: &Queue) {
    let held = deduplicated("key", UNTIL_FINISHED);
    let asked = queue.asked("asked", Spec { payload: Some(payload("p")), ..held }, request(1, 1));
    assert_eq!(queue.insert_one(asked).await, Inserted::New);
    queue.add_all(&["a", "b", "c", "d", "e"], spec()).await;
    queue.add("later", scheduled(at(500))).await;
    let jobs = queue.serve(Claim { request: Some(request_id(2)), ..claim(5) }, at(0)).await;
    queue.apply(acked(&jobs[1], at(1)), at(1)).await;
    queue.apply(nacked(&jobs[2], Disposition::Dead, at(1)), at(1)).await;
    queue.apply(nacked(&jobs[3], Disposition::Retry(Some(seconds(9))), at(1)), at(1)).await;
    queue.apply(nacked(&jobs[4], Disposition::Release, at(1)), at(1)).await;
}

//! What a broker says of a Redis that is not fit to keep jobs, or full.

use lessor::JobState;
use lessor::proto::job_broker_admin_client::JobBrokerAdminClient;
use lessor::proto::{GetStoreStatusRequest, ListJobsRequest};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::machine::broker::{Broker, serve};
use crate::machine::process::Process;
use crate::redis::Redis;
use crate::wire::{Stub, answer, done, enqueued, health, job, read, why};
use crate::{READINESS, broker_on};

/// Runs a broker that must refuse to serve; returns what it says.
async fn refused(args: &[&str]) -> String {
    let mut process = Process::spawn(&mut serve(&[&["--listen", "127.0.0.1:0"], args].concat()));
    let status = process.ended().await;
    assert_eq!((status.code(), process.stdout()), (Some(1), String::new()), "{}", process.stderr());
    process.stderr()
}

#[tokio::test]
async fn a_redis_that_may_evict_jobs_is_refused_unless_allowed() {
    let redis = Redis::start(&["maxmemory 100mb", "maxmemory-policy allkeys-lru"]).await;
    let why = refused(&["--store", &redis.url()]).await;
    for word in [&redis.url()[..], "maxmemory-policy is allkeys-lru", "noeviction"] {
        assert!(why.contains(word), "{why}");
    }
    let args = ["--listen", "127.0.0.1:0", "--store", &redis.url(), "--allow-eviction"];
    let broker = Broker::start(&args).await;
    enqueued(&Stub::new(broker.channel()), "mail").await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_named() {
    let mut redis = Redis::start(&[]).await;
    redis.kill();
    let why = refused(&["--store", &redis.url()]).await;
    assert!(why.contains(&format!("can't open the store {}", redis.url())), "{why}");
}

#[tokio::test]
async fn a_redis_that_hides_its_configuration_is_judged_all_the_same() {
    let hidden = "rename-command CONFIG \"\"";
    let redis = Redis::start(&[hidden, "maxmemory-policy allkeys-lru"]).await;
    let why = refused(&["--store", &redis.url()]).await;
    assert!(why.contains("maxmemory-policy is allkeys-lru"), "{why}");
    let redis = Redis::start(&[hidden]).await;
    let (_broker, stub) = broker_on(&redis).await;
    enqueued(&stub, "mail").await;
}

#[tokio::test]
async fn a_full_redis_takes_no_jobs_but_its_brokers_serve_those_that_it_has() {
    let redis = Redis::start(&[]).await;
    let (first, stub) = broker_on(&redis).await;
    let name = enqueued(&stub, "mail").await;
    drop(first);
    assert_eq!(redis.tell("CONFIG SET maxmemory 1"), "+OK");

    let (broker, stub) = broker_on(&redis).await;
    for service in READINESS {
        health(&broker.channel(), service, ServingStatus::Serving).await;
    }
    let refused = answer(stub.clone().enqueue(job("mail"))).await.unwrap_err();
    assert_eq!(why(&refused), (Code::ResourceExhausted, "STORE_MEMORY".to_owned()));
    let mut admin = JobBrokerAdminClient::new(broker.channel());
    let all = ListJobsRequest { queue: "mail".to_owned(), ..ListJobsRequest::default() };
    let listed = answer(admin.list_jobs(all)).await.unwrap().into_inner().jobs;
    assert_eq!(listed.iter().map(|job| &job.name).collect::<Vec<_>>(), [&name]);
    assert_eq!(done(&stub, "mail").await, name);
    assert_eq!(read(&stub, &name).await.unwrap().state(), JobState::Succeeded);
    let status = answer(admin.get_store_status(GetStoreStatusRequest::default())).await.unwrap();
    let warnings = status.into_inner().warnings;
    assert!(warnings.iter().any(|it| it.contains("maxmemory is reached")), "{warnings:?}");

    assert_eq!(redis.tell("CONFIG SET maxmemory 0"), "+OK");
    enqueued(&stub, "mail").await;
}

//! Gates: what holds a queue's jobs back although they are ready, and what a worker wants of them.

use std::pin::pin;

use lessor_proto::v1;
use lessor_proto::v1::lease_response::EmptyReason;

use crate::on_every_store;
use crate::queues::named;
use crate::server::{Server, id_of, lease, millis, millis_between, nack, request, seconds};

on_every_store! {
    a_paused_queue_gives_nothing_and_says_so,
    a_resumed_queue_serves_who_waits,
    one_open_queue_among_paused_ones_is_not_a_pause,
    no_more_jobs_are_leased_than_may_be,
    a_settle_makes_room_for_who_waits,
    a_raised_limit_makes_room_for_who_waits,
    a_rate_limit_lets_a_burst_through_and_says_when_to_come_back,
    a_rate_limit_spreads_the_leases_of_who_waits,
    a_worker_gets_the_types_it_can_do,
    a_worker_waits_for_its_type,
    a_strict_order_serves_the_first_queue_first,
    a_weighted_order_serves_the_heavier_queue_more_often,
    a_worker_of_batches_waits_for_enough,
    a_worker_of_batches_takes_what_there_is_in_the_end,
}

/// Begins to wait for a job, lets `cause` happen once that wait is known to the broker, and tells the
/// job that it brings.
async fn served(
    server: &Server,
    wish: v1::LeaseRequest,
    cause: impl AsyncFnOnce(),
) -> v1::LeasedJob {
    let mut waiting = pin!(server.leased_by(wish));
    tokio::select! {
        biased;
        leased = &mut waiting => panic!("there is nothing to lease: {leased:?}"),
        // Calls of one connection arrive in order: then the other one waits already.
        _ = server.lease_now(lease("nothing-here")) => {}
    }
    let (leased, ()) = tokio::join!(waiting, cause());
    leased
}

fn other_worker(queue: &str) -> v1::LeaseRequest {
    v1::LeaseRequest { worker_id: "worker-2".to_owned(), ..lease(queue) }
}

async fn a_paused_queue_gives_nothing_and_says_so(server: &mut Server) {
    server.enqueue("mail").await;
    server.pause("mail").await;
    let answer = server.lease_now(lease("mail")).await;
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::Paused));
    // Also to a worker that waited for a while.
    let waits = v1::LeaseRequest { wait: Some(millis(300)), ..lease("mail") };
    let answer = server.broker().lease(waits).await.unwrap().into_inner();
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::Paused));
    server.resume("mail").await;
    assert_eq!(server.lease_now(lease("mail")).await.jobs.len(), 1);
}

async fn a_resumed_queue_serves_who_waits(server: &mut Server) {
    for _ in 0..5 {
        let job = server.enqueue("mail").await;
        server.pause("mail").await;
        let leased = served(server, lease("mail"), async || {
            server.resume("mail").await;
        })
        .await;
        assert_eq!(leased.job.unwrap().name, job.name);
    }
}

async fn one_open_queue_among_paused_ones_is_not_a_pause(server: &mut Server) {
    server.enqueue("mail").await;
    server.pause("mail").await;
    let queues = vec!["mail".to_owned(), "open".to_owned()];
    let both = v1::LeaseRequest { queues, ..lease("mail") };
    assert_eq!(server.lease_now(both.clone()).await.empty_reason(), EmptyReason::NoJobs);
    let job = server.enqueue("open").await;
    assert_eq!(server.leased_by(both).await.job.unwrap().name, job.name);
}

async fn limit(server: &Server, max_leased: i32) {
    server.set(v1::Queue { max_leased, ..named("mail") }, &["max_leased"]).await;
}

async fn no_more_jobs_are_leased_than_may_be(server: &mut Server) {
    limit(server, 3).await;
    for _ in 0..6 {
        server.enqueue("mail").await;
    }
    let many = |wish| v1::LeaseRequest { max_jobs: 2, ..wish };
    let first = server.lease_now(many(lease("mail"))).await.jobs;
    let second = server.lease_now(many(other_worker("mail"))).await.jobs;
    assert_eq!((first.len(), second.len()), (2, 1));
    let answer = server.lease_now(many(lease("mail"))).await;
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::Limited));
    server.acked(&first[0].lease_token).await;
    assert_eq!(server.lease_now(many(lease("mail"))).await.jobs.len(), 1);
}

async fn a_settle_makes_room_for_who_waits(server: &mut Server) {
    limit(server, 1).await;
    server.enqueue("mail").await;
    server.enqueue("mail").await;
    let first = server.leased("mail").await.lease_token;
    let next = served(server, other_worker("mail"), async || {
        server.acked(&first).await;
    })
    .await;
    let second = next.lease_token;
    // A failed one makes room too.
    let third = server.enqueue("mail").await;
    let next = served(server, lease("mail"), async || {
        server.broker().nack(nack(&second)).await.unwrap();
    })
    .await;
    assert_eq!(next.job.unwrap().name, third.name);
}

async fn a_raised_limit_makes_room_for_who_waits(server: &mut Server) {
    limit(server, 1).await;
    server.enqueue("mail").await;
    let second = server.enqueue("mail").await;
    server.leased("mail").await;
    let leased = served(server, lease("mail"), async || limit(server, 2).await).await;
    assert_eq!(leased.job.unwrap().name, second.name);
}

async fn at_rate(server: &Server, burst: i32, period: i64) {
    let rate_limit = Some(v1::RateLimit { permits: 1, period: Some(seconds(period)), burst });
    server.set(v1::Queue { rate_limit, ..named("mail") }, &["rate_limit"]).await;
}

async fn a_rate_limit_lets_a_burst_through_and_says_when_to_come_back(server: &mut Server) {
    at_rate(server, 3, 60).await;
    for _ in 0..5 {
        server.enqueue("mail").await;
    }
    let many = v1::LeaseRequest { max_jobs: 10, ..lease("mail") };
    assert_eq!(server.lease_now(many.clone()).await.jobs.len(), 3);
    let answer = server.lease_now(many).await;
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::Limited));
    let after = answer.retry_after.unwrap();
    assert!((30..=60).contains(&after.seconds), "{after}");
}

async fn a_rate_limit_spreads_the_leases_of_who_waits(server: &mut Server) {
    at_rate(server, 1, 1).await;
    for _ in 0..3 {
        server.enqueue("mail").await;
    }
    let mut starts = Vec::new();
    for _ in 0..3 {
        starts.push(server.leased("mail").await.job.unwrap().start_time);
    }
    // A lease is noted a little before the store makes it, not each one equally.
    assert!(millis_between(starts[0], starts[1]) >= 990, "{starts:?}");
    assert!(millis_between(starts[1], starts[2]) >= 990, "{starts:?}");
}

fn typed(kind: &str) -> v1::EnqueueRequest {
    v1::EnqueueRequest { r#type: kind.to_owned(), ..request("mail") }
}

fn for_types(types: &[&str]) -> v1::LeaseRequest {
    let types = types.iter().map(|kind| (*kind).to_owned()).collect();
    v1::LeaseRequest { types, max_jobs: 10, ..lease("mail") }
}

async fn a_worker_gets_the_types_it_can_do(server: &mut Server) {
    for (kind, priority) in [("a", 0), ("b", 9), ("c", 0), ("a", 5), ("", 0)] {
        server.enqueued(v1::EnqueueRequest { priority, ..typed(kind) }).await;
    }
    let answer = server.lease_now(for_types(&["none"])).await;
    assert_eq!((answer.jobs.len(), answer.empty_reason()), (0, EmptyReason::NoJobs));
    let jobs = server.lease_now(for_types(&["a", "c"])).await.jobs;
    let got: Vec<(String, i32)> = jobs
        .into_iter()
        .map(|leased| leased.job.unwrap())
        .map(|job| (job.r#type, job.priority))
        .collect();
    assert_eq!(got, [("a".to_owned(), 5), ("a".to_owned(), 0), ("c".to_owned(), 0)]);
    let rest = server.lease_now(for_types(&[])).await.jobs;
    assert_eq!(rest.len(), 2);
}

async fn a_worker_waits_for_its_type(server: &mut Server) {
    server.enqueued(typed("b")).await;
    let one = |wish| v1::LeaseRequest { max_jobs: 1, ..wish };
    for _ in 0..5 {
        let leased = served(server, one(for_types(&["a"])), async || {
            server.enqueued(typed("b")).await;
            server.enqueued(typed("a")).await;
        })
        .await;
        assert_eq!(leased.job.unwrap().r#type, "a");
    }
}

async fn a_strict_order_serves_the_first_queue_first(server: &mut Server) {
    for queue in ["low", "high", "low", "high"] {
        server.enqueue(queue).await;
    }
    let strict = v1::LeaseRequest {
        queues: vec!["high".to_owned(), "low".to_owned()],
        order: v1::Order::Strict.into(),
        ..lease("high")
    };
    let mut queues = Vec::new();
    for _ in 0..4 {
        let name = server.leased_by(strict.clone()).await.job.unwrap().name;
        queues.push(name.split('/').nth(1).unwrap().to_owned());
    }
    assert_eq!(queues, ["high", "high", "low", "low"]);
}

async fn a_weighted_order_serves_the_heavier_queue_more_often(server: &mut Server) {
    for _ in 0..60 {
        for queue in ["heavy", "light"] {
            server.enqueue(queue).await;
        }
    }
    let weighted = v1::LeaseRequest {
        queues: vec!["light".to_owned(), "heavy".to_owned()],
        order: v1::Order::Weighted.into(),
        weights: [("heavy".to_owned(), 19), ("light".to_owned(), 1)].into(),
        ..lease("heavy")
    };
    let mut heavy = 0;
    for _ in 0..60 {
        let name = server.leased_by(weighted.clone()).await.job.unwrap().name;
        heavy += usize::from(name.starts_with("queues/heavy/"));
    }
    // 57 are expected; fewer than 40 come less often than once in a thousand million runs.
    assert!(heavy >= 40, "{heavy} of 60");
}

fn batch(min_jobs: i32, linger: prost_types::Duration) -> v1::LeaseRequest {
    v1::LeaseRequest {
        max_jobs: 10,
        min_jobs,
        linger: Some(linger),
        wait: Some(seconds(60)),
        ..lease("mail")
    }
}

async fn a_worker_of_batches_waits_for_enough(server: &mut Server) {
    server.enqueue("mail").await;
    let waits =
        async { server.broker().lease(batch(3, seconds(10))).await.unwrap().into_inner().jobs };
    let (jobs, ()) = tokio::join!(waits, async {
        server.enqueue("mail").await;
        server.enqueue("mail").await;
    });
    assert_eq!(jobs.len(), 3);
    let ids: std::collections::HashSet<&str> =
        jobs.iter().map(|leased| id_of(leased.job.as_ref().unwrap())).collect();
    assert_eq!(ids.len(), 3);
}

async fn a_worker_of_batches_takes_what_there_is_in_the_end(server: &mut Server) {
    let job = server.enqueue("mail").await;
    let answer = server.broker().lease(batch(3, millis(200))).await.unwrap().into_inner();
    assert_eq!(answer.jobs.len(), 1);
    assert_eq!(answer.jobs[0].job.as_ref().unwrap().name, job.name);
    assert_eq!(
        server.acked(&answer.jobs[0].lease_token).await.outcome(),
        v1::SettleOutcome::Settled
    );
}

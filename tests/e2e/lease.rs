//! Lease hands each job to one worker, in order, and waits for jobs.

use std::time::Duration;

use lessor_proto::v1;
use lessor_proto::v1::job::State;
use lessor_proto::v1::lease_response::EmptyReason;
use tonic::Request;
use uuid::Uuid;

use crate::on_every_store;
use crate::server::{Server, data, lease, request, seconds};

on_every_store! {
    a_leased_job_is_complete_and_nobody_elses,
    an_empty_answer_says_why_and_when_to_ask_again,
    a_waiting_lease_wakes_on_an_enqueue,
    a_waiting_lease_takes_from_whichever_queue_has_a_job,
    patterns_mean_queues_that_come_to_be_later,
    greater_priority_runs_first_then_first_in_first_out,
    the_worker_chooses_the_visibility_timeout,
    a_repeated_request_answers_the_same_leases,
    a_repeated_request_over_patterns_answers_the_same_leases,
    a_wait_ends_before_the_deadline_of_the_call,
    a_call_that_is_dropped_keeps_no_job,
    many_workers_share_the_jobs_without_a_double,
    a_reply_has_no_more_bytes_than_asked_for,
}

async fn a_leased_job_is_complete_and_nobody_elses(server: &mut Server) {
    let asked = v1::EnqueueRequest { payload: Some(data("hello")), ..request("mail") };
    let enqueued = server.enqueued(asked).await;
    let leased = server.leased("mail").await;
    let job = leased.job.unwrap();
    assert_eq!(job.name, enqueued.name);
    assert_eq!((job.state(), job.worker_id.as_str()), (State::Leased, "worker-1"));
    assert_eq!((job.attempt, job.delivery_count, job.lease_expired_count), (1, 1, 0));
    assert_eq!(crate::server::bytes_of(job.payload.as_ref()), b"hello");
    assert_eq!(job.lease_expire_time, leased.lease_expire_time);
    let remaining = leased.lease_remaining.unwrap();
    assert!((1..=30).contains(&remaining.seconds), "{remaining}");
    let safe = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(leased.lease_token.chars().all(safe), "{}", leased.lease_token);
    assert_eq!(server.lease_now(lease("mail")).await.jobs, []);
    assert_ne!(server.get(&job.name).await.etag, enqueued.etag);
}

async fn an_empty_answer_says_why_and_when_to_ask_again(server: &mut Server) {
    let answer = server.lease_now(lease("mail")).await;
    assert_eq!(answer.jobs, []);
    assert_eq!(answer.empty_reason(), EmptyReason::NoJobs);
    assert_eq!(answer.retry_after, Some(seconds(1)));
    assert!(answer.server_time.unwrap().seconds > 0);
}

async fn a_waiting_lease_wakes_on_an_enqueue(server: &mut Server) {
    for _ in 0..20 {
        let (leased, enqueued) = tokio::join!(server.leased("mail"), server.enqueue("mail"));
        assert_eq!(leased.job.unwrap().name, enqueued.name);
    }
}

async fn a_waiting_lease_takes_from_whichever_queue_has_a_job(server: &mut Server) {
    let queues = ["a", "b", "c"].map(str::to_owned).to_vec();
    for queue in ["c", "a", "b"] {
        let both = v1::LeaseRequest { queues: queues.clone(), ..lease("a") };
        let (leased, enqueued) = tokio::join!(server.leased_by(both), server.enqueue(queue));
        assert_eq!(leased.job.unwrap().name, enqueued.name);
    }
}

async fn patterns_mean_queues_that_come_to_be_later(server: &mut Server) {
    server.enqueue("other").await;
    let (leased, enqueued) = tokio::join!(server.leased("mail-*"), server.enqueue("mail-fast"));
    assert_eq!(leased.job.unwrap().name, enqueued.name);
    server.leased("other").await;
    let (leased, enqueued) = tokio::join!(server.leased("*"), server.enqueue("brand-new"));
    assert_eq!(leased.job.unwrap().name, enqueued.name);
}

async fn greater_priority_runs_first_then_first_in_first_out(server: &mut Server) {
    let mut expected = Vec::new();
    for (priority, rank) in [(0, 2), (5, 0), (-1000, 5), (0, 3), (5, 1), (-1, 4)] {
        let job = server.enqueued(v1::EnqueueRequest { priority, ..request("mail") }).await;
        expected.push((rank, job.name));
    }
    expected.sort();
    let all = server.lease_now(v1::LeaseRequest { max_jobs: 10, ..lease("mail") }).await.jobs;
    let names: Vec<String> = all.into_iter().map(|leased| leased.job.unwrap().name).collect();
    assert_eq!(names, expected.into_iter().map(|(_, name)| name).collect::<Vec<_>>());
}

async fn the_worker_chooses_the_visibility_timeout(server: &mut Server) {
    let slow = v1::EnqueueRequest {
        lease_duration: Some(seconds(7200)),
        attempt_timeout: Some(seconds(7200)),
        ..request("mail")
    };
    server.enqueued(slow.clone()).await;
    server.enqueued(slow).await;
    let own = server.leased("mail").await.lease_remaining.unwrap();
    assert!(own.seconds > 3600, "{own}");
    let chosen = v1::LeaseRequest { lease_duration: Some(seconds(60)), ..lease("mail") };
    let chosen = server.leased_by(chosen).await.lease_remaining.unwrap();
    assert!(chosen.seconds <= 60, "{chosen}");
}

fn tokens(answer: &v1::LeaseResponse) -> Vec<&str> {
    answer.jobs.iter().map(|leased| leased.lease_token.as_str()).collect()
}

async fn replays(server: &Server, queue: &str) {
    for _ in 0..5 {
        server.enqueue("mail").await;
    }
    let request_id = Uuid::new_v4().to_string();
    let asked = v1::LeaseRequest { request_id, max_jobs: 2, ..lease(queue) };
    let first = server.lease_now(asked.clone()).await;
    assert_eq!(first.jobs.len(), 2);
    let again = server.lease_now(asked.clone()).await;
    assert_eq!(tokens(&again), tokens(&first));
    assert_eq!(again.jobs[0].job.as_ref().unwrap().delivery_count, 1);
    server.acked(&first.jobs[0].lease_token).await;
    let rest = server.lease_now(asked).await;
    assert_eq!(tokens(&rest), tokens(&first)[1..]);
    let other = v1::LeaseRequest { max_jobs: 10, ..lease(queue) };
    assert_eq!(server.lease_now(other).await.jobs.len(), 3);
}

async fn a_repeated_request_answers_the_same_leases(server: &mut Server) {
    replays(server, "mail").await;
}

async fn a_repeated_request_over_patterns_answers_the_same_leases(server: &mut Server) {
    replays(server, "*").await;
}

async fn a_wait_ends_before_the_deadline_of_the_call(server: &mut Server) {
    for queue in ["mail", "*"] {
        let wait = Some(seconds(60));
        let mut call = Request::new(v1::LeaseRequest { wait, ..lease(queue) });
        call.set_timeout(Duration::from_secs(1));
        // Had the call run into its deadline, this would be an error.
        let answer = server.broker().lease(call).await.unwrap().into_inner();
        assert_eq!(answer.empty_reason(), EmptyReason::NoJobs);
        assert_eq!(answer.retry_after, None);
    }
}

async fn a_call_that_is_dropped_keeps_no_job(server: &mut Server) {
    for queue in ["mail", "*"].repeat(20) {
        let waits = v1::LeaseRequest { wait: Some(seconds(60)), ..lease(queue) };
        let mut broker = server.broker();
        tokio::select! {
            biased;
            answer = broker.lease(waits) => panic!("there is nothing to lease: {answer:?}"),
            // Calls of one connection arrive in order: then the other one waits already.
            _ = server.lease_now(lease("other")) => {}
        }
        // It is dropped now, and the broker hears of that before it hears of the job.
        let job = server.enqueue("mail").await;
        let leased = server.leased("mail").await.job.unwrap();
        assert_eq!((leased.name, leased.attempt), (job.name, 1));
    }
}

async fn many_workers_share_the_jobs_without_a_double(server: &mut Server) {
    let worker = async |number: usize| {
        let mut names = Vec::new();
        for _ in 0..10 {
            let worker_id = format!("worker-{number}");
            let leased = server.leased_by(v1::LeaseRequest { worker_id, ..lease("mail") }).await;
            names.push(leased.job.unwrap().name);
        }
        names
    };
    let workers = futures_util::future::join_all((0..8).map(worker));
    let jobs = futures_util::future::join_all((0..80).map(|_| server.enqueue("mail")));
    let (taken, made) = tokio::join!(workers, jobs);
    let mut taken: Vec<String> = taken.into_iter().flatten().collect();
    let mut made: Vec<String> = made.into_iter().map(|job| job.name).collect();
    taken.sort();
    made.sort();
    assert_eq!(taken, made);
}

async fn a_reply_has_no_more_bytes_than_asked_for(server: &mut Server) {
    let large = v1::EnqueueRequest { payload: Some(data(vec![7; 1 << 20])), ..request("mail") };
    let mut made = Vec::new();
    for _ in 0..6 {
        made.push(server.enqueued(large.clone()).await.name);
    }
    let mut taken = Vec::new();
    let mut sizes = Vec::new();
    for max_bytes in [1, 2_200_000, 0, 0] {
        let asked = v1::LeaseRequest { max_jobs: 100, max_bytes, ..lease("mail") };
        // What did not fit into the reply before comes back a moment later.
        let asked = v1::LeaseRequest { wait: Some(seconds(60)), ..asked };
        let jobs = server.broker().lease(asked).await.unwrap().into_inner().jobs;
        sizes.push(jobs.len());
        for leased in jobs {
            let job = leased.job.unwrap();
            assert_eq!(job.attempt, 1);
            taken.push(job.name);
        }
        if taken.len() == made.len() {
            break;
        }
    }
    assert!(sizes[0] == 1 && sizes[1] <= 2 && sizes[2] <= 2, "{sizes:?}");
    while taken.len() < made.len() {
        taken.push(server.leased("mail").await.job.unwrap().name);
    }
    taken.sort();
    made.sort();
    assert_eq!(taken, made);
}

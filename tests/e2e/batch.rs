//! Batches: all or nothing where that was asked for, each for itself where not.

use lessor_proto::v1;
use lessor_proto::v1::batch_settle_request::Item;
use lessor_proto::v1::batch_settle_request::item::Op;
use lessor_proto::v1::batch_settle_response::result::Response as Answer;
use lessor_proto::v1::enqueue_response::Outcome;
use lessor_proto::v1::job::State;
use tonic::Code;
use uuid::Uuid;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, data, extend, lease, nack, request};

on_every_store! {
    a_batch_is_enqueued_in_its_order,
    a_batch_with_a_taken_id_enqueues_nothing,
    a_batch_with_a_bad_request_enqueues_nothing,
    a_partial_batch_enqueues_what_it_can,
    a_repeated_batch_makes_no_second_jobs,
    a_batch_with_a_request_id_is_repeated_as_a_whole,
    a_repeated_partial_batch_decides_anew_about_the_refused,
    a_batch_with_a_request_id_has_none_in_its_requests,
    a_batch_of_labels_answers_what_fits,
    a_batch_of_settles_answers_each_for_itself,
}

fn batch(requests: Vec<v1::EnqueueRequest>) -> v1::BatchEnqueueRequest {
    v1::BatchEnqueueRequest { requests, ..v1::BatchEnqueueRequest::default() }
}

fn named(queue: &str, id: &str) -> v1::EnqueueRequest {
    v1::EnqueueRequest { job_id: id.to_owned(), ..request(queue) }
}

async fn enqueued(server: &Server, batch: v1::BatchEnqueueRequest) -> Vec<v1::EnqueueResponse> {
    let results = server.broker().batch_enqueue(batch).await.unwrap().into_inner().results;
    results.into_iter().map(|result| result.response.unwrap()).collect()
}

async fn a_batch_is_enqueued_in_its_order(server: &mut Server) {
    let requests = (0..1000).map(|n| named("mail", &format!("job-{n}"))).collect();
    let made = enqueued(server, batch(requests)).await;
    assert!(made.iter().all(|one| one.outcome() == Outcome::Created));
    let names: Vec<String> = made.into_iter().map(|one| one.job.unwrap().name).collect();
    assert_eq!(names[999], "queues/mail/jobs/job-999");
    let mut leased = Vec::new();
    while leased.len() < 1000 {
        let some = v1::LeaseRequest { max_jobs: 256, ..lease("mail") };
        let jobs = server.lease_now(some).await.jobs;
        assert!(!jobs.is_empty());
        leased.extend(jobs.into_iter().map(|leased| leased.job.unwrap().name));
    }
    assert_eq!(leased, names);
}

async fn a_batch_with_a_taken_id_enqueues_nothing(server: &mut Server) {
    server.enqueued(named("mail", "taken")).await;
    let requests = vec![named("mail", "free"), named("mail", "taken"), request("mail")];
    let refusal = Refusal::of(server.broker().batch_enqueue(batch(requests)).await);
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::AlreadyExists, "JOB_EXISTS"));
    assert_eq!(refusal.resource, "queues/mail/jobs/taken");
    assert!(refusal.message.starts_with("requests[1]: "), "{}", refusal.message);
    let all = server.lease_now(v1::LeaseRequest { max_jobs: 10, ..lease("mail") }).await;
    assert_eq!(all.jobs.len(), 1);
}

async fn a_batch_with_a_bad_request_enqueues_nothing(server: &mut Server) {
    let wrong = v1::EnqueueRequest { priority: 5000, ..request("mail") };
    let refusal =
        Refusal::of(server.broker().batch_enqueue(batch(vec![request("mail"), wrong])).await);
    assert_eq!(refusal.fields, ["requests[1].priority"]);
    let two_queues = batch(vec![request("mail"), request("mail"), request("sms")]);
    let refusal = Refusal::of(server.broker().batch_enqueue(two_queues).await);
    assert_eq!(refusal.fields, ["requests[2].queue"]);
    assert_eq!(server.lease_now(lease("*")).await.jobs, []);
}

async fn a_partial_batch_enqueues_what_it_can(server: &mut Server) {
    server.enqueued(named("mail", "taken")).await;
    let requests = vec![
        named("mail", "a"),
        named("mail", "taken"),
        named("sms", "b"),
        v1::EnqueueRequest { payload: Some(data(vec![0; (1 << 20) + 1])), ..request("mail") },
        named("sms", "b"),
        named("mail", "b"),
    ];
    let partial = v1::BatchEnqueueRequest { allow_partial: true, ..batch(requests) };
    let results = server.broker().batch_enqueue(partial).await.unwrap().into_inner().results;
    assert_eq!(results.len(), 6);
    for (index, name) in [(0, "mail/jobs/a"), (2, "sms/jobs/b"), (5, "mail/jobs/b")] {
        let job = results[index].response.as_ref().unwrap().job.as_ref().unwrap();
        assert_eq!(job.name, format!("queues/{name}"));
        assert_eq!(results[index].status, None);
    }
    let refusal = |index: usize| Refusal::of_item(results[index].status.as_ref().unwrap());
    assert_eq!(refusal(1).reason, "JOB_EXISTS");
    assert_eq!(
        (refusal(3).reason, refusal(3).fields),
        ("PAYLOAD_TOO_LARGE".to_owned(), vec!["payload".to_owned()])
    );
    assert_eq!(refusal(4).fields, ["job_id"]);
}

async fn a_repeated_batch_makes_no_second_jobs(server: &mut Server) {
    let identified =
        |_| v1::EnqueueRequest { request_id: Uuid::new_v4().to_string(), ..request("mail") };
    let asked = batch((0..10).map(identified).collect());
    let first = enqueued(server, asked.clone()).await;
    let again = enqueued(server, asked).await;
    for (first, again) in first.iter().zip(&again) {
        assert_eq!((first.outcome(), again.outcome()), (Outcome::Created, Outcome::Replayed));
        assert_eq!(first.job, again.job);
    }
}

fn identified(batch: v1::BatchEnqueueRequest) -> v1::BatchEnqueueRequest {
    v1::BatchEnqueueRequest { request_id: Uuid::new_v4().to_string(), ..batch }
}

async fn a_batch_with_a_request_id_is_repeated_as_a_whole(server: &mut Server) {
    let labels = (0..9).map(|n| (format!("key-{n}"), "v".to_owned())).collect();
    let labelled = v1::EnqueueRequest { labels, ..named("mail", "chosen") };
    let asked = identified(batch(vec![request("mail"), labelled, request("mail")]));
    let first = enqueued(server, asked.clone()).await;
    let again = enqueued(server, asked.clone()).await;
    for (first, again) in first.iter().zip(&again) {
        assert_eq!((first.outcome(), again.outcome()), (Outcome::Created, Outcome::Replayed));
        assert_eq!(first.job, again.job);
    }
    let all = server.lease_now(v1::LeaseRequest { max_jobs: 10, ..lease("mail") }).await;
    assert_eq!(all.jobs.len(), 3);
    let other = v1::BatchEnqueueRequest { requests: vec![request("mail"); 2], ..asked };
    let refusal = Refusal::of(server.broker().batch_enqueue(other).await);
    assert_eq!(refusal.reason, "REQUEST_ID_REUSED");
}

async fn a_repeated_partial_batch_decides_anew_about_the_refused(server: &mut Server) {
    server.enqueued(named("mail", "taken")).await;
    let requests = vec![
        named("mail", "taken"),
        request("sms"),
        v1::EnqueueRequest { priority: 5000, ..request("mail") },
        request("mail"),
    ];
    let asked = identified(v1::BatchEnqueueRequest { allow_partial: true, ..batch(requests) });
    let mut made = Vec::new();
    for outcome in [Outcome::Created, Outcome::Replayed] {
        let results = server.broker().batch_enqueue(asked.clone()).await.unwrap().into_inner();
        let refusal =
            |index: usize| Refusal::of_item(results.results[index].status.as_ref().unwrap());
        assert_eq!(refusal(0).reason, "JOB_EXISTS");
        assert_eq!(refusal(2).fields, ["priority"]);
        for index in [1, 3] {
            let response = results.results[index].response.clone().unwrap();
            assert_eq!(response.outcome(), outcome);
            made.push(response.job.unwrap().name);
        }
    }
    assert_eq!(made[..2], made[2..]);
}

async fn a_batch_with_a_request_id_has_none_in_its_requests(server: &mut Server) {
    let inner = v1::EnqueueRequest { request_id: Uuid::new_v4().to_string(), ..request("mail") };
    for allow_partial in [false, true] {
        let asked = identified(batch(vec![request("mail"), inner.clone()]));
        let asked = v1::BatchEnqueueRequest { allow_partial, ..asked };
        let refusal = Refusal::of(server.broker().batch_enqueue(asked).await);
        assert_eq!(refusal.fields, ["requests[1].request_id"]);
    }
    let garbled =
        v1::BatchEnqueueRequest { request_id: "x".to_owned(), ..batch(vec![request("mail")]) };
    assert_eq!(Refusal::of(server.broker().batch_enqueue(garbled).await).fields, ["request_id"]);
}

async fn a_batch_of_labels_answers_what_fits(server: &mut Server) {
    // Many duplicates of one large job: the request is small, the answer would not be.
    let labels = (0..64).map(|n| (format!("key-{n}"), "v".repeat(255))).collect();
    let dedup = v1::Dedup { key: "one".to_owned(), ..v1::Dedup::default() };
    let holder = v1::EnqueueRequest { labels, dedup: Some(dedup.clone()), ..request("mail") };
    let name = server.enqueued(holder).await.name;
    let duplicate = v1::EnqueueRequest { dedup: Some(dedup), ..request("mail") };
    let answers = enqueued(server, batch(vec![duplicate; 1000])).await;
    assert_eq!(answers.len(), 1000);
    for answer in answers {
        assert_eq!(answer.outcome(), Outcome::Deduplicated);
        let job = answer.job.unwrap();
        assert_eq!(
            (job.name.as_str(), job.state(), job.labels.len()),
            (name.as_str(), State::Ready, 0)
        );
    }
}

async fn a_batch_of_settles_answers_each_for_itself(server: &mut Server) {
    for _ in 0..4 {
        server.enqueue("mail").await;
    }
    let all = server.lease_now(v1::LeaseRequest { max_jobs: 4, ..lease("mail") }).await.jobs;
    let tokens: Vec<&str> = all.iter().map(|leased| leased.lease_token.as_str()).collect();
    server.acked(tokens[3]).await;
    let ops = [
        Some(Op::Ack(ack(tokens[0]))),
        Some(Op::Nack(nack(tokens[1]))),
        Some(Op::Extend(extend(tokens[2]))),
        Some(Op::Nack(nack(tokens[3]))),
        Some(Op::Ack(ack("nonsense"))),
        None,
    ];
    let items = ops.into_iter().map(|op| Item { op }).collect();
    let settled = server.broker().batch_settle(v1::BatchSettleRequest { items }).await;
    let answers: Vec<Answer> =
        settled.unwrap().into_inner().results.into_iter().map(|it| it.response.unwrap()).collect();
    assert_eq!(answers.len(), 6);
    assert!(matches!(&answers[0], Answer::Ack(ack) if ack.outcome() == v1::SettleOutcome::Settled));
    assert!(
        matches!(&answers[1], Answer::Nack(nack) if nack.outcome() == v1::SettleOutcome::Settled)
    );
    assert!(matches!(&answers[2], Answer::Extend(extend) if extend.lease_remaining.is_some()));
    let refusal = |index: usize| match &answers[index] {
        Answer::Error(status) => Refusal::of_item(status),
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(3).reason, "LEASE_SETTLED");
    assert_eq!(
        (refusal(4).reason, refusal(4).fields),
        ("BAD_LEASE_TOKEN".to_owned(), vec!["lease_token".to_owned()])
    );
    assert_eq!(
        (refusal(5).reason, refusal(5).fields),
        ("INVALID_FIELD".to_owned(), vec!["op".to_owned()])
    );
}

//! Sizes: what fits is taken, what does not is refused with a reason, and much at once is served.

use futures_util::future::join_all;
use lessor_proto::v1;
use tonic::Code;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::{Server, ack, bytes_of, data, extend, nack, request};

const MIB: usize = 1 << 20;

on_every_store! {
    payloads_up_to_the_limit_are_taken,
    results_and_checkpoints_have_a_limit_of_their_own,
    a_batch_over_the_limit_is_refused,
    a_request_too_large_to_read_is_refused_with_a_reason,
    a_flood_of_small_calls_on_one_connection_is_served,
}

fn sized(bytes: usize) -> v1::EnqueueRequest {
    v1::EnqueueRequest { payload: Some(data(vec![7; bytes])), ..request("mail") }
}

fn assert_too_large(refusal: &Refusal, field: &str, limit: usize, actual: usize) {
    assert_eq!(
        (refusal.code, refusal.reason.as_str()),
        (Code::InvalidArgument, "PAYLOAD_TOO_LARGE")
    );
    assert_eq!(refusal.metadata["limitBytes"], limit.to_string());
    assert_eq!(refusal.metadata["actualBytes"], actual.to_string());
    assert_eq!(refusal.fields, [field]);
}

async fn payloads_up_to_the_limit_are_taken(server: &mut Server) {
    server.enqueued(sized(MIB)).await;
    let leased = server.leased("mail").await;
    assert_eq!(bytes_of(leased.job.unwrap().payload.as_ref()).len(), MIB);
    let refusal = Refusal::of(server.broker().enqueue(sized(MIB + 1)).await);
    assert_too_large(&refusal, "payload", MIB, MIB + 1);
}

async fn results_and_checkpoints_have_a_limit_of_their_own(server: &mut Server) {
    let name = server.enqueue("mail").await.name;
    let token = server.leased("mail").await.lease_token;
    let (limit, actual) = (MIB / 4, MIB / 4 + 1);
    let large = || Some(data(vec![7; actual]));
    let acked = v1::AckRequest { result: large(), ..ack(&token) };
    assert_too_large(&Refusal::of(server.broker().ack(acked).await), "result", limit, actual);
    let nacked = v1::NackRequest { checkpoint: large(), ..nack(&token) };
    assert_too_large(&Refusal::of(server.broker().nack(nacked).await), "checkpoint", limit, actual);
    let saved = v1::ExtendLeaseRequest { checkpoint: large(), ..extend(&token) };
    let refusal = Refusal::of(server.broker().extend_lease(saved).await);
    assert_too_large(&refusal, "checkpoint", limit, actual);
    let fits = v1::AckRequest { result: Some(data(vec![7; limit])), ..ack(&token) };
    server.broker().ack(fits).await.unwrap();
    assert_eq!(bytes_of(server.get(&name).await.result.as_ref()).len(), limit);
}

async fn a_batch_over_the_limit_is_refused(server: &mut Server) {
    let batch = v1::BatchEnqueueRequest {
        requests: vec![sized(MIB); 3],
        allow_partial: true,
        ..v1::BatchEnqueueRequest::default()
    };
    let refusal = Refusal::of(server.broker().batch_enqueue(batch).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.fields),
        ("PAYLOAD_TOO_LARGE", vec!["requests".to_owned()])
    );
    let many = v1::BatchEnqueueRequest {
        requests: vec![request("mail"); 1001],
        allow_partial: true,
        ..v1::BatchEnqueueRequest::default()
    };
    let refusal = Refusal::of(server.broker().batch_enqueue(many).await);
    assert_eq!(
        (refusal.reason.as_str(), refusal.fields),
        ("INVALID_FIELD", vec!["requests".to_owned()])
    );
}

async fn a_request_too_large_to_read_is_refused_with_a_reason(server: &mut Server) {
    let refusal = Refusal::of(server.broker().enqueue(sized(5 * MIB)).await);
    assert_eq!(
        (refusal.code, refusal.reason.as_str()),
        (Code::InvalidArgument, "PAYLOAD_TOO_LARGE")
    );
    assert_eq!(refusal.metadata["limitBytes"], (4 * MIB).to_string());
    // The connection has not suffered.
    server.enqueue("mail").await;
}

/// h2 gives up a connection that holds too many small unread frames, and these are such frames.
async fn a_flood_of_small_calls_on_one_connection_is_served(server: &mut Server) {
    let jobs = join_all((0..4000).map(|_| server.enqueue("mail"))).await;
    assert_eq!(jobs.len(), 4000);
    let leases = join_all((0..1000).map(|_| server.leased("mail"))).await;
    let acks = join_all(leases.iter().map(|leased| server.acked(&leased.lease_token))).await;
    assert!(acks.iter().all(|ack| ack.outcome() == v1::SettleOutcome::Settled));
}

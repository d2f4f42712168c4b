//! Roles and queues.

use lessor_proto::v1;
use lessor_proto::v1::work_request::{Frame, Hello};
use lessor_server::auth::{Call, Role};
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::{admin, broker, channel, enqueued, guarded};
use crate::refusal::Refusal;
use crate::server::{Server, lease, nack, request};

/// Makes an empty call of any kind; tells whether a role was missing.
async fn is_forbidden(server: &Server, name: &str, call: Call) -> bool {
    let mut stub = Grpc::new(channel(server, name));
    stub.ready().await.unwrap();
    let path = call.path().parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let status = match stub.server_streaming(Request::new(()), path, codec).await {
        Ok(answer) => answer.into_inner().message().await.err(),
        Err(status) => Some(status),
    };
    status.is_some_and(|status| status.code() == Code::PermissionDenied)
}

#[tokio::test]
async fn each_call_needs_its_role() {
    guarded(async |server| {
        for call in Call::ALL.iter().copied() {
            let rule = call.rule();
            for (name, role) in [
                ("web", Role::Producer),
                ("worker", Role::Worker),
                ("viewer", Role::Viewer),
                ("operator", Role::Operator),
                ("admin", Role::Admin),
            ] {
                let may = role.includes(rule.any) || rule.own.is_some_and(|it| role.includes(it));
                // Without a queue to name, a producer that watches would watch those of others.
                let may = may && !(call == Call::WatchEvents && role == Role::Producer);
                assert_eq!(is_forbidden(server, name, call).await, !may, "{name} calls {call:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_role_ends_at_its_queues() {
    guarded(async |server| {
        let refusals = [
            Refusal::of(broker(server, "web").enqueue(request("sms")).await),
            Refusal::of(broker(server, "worker").lease(lease("sms")).await),
            Refusal::of(broker(server, "worker").lease(lease("*")).await),
            Refusal::of(broker(server, "worker").lease(lease("m*")).await),
            Refusal::of(admin(server, "operator").pause_queue(queue("sms")).await),
            Refusal::of(
                admin(server, "mail-viewer")
                    .get_queue_stats(v1::GetQueueStatsRequest { name: "queues/sms".to_owned() })
                    .await,
            ),
        ];
        for refusal in refusals {
            assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE"));
        }
        assert!(broker(server, "worker").lease(lease("mail*")).await.is_ok());
    })
    .await;
}

fn queue(name: &str) -> v1::QueueActionRequest {
    v1::QueueActionRequest { name: format!("queues/{name}"), ..v1::QueueActionRequest::default() }
}

#[tokio::test]
async fn one_item_of_a_batch_is_refused_for_itself() {
    guarded(async |server| {
        let requests = vec![request("mail"), request("sms")];
        let batch = v1::BatchEnqueueRequest { requests, allow_partial: true, ..Default::default() };
        let answer = broker(server, "web").batch_enqueue(batch).await.unwrap().into_inner();
        assert!(answer.results[0].response.is_some());
        let refusal = Refusal::of_item(answer.results[1].status.as_ref().unwrap());
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE"));
        let whole =
            v1::BatchEnqueueRequest { requests: vec![request("sms")], ..Default::default() };
        let refusal = Refusal::of(broker(server, "web").batch_enqueue(whole).await);
        assert_eq!(refusal.code, Code::PermissionDenied);
    })
    .await;
}

#[tokio::test]
async fn a_lease_token_does_not_open_another_queue() {
    guarded(async |server| {
        enqueued(server, "admin", request("sms")).await;
        let leased = broker(server, "admin").lease(lease("sms")).await.unwrap().into_inner();
        let token = &leased.jobs[0].lease_token;
        let refusal = Refusal::of(broker(server, "worker").nack(nack(token)).await);
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::PermissionDenied, "ROLE"));
        assert!(broker(server, "admin").nack(nack(token)).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn a_stream_serves_no_other_queue() {
    guarded(async |server| {
        let hello = |queue: &str| v1::WorkRequest {
            frame: Some(Frame::Hello(Hello {
                worker: Some(v1::Worker { worker_id: "w".to_owned(), ..Default::default() }),
                queues: vec![queue.to_owned()],
                ..Hello::default()
            })),
            ..v1::WorkRequest::default()
        };
        let mut refused = broker(server, "worker")
            .work(futures_util::stream::iter([hello("sms")]))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(refused.message().await.unwrap_err().code(), Code::PermissionDenied);
        let mut open = broker(server, "worker")
            .work(futures_util::stream::iter([hello("mail")]))
            .await
            .unwrap()
            .into_inner();
        assert!(open.message().await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn lists_hold_what_the_caller_may_know_of() {
    guarded(async |server| {
        for name in ["mail", "sms"] {
            enqueued(server, "admin", request(name)).await;
        }
        let queues = async |name: &str| {
            let answer = admin(server, name).list_queues(v1::ListQueuesRequest::default()).await;
            let queues = answer.unwrap().into_inner().queues;
            queues.into_iter().map(|queue| queue.name).collect::<Vec<_>>()
        };
        assert_eq!(queues("viewer").await, ["mail", "sms"]);
        assert_eq!(queues("mail-viewer").await, ["mail"]);
    })
    .await;
}

//! What no generated client sends: garbled messages and methods that there are not.

use lessor_proto::v1;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::on_every_store;
use crate::refusal::Refusal;
use crate::server::Server;

on_every_store! {
    a_garbled_request_is_refused_with_a_reason,
    an_unknown_method_is_told_so,
}

/// Sends an attempt, whose first field is a number, to `path`.
async fn send(server: &Server, path: &'static str) -> Result<Response<v1::Job>, Status> {
    let mut grpc = Grpc::new(server.channel());
    grpc.ready().await.unwrap();
    let codec: ProstCodec<v1::Attempt, v1::Job> = ProstCodec::default();
    let attempt = v1::Attempt { number: 7, ..v1::Attempt::default() };
    grpc.unary(Request::new(attempt), PathAndQuery::from_static(path), codec).await
}

async fn a_garbled_request_is_refused_with_a_reason(server: &mut Server) {
    // The first field of these is a text.
    for path in ["/lessor.v1.JobBroker/GetJob", "/lessor.v1.JobBrokerAdmin/GetQueueStats"] {
        let refusal = Refusal::of(send(server, path).await);
        let expected = (Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!((refusal.code, refusal.reason.as_str()), expected);
    }
}

async fn an_unknown_method_is_told_so(server: &mut Server) {
    for path in ["/lessor.v1.JobBroker/Nothing", "/lessor.v1.Nothing/Enqueue", "/nothing"] {
        let refusal = Refusal::of(send(server, path).await);
        let expected = (Code::Unimplemented, "FEATURE_DISABLED");
        assert_eq!((refusal.code, refusal.reason.as_str()), expected);
    }
}

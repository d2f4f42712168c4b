//! Reflection: tools find every service, in both versions of the protocol, with the comments.

use prost::Message;
use prost_types::FileDescriptorProto;
use tonic_reflection::pb::{v1, v1alpha};

use crate::on_every_store;
use crate::server::Server;

on_every_store! {
    version_1_lists_the_services_and_their_comments,
    version_1_alpha_lists_the_same_services,
}

const SERVICES: [&str; 3] =
    ["grpc.health.v1.Health", "lessor.v1.JobBroker", "lessor.v1.JobBrokerAdmin"];

async fn version_1_lists_the_services_and_their_comments(server: &mut Server) {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let asked = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol("lessor.v1.JobBroker".to_owned()),
        MessageRequest::FileContainingSymbol("grpc.health.v1.Health".to_owned()),
        // Without it tools show the details of an error as bytes.
        MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned()),
    ];
    let requests = asked.map(|message_request| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    });
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel());
    let answers = client.server_reflection_info(futures_util::stream::iter(requests)).await;
    let mut answers = answers.unwrap().into_inner();
    let mut next = async || answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = next().await else { panic!("no list") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in SERVICES {
        assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
    }
    let MessageResponse::FileDescriptorResponse(files) = next().await else { panic!("no file") };
    let file = FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap();
    assert_eq!(file.package(), "lessor.v1");
    let comments = file.source_code_info.unwrap().location;
    assert!(comments.iter().any(|place| place.leading_comments().contains("Leases jobs")));
    assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
    assert!(matches!(next().await, MessageResponse::FileDescriptorResponse(_)));
}

async fn version_1_alpha_lists_the_same_services(server: &mut Server) {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel());
    let answers = client.server_reflection_info(futures_util::stream::iter([request])).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("no list")
    };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for service in SERVICES {
        assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
    }
}

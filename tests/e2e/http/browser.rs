//! Web pages: which may call, and gRPC-Web.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use lessor_proto::v1;
use lessor_server::config::{RawConfig, RawCors};
use prost::Message;

use super::client::{Http, post};
use crate::server::{Server, Store, case, configured_case, request};

const ENQUEUE: &str = "/lessor.v1.JobBroker/Enqueue";
const PAGE: &str = "https://shop.example";

async fn from_page(server: &Server, origin: &str) -> super::client::Answer {
    let mut call = post(ENQUEUE, "application/json", r#"{"queue":"mail"}"#);
    call.headers_mut().insert("origin", origin.parse().unwrap());
    Http::one(server.address).await.ask(call).await
}

async fn preflight(server: &Server, origin: &str) -> super::client::Answer {
    let request = Request::options(ENQUEUE)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,authorization");
    Http::one(server.address).await.ask(request.body(Full::default()).unwrap()).await
}

async fn jobs(server: &Server) -> usize {
    let request = v1::ListJobsRequest { queue: "mail".to_owned(), ..Default::default() };
    server.admin().list_jobs(request).await.map_or(0, |list| list.into_inner().jobs.len())
}

#[tokio::test]
async fn without_cors_a_web_page_calls_nothing() {
    case(Store::Sqlite, async |server| {
        assert_eq!(preflight(server, PAGE).await.status, StatusCode::FORBIDDEN);
        let answer = from_page(server, PAGE).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.header("access-control-allow-origin"), "");
        assert_eq!(jobs(server).await, 0);
    })
    .await;
}

#[tokio::test]
async fn with_cors_the_listed_pages_call_and_others_do_not() {
    let cors = RawCors { origins: Some(vec![PAGE.to_owned()]) };
    configured_case(RawConfig { cors, ..RawConfig::default() }, async |server| {
        let asked = preflight(server, PAGE).await;
        assert_eq!(asked.status, StatusCode::OK);
        assert_eq!(asked.header("access-control-allow-origin"), PAGE);
        assert_eq!(asked.header("access-control-allow-headers"), "content-type,authorization");
        let answer = from_page(server, PAGE).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
        assert_eq!(jobs(server).await, 1);
        assert_eq!(from_page(server, "https://evil.example").await.status, StatusCode::FORBIDDEN);
        assert_eq!(jobs(server).await, 1);
    })
    .await;
}

/// A gRPC call, or one of gRPC-Web, as a page may write it.
fn framed(content_type: &str) -> Request<Full<Bytes>> {
    let message = request("mail").encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    post(ENQUEUE, content_type, [&[0], &length[..], &message].concat())
}

/// All that a page can ask for once its name leads to this machine.
fn asked_by_page(host: &str) -> Vec<Request<Full<Bytes>>> {
    let get = |path: &str| Request::get(path).body(Full::default()).unwrap();
    let mut requests = vec![
        get("/metrics"),
        get("/v1/events?queues=mail"),
        post(ENQUEUE, "application/json", r#"{"queue":"mail"}"#),
        framed("application/grpc-web+proto"),
        framed("application/grpc"),
    ];
    for request in &mut requests {
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    requests
}

#[tokio::test]
async fn a_page_whose_name_leads_here_calls_nothing() {
    case(Store::Sqlite, async |server| {
        for request in asked_by_page("evil.example:7077") {
            let answer = Http::one(server.address).await.ask(request).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            assert!(answer.text().contains("localhost"), "{}", answer.text());
        }
        assert_eq!(jobs(server).await, 0);
        for own in ["localhost:7077", "127.0.0.1", "[::1]:7077"] {
            let mut metrics = Request::get("/metrics").body(Full::default()).unwrap();
            metrics.headers_mut().insert("host", own.parse().unwrap());
            let answer = Http::one(server.address).await.ask(metrics).await;
            assert_eq!(answer.status, StatusCode::OK, "{own}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_listed_leads_here() {
    let cors = RawCors { origins: Some(vec!["http://queue.test:8080".to_owned()]) };
    configured_case(RawConfig { cors, ..RawConfig::default() }, async |server| {
        let mut call = post(ENQUEUE, "application/json", r#"{"queue":"mail"}"#);
        call.headers_mut().insert("host", "queue.test:8080".parse().unwrap());
        assert_eq!(Http::one(server.address).await.ask(call).await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_page_that_writes_grpc_by_itself_is_refused() {
    case(Store::Sqlite, async |server| {
        let mut call = framed("application/grpc");
        call.headers_mut().insert("origin", PAGE.parse().unwrap());
        let answer = Http::one(server.address).await.ask(call).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(jobs(server).await, 0);
    })
    .await;
}

#[tokio::test]
async fn grpc_web_calls_are_served() {
    case(Store::Sqlite, async |server| {
        for mut http in Http::both(server.address).await {
            let answer = http.ask(framed("application/grpc-web+proto")).await;
            assert_eq!(answer.header("content-type"), "application/grpc-web+proto");
            let (length, rest) = answer.body[1..].split_at(4);
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            let enqueued = v1::EnqueueResponse::decode(&rest[..length]).unwrap();
            assert!(enqueued.job.unwrap().name.starts_with("queues/mail/"));
            // The trailers come as a last message.
            let trailers = String::from_utf8_lossy(&rest[length + 5..]).replace(' ', "");
            assert!(rest[length] == 0x80 && trailers.contains("grpc-status:0"), "{trailers}");
        }
        assert_eq!(jobs(server).await, 2);
    })
    .await;
}

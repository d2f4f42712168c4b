//! The service of Connect's conformance suite behind the front of the broker, for `make test-connect`.
//!
//! `conformance PROTO_DIR` is started by the runner: it reads a request of the runner from stdin,
//! tells its port on stdout, and serves until the runner ends it.

#![expect(clippy::unwrap_used, reason = "a tool for tests may stop where it can't go on")]

mod messages;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::time::Duration;

use axum::Router;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt, unfold};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use lessor_server::rpc::front::FrontLayer;
use prost::Message;
use prost_types::Any;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{DecodeBuf, Decoder, Streaming};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};

use crate::messages::{
    Error, Header, Payload, Reply, RequestInfo, ServerCompatResponse, StreamAsked,
    StreamDefinition, UnaryAsked, UnaryDefinition, UnaryOutcome,
};

const PACKAGE: &str = "connectrpc.conformance.v1";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let protos = std::env::args().nth(1).unwrap();
    let files = ["connectrpc/conformance/v1/service.proto"];
    let descriptors = protox::compile(files, [protos]).unwrap().encode_to_vec();
    let front = FrontLayer::new(Router::new(), &[&descriptors]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    asked();
    tell(&ServerCompatResponse { host: "127.0.0.1".to_owned(), port: port.into() });
    let service = tower::service_fn(|request| async { Ok::<_, Infallible>(serve(request).await) });
    let server = Server::builder().accept_http1(true).layer(front);
    server.serve_with_incoming(service, TcpIncoming::from(listener)).await.unwrap();
}

/// Reads the runner's request. All that it may ask for besides a port is refused in `config.yaml`.
fn asked() {
    let mut stdin = std::io::stdin();
    let mut length = [0; 4];
    stdin.read_exact(&mut length).unwrap();
    let mut request = vec![0; u32::from_be_bytes(length) as usize];
    stdin.read_exact(&mut request).unwrap();
}

fn tell(answer: &ServerCompatResponse) {
    let bytes = answer.encode_to_vec();
    let mut stdout = std::io::stdout();
    stdout.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
    stdout.write_all(&bytes).unwrap();
    stdout.flush().unwrap();
}

async fn serve(request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let name = parts.uri.path().rsplit('/').next().unwrap().to_owned();
    let requests = Streaming::new_request(Raw, body, None, None);
    let call = Call { kind: format!("{name}Request"), info: info(&parts.headers), requests };
    let answer = match name.as_str() {
        "Unary" | "ClientStream" => call.answered_once().await,
        "ServerStream" | "BidiStream" => call.answered_by_stream().await,
        _ => Err(Status::unimplemented("there is no such call")),
    };
    answer.unwrap_or_else(Status::into_http)
}

fn info(headers: &HeaderMap) -> RequestInfo {
    let of = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    let timeout = headers.get("grpc-timeout").map(|text| millis(text.to_str().unwrap()));
    RequestInfo {
        headers: headers
            .keys()
            .map(|name| Header { name: name.to_string(), value: of(name) })
            .collect(),
        timeout_ms: timeout,
        requests: Vec::new(),
    }
}

fn millis(timeout: &str) -> i64 {
    let (number, unit) = timeout.split_at(timeout.len() - 1);
    let number: i64 = number.parse().unwrap();
    match unit {
        "S" => number * 1000,
        "m" => number,
        "u" => number / 1000,
        "n" => number / 1_000_000,
        other => panic!("a timeout in {other}"),
    }
}

/// Requests as they are: they are echoed.
struct Raw;

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

struct Call {
    /// The type of its requests.
    kind: String,
    info: RequestInfo,
    requests: Streaming<Bytes>,
}

impl Call {
    /// Reads the next request, and keeps it for the echo.
    async fn next<T: Message + Default>(&mut self) -> Result<Option<T>, Status> {
        let Some(bytes) = self.requests.message().await? else { return Ok(None) };
        let type_url = format!("type.googleapis.com/{PACKAGE}.{}", self.kind);
        self.info.requests.push(Any { type_url, value: bytes.to_vec() });
        T::decode(bytes).map(Some).map_err(|why| Status::invalid_argument(why.to_string()))
    }

    /// All that came before, and the requests since the last time.
    fn echo(&mut self) -> RequestInfo {
        std::mem::take(&mut self.info)
    }

    async fn answered_once(mut self) -> Result<Response<Body>, Status> {
        let first: Option<UnaryAsked> = self.next().await?;
        while self.next::<UnaryAsked>().await?.is_some() {}
        let UnaryDefinition { headers, outcome, trailers, delay_ms } =
            first.and_then(|asked| asked.definition).unwrap_or_default();
        pause(delay_ms).await;
        let (replies, status) = match outcome {
            Some(UnaryOutcome::Error(error)) => (vec![], status(error, Some(self.echo()))),
            outcome => {
                let data = match outcome {
                    Some(UnaryOutcome::Data(data)) => data,
                    _ => Vec::new(),
                };
                (vec![reply(data, Some(self.echo()))], Status::new(Code::Ok, ""))
            }
        };
        let frames = replies.into_iter().chain([end(&status, &trailers)]).map(Ok);
        Ok(answer(&headers, stream::iter(frames)))
    }

    async fn answered_by_stream(mut self) -> Result<Response<Body>, Status> {
        let first: StreamAsked = self.next().await?.unwrap_or_default();
        let definition = first.definition.unwrap_or_default();
        let headers = definition.headers.clone();
        let is_full_duplex = first.full_duplex;
        let answering = Answering { call: self, definition, is_full_duplex, sent: 0 };
        let frames = unfold(Some(answering), |answering| async move {
            let mut answering = answering?;
            let frame = match answering.next().await {
                Ok(Some(frame)) => return Some((frame, Some(answering))),
                Ok(None) => answering.end(),
                Err(status) => end(&status, &[]),
            };
            Some((frame, None))
        });
        Ok(answer(&headers, frames.map(Ok)))
    }
}

/// A stream of replies under way.
struct Answering {
    call: Call,
    definition: StreamDefinition,
    is_full_duplex: bool,
    sent: usize,
}

impl Answering {
    /// The next reply; `None` when only the end is left.
    async fn next(&mut self) -> Result<Option<Frame<Bytes>>, Status> {
        let mut echo = self.sent == 0;
        if !self.is_full_duplex {
            while self.call.next::<StreamAsked>().await?.is_some() {}
        } else if self.sent > 0 {
            echo = self.call.next::<StreamAsked>().await?.is_some();
        }
        let Some(data) = self.definition.data.get(self.sent).cloned() else { return Ok(None) };
        pause(self.definition.delay_ms).await;
        self.sent += 1;
        Ok(Some(reply(data, echo.then(|| self.call.echo()))))
    }

    fn end(&mut self) -> Frame<Bytes> {
        let status = match self.definition.error.take() {
            Some(error) => status(error, (self.sent == 0).then(|| self.call.echo())),
            None => Status::new(Code::Ok, ""),
        };
        end(&status, &self.definition.trailers)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is no broker, and has no clock")]
async fn pause(millis: u32) {
    tokio::time::sleep(Duration::from_millis(millis.into())).await;
}

fn status(error: Error, info: Option<RequestInfo>) -> Status {
    let Error { code, message, mut details } = error;
    details.extend(info.map(|info| Any {
        type_url: format!("type.googleapis.com/{PACKAGE}.ConformancePayload.RequestInfo"),
        value: info.encode_to_vec(),
    }));
    let message = message.unwrap_or_default();
    let whole = tonic_types::Status { code, message: message.clone(), details };
    Status::with_details(code.into(), message, whole.encode_to_vec().into())
}

fn reply(data: Vec<u8>, info: Option<RequestInfo>) -> Frame<Bytes> {
    let message = Reply { payload: Some(Payload { data, info }) }.encode_to_vec();
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(&message);
    Frame::data(frame.freeze())
}

fn end(status: &Status, trailers: &[Header]) -> Frame<Bytes> {
    let mut all = metadata(trailers);
    status.add_header(&mut all).unwrap();
    Frame::trailers(all)
}

fn metadata(headers: &[Header]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for Header { name, value } in headers {
        for value in value {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::try_from(value).unwrap());
        }
    }
    map
}

fn answer(
    headers: &[Header],
    frames: impl Stream<Item = Result<Frame<Bytes>, Status>> + Send + 'static,
) -> Response<Body> {
    let mut answer = Response::new(Body::new(StreamBody::new(frames)));
    *answer.headers_mut() = metadata(headers);
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    answer
}

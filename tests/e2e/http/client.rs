//! A small HTTP client: HTTP/1.1, or HTTP/2 without TLS.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One connection.
pub(crate) struct Http {
    sender: Sender,
    address: SocketAddr,
    /// Drives the connection, and closes it when it is dropped.
    _driver: JoinSet<()>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// What was answered, all of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Http {
    pub(crate) async fn one(address: SocketAddr) -> Self {
        let (sender, connection) = http1::handshake(stream(address).await).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Self { sender: Sender::One(sender), address, _driver: driver }
    }

    pub(crate) async fn two(address: SocketAddr) -> Self {
        let stream = stream(address).await;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Self { sender: Sender::Two(sender), address, _driver: driver }
    }

    /// Both versions.
    pub(crate) async fn both(address: SocketAddr) -> [Self; 2] {
        [Self::one(address).await, Self::two(address).await]
    }

    /// Begins a request; its answer is read by the caller.
    pub(crate) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let address = self.address;
        match &mut self.sender {
            Sender::One(sender) => {
                let host = || address.to_string().parse().unwrap();
                request.headers_mut().entry("host").or_insert_with(host);
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Two(sender) => {
                let target = format!("http://{address}{}", request.uri());
                *request.uri_mut() = target.parse().unwrap();
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Asks, and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let (parts, body) = self.send(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Calls a method of `JobBroker` with JSON, and reads the JSON that comes back.
    pub(crate) async fn json(&mut self, method: &str, request: Value) -> (StatusCode, Value) {
        let path = format!("/lessor.v1.JobBroker/{method}");
        let answer = self.ask(post(&path, "application/json", request.to_string())).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Full::default()).unwrap()).await
    }
}

/// A request as curl sends it: `-H` and `-d`.
pub(crate) fn post(path: &str, content_type: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(path).header("content-type", content_type);
    request.body(Full::new(body.into())).unwrap()
}

async fn stream(address: SocketAddr) -> TokioIo<TcpStream> {
    TokioIo::new(TcpStream::connect(address).await.unwrap())
}

//! An endpoint that hands each call to the test, which answers it.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, server::conn::http1};
use hyper_util::rt::TokioIo;
use lessor_proto::v1;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// An HTTP server on a free port of this host.
pub(crate) struct Endpoint {
    port: u16,
    calls: mpsc::UnboundedReceiver<Call>,
    _serving: JoinSet<()>,
}

/// A request that waits for its answer.
pub(crate) struct Call {
    head: hyper::http::request::Parts,
    pub(crate) body: Bytes,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Endpoint {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, calls) = mpsc::unbounded_channel();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                let service = service_fn(move |request| hand_over(request, sender.clone()));
                connections.spawn(async move {
                    // A caller that hangs up ends it.
                    let _ended =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { port, calls, _serving: serving }
    }

    /// Settings of a queue that sends here.
    pub(crate) fn push(&self) -> v1::Push {
        let uri = format!("http://127.0.0.1:{}/jobs", self.port);
        v1::Push { uri, ..v1::Push::default() }
    }

    /// Waits for the next call.
    pub(crate) async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    /// True when no call waits to be looked at.
    pub(crate) fn was_not_called(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

async fn hand_over(
    request: Request<Incoming>,
    calls: mpsc::UnboundedSender<Call>,
) -> Result<Response<Full<Bytes>>, oneshot::error::RecvError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (answer, answered) = oneshot::channel();
    // The test may be over.
    let _unheard = calls.send(Call { head, body, answer });
    answered.await
}

impl Call {
    pub(crate) fn method(&self) -> &str {
        self.head.method.as_str()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The value of a header; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn answer(self, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        // Whoever called may be gone.
        let _gone = self.answer.send(response);
    }

    /// Waits until whoever called is gone.
    pub(crate) async fn hung_up(mut self) {
        self.answer.closed().await;
    }
}

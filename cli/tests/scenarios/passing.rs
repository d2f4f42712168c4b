//! A broker that lacks a call, or is away for it, and notes what it is asked. All else it passes on to
//! a real one.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tower::{Service, ServiceExt};

pub(crate) struct Passing {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Passing {
    /// Passes on all calls but that of this name, which fails so.
    pub(crate) async fn but(call: &'static str, failure: Status, broker: Channel) -> Self {
        Self::start(Some((call, failure)), broker).await
    }

    /// Passes on all calls.
    pub(crate) async fn all(broker: Channel) -> Self {
        Self::start(None, broker).await
    }

    async fn start(failing: Option<(&'static str, Status)>, broker: Channel) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let service = Calls { broker, failing, asked: asked.clone() };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, asked, _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The names of the calls that it was asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[derive(Clone)]
struct Calls {
    broker: Channel,
    failing: Option<(&'static str, Status)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NamedService for Calls {
    const NAME: &'static str = "lessor.v1.JobBroker";
}

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = request.uri().path().rsplit('/').next().unwrap().to_owned();
        self.asked.lock().unwrap().push(call.clone());
        if let Some((failing, failure)) = &self.failing
            && *failing == call
        {
            return Box::pin(ready(Ok(failure.clone().into_http())));
        }
        let broker = self.broker.clone();
        Box::pin(async move {
            let answer = broker.oneshot(request).await;
            Ok(answer.unwrap_or_else(|why| Status::from_error(why.into()).into_http()))
        })
    }
}

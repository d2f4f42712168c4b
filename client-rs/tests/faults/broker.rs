//! A broker that answers from a script and notes what it was asked. What the script has no answer
//! for is never answered, except a lease, which is always empty.

#![expect(clippy::disallowed_methods, reason = "a test's broker lives as long as its runtime")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use lessor::proto::{
    EnqueueRequest, EnqueueResponse, Job, LeaseRequest, LeaseResponse, WaitJobRequest,
    WaitJobResponse, WatchEventsRequest, WatchEventsResponse,
};
use lessor::{EmptyReason, EnqueueOutcome};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::service_fn;

type Pages = Vec<Result<WatchEventsResponse, Status>>;

#[derive(Default)]
struct Script {
    enqueue: VecDeque<Result<EnqueueOutcome, Status>>,
    wait: VecDeque<bool>,
    watch: VecDeque<Pages>,
    enqueued: Vec<EnqueueRequest>,
    leased: Vec<(LeaseRequest, Duration)>,
    waited: Vec<WaitJobRequest>,
    watched: Vec<WatchEventsRequest>,
}

pub(crate) struct Broker {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    serving: JoinHandle<()>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn serve(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let server = Server::builder().add_service(Scripted(script.clone()));
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, script, serving }
    }

    /// Ends it. The address is left without a broker.
    pub(crate) async fn stop(self) -> String {
        self.serving.abort();
        let ended = self.serving.await;
        assert!(ended.is_err_and(|end| end.is_cancelled()));
        format!("http://{}", self.address)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn enqueue(&self, answer: Result<EnqueueOutcome, Status>) {
        self.script.lock().unwrap().enqueue.push_back(answer);
    }

    /// Ends the next wait at once: is the state reached?
    pub(crate) fn wait(&self, reached: bool) {
        self.script.lock().unwrap().wait.push_back(reached);
    }

    pub(crate) fn watch(&self, pages: Pages) {
        self.script.lock().unwrap().watch.push_back(pages);
    }

    pub(crate) fn enqueued(&self) -> Vec<EnqueueRequest> {
        self.script.lock().unwrap().enqueued.clone()
    }

    pub(crate) fn leased(&self) -> (LeaseRequest, Duration) {
        self.script.lock().unwrap().leased.last().unwrap().clone()
    }

    pub(crate) fn waited(&self) -> Vec<WaitJobRequest> {
        self.script.lock().unwrap().waited.clone()
    }

    pub(crate) fn watched(&self) -> Vec<WatchEventsRequest> {
        self.script.lock().unwrap().watched.clone()
    }
}

pub(crate) fn page(cursor: &str) -> WatchEventsResponse {
    WatchEventsResponse { cursor: cursor.to_owned(), ..WatchEventsResponse::default() }
}

#[derive(Clone)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    async fn enqueue(self, request: EnqueueRequest) -> Result<Response<EnqueueResponse>, Status> {
        let answer = {
            let mut script = self.0.lock().unwrap();
            script.enqueued.push(request);
            script.enqueue.pop_front()
        };
        let Some(answer) = answer else { return std::future::pending().await };
        let job = Some(Job { name: "queues/emails/jobs/1".to_owned(), ..Job::default() });
        answer.map(|outcome| {
            Response::new(EnqueueResponse { job, outcome: outcome.into(), replicas_acked: 0 })
        })
    }

    fn lease(self, request: Request<LeaseRequest>) -> LeaseResponse {
        let timeout = request.metadata().get("grpc-timeout").unwrap().to_str().unwrap();
        let (number, unit) = timeout.split_at(timeout.len() - 1);
        let number: u64 = number.parse().unwrap();
        let timeout = match unit {
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => Duration::from_secs(number),
        };
        self.0.lock().unwrap().leased.push((request.into_inner(), timeout));
        let empty_reason = EmptyReason::NoJobs.into();
        LeaseResponse { empty_reason, ..LeaseResponse::default() }
    }

    fn wait(self, request: WaitJobRequest) -> WaitJobResponse {
        let mut script = self.0.lock().unwrap();
        script.waited.push(request);
        let reached = script.wait.pop_front().unwrap();
        WaitJobResponse { reached, ..WaitJobResponse::default() }
    }

    fn watch(self, request: WatchEventsRequest) -> Pages {
        let mut script = self.0.lock().unwrap();
        script.watched.push(request);
        script.watch.pop_front().unwrap()
    }
}

impl NamedService for Scripted {
    const NAME: &'static str = "lessor.v1.JobBroker";
}

impl tower::Service<http::Request<Body>> for Scripted {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let script = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/lessor.v1.JobBroker/Enqueue" => {
                    let answer = service_fn(move |request: Request<EnqueueRequest>| {
                        script.clone().enqueue(request.into_inner())
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                "/lessor.v1.JobBroker/Lease" => {
                    let answer = service_fn(move |request: Request<LeaseRequest>| {
                        let reply = Response::new(script.clone().lease(request));
                        std::future::ready(Ok::<_, Status>(reply))
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                "/lessor.v1.JobBroker/WaitJob" => {
                    let answer = service_fn(move |request: Request<WaitJobRequest>| {
                        let reply = Response::new(script.clone().wait(request.into_inner()));
                        std::future::ready(Ok::<_, Status>(reply))
                    });
                    Grpc::new(ProstCodec::default()).unary(answer, request).await
                }
                "/lessor.v1.JobBroker/WatchEvents" => {
                    let answer = service_fn(move |request: Request<WatchEventsRequest>| {
                        let pages = stream::iter(script.clone().watch(request.into_inner()));
                        std::future::ready(Ok::<_, Status>(Response::new(pages)))
                    });
                    Grpc::new(ProstCodec::default()).server_streaming(answer, request).await
                }
                path => Status::unimplemented(path.to_owned()).into_http(),
            })
        })
    }
}

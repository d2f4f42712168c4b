//! A broker that answers from a script and notes what it was asked. An enqueue waits until the script
//! has an answer for it; a lease is always empty.

#![expect(clippy::disallowed_methods, reason = "a test's broker lives as long as its runtime")]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use lessor::proto::batch_enqueue_response::Result as EnqueueResult;
use lessor::proto::{
    BatchEnqueueRequest, BatchEnqueueResponse, EnqueueRequest, EnqueueResponse, Job, LeaseRequest,
    LeaseResponse, WaitJobRequest, WaitJobResponse, WatchEventsRequest, WatchEventsResponse,
    WorkRequest, WorkResponse,
};
use lessor::{EmptyReason, EnqueueOutcome};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::stream::WorkStream;

/// Far more than anything takes: a test that waits for what does not come fails.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What becomes of each job of a batch, or of all of it.
type Results = Result<Vec<Result<EnqueueOutcome, Status>>, Status>;

type Pages = Vec<Result<WatchEventsResponse, Status>>;

/// The script, and who waits for it to change.
#[derive(Default)]
struct Shared {
    script: Mutex<Script>,
    changed: Notify,
}

#[derive(Default)]
struct Script {
    enqueue: VecDeque<Result<EnqueueOutcome, Status>>,
    batch: VecDeque<Results>,
    wait: VecDeque<bool>,
    watch: VecDeque<Pages>,
    streams: VecDeque<WorkStream>,
    enqueued: Vec<EnqueueRequest>,
    batches: Vec<BatchEnqueueRequest>,
    leased: Vec<(LeaseRequest, Duration)>,
    waited: Vec<WaitJobRequest>,
    watched: Vec<WatchEventsRequest>,
}

pub(crate) struct Broker {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn serve(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let server = Server::builder().add_service(Scripted(shared.clone()));
        let serving = tokio::spawn(async move {
            server.serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
        Self { address, shared, serving }
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
        self.script().enqueue.push_back(answer);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn batch(&self, answer: Results) {
        self.script().batch.push_back(answer);
        self.shared.changed.notify_waiters();
    }

    /// Waits until it was asked so many single enqueues and batches.
    pub(crate) async fn was_asked(&self, enqueues: usize, batches: usize) {
        let was = |script: &Script| {
            (script.enqueued.len() >= enqueues && script.batches.len() >= batches).then_some(())
        };
        let waiting = self.shared.until(|script| was(script));
        tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    }

    /// The next work stream.
    pub(crate) async fn stream(&self) -> WorkStream {
        let next = self.shared.until(|script| script.streams.pop_front());
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    /// Ends the next wait at once: is the state reached?
    pub(crate) fn wait(&self, reached: bool) {
        self.script().wait.push_back(reached);
    }

    pub(crate) fn watch(&self, pages: Pages) {
        self.script().watch.push_back(pages);
    }

    pub(crate) fn enqueued(&self) -> Vec<EnqueueRequest> {
        self.script().enqueued.clone()
    }

    /// The batches that it was asked for, as they were sent.
    pub(crate) fn batches(&self) -> Vec<BatchEnqueueRequest> {
        self.script().batches.clone()
    }

    pub(crate) fn leased(&self) -> (LeaseRequest, Duration) {
        self.script().leased.last().unwrap().clone()
    }

    pub(crate) fn waited(&self) -> Vec<WaitJobRequest> {
        self.script().waited.clone()
    }

    pub(crate) fn watched(&self) -> Vec<WatchEventsRequest> {
        self.script().watched.clone()
    }
}

pub(crate) fn page(cursor: &str) -> WatchEventsResponse {
    WatchEventsResponse { cursor: cursor.to_owned(), ..WatchEventsResponse::default() }
}

fn enqueued(outcome: EnqueueOutcome, id: &str) -> EnqueueResponse {
    let job = Some(Box::new(Job { name: format!("queues/emails/jobs/{id}"), ..Job::default() }));
    EnqueueResponse { job, outcome: outcome.into(), replicas_acked: 0 }
}

impl Shared {
    fn note(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
        self.changed.notify_waiters();
    }

    /// Waits until `look` finds something.
    async fn until<T>(&self, mut look: impl FnMut(&mut Script) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Before the look, so that no change is missed after it.
            changed.as_mut().enable();
            if let Some(found) = look(&mut self.script.lock().unwrap()) {
                return found;
            }
            changed.await;
        }
    }
}

#[derive(Clone)]
struct Scripted(Arc<Shared>);

impl Scripted {
    /// The answer may be put into the script later.
    async fn enqueue(self, request: EnqueueRequest) -> Result<Response<EnqueueResponse>, Status> {
        self.0.note(|script| script.enqueued.push(request));
        let outcome = self.0.until(|script| script.enqueue.pop_front()).await?;
        Ok(Response::new(enqueued(outcome, "1")))
    }

    /// Each job that is made is named after its type.
    async fn batch(
        self,
        request: BatchEnqueueRequest,
    ) -> Result<Response<BatchEnqueueResponse>, Status> {
        let names: Vec<String> = request.requests.iter().map(|job| job.r#type.clone()).collect();
        self.0.note(|script| script.batches.push(request));
        let outcomes = self.0.until(|script| script.batch.pop_front()).await?;
        assert_eq!(outcomes.len(), names.len(), "{names:?}");
        let results = outcomes.into_iter().zip(names).map(|(outcome, name)| match outcome {
            Ok(outcome) => EnqueueResult { response: Some(enqueued(outcome, &name)), status: None },
            Err(status) => EnqueueResult {
                status: Some(tonic_types::Status {
                    code: status.code().into(),
                    message: status.message().to_owned(),
                    details: Vec::new(),
                }),
                response: None,
            },
        });
        Ok(Response::new(BatchEnqueueResponse { results: results.collect() }))
    }

    fn work(
        self,
        frames: Streaming<WorkRequest>,
    ) -> impl Stream<Item = Result<WorkResponse, Status>> {
        let (stream, mut replies) = WorkStream::new(frames);
        self.0.note(|script| script.streams.push_back(stream));
        stream::poll_fn(move |context| replies.poll_recv(context))
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
        self.0.script.lock().unwrap().leased.push((request.into_inner(), timeout));
        let empty_reason = EmptyReason::NoJobs.into();
        LeaseResponse { empty_reason, ..LeaseResponse::default() }
    }

    fn wait(self, request: WaitJobRequest) -> WaitJobResponse {
        let mut script = self.0.script.lock().unwrap();
        script.waited.push(request);
        let reached = script.wait.pop_front().unwrap();
        WaitJobResponse { reached, ..WaitJobResponse::default() }
    }

    fn watch(self, request: WatchEventsRequest) -> Pages {
        let mut script = self.0.script.lock().unwrap();
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
                "/lessor.v1.JobBroker/BatchEnqueue" => {
                    let answer = service_fn(move |request: Request<BatchEnqueueRequest>| {
                        script.clone().batch(request.into_inner())
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
                "/lessor.v1.JobBroker/Work" => {
                    let answer = service_fn(move |request: Request<Streaming<WorkRequest>>| {
                        let replies = script.clone().work(request.into_inner());
                        std::future::ready(Ok::<_, Status>(Response::new(replies)))
                    });
                    Grpc::new(ProstCodec::default()).streaming(answer, request).await
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

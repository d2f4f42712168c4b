//! Around every call, in whatever form it came: how long it takes and how it ends.
//!
//! A call ends with the last frame of its answer, so that a stream counts as long as it flows. One
//! whose client leaves before that counts as cancelled.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use crate::clock::Stopwatch;
use crate::telemetry::metrics::table::OTHER;
use crate::telemetry::metrics::{ActiveCall, Calls, Method, System};
use crate::telemetry::traces;

/// Puts an [`Observe`] around a service.
#[derive(Clone)]
pub(super) struct ObserveLayer {
    methods: Arc<Methods>,
}

/// All methods that are served, by their path.
struct Methods {
    known: HashMap<String, Arc<Method>>,
    other: Arc<Method>,
}

impl ObserveLayer {
    /// Counts with `calls` those of these encoded descriptor sets, each by its name.
    pub(super) fn new(calls: &Calls, sets: &[&[u8]]) -> Self {
        let all = sets.iter().flat_map(|set| methods(set));
        let known =
            all.map(|(name, is_stream)| (format!("/{name}"), calls.method(&name, is_stream)));
        let other = calls.method(OTHER, false);
        Self { methods: Arc::new(Methods { known: known.collect(), other }) }
    }
}

/// The full names of the methods that a set of descriptors tells of, and which of them stream.
fn methods(set: &[u8]) -> Vec<(String, bool)> {
    // What can't be read was refused by reflection already.
    let files = FileDescriptorSet::decode(set).unwrap_or_default().file;
    let mut names = Vec::new();
    for file in files {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            let methods = service.method.iter();
            names.extend(methods.map(|method| {
                (format!("{service_name}/{}", method.name()), method.server_streaming())
            }));
        }
    }
    names
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, methods: Arc::clone(&self.methods) }
    }
}

/// A service whose calls are counted.
#[derive(Clone)]
pub(super) struct Observe<S> {
    inner: S,
    methods: Arc<Methods>,
}

impl<S> Service<Request<Body>> for Observe<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Methods { known, other } = &*self.methods;
        let method = known.get(request.uri().path()).unwrap_or(other);
        let system = request.extensions().get::<System>().copied().unwrap_or(System::Grpc);
        let span = traces::call(&method.name, method.is_stream, system, request.headers_mut());
        // Made before the call begins: what is dropped at any time is counted.
        let ending = Ending {
            call: method.begin(),
            span: span.clone(),
            system,
            watch: Stopwatch::start(),
            code: Code::Cancelled,
        };
        let call = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let mut ending = ending;
            let answer = match call.await {
                Ok(answer) => answer,
                Err(error) => {
                    ending.code = Code::Unknown;
                    return Err(error);
                }
            };
            // A status stands among the headers only when there is nothing but a status.
            if let Some(code) = code_of(answer.headers()) {
                ending.code = code;
                return Ok(answer);
            }
            Ok(answer.map(|body| Body::new(Watched { body, ending })))
        })
    }
}

/// How a call ends; told when this is dropped.
struct Ending {
    call: ActiveCall,
    span: Span,
    system: System,
    watch: Stopwatch,
    code: Code,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let code = self.code as usize;
        self.call.end(self.system, code, self.watch.elapsed());
        traces::ended(&self.span, code);
    }
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()))
}

/// The body of an answer, until its end.
struct Watched {
    body: Body,
    ending: Ending,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.ending.code = code;
                }
            }
            Poll::Ready(Some(Err(status))) => self.ending.code = status.code(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

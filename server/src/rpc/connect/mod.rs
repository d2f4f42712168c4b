//! The Connect protocol: the same calls over plain HTTP, as JSON or protobuf.
//!
//! A call is turned into the gRPC call that it means and handed to the services in this process, so
//! there is one door: whatever stands before the services sees it, and its headers, as any other.
//! Bodies are translated while they are read. Messages are known by the descriptors alone, so a new
//! call needs nothing here.

mod codec;
mod deadline;
mod error;
mod frame;
mod gzip;
mod head;
mod methods;
mod reply;
mod sse;
mod stream;
mod unary;
mod weight;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb};
use http::{Request, Response, StatusCode, header};
use prost_reflect::DescriptorError;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use self::codec::Codec;
pub(super) use self::codec::json;
use self::deadline::Deadline;
use self::head::Form;
use self::methods::Methods;

/// What is understood, for those who sent something else.
const UNDERSTOOD: HeaderValue = HeaderValue::from_static(
    "application/json, application/proto, application/connect+json, application/connect+proto",
);

/// Turns calls of Connect into calls of gRPC; cheap to clone.
#[derive(Clone)]
pub(super) struct Connect {
    methods: Arc<Methods>,
}

impl Connect {
    /// Serves the calls of these descriptor sets.
    pub(super) fn new(sets: &[&[u8]]) -> Result<Self, DescriptorError> {
        Ok(Self { methods: Arc::new(Methods::read(sets)?) })
    }

    /// Whether this asks for a call, be it one that there is not.
    pub(super) fn is_meant(&self, request: &Request<Body>) -> bool {
        self.methods.get(request.uri().path()).is_some()
            || (request.method() == Verb::POST && Form::of(request.headers()).is_some())
    }

    /// Carries out a call through `calls`, which is ready.
    pub(super) async fn call<S>(
        &self,
        request: Request<Body>,
        calls: &mut S,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let Some(method) = self.methods.get(request.uri().path()) else {
            let status = Status::unimplemented(format!("there is no {}", request.uri().path()));
            let mut answer = error::response(&status, &self.methods, HeaderMap::new());
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return Ok(answer);
        };
        if request.method() != Verb::POST {
            let allow = (header::ALLOW, HeaderValue::from_static("POST"));
            return Ok(bare(StatusCode::METHOD_NOT_ALLOWED, allow));
        }
        let form = Form::of(request.headers());
        let Some(form) = form.filter(|form| form.is_unary() == method.is_unary()) else {
            let accept = (HeaderName::from_static("accept-post"), UNDERSTOOD);
            return Ok(bare(StatusCode::UNSUPPORTED_MEDIA_TYPE, accept));
        };
        let (mut parts, body) = request.into_parts();
        let head = match head::inward(form, &mut parts) {
            Ok(head) => head,
            Err(status) => return Ok(self.refused(form, &status)),
        };
        let body = match form {
            Form::Unary(codec) => unary::request(method, codec, head.request, body),
            Form::Stream(codec) => stream::request(method, codec, head.request, body),
        };
        let mut deadline = Deadline::after(head.deadline);
        let answer = async {
            let answer = calls.call(Request::from_parts(parts, body)).await?;
            Ok(match form {
                Form::Unary(codec) => {
                    let answer = unary::response(&self.methods, method, codec, head.reply, answer);
                    Answer::Whole(answer.await)
                }
                Form::Stream(codec) => Answer::Open(codec, answer),
            })
        };
        let answer = tokio::select! {
            answer = answer => answer?,
            () = &mut deadline => return Ok(self.refused(form, &deadline::passed())),
        };
        Ok(match answer {
            Answer::Whole(answer) => answer,
            Answer::Open(codec, answer) => {
                stream::response(&self.methods, method, codec, head.reply, deadline, answer)
            }
        })
    }

    /// The answer to a call that did not reach a service.
    fn refused(&self, form: Form, status: &Status) -> Response<Body> {
        match form {
            Form::Unary(_) => error::response(status, &self.methods, HeaderMap::new()),
            Form::Stream(codec) => stream::refused(&self.methods, codec, status),
        }
    }
}

enum Answer {
    Whole(Response<Body>),
    Open(Codec, Response<Body>),
}

/// An answer without a body.
fn bare(status: StatusCode, (name, value): (HeaderName, HeaderValue)) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer.headers_mut().insert(name, value);
    answer
}

//! The one port: tells the kinds of requests apart.
//!
//! | request | goes to |
//! |---|---|
//! | gRPC, by its content type | the services, straight |
//! | gRPC-Web | the services, translated by `tonic-web` |
//! | a call of [`Connect`], by path and content type | the services, translated |
//! | `GET` of the events | the services, translated to server-sent events |
//! | all else | the pages |
//!
//! This stands before everything, so that what guards the services sees one kind of call.

use std::mem::replace;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Map};
use http::{Request, Response, header};
use prost_reflect::DescriptorError;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service};

use super::connect::Connect;
use super::handover::escort;
use super::unread;
use crate::telemetry::metrics::System;

const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"-web";

/// Puts a [`Front`] before the services.
#[derive(Clone)]
pub struct FrontLayer {
    other: Arc<Other>,
}

/// Where a request goes that is no gRPC call.
struct Other {
    pages: Router,
    connect: Connect,
}

impl FrontLayer {
    /// Translates the calls of these encoded descriptor sets, and serves `pages` to whoever calls
    /// none.
    pub fn new(pages: Router, sets: &[&[u8]]) -> Result<Self, DescriptorError> {
        // Prepares the router, which else is done anew for each request.
        let pages = pages.with_state(());
        Ok(Self { other: Arc::new(Other { pages, connect: Connect::new(sets)? }) })
    }
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, calls: S) -> Front<S> {
        Front { calls, other: Arc::clone(&self.other) }
    }
}

/// Services and pages behind one port.
#[derive(Clone)]
pub struct Front<S> {
    calls: S,
    other: Arc<Other>,
}

type Answer<E> = Result<Response<Body>, E>;

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    // A gRPC call costs no box.
    type Future = Either<
        Map<S::Future, fn(Answer<S::Error>) -> Answer<S::Error>>,
        BoxFuture<'static, Answer<S::Error>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // The pages are always ready.
        self.calls.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let kind = request.headers().get(header::CONTENT_TYPE);
        match kind.and_then(|kind| kind.as_bytes().strip_prefix(GRPC)) {
            Some(kind) if !kind.starts_with(WEB) => {
                Either::Left(self.calls.call(request).map(escorted))
            }
            kind => {
                let is_web = kind.is_some();
                // The clone may not be ready; the service that was asked is.
                let unasked = self.calls.clone();
                let calls = replace(&mut self.calls, unasked);
                let answer = Arc::clone(&self.other).answer(is_web, request, calls);
                Either::Right(Box::pin(answer.map(escorted)))
            }
        }
    }
}

/// Leased jobs go back if their reply does not leave, whatever form it has by now.
fn escorted<E>(answer: Answer<E>) -> Answer<E> {
    answer.map(escort)
}

impl Other {
    async fn answer<S>(
        self: Arc<Self>,
        is_web: bool,
        request: Request<Body>,
        calls: S,
    ) -> Answer<S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let (request, reading) = unread::follow(request);
        let mut answer = if is_web {
            GrpcWebLayer::new().layer(calls).call(request).await?
        } else if self.connect.is_meant(&request) {
            let mut request = request;
            request.extensions_mut().insert(System::Connect);
            self.connect.call(request, calls).await?
        } else {
            let Ok(page) = self.pages.clone().call(request).await;
            page.map(Body::new)
        };
        reading.finish(&mut answer).await;
        Ok(answer)
    }
}

//! The one port: tells calls from what else is asked over HTTP.
//!
//! A gRPC call is known by its content type and goes straight on to the services. All else goes to
//! the pages.

use std::task::{Context, Poll};

use axum::Router;
use futures_util::TryFutureExt;
use futures_util::future::{BoxFuture, Either};
use http::{HeaderMap, Request, Response, header};
use tonic::body::Body;
use tower::{Layer, Service};

const GRPC: &[u8] = b"application/grpc";

/// Puts a [`Front`] before the services.
#[derive(Clone)]
pub(super) struct FrontLayer {
    pages: Router,
}

impl FrontLayer {
    /// Serves `pages` to whoever does not call a service.
    pub(super) fn new(pages: Router) -> Self {
        // Prepares the router, which else is done anew for each request.
        Self { pages: pages.with_state(()) }
    }
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, calls: S) -> Front<S> {
        Front { calls, pages: self.pages.clone() }
    }
}

/// Services and pages behind one port.
#[derive(Clone)]
pub(super) struct Front<S> {
    calls: S,
    pages: Router,
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    // A call costs no box.
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // The pages are always ready.
        self.calls.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if is_grpc(request.headers()) {
            return Either::Left(self.calls.call(request));
        }
        let page = self.pages.call(request).map_ok(|page| page.map(Body::new));
        Either::Right(Box::pin(page.map_err(|never| match never {})))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC))
}

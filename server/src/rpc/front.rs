//! The one port: tells the kinds of requests apart.
//!
//! | request | goes to |
//! |---|---|
//! | gRPC, by its content type | the services, straight, but for HTTP/1 |
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
use futures_util::future::{BoxFuture, Either, Map, ready};
use http::{Request, Response, StatusCode, Version, header};
use prost_reflect::DescriptorError;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer, Service, ServiceExt};

use super::connect::Connect;
use super::cors::Origins;
use super::handover::escort;
use super::hosts::{self, Hosts};
use super::intake::{Framing, Intake};
use super::unread;
use crate::telemetry::metrics::System;

const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"-web";
const CONNECT_STREAM: &[u8] = b"application/connect+";

const FOREIGN_ORIGIN: &str = "pages of this origin may not call; see the setting cors.origins\n";

/// Puts a [`Front`] before the services.
#[derive(Clone)]
pub struct FrontLayer {
    other: Arc<Other>,
}

/// Where a request goes that is no gRPC call.
#[derive(Clone)]
struct Other {
    pages: Router,
    connect: Connect,
    origins: Origins,
    hosts: Hosts,
    intake: Intake,
}

impl FrontLayer {
    /// Translates the calls of these encoded descriptor sets, and serves `pages` to whoever calls
    /// none.
    pub fn new(pages: Router, sets: &[&[u8]]) -> Result<Self, DescriptorError> {
        // Prepares the router, which else is done anew for each request.
        let pages = pages.with_state(());
        let other = Other {
            pages,
            connect: Connect::new(sets)?,
            origins: Origins::default(),
            hosts: Hosts::Any,
            intake: Intake::default(),
        };
        Ok(Self { other: Arc::new(other) })
    }

    /// Lets web pages of these origins call; `*` is all.
    #[must_use]
    pub fn allow(mut self, origins: &[String]) -> Self {
        Arc::make_mut(&mut self.other).origins = Origins::new(origins);
        self
    }

    /// Refuses what browsers send under names that are not `hosts`.
    #[must_use]
    pub(super) fn called(mut self, hosts: Hosts) -> Self {
        Arc::make_mut(&mut self.other).hosts = hosts;
        self
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
        let framing = framing(&request);
        let request = self.other.intake.watch(request, framing);
        // A page can write any content type, but no browser sends HTTP/2 to a plain port.
        let is_grpc = kind(&request) == Kind::Grpc;
        if is_grpc && request.version() > Version::HTTP_11 {
            return Either::Left(self.calls.call(request).map(escorted));
        }
        if self.other.hosts.refuses(&request) {
            return Either::Right(Box::pin(ready(Ok(refusal(hosts::FOREIGN)))));
        }
        // The clone may not be ready; the service that was asked is.
        let unasked = self.calls.clone();
        let translated =
            Translated { calls: replace(&mut self.calls, unasked), other: Arc::clone(&self.other) };
        let origins = &self.other.origins;
        Either::Right(if origins.refuses(request.headers()) {
            Box::pin(ready(Ok(refusal(FOREIGN_ORIGIN))))
        } else if let Some(cors) = origins.layer() {
            Box::pin(cors.layer(translated).oneshot(request).map(escorted))
        } else {
            Box::pin(translated.oneshot(request).map(escorted))
        })
    }
}

/// Leased jobs go back if their reply does not leave, whatever form it has by now.
fn escorted<E>(answer: Answer<E>) -> Answer<E> {
    answer.map(escort)
}

fn refusal(why: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::new(why.to_owned()));
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
}

#[derive(PartialEq, Eq)]
enum Kind {
    Grpc,
    Web,
    Other,
}

fn kind(request: &Request<Body>) -> Kind {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    match content_type.and_then(|kind| kind.as_bytes().strip_prefix(GRPC)) {
        Some(rest) if rest.starts_with(WEB) => Kind::Web,
        Some(_) => Kind::Grpc,
        None => Kind::Other,
    }
}

/// Where the messages of a request end.
fn framing(request: &Request<Body>) -> Framing {
    let content_type =
        request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], |it| it.as_bytes());
    if content_type.starts_with(GRPC) || content_type.starts_with(CONNECT_STREAM) {
        Framing::lengths()
    } else {
        Framing::Whole(0)
    }
}

/// All that is no plain gRPC call.
struct Translated<S> {
    calls: S,
    other: Arc<Other>,
}

impl<S> Service<Request<Body>> for Translated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Answer<S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.calls.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let unasked = self.calls.clone();
        let calls = replace(&mut self.calls, unasked);
        Box::pin(Arc::clone(&self.other).answer(request, calls))
    }
}

impl Other {
    async fn answer<S>(self: Arc<Self>, request: Request<Body>, mut calls: S) -> Answer<S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let (mut request, reading) = unread::follow(request);
        let mut answer = if kind(&request) == Kind::Grpc {
            calls.call(request).await?
        } else if kind(&request) == Kind::Web {
            GrpcWebLayer::new().layer(calls).call(request).await?
        } else if self.connect.is_meant(&request) {
            request.extensions_mut().insert(System::Connect);
            self.connect.call(request, &mut calls).await?
        } else if self.connect.is_events(&request) {
            request.extensions_mut().insert(System::Connect);
            self.connect.events(request, &mut calls).await?
        } else {
            let Ok(page) = self.pages.clone().call(request).await;
            page.map(Body::new)
        };
        reading.finish(&mut answer).await;
        Ok(answer)
    }
}

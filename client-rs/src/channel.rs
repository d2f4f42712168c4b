//! The connection that carries calls: it adds the credential to each of them.

use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderValue, Request};
use tonic::transport;

/// A connection, opened by its first call. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    transport: transport::Channel,
    /// Marked as sensitive: it is in no message and no log.
    credential: Option<HeaderValue>,
}

impl Channel {
    pub(crate) fn new(transport: transport::Channel, credential: Option<HeaderValue>) -> Self {
        Self { transport, credential }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = <transport::Channel as Service<Request<Body>>>::Response;
    type Error = transport::Error;
    type Future = transport::channel::ResponseFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.transport, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(AUTHORIZATION, credential.clone());
        }
        self.transport.call(request)
    }
}

//! The connection that carries calls: it adds the credential to each of them, and sends them in as few
//! frames as there can be.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderValue, Request};
use tonic::transport;

use crate::ahead::Ahead;
use crate::{Error, Result};

/// A connection, opened by its first call. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    transport: transport::Channel,
    credential: Option<Credential>,
}

/// What tells the broker who calls.
#[derive(Clone)]
pub(crate) enum Credential {
    /// The same for every call, as the header that shows it.
    Fixed(HeaderValue),
    /// Asked for the token of each call.
    Source(Arc<dyn Fn() -> String + Send + Sync>),
}

impl Credential {
    /// A token that stays. Fails when no header can carry it.
    pub(crate) fn fixed(token: &str) -> Result<Self> {
        let header = bearer(token).ok_or_else(|| {
            Error::local(Code::InvalidArgument, "the token does not fit a header")
        })?;
        Ok(Self::Fixed(header))
    }

    /// The header of a call. None for a token that no header can carry: the broker says then that
    /// there is none.
    fn header(&self) -> Option<HeaderValue> {
        match self {
            Self::Fixed(header) => Some(header.clone()),
            Self::Source(source) => bearer(&source()),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Marked as sensitive: it is in no message and no log.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

impl Channel {
    pub(crate) fn new(transport: transport::Channel, credential: Option<Credential>) -> Self {
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
        if let Some(header) = self.credential.as_ref().and_then(Credential::header) {
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        self.transport.call(request.map(|body| Body::new(Ahead::new(body))))
    }
}

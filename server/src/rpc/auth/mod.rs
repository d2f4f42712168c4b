//! Who calls, asked once for all protocols: a layer before the services.
//!
//! It finds the credential, lets nobody in without one but to health checks, and refuses calls that
//! no role of the caller allows anywhere. What is left depends on the queue or the job: each handler
//! asks its [`Access`] once it has read the request.

mod access;
mod audit;

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use futures_util::future::{BoxFuture, Either};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

pub(super) use self::access::Access;
use self::access::Caller;
pub(crate) use self::access::Gate;
use super::status::{Fault, Reason};
use crate::auth::{Call, Credentials, Denied, Principal, Reach, Shown};
use crate::broker::lease::QueuePattern;

/// Where the numbers of a broker are.
const METRICS: &str = "/metrics";

/// Health is told to everybody: a kubelet has no credentials.
const OPEN: &str = "/grpc.health.v1.Health/";

/// The names in the certificate that the peer of a connection has shown, if it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// As `uri:…`, `dns:…` and `cn:…`.
    pub(crate) names: Arc<[String]>,
}

/// Puts a [`Doorway`] before a service; without credentials it is not there.
#[derive(Clone)]
pub(super) struct AuthLayer {
    credentials: Option<Arc<Credentials>>,
}

impl AuthLayer {
    pub(super) fn new(credentials: Option<Arc<Credentials>>) -> Self {
        Self { credentials }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Doorway<S>;

    fn layer(&self, inner: S) -> Doorway<S> {
        Doorway { inner, credentials: self.credentials.clone() }
    }
}

/// A service that only known callers reach.
#[derive(Clone)]
pub(super) struct Doorway<S> {
    inner: S,
    credentials: Option<Arc<Credentials>>,
}

impl<S> Service<Request<Body>> for Doorway<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    // Without credentials a call costs no box.
    type Future = Either<S::Future, BoxFuture<'static, Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(credentials) = &self.credentials else {
            return Either::Left(self.inner.call(request));
        };
        if request.uri().path().starts_with(OPEN) {
            return Either::Left(self.inner.call(request));
        }
        let credentials = Arc::clone(credentials);
        // The clone may not be ready; the service that was asked is.
        let unasked = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unasked);
        Either::Right(Box::pin(async move {
            let path = request.uri().path().to_owned();
            let principal = match identify(&credentials, &request) {
                Ok(principal) => principal,
                Err(fault) => {
                    audit::refused(None, &path, &fault);
                    return Ok(Status::from(fault).into_http());
                }
            };
            let Some(call) = Call::at(&path) else {
                // Reflection is for whoever is known; what there is not, the services tell.
                return inner.call(request).await;
            };
            if !principal.may(call) {
                let fault = access::forbidden(&principal, call, None);
                audit::refused(Some(&principal), &path, &fault);
                return Ok(Status::from(fault).into_http());
            }
            let caller = Arc::new(Caller::new(principal, call));
            request.extensions_mut().insert(Arc::clone(&caller));
            let answer = inner.call(request).await;
            if let Ok(answer) = &answer {
                audit::answered(&caller, answer.headers());
            }
            answer
        }))
    }
}

/// Keeps the numbers of a broker, among its pages, to those who may view them.
pub(crate) fn guard(pages: Router, credentials: Option<Arc<Credentials>>) -> Router {
    let Some(credentials) = credentials else { return pages };
    pages.layer(from_fn(move |request: Request<axum::body::Body>, next: Next| {
        let credentials = Arc::clone(&credentials);
        async move {
            if request.uri().path() != METRICS {
                return next.run(request).await;
            }
            match identify(&credentials, &request) {
                // They name all queues.
                Ok(principal)
                    if principal.reach_of(Call::GetQueueStats, &QueuePattern::all())
                        == Reach::Any =>
                {
                    next.run(request).await
                }
                Ok(principal) => {
                    let fault = access::forbidden(&principal, Call::GetQueueStats, Some(METRICS));
                    audit::refused(Some(&principal), METRICS, &fault);
                    (StatusCode::FORBIDDEN, "the numbers need the role viewer for all queues\n")
                        .into_response()
                }
                Err(fault) => {
                    audit::refused(None, METRICS, &fault);
                    let how = [(WWW_AUTHENTICATE, "Bearer")];
                    (StatusCode::UNAUTHORIZED, how, "the numbers need a credential\n")
                        .into_response()
                }
            }
        }
    }))
}

fn identify<B>(credentials: &Credentials, request: &Request<B>) -> Result<Arc<Principal>, Fault> {
    let peer = request.extensions().get::<Peer>();
    let bearer = bearer(request.headers())?;
    let certificate = peer.map_or(&[][..], |peer| &peer.names);
    credentials.principal(Shown { bearer, certificate }).map_err(Fault::from)
}

/// The token of the call; `None` when it has no such header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed =
        || Fault::new(Reason::NoCredential, "the header authorization is not one Bearer TOKEN");
    if values.next().is_some() {
        return Err(malformed());
    }
    let (scheme, token) = value.to_str().ok().and_then(|it| it.split_once(' ')).unwrap_or_default();
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(malformed());
    }
    Ok(Some(token))
}

impl From<Denied> for Fault {
    fn from(why: Denied) -> Self {
        let reason = match why {
            Denied::Nothing | Denied::Unknown => Reason::NoCredential,
            Denied::Expired => Reason::Expired,
        };
        Self::new(reason, why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_token_follows_the_word_bearer() {
        assert_eq!(bearer(&headers(&[])).unwrap(), None);
        for good in ["Bearer abc", "bearer abc", "BEARER  abc"] {
            assert_eq!(bearer(&headers(&[good])).unwrap(), Some("abc"), "{good}");
        }
        for bad in [&["abc"][..], &["Basic abc"], &["Bearer "], &["Bearer a", "Bearer b"]] {
            assert!(bearer(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}

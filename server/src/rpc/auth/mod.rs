//! Who calls, asked once for all protocols: a layer before the services.
//!
//! It finds the credential, lets nobody in without one but to health checks, and refuses calls that
//! no role of the caller allows anywhere. What is left depends on the queue or the job: each handler
//! asks its [`Access`] once it has read the request.

mod access;
mod audit;
mod tenure;

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, Request, Response, StatusCode};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

pub(super) use self::access::Access;
use self::access::Caller;
pub(crate) use self::access::Gate;
use self::tenure::{Tenure, bound};
use super::status::{Fault, Reason};
use crate::auth::{Call, Credentials, Denied, Excess, Known, Principal, Reach, Shown};
use crate::broker::lease::QueuePattern;
use crate::clock::{Clock, Timestamp};

/// Where the numbers of a broker are.
const METRICS: &str = "/metrics";

/// Health is told to everybody: a kubelet has no credentials.
const OPEN: &str = "/grpc.health.v1.Health/";

/// The names in the certificate that the peer of a connection has shown, if it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// As `uri:…`, `dns:…` and `cn:…`.
    pub(crate) names: Arc<[String]>,
    /// When the certificate ends.
    pub(crate) ends: Option<Timestamp>,
}

/// Who may call, and the clock by which that is decided.
#[derive(Clone)]
pub(crate) struct Porter {
    credentials: Arc<Credentials>,
    clock: Clock,
}

impl Porter {
    pub(crate) fn new(credentials: Arc<Credentials>, clock: Clock) -> Self {
        Self { credentials, clock }
    }
}

/// What a call shows: its token, and the certificate of its connection.
struct Badge {
    bearer: Option<String>,
    peer: Peer,
}

impl Badge {
    fn of<B>(request: &Request<B>) -> Result<Self, Fault> {
        let bearer = bearer(request.headers())?.map(str::to_owned);
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        Ok(Self { bearer, peer })
    }

    fn shown(&self) -> Shown<'_> {
        let Peer { names, ends } = &self.peer;
        Shown { bearer: self.bearer.as_deref(), certificate: names, certificate_ends: *ends }
    }
}

/// Whose badge it is.
async fn known(porter: &Porter, badge: Result<Badge, Fault>) -> Result<(Badge, Known), Fault> {
    let (badge, now) = (badge?, porter.clock.now());
    let known = porter.credentials.identify(badge.shown(), now).await?;
    Ok((badge, known))
}

/// Puts a [`Doorway`] before a service; without a porter it is not there.
#[derive(Clone)]
pub(super) struct AuthLayer {
    porter: Option<Porter>,
}

impl AuthLayer {
    pub(super) fn new(porter: Option<Porter>) -> Self {
        Self { porter }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Doorway<S>;

    fn layer(&self, inner: S) -> Doorway<S> {
        Doorway { inner, porter: self.porter.clone() }
    }
}

/// A service that only known callers reach.
#[derive(Clone)]
pub(super) struct Doorway<S> {
    inner: S,
    porter: Option<Porter>,
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
        let Some(porter) = &self.porter else {
            return Either::Left(self.inner.call(request));
        };
        if request.uri().path().starts_with(OPEN) {
            return Either::Left(self.inner.call(request));
        }
        let porter = porter.clone();
        // The clone may not be ready; the service that was asked is.
        let unasked = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unasked);
        Either::Right(Box::pin(async move {
            let path = request.uri().path().to_owned();
            let (badge, known) = match known(&porter, Badge::of(&request)).await {
                Ok(found) => found,
                Err(fault) => {
                    audit::refused(None, &path, &fault);
                    return Ok(Status::from(fault).into_http());
                }
            };
            let principal = Arc::clone(&known.principal);
            let call = Call::at(&path);
            let lasting = call.map_or(Lasting::Short, lasting);
            let place = match porter.credentials.count(
                &principal,
                lasting != Lasting::Short,
                &porter.clock,
            ) {
                Ok(place) => place,
                Err(excess) => return Ok(Status::from(over(&principal, excess)).into_http()),
            };
            let Some(call) = call else {
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
            let answer = match lasting {
                Lasting::Short => inner.call(request).await,
                Lasting::Wait => tokio::select! {
                    // What was leased at the last moment is handed over.
                    biased;
                    answer = inner.call(request) => answer,
                    fault = Tenure::new(porter, badge, known).ended() => {
                        Ok(Status::from(fault).into_http())
                    }
                },
                Lasting::Stream => {
                    let ended = Tenure::new(porter, badge, known).ended().boxed();
                    inner.call(request).await.map(|answer| bound(answer, ended, place))
                }
            };
            if let Ok(answer) = &answer {
                audit::answered(&caller, answer.headers());
            }
            answer
        }))
    }
}

/// How long a call lasts, and what its answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lasting {
    /// As long as it takes to do what it asks for.
    Short,
    /// As long as it waits.
    Wait,
    /// Until one of both ends it.
    Stream,
}

fn lasting(call: Call) -> Lasting {
    match call {
        Call::Work | Call::WatchEvents => Lasting::Stream,
        Call::Lease | Call::WaitJob => Lasting::Wait,
        _ => Lasting::Short,
    }
}

/// More calls than a principal may make.
fn over(principal: &Principal, excess: Excess) -> Fault {
    let name = principal.name();
    match excess {
        Excess::Calls { limit, wait } => {
            let message = format!("{name} may make {limit} calls a second");
            Fault::quota(Reason::RateLimited, message, name).after(wait)
        }
        Excess::Streams { limit } => {
            let message = format!("{name} may have {limit} streams and waits under way");
            Fault::quota(Reason::TooManyStreams, message, name)
        }
    }
}

/// Keeps the numbers of a broker, among its pages, to those who may view them.
pub(crate) fn guard(pages: Router, porter: Option<Porter>) -> Router {
    let Some(porter) = porter else { return pages };
    pages.layer(from_fn(move |request: Request<axum::body::Body>, next: Next| {
        let porter = porter.clone();
        async move {
            if request.uri().path() != METRICS {
                return next.run(request).await;
            }
            match known(&porter, Badge::of(&request)).await {
                // They name all queues.
                Ok((_, Known { principal, .. }))
                    if principal.reach_of(Call::GetQueueStats, &QueuePattern::all())
                        == Reach::Any =>
                {
                    next.run(request).await
                }
                Ok((_, Known { principal, .. })) => {
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
            Denied::Expired | Denied::Changed => Reason::Expired,
            Denied::NoKeys => Reason::KeysUnavailable,
            _ => Reason::NoCredential,
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

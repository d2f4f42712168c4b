//! Around every call: a bound on how many there are, a catch for panics, and our own form for the
//! failures that the transport finds by itself.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::DECODE_LIMIT;
use super::convert::field::Violations;
use super::status::{Fault, Reason};

/// Calls under way at once, over all connections; long polls included.
const MOST_CALLS: usize = 32_768;

/// Puts a [`Shield`] around a service.
#[derive(Clone)]
pub(super) struct ShieldLayer {
    calls: Arc<Semaphore>,
}

impl Default for ShieldLayer {
    fn default() -> Self {
        Self { calls: Arc::new(Semaphore::new(MOST_CALLS)) }
    }
}

impl<S> Layer<S> for ShieldLayer {
    type Service = Shield<S>;

    fn layer(&self, inner: S) -> Shield<S> {
        Shield { inner, calls: Arc::clone(&self.calls) }
    }
}

/// A service whose failures all look alike.
#[derive(Clone)]
pub(super) struct Shield<S> {
    inner: S,
    calls: Arc<Semaphore>,
}

impl<S> Service<Request<Body>> for Shield<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            let fault = Fault::new(Reason::TooManyStreams, "too many calls are under way");
            return Box::pin(std::future::ready(Ok(response(fault))));
        };
        // The clone may not be ready; the service that was asked is.
        let unasked = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, unasked);
        Box::pin(async move {
            let _permit = permit;
            // A service is called anew for each request, so nothing half-done is seen again.
            let call = AssertUnwindSafe(async move { inner.call(request).await });
            match call.catch_unwind().await {
                Ok(answer) => answer.map(in_our_form),
                Err(panic) => Ok(response(Fault::internal(text_of(panic.as_ref())))),
            }
        })
    }
}

fn response(fault: Fault) -> Response<Body> {
    Status::from(fault).into_http()
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "a panic without a text"
    }
}

/// Gives reason and details to a status that the transport made and that clients would otherwise
/// read wrongly: an oversized request comes as `OUT_OF_RANGE`, a garbled one as `INTERNAL`.
fn in_our_form(answer: Response<Body>) -> Response<Body> {
    // A status stands among the headers only when there is nothing but a status.
    let Some(status) = Status::from_header_map(answer.headers()) else { return answer };
    if !status.details().is_empty() {
        return answer;
    }
    match unreadable(&status) {
        Some(fault) => response(fault),
        None if status.code() == Code::Unimplemented => response(Fault::not_built("the call")),
        None => answer,
    }
}

/// What the transport found wrong with a message; `None` when its status tells of something else.
pub(super) fn unreadable(status: &Status) -> Option<Fault> {
    match status.code() {
        Code::OutOfRange if status.message().contains("message length too large") => {
            let actual = number_after(status.message(), "found ").unwrap_or(DECODE_LIMIT + 1);
            Some(Violations::too_large(DECODE_LIMIT, actual).into())
        }
        Code::Internal if status.message().starts_with("failed to decode Protobuf") => {
            Some(Violations::from("is not a message of this protocol").into())
        }
        _ => None,
    }
}

fn number_after(text: &str, word: &str) -> Option<usize> {
    let (_, rest) = text.split_once(word)?;
    rest.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic_types::StatusExt;
    use tower::ServiceExt;

    use super::*;

    fn reason(answer: &Response<Body>) -> (Code, String) {
        let status = Status::from_header_map(answer.headers()).unwrap();
        let details = status.get_error_details();
        (status.code(), details.error_info().map(|it| it.reason.clone()).unwrap_or_default())
    }

    async fn shielded(status: Status) -> (Code, String) {
        let service = tower::service_fn(move |_| {
            let status = status.clone();
            async move { Ok::<_, Infallible>(status.into_http::<Body>()) }
        });
        let shield = ShieldLayer::default().layer(service);
        reason(&shield.oneshot(Request::new(Body::default())).await.unwrap())
    }

    #[tokio::test]
    async fn what_the_transport_finds_gets_a_reason() {
        let too_large = "Error, decoded message length too large: found 5000000 bytes, the limit \
                         is: 4194304 bytes";
        let garbled = "failed to decode Protobuf message: invalid wire type";
        let table = [
            (Status::unimplemented(""), Code::Unimplemented, "FEATURE_DISABLED"),
            (Status::out_of_range(too_large), Code::InvalidArgument, "PAYLOAD_TOO_LARGE"),
            (Status::internal(garbled), Code::InvalidArgument, "INVALID_FIELD"),
            (Status::not_found("unknown service"), Code::NotFound, ""),
            (Fault::new(Reason::StoreReset, "").into(), Code::OutOfRange, "STORE_RESET"),
        ];
        for (status, code, word) in table {
            assert_eq!(shielded(status.clone()).await, (code, word.to_owned()), "{status:?}");
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_an_internal_fault_with_an_incident() {
        fn clumsy() -> Result<Response<Body>, Infallible> {
            panic!("a bug")
        }
        let panics = tower::service_fn(|_: Request<Body>| async { clumsy() });
        let shield = ShieldLayer::default().layer(panics);
        let answer = shield.oneshot(Request::new(Body::default())).await.unwrap();
        assert_eq!(reason(&answer), (Code::Internal, "INTERNAL".to_owned()));
        let status = Status::from_header_map(answer.headers()).unwrap();
        let details = status.get_error_details();
        let incident = &details.error_info().unwrap().metadata["incident"];
        assert!(status.message().contains(incident.as_str()));
        assert!(!status.message().contains("a bug"));
    }

    #[tokio::test]
    async fn one_call_too_many_is_told_to_back_off() {
        let waits =
            tower::service_fn(|_: Request<Body>| std::future::pending::<Result<_, Infallible>>());
        let shield = ShieldLayer { calls: Arc::new(Semaphore::new(1)) }.layer(waits);
        let first = shield.clone().oneshot(Request::new(Body::default()));
        let second = shield.oneshot(Request::new(Body::default()));
        tokio::select! {
            biased;
            _ = first => panic!("the first call waits for ever"),
            answer = second => {
                let answer: Response<Body> = answer.unwrap();
                assert_eq!(reason(&answer), (Code::ResourceExhausted, "TOO_MANY_STREAMS".to_owned()));
            }
        }
    }
}

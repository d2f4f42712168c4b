//! HTTP/1: what is left of a request that was answered before it was read to its end.
//!
//! The connection can only be used again behind the whole request. A little is read and thrown away;
//! if more is left, the answer says that the connection closes. Else a client would send its next
//! request into a connection that goes away, and could not tell whether it was carried out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;

/// What is read and thrown away at most.
const MOST: usize = 256 << 10;

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a request is put that nobody reads any more.
type Rest = Arc<Mutex<Option<Body>>>;

/// Knows what is left of a request.
pub(super) struct Reading(Option<Rest>);

/// Follows how far a request is read, where that matters.
pub(super) fn follow(request: Request<Body>) -> (Request<Body>, Reading) {
    if request.version() > Version::HTTP_11 || request.body().is_end_stream() {
        return (request, Reading(None));
    }
    let rest = Rest::default();
    let left = Arc::clone(&rest);
    let request = request.map(|body| Body::new(Followed { body, is_read: false, rest: left }));
    (request, Reading(Some(rest)))
}

impl Reading {
    /// Makes the connection fit for the next request, or has it closed after this answer.
    pub(super) async fn finish(&self, answer: &mut Response<Body>) {
        let rest = self.0.as_ref().and_then(|rest| rest.lock().take());
        let Some(rest) = rest else { return };
        let thrown_away = timeout(PATIENCE, Limited::new(rest, MOST).collect()).await;
        if !matches!(thrown_away, Ok(Ok(_))) {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
    }
}

struct Followed {
    body: Body,
    is_read: bool,
    rest: Rest,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.is_read |= matches!(polled, Poll::Ready(None | Some(Err(_))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if !self.is_read && !self.body.is_end_stream() {
            *self.rest.lock() = Some(std::mem::take(&mut self.body));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;

    use super::*;

    /// Whether the connection closes after a request that is read as far as `read` does.
    async fn closes(version: Version, body: Body, read: impl AsyncFnOnce(Body)) -> bool {
        let request = Request::builder().version(version).body(body).unwrap();
        let (request, reading) = follow(request);
        read(request.into_body()).await;
        let mut answer = Response::new(Body::empty());
        reading.finish(&mut answer).await;
        answer.headers().contains_key(header::CONNECTION)
    }

    fn bytes(count: usize) -> Body {
        let frame = Frame::data(Bytes::from(vec![0; count]));
        Body::new(StreamBody::new(stream::iter([Ok::<_, Status>(frame)])))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_closes_only_if_much_is_left_of_a_request() {
        let never =
            || Body::new(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Status>>()));
        for (version, body, is_read, expected) in [
            (Version::HTTP_11, bytes(MOST + 1), true, false),
            (Version::HTTP_11, bytes(MOST), false, false),
            (Version::HTTP_11, bytes(MOST + 1), false, true),
            (Version::HTTP_11, never(), false, true),
            (Version::HTTP_2, never(), false, false),
        ] {
            let read = async |body: Body| {
                if is_read {
                    body.collect().await.unwrap();
                }
            };
            assert_eq!(closes(version, body, read).await, expected);
        }
    }
}

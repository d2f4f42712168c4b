//! A call of one message that is answered by one message.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::once;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

use super::codec::Codec;
use super::error;
use super::frame::framed;
use super::gzip::{self, Encoding};
use super::head;
use super::methods::{Method, Methods};
use super::reply::{Part, Reply};
use crate::rpc::DECODE_LIMIT;
use crate::rpc::convert::field::Violations;

/// A request that is read once must be there after so long: a peer that sends a byte now and then
/// shall not hold a call.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// The body of the request as a service reads it. Nothing is read before the service asks, so
/// whoever may not call costs no more than a head.
pub(super) fn request(method: &Method, codec: Codec, encoding: Encoding, body: Body) -> Body {
    let kind = method.input.clone();
    let message = async move {
        let message = whole(body).await?;
        let message = match encoding {
            Encoding::Identity => message,
            Encoding::Gzip => gzip::expand(&message)?,
        };
        let message = codec.inward(&kind, message)?;
        Ok::<_, Status>(Frame::data(framed(0, &message)))
    };
    Body::new(StreamBody::new(once(message)))
}

async fn whole(body: Body) -> Result<Bytes, Status> {
    match timeout(BODY_PATIENCE, Limited::new(body, DECODE_LIMIT).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(why)) if why.is::<LengthLimitError>() => {
            Err(Violations::too_large(DECODE_LIMIT, DECODE_LIMIT + 1).into())
        }
        // The caller is gone, or broke its own framing: nobody reads this.
        Ok(Err(_)) => Err(Violations::from("is incomplete").into()),
        Err(_) => Err(too_slow()),
    }
}

/// What a request is told that did not come in time.
pub(super) fn too_slow() -> Status {
    let seconds = BODY_PATIENCE.as_secs();
    Status::deadline_exceeded(format!("the request was not there after {seconds} s"))
}

/// The answer of a service as the caller reads it.
pub(super) async fn response(
    methods: &Methods,
    method: &Method,
    codec: Codec,
    encoding: Encoding,
    answer: Response<Body>,
) -> Response<Body> {
    let (mut reply, mut parts) = Reply::new(answer);
    let mut message = None;
    let (status, trailers) = loop {
        match reply.next().await {
            Part::Message(first) => message = message.or(Some(first)),
            Part::End(status, trailers) => break (status, trailers),
        }
    };
    head::with_trailers(&mut parts.headers, trailers);
    let written = match (status.code(), message) {
        (Code::Ok, Some(message)) => codec.outward(&method.output, message),
        (Code::Ok, None) => Err(Status::internal("the reply is empty")),
        _ => Err(status),
    };
    let mut done = match written {
        Ok(message) => succeeded(codec, encoding, message, parts.headers),
        Err(status) => error::response(&status, methods, parts.headers),
    };
    // Leased jobs travel here until the reply has left.
    *done.extensions_mut() = parts.extensions;
    done
}

fn succeeded(
    codec: Codec,
    encoding: Encoding,
    message: Bytes,
    headers: HeaderMap,
) -> Response<Body> {
    let (is_small, message) = encoding.shrink(message);
    let mut answer = Response::new(Body::new(Full::new(message)));
    *answer.headers_mut() = headers;
    let content_type = HeaderValue::from_static(codec.unary_type());
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    if is_small {
        let gzip = HeaderValue::from_static(gzip::KNOWN);
        answer.headers_mut().insert(header::CONTENT_ENCODING, gzip);
    }
    answer
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let first = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(b"{")))]);
        let slow = futures_util::StreamExt::chain(first, stream::pending());
        let status = whole(Body::new(StreamBody::new(slow))).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
}

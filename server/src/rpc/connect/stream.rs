//! A call with a stream of messages on one side or both.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use futures_util::stream::{StreamExt, unfold};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde::Serialize;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};

use super::codec::Codec;
use super::deadline::Deadline;
use super::error::Error;
use super::frame::{COMPRESSED, END, Frames, TooLong, framed};
use super::gzip::{self, Encoding};
use super::methods::{Method, Methods};
use super::reply::{Part, Reply};
use super::unary::{BODY_PATIENCE, too_slow};
use super::{deadline, head};
use crate::rpc::DECODE_LIMIT;
use crate::rpc::convert::field::Violations;

/// The body of the request as a service reads it, message by message.
pub(super) fn request(method: &Method, codec: Codec, encoding: Encoding, body: Body) -> Body {
    let requests = Requests {
        method: method.clone(),
        codec,
        encoding,
        body,
        frames: Frames::default(),
        count: 0,
    };
    let messages = unfold(Some(requests), |requests| async move {
        let mut requests = requests?;
        match requests.next().await {
            Ok(Some(message)) => Some((Ok(Frame::data(framed(0, &message))), Some(requests))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    });
    // A service may ask again after the end.
    Body::new(StreamBody::new(messages.fuse()))
}

struct Requests {
    method: Method,
    codec: Codec,
    encoding: Encoding,
    body: Body,
    frames: Frames,
    count: usize,
}

impl Requests {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        if self.method.is_client_streaming {
            return self.read().await;
        }
        let Ok(message) = timeout(BODY_PATIENCE, self.read()).await else { return Err(too_slow()) };
        let message = message?;
        match self.count {
            1 => Ok(message),
            _ => Err(Status::unimplemented("this call takes one message, no more and no less")),
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            match self.frames.next(DECODE_LIMIT) {
                Ok(Some((flags, message))) => {
                    self.count += 1;
                    return self.decoded(flags, message).map(Some);
                }
                Ok(None) => {}
                Err(TooLong(length)) => {
                    return Err(Violations::too_large(DECODE_LIMIT, length).into());
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.frames.push(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(status)) => return Err(status),
                None if self.frames.is_empty() => return Ok(None),
                None => return Err(Violations::from("ends within a message").into()),
            }
        }
    }

    fn decoded(&self, flags: u8, message: Bytes) -> Result<Bytes, Status> {
        let message = match (flags, self.encoding) {
            (0, _) => message,
            (COMPRESSED, Encoding::Gzip) => gzip::expand(&message)?,
            (COMPRESSED, Encoding::Identity) => {
                let why = "a message is compressed, but no header says how";
                return Err(Status::internal(why));
            }
            _ => return Err(Violations::from("has unknown flags before a message").into()),
        };
        self.codec.inward(&self.method.input, message)
    }
}

/// The answer of a service as the caller reads it: at once, and message by message.
pub(super) fn response(
    methods: &Arc<Methods>,
    method: &Method,
    codec: Codec,
    encoding: Encoding,
    deadline: Deadline,
    answer: Response<Body>,
) -> Response<Body> {
    let (reply, parts) = Reply::new(answer);
    let replies = Replies {
        methods: Arc::clone(methods),
        method: method.clone(),
        codec,
        encoding,
        reply,
        deadline,
    };
    let messages = unfold(Some(replies), |replies| async move {
        let mut replies = replies?;
        let (frame, is_last) = replies.next().await;
        let frame: Result<_, Status> = Ok(Frame::data(frame));
        Some((frame, (!is_last).then_some(replies)))
    });
    let mut answer = open(codec, Body::new(StreamBody::new(messages)));
    if encoding == Encoding::Gzip {
        let gzip = HeaderValue::from_static(gzip::KNOWN);
        answer.headers_mut().insert("connect-content-encoding", gzip);
    }
    answer.headers_mut().extend(parts.headers);
    *answer.extensions_mut() = parts.extensions;
    answer
}

/// The answer to a stream that failed before it reached a service.
pub(super) fn refused(methods: &Methods, codec: Codec, status: &Status) -> Response<Body> {
    let end = end(methods, status, &HeaderMap::new());
    open(codec, Body::new(http_body_util::Full::new(end)))
}

fn open(codec: Codec, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let content_type = HeaderValue::from_static(codec.stream_type());
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}

struct Replies {
    methods: Arc<Methods>,
    method: Method,
    codec: Codec,
    encoding: Encoding,
    reply: Reply,
    deadline: Deadline,
}

impl Replies {
    /// The next frame, and whether it is the last one.
    async fn next(&mut self) -> (Bytes, bool) {
        let part = tokio::select! {
            biased;
            part = self.reply.next() => part,
            () = &mut self.deadline => Part::End(deadline::passed(), HeaderMap::new()),
        };
        let (status, trailers) = match part {
            Part::Message(message) => match self.codec.outward(&self.method.output, message) {
                Ok(message) => {
                    let (is_small, message) = self.encoding.shrink(message);
                    let flags = if is_small { COMPRESSED } else { 0 };
                    return (framed(flags, &message), false);
                }
                Err(status) => (status, HeaderMap::new()),
            },
            Part::End(status, trailers) => (status, trailers),
        };
        (end(&self.methods, &status, &trailers), true)
    }
}

/// What ends a stream.
#[derive(Serialize)]
struct End {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, Vec<String>>,
}

fn end(methods: &Methods, status: &Status, trailers: &HeaderMap) -> Bytes {
    let error = (status.code() != Code::Ok).then(|| Error::new(status, methods));
    let mut metadata: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &head::outward(trailers.clone()) {
        // What is not text is metadata in base64 by its name, and comes so from the service.
        let text = value.to_str().map_or_else(|_| STANDARD_NO_PAD.encode(value), str::to_owned);
        metadata.entry(name.to_string()).or_default().push(text);
    }
    // Strings and objects are always writable.
    framed(END, &serde_json::to_vec(&End { error, metadata }).unwrap_or_default())
}

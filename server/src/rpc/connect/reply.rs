//! What a service answers, taken apart: messages, then a status with trailers.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};

use super::frame::Frames;
use super::head;
use crate::rpc::ENCODE_LIMIT;

/// An answer that is read part by part.
pub(super) struct Reply {
    body: Body,
    frames: Frames,
    /// The status, when it came with the headers.
    early: Option<Status>,
}

/// The next of an answer.
pub(super) enum Part {
    Message(Bytes),
    /// The last part. The status may be OK.
    End(Status, HeaderMap),
}

impl Reply {
    /// Splits off the metadata of the head; extensions are left to the caller.
    pub(super) fn new(answer: Response<Body>) -> (Self, http::response::Parts) {
        let (mut parts, body) = answer.into_parts();
        let early = Status::from_header_map(&parts.headers);
        parts.headers = head::outward(std::mem::take(&mut parts.headers));
        (Self { body, frames: Frames::default(), early }, parts)
    }

    /// The next part. Cancel-safe: what has come is kept.
    pub(super) async fn next(&mut self) -> Part {
        if let Some(status) = self.early.take() {
            return Part::End(status, HeaderMap::new());
        }
        loop {
            match self.frames.next(ENCODE_LIMIT) {
                Ok(Some((_, message))) => return Part::Message(message),
                Ok(None) => {}
                Err(_) => {
                    return Part::End(Status::internal("a reply is too long"), HeaderMap::new());
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.frames.push(&data),
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let status = Status::from_header_map(&trailers).unwrap_or_else(cut_off);
                        return Part::End(status, head::outward(trailers));
                    }
                },
                Some(Err(status)) => return Part::End(status, HeaderMap::new()),
                None => return Part::End(cut_off(), HeaderMap::new()),
            }
        }
    }
}

fn cut_off() -> Status {
    Status::new(Code::Unknown, "the reply ended without a status")
}

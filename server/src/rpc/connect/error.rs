//! Errors as Connect writes them: JSON, and a status of HTTP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use prost::Message;
use prost_reflect::DynamicMessage;
use serde::Serialize;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::methods::Methods;

/// An error as JSON.
#[derive(Serialize)]
pub(super) struct Error {
    code: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

/// One of the details: for programs in protobuf, for people in words.
#[derive(Serialize)]
struct Detail {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<serde_json::Value>,
}

impl Error {
    pub(super) fn new(status: &Status, methods: &Methods) -> Self {
        let details = tonic_types::Status::decode(status.details()).unwrap_or_default().details;
        let detail = |any: prost_types::Any| {
            let kind = any.type_url.rsplit('/').next().unwrap_or_default().to_owned();
            let value = STANDARD_NO_PAD.encode(&any.value);
            let message = methods
                .message(&kind)
                .and_then(|kind| DynamicMessage::decode(kind, any.value.as_slice()).ok());
            let debug = message.and_then(|message| serde_json::to_value(message).ok());
            Detail { kind, value, debug }
        };
        Self {
            code: word(status.code()),
            message: status.message().to_owned(),
            details: details.into_iter().map(detail).collect(),
        }
    }

    pub(super) fn json(&self) -> Bytes {
        // Strings and objects are always writable.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The answer to a call without a stream that failed.
pub(super) fn response(status: &Status, methods: &Methods, headers: HeaderMap) -> Response<Body> {
    let body = Body::new(http_body_util::Full::new(Error::new(status, methods).json()));
    let mut answer = Response::new(body);
    *answer.status_mut() = http_status(status.code());
    *answer.headers_mut() = headers;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(pause) = retry_after(status) {
        answer.headers_mut().insert(header::RETRY_AFTER, pause);
    }
    answer
}

/// Whole seconds, for those who read no details.
fn retry_after(status: &Status) -> Option<HeaderValue> {
    let pause = status.get_details_retry_info()?.retry_delay?;
    Some(HeaderValue::from(pause.as_secs() + u64::from(pause.subsec_nanos() > 0)))
}

/// The name of a code in Connect.
const fn word(code: Code) -> &'static str {
    match code {
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// The status of HTTP for a code, by Connect's table.
pub(super) fn http_status(code: Code) -> StatusCode {
    match code {
        // Nginx's number for a client that left; nobody reads it.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

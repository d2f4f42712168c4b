//! The heads of requests and answers, from Connect's form into that of gRPC and back.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header, request};
use tonic::Status;

use super::codec::Codec;
use super::gzip::Encoding;
use crate::rpc::convert::field::Violations;

/// What the head of a call says, beyond what is passed on.
#[derive(Debug)]
pub(super) struct Head {
    /// When the caller gives up.
    pub(super) deadline: Option<Duration>,
    /// How requests come.
    pub(super) request: Encoding,
    /// How replies go.
    pub(super) reply: Encoding,
}

/// The form of a call, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Unary(Codec),
    Stream(Codec),
}

impl Form {
    pub(super) const fn is_unary(self) -> bool {
        matches!(self, Self::Unary(_))
    }

    /// The form of a content type; `None` when it is none of Connect.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_ascii_lowercase();
        let (kind, parameters) = text.split_once(';').unwrap_or((&text, ""));
        let charset = parameters.trim().strip_prefix("charset=");
        if charset.is_some_and(|charset| charset.trim_matches('"') != "utf-8") {
            return None;
        }
        let name = kind.trim().strip_prefix("application/")?;
        match name.strip_prefix("connect+") {
            Some(name) => Codec::named(name).map(Self::Stream),
            None => Codec::named(name).map(Self::Unary),
        }
    }
}

const VERSION: &str = "connect-protocol-version";
const TIMEOUT: &str = "connect-timeout-ms";
const STREAM_ENCODING: &str = "connect-content-encoding";
const STREAM_ACCEPTS: &str = "connect-accept-encoding";

/// What is of the transport or of Connect, and means nothing, or the wrong thing, to a service.
const OURS: [&str; 16] = [
    VERSION,
    TIMEOUT,
    STREAM_ENCODING,
    STREAM_ACCEPTS,
    "content-type",
    "content-length",
    "content-encoding",
    "accept-encoding",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "te",
    "grpc-timeout",
    "grpc-encoding",
    "grpc-accept-encoding",
];

/// What of a gRPC answer is not metadata.
const THEIRS: [&str; 7] = [
    "content-type",
    "content-length",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "grpc-encoding",
    "grpc-accept-encoding",
];

/// Reads the head of a call and turns it into that of a gRPC call.
pub(super) fn inward(form: Form, parts: &mut request::Parts) -> Result<Head, Status> {
    let headers = &mut parts.headers;
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(version) = text(VERSION).filter(|version| *version != "1") {
        let why = format!("{VERSION} must be \"1\", not {version:?}");
        return Err(Violations::from(why.as_str()).into());
    }
    let deadline = text(TIMEOUT).map(timeout).transpose()?;
    let (encoding, accepts) = match form {
        Form::Unary(_) => (text("content-encoding"), text("accept-encoding")),
        Form::Stream(_) => (text(STREAM_ENCODING), text(STREAM_ACCEPTS)),
    };
    let head = Head {
        deadline,
        request: Encoding::of_request(encoding)?,
        reply: Encoding::of_reply(accepts),
    };
    for name in OURS {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(deadline) = deadline {
        headers.insert("grpc-timeout", grpc_timeout(deadline));
    }
    Ok(head)
}

fn timeout(text: &str) -> Result<Duration, Status> {
    let is_number =
        (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(millis) if is_number => Ok(Duration::from_millis(millis)),
        _ => {
            let why = format!("{TIMEOUT} must be up to 10 digits, not {text:?}");
            Err(Violations::from(why.as_str()).into())
        }
    }
}

/// A number of eight digits at most, with a unit.
fn grpc_timeout(deadline: Duration) -> HeaderValue {
    let millis = deadline.as_millis();
    let text = if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", deadline.as_secs())
    };
    // Digits and a letter are valid.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1H"))
}

/// The metadata of a gRPC answer.
pub(super) fn outward(mut headers: HeaderMap) -> HeaderMap {
    for name in THEIRS {
        headers.remove(name);
    }
    headers
}

/// Adds trailers to the headers of an answer that has no place for trailers.
pub(super) fn with_trailers(headers: &mut HeaderMap, trailers: HeaderMap) {
    let trailers = outward(trailers);
    for (name, value) in &trailers {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            headers.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(content_type: &'static str) -> Option<Form> {
        let value = HeaderValue::from_static(content_type);
        Form::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
    }

    #[test]
    fn the_content_type_tells_the_form() {
        for (content_type, expected) in [
            ("application/json", Some(Form::Unary(Codec::Json))),
            ("Application/JSON; charset=UTF-8", Some(Form::Unary(Codec::Json))),
            ("application/proto", Some(Form::Unary(Codec::Proto))),
            ("application/connect+proto", Some(Form::Stream(Codec::Proto))),
            ("application/json; charset=latin1", None),
            ("application/x-www-form-urlencoded", None),
            ("text/plain", None),
        ] {
            assert_eq!(form(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn a_timeout_becomes_that_of_grpc() {
        assert_eq!(grpc_timeout(timeout("99999999").unwrap()), "99999999m");
        assert_eq!(grpc_timeout(timeout("9999999999").unwrap()), "9999999S");
        for wrong in ["", "-1", "+1", "1s", "12345678901"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
    }
}

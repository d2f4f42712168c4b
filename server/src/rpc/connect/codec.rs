//! Messages as JSON or protobuf outside, as protobuf inside.

use std::io;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::Serialize;
use serde_json::Deserializer;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use tonic::Status;

use super::weight;
use crate::rpc::convert::field::Violations;

/// How messages are written outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Json,
    Proto,
}

impl Codec {
    /// The codec of a subtype such as `json`.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "proto" => Some(Self::Proto),
            _ => None,
        }
    }

    /// The content type of a message by itself.
    pub(super) const fn unary_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Proto => "application/proto",
        }
    }

    /// The content type of a stream of messages.
    pub(super) const fn stream_type(self) -> &'static str {
        match self {
            Self::Json => "application/connect+json",
            Self::Proto => "application/connect+proto",
        }
    }

    /// A request as the services read it.
    pub(super) fn inward(self, kind: &MessageDescriptor, body: Bytes) -> Result<Bytes, Status> {
        match self {
            Self::Proto => Ok(body),
            Self::Json => Ok(parse(kind, &body)?.encode_to_vec().into()),
        }
    }

    /// A reply as the caller reads it.
    pub(super) fn outward(self, kind: &MessageDescriptor, body: Bytes) -> Result<Bytes, Status> {
        match self {
            Self::Proto => Ok(body),
            Self::Json => {
                let message = DynamicMessage::decode(kind.clone(), body).map_err(unwritable)?;
                let mut json = Vec::new();
                let mut writer = Serializer::with_formatter(&mut json, WholeNumbers);
                message.serialize(&mut writer).map_err(unwritable)?;
                Ok(json.into())
            }
        }
    }
}

/// A message as JSON.
pub(in crate::rpc) fn json(kind: &MessageDescriptor, body: Bytes) -> Result<Bytes, Status> {
    Codec::Json.outward(kind, body)
}

/// Writes the number 2 as `2`, as it came, and not as `2.0`: all numbers of JSON payloads are
/// doubles inside.
struct WholeNumbers;

impl Formatter for WholeNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value.fract() == 0.0 && value.abs() <= EXACT {
            write!(writer, "{value:.0}")
        } else {
            CompactFormatter.write_f64(writer, value)
        }
    }
}

/// Whole numbers up to this are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads proto JSON. A field that there is not is refused, not passed over: it is mostly a slip.
fn parse(kind: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, Violations> {
    weight::check(json)?;
    let mut reader = Deserializer::from_slice(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let message = DynamicMessage::deserialize(kind.clone(), tracked);
    // The path is that of the value that was read last.
    let message = message.map_err(|why| refused(&track.path().to_string(), &why))?;
    reader.end().map_err(|why| refused("", &why))?;
    Ok(message)
}

fn refused(path: &str, why: &serde_json::Error) -> Violations {
    let (path, why) = (path.trim_matches(['.', '?']), why.to_string());
    let mut wrong = Violations::default();
    // The path ends before a name that is no field.
    let unknown = why.strip_prefix(UNKNOWN).and_then(|rest| rest.split_once('\''));
    match unknown {
        Some((name, _)) if path.is_empty() => wrong.add(name, "is no field of this call"),
        Some((name, _)) => wrong.add(format!("{path}.{name}"), "is no field of this call"),
        None => wrong.add(path, format!("is malformed: {why}")),
    }
    wrong
}

/// How the library that reads messages begins to tell of a name that it does not know.
const UNKNOWN: &str = "unrecognized field name '";

fn unwritable(why: impl std::fmt::Display) -> Status {
    crate::rpc::status::Fault::internal(&format!("a reply can't be written as JSON: {why}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::connect::methods::Methods;

    fn kind(name: &str) -> MessageDescriptor {
        let methods = Methods::read(&[lessor_proto::DESCRIPTOR_SET]).unwrap();
        methods.message(name).unwrap()
    }

    fn refusal(json: &str) -> String {
        let kind = kind("lessor.v1.EnqueueRequest");
        let wrong = parse(&kind, json.as_bytes()).unwrap_err();
        wrong.list()[0].field.clone()
    }

    #[test]
    fn json_becomes_protobuf_and_back() {
        let json = r#"{"queue":"mail","payload":{"json":{"to":["a",1.5,2,-0,1e300,null]}},"delay":"1.500s"}"#;
        let kind = kind("lessor.v1.EnqueueRequest");
        let proto = Codec::Json.inward(&kind, Bytes::from_static(json.as_bytes())).unwrap();
        let request = lessor_proto::v1::EnqueueRequest::decode(proto.clone()).unwrap();
        assert_eq!(request.queue, "mail");
        let back = Codec::Json.outward(&kind, proto).unwrap();
        let json = json.replace("1e300", "1e+300");
        assert_eq!(std::str::from_utf8(&back).unwrap(), json);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_path() {
        for (json, field) in [
            (r#"{"queue":"mail","colour":1}"#, "colour"),
            (r#"{"retryPolicy":{"maxAttempts":"many"}}"#, "retryPolicy.maxAttempts"),
            (r#"{"retry_policy":{"initial_backoff":7}}"#, "retry_policy.initial_backoff"),
            (r#"{"retryPolicy":{"colour":1}}"#, "retryPolicy.colour"),
            (r#"{"queue":"#, "queue"),
            ("", ""),
            (r#"{"queue":"mail"} {}"#, ""),
        ] {
            assert_eq!(refusal(json), field, "{json}");
        }
    }
}

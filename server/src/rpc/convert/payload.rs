//! User data: payloads, results, checkpoints. Taken as they are, never opened.

use bytes::Bytes;
use lessor_proto::v1;
use lessor_proto::v1::payload::Body;
use prost::Message;
use prost_types::Value;

use super::field::Violations;
use super::text;
use crate::job::{Form, Payload};

/// The largest payload of a job, in bytes.
pub(super) const PAYLOAD_LIMIT: usize = 1 << 20;
/// The largest result or checkpoint, in bytes.
pub(super) const RESULT_LIMIT: usize = 256 << 10;

const CONTENT_TYPE_LIMIT: usize = 128;
const ENCODING_LIMIT: usize = 64;

/// Reads user data of at most `limit` bytes; for JSON the bytes of its protobuf form count.
pub(super) fn payload(proto: v1::Payload, limit: usize) -> Result<Payload, Violations> {
    let mut wrong = Violations::default();
    let actual = match &proto.body {
        None => 0,
        Some(Body::Data(data)) => data.len(),
        Some(Body::Json(value)) => value.encoded_len(),
    };
    if actual > limit {
        // The member of the oneof is not named: a caller thinks of the payload as one thing.
        wrong.absorb("", Violations::too_large(limit, actual));
    }
    wrong.at("content_type", text::printable(&proto.content_type, CONTENT_TYPE_LIMIT));
    wrong.at("encoding", text::printable(&proto.encoding, ENCODING_LIMIT));
    let v1::Payload { body, content_type, encoding } = proto;
    wrong.finish(Some(()))?;
    let (data, form) = match body {
        None => (Bytes::new(), Form::Data),
        Some(Body::Data(data)) => (data, Form::Data),
        Some(Body::Json(value)) => (value.encode_to_vec().into(), Form::Json),
    };
    Ok(Payload { data, form, content_type, encoding })
}

/// Reads user data that may be absent.
pub(super) fn payload_opt(
    proto: Option<v1::Payload>,
    limit: usize,
) -> Result<Option<Payload>, Violations> {
    proto.map(|proto| payload(proto, limit)).transpose()
}

/// Writes user data, with the default content type where the sender named none.
pub(super) fn proto_payload(payload: &Payload) -> v1::Payload {
    let (body, usual) = match payload.form {
        Form::Data => (Body::Data(payload.data.clone()), "application/octet-stream"),
        // Only an encoded value is ever stored in this form.
        Form::Json => {
            let value = Value::decode(payload.data.clone()).unwrap_or_default();
            (Body::Json(value), "application/json")
        }
    };
    let content_type =
        if payload.content_type.is_empty() { usual } else { payload.content_type.as_str() };
    v1::Payload {
        body: Some(body),
        content_type: content_type.to_owned(),
        encoding: payload.encoding.clone(),
    }
}

#[cfg(test)]
mod tests {
    use prost_types::value::Kind;

    use super::*;
    use crate::rpc::convert::field::Rule;

    fn json(text: &str) -> Body {
        Body::Json(Value { kind: Some(Kind::StringValue(text.to_owned())) })
    }

    #[test]
    fn data_and_json_come_back_as_they_went() {
        let bodies = [Some(Body::Data(Bytes::from_static(b"\0\xff"))), Some(json("hello"))];
        for body in bodies {
            let sent = v1::Payload {
                body,
                content_type: "text/x-mine".to_owned(),
                encoding: String::new(),
            };
            let stored = payload(sent.clone(), PAYLOAD_LIMIT).unwrap();
            assert_eq!(proto_payload(&stored), sent);
        }
    }

    #[test]
    fn an_unnamed_content_type_is_named_on_the_way_out() {
        let named = |body| {
            let sent = v1::Payload { body, ..v1::Payload::default() };
            proto_payload(&payload(sent, PAYLOAD_LIMIT).unwrap()).content_type
        };
        assert_eq!(named(Some(json("x"))), "application/json");
        assert_eq!(named(Some(Body::Data(Bytes::new()))), "application/octet-stream");
        assert_eq!(named(None), "application/octet-stream");
    }

    #[test]
    fn the_limit_is_exact() {
        let of = |size| v1::Payload {
            body: Some(Body::Data(vec![0; size].into())),
            ..v1::Payload::default()
        };
        assert!(payload(of(1000), 1000).is_ok());
        let wrong = payload(of(1001), 1000).unwrap_err();
        assert_eq!(wrong.rule(), Rule::Size { limit: 1000, actual: 1001 });
        assert_eq!(wrong.list()[0].field, "");
    }
}

//! The bytes that travel with a job: made here, read here. The broker never opens them.

use bytes::Bytes;
use lessor_proto::v1::Payload;
use lessor_proto::v1::payload::Body;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

/// A payload of JSON text, such as what `serde_json::to_vec` makes. It is sent as it is.
pub fn json(text: impl Into<Bytes>) -> Payload {
    of(text, "application/json")
}

/// A payload of any bytes.
pub fn bytes(data: impl Into<Bytes>) -> Payload {
    of(data, "application/octet-stream")
}

/// The bytes of a payload, whichever way it was sent.
///
/// A payload that was sent as a protobuf value (by `grpcurl`, say) comes back as JSON text.
pub fn read(payload: &Payload) -> Bytes {
    match &payload.body {
        Some(Body::Data(data)) => data.clone(),
        Some(Body::Json(value)) => Bytes::from(plain(value).to_string()),
        None => Bytes::new(),
    }
}

fn of(data: impl Into<Bytes>, content_type: &str) -> Payload {
    Payload {
        body: Some(Body::Data(data.into())),
        content_type: content_type.to_owned(),
        encoding: String::new(),
    }
}

fn plain(value: &prost_types::Value) -> Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(it)) => Value::Bool(*it),
        Some(Kind::NumberValue(it)) => number(*it),
        Some(Kind::StringValue(it)) => Value::String(it.clone()),
        Some(Kind::ListValue(it)) => it.values.iter().map(plain).collect(),
        Some(Kind::StructValue(it)) => Value::Object(
            it.fields.iter().map(|(key, it)| (key.clone(), plain(it))).collect::<Map<_, _>>(),
        ),
    }
}

/// Protobuf values know doubles only. One that is a whole number is written as a whole number,
/// so that `{"user": 7}` does not come back as `{"user": 7.0}`.
fn number(value: f64) -> Value {
    let digits = format!("{value:.0}");
    if value.fract() == 0.0
        && let Ok(whole) = digits.parse::<i64>()
    {
        return Value::Number(whole.into());
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use prost_types::{ListValue, Struct, Value as Proto};

    use super::*;

    fn kind(kind: Kind) -> Proto {
        Proto { kind: Some(kind) }
    }

    #[test]
    fn text_comes_back_as_it_was_sent() {
        let text = r#"{ "n": 12345678901234567890 }"#;
        assert_eq!(read(&json(text)), text);
        assert_eq!(read(&bytes(&b"\x00\xff"[..])), &b"\x00\xff"[..]);
    }

    #[test]
    fn a_protobuf_value_comes_back_as_json() {
        let list = ListValue {
            values: vec![
                kind(Kind::NumberValue(7.0)),
                kind(Kind::NumberValue(0.5)),
                kind(Kind::NullValue(0)),
                kind(Kind::BoolValue(true)),
            ],
        };
        let fields = [
            ("list".to_owned(), kind(Kind::ListValue(list))),
            ("to".to_owned(), kind(Kind::StringValue("a\"b".to_owned()))),
        ];
        let value = kind(Kind::StructValue(Struct { fields: fields.into() }));
        let payload = Payload { body: Some(Body::Json(value)), ..Payload::default() };
        assert_eq!(read(&payload), r#"{"list":[7,0.5,null,true],"to":"a\"b"}"#);
    }
}

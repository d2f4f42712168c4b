//! Pickled Python values as JSON. A pickle is a program; it is read here, never run: one that
//! asks for more than plain data is refused.

use serde_json::{Map, Number, Value as Json};
use serde_pickle::{DeOptions, HashableValue, Value, value_from_slice};

/// What a pickle holds, or why it can't be JSON.
pub(super) fn json(pickle: &[u8]) -> Result<Json, &'static str> {
    let value = value_from_slice(pickle, DeOptions::new());
    plain(value.map_err(|_| "an object of a class")?)
}

fn plain(value: Value) -> Result<Json, &'static str> {
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(it) => it.into(),
        Value::I64(it) => it.into(),
        Value::Int(it) => match (i64::try_from(&it), u64::try_from(&it)) {
            (Ok(it), _) => it.into(),
            (_, Ok(it)) => it.into(),
            _ => return Err("a number beyond 64 bits"),
        },
        Value::F64(it) => Number::from_f64(it).ok_or("a number that is not finite")?.into(),
        Value::String(it) => it.into(),
        // As Python's own JSON does, a tuple becomes a list.
        Value::List(items) | Value::Tuple(items) => {
            items.into_iter().map(plain).collect::<Result<_, _>>()?
        }
        Value::Dict(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                object.insert(word(key)?, plain(value)?);
            }
            object.into()
        }
        Value::Bytes(_) => return Err("bytes"),
        Value::Set(_) | Value::FrozenSet(_) => return Err("a set"),
    })
}

fn word(key: HashableValue) -> Result<String, &'static str> {
    match key {
        HashableValue::String(it) => Ok(it),
        HashableValue::I64(it) => Ok(it.to_string()),
        _ => Err("a dictionary whose keys are not text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_data_is_read() {
        // pickle.dumps(("app.f", None, (1, [True]), {"x": 2.5}), protocol=0), without memos
        let pickle = b"(Vapp.f\nN(I1\n(lI01\nat(dVx\nF2.5\nst.";
        assert_eq!(json(pickle), Ok(serde_json::json!(["app.f", null, [1, [true]], {"x": 2.5}])));
    }

    #[test]
    fn a_pickle_that_calls_something_is_refused() {
        // What os.system("true") looks like.
        assert_eq!(json(b"cos\nsystem\n(S'true'\ntR."), Err("an object of a class"));
        assert_eq!(json(b"cdatetime\ndate\n(I2026\nI1\nI2\ntR."), Err("an object of a class"));
    }

    #[test]
    fn what_json_does_not_know_is_named() {
        // pickle.dumps(b"x", protocol=3) and pickle.dumps(float("inf"), protocol=0)
        assert_eq!(json(b"\x80\x03C\x01x."), Err("bytes"));
        assert_eq!(json(b"Finf\n."), Err("a number that is not finite"));
    }
}

//! A bound on how much memory a JSON document can become.
//!
//! Read into messages, a value of two bytes takes hundreds. So the values are counted before they
//! are read: what people send has few of them, or long ones.

use crate::rpc::convert::field::Violations;

/// Values in one document, the names of fields among them.
const MOST_VALUES: usize = 200_000;

/// Refuses a document of too many values.
pub(super) fn check(json: &[u8]) -> Result<(), Violations> {
    let count = values(json);
    if count <= MOST_VALUES {
        return Ok(());
    }
    let mut wrong = Violations::default();
    let why = format!("has {count} values, more than {MOST_VALUES}; send such data as bytes");
    wrong.add("", why);
    Err(wrong)
}

/// The signs that stand before a value, outside of strings.
fn values(json: &[u8]) -> usize {
    let (mut count, mut is_text, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' | b',' | b':' if !is_text => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_and_text_is_not() {
        assert_eq!(values(br#"{"a,[":[1,2,"\",{"]}"#), 5);
        assert!(check(&vec![b'['; MOST_VALUES]).is_ok());
        assert!(check(&vec![b'['; MOST_VALUES + 1]).is_err());
    }
}

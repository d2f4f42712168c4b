//! A digest of a request, to tell a repetition from a misuse of its id.

use std::collections::BTreeMap;

use lessor_proto::v1::EnqueueRequest;
use prost::Message;

/// The digest of an enqueue request, without its `request_id`: the same in every broker and every
/// version, for stores keep it.
///
/// It is FNV-1a (64 bit) over the protobuf encoding, which has the fields in the order of their
/// numbers. Only a map has no order of its own, so the labels come last, sorted.
pub(super) fn enqueue(request: &EnqueueRequest, labels: &BTreeMap<String, String>) -> u64 {
    debug_assert!(request.request_id.is_empty() && request.labels.is_empty(), "taken out before");
    let mut hash = Fnv::default();
    hash.write(&request.encode_to_vec());
    for (key, value) in labels {
        hash.write_sized(key.as_bytes());
        hash.write_sized(value.as_bytes());
    }
    hash.0
}

/// FNV-1a: simple enough to be the same everywhere for ever. It is no defence against an attacker,
/// and needs to be none: a caller could only fool itself.
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Writes the length too, so that no two sequences of parts run together to the same.
    pub(super) fn write_sized(&mut self, bytes: &[u8]) {
        self.write(&(bytes.len() as u64).to_le_bytes());
        self.write(bytes);
    }

    pub(super) fn write_number(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    pub(super) fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use lessor_proto::v1::Payload;
    use lessor_proto::v1::payload::Body;

    use super::*;

    fn request() -> EnqueueRequest {
        EnqueueRequest {
            queue: "mail".to_owned(),
            priority: -3,
            payload: Some(Payload { body: Some(Body::Data("hello".into())), ..Payload::default() }),
            ..EnqueueRequest::default()
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn fnv_is_fnv() {
        // From the test vectors of the FNV draft.
        for (text, expected) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hash = Fnv::default();
            hash.write(text.as_bytes());
            assert_eq!(hash.finish(), expected, "{text}");
        }
    }

    #[test]
    fn a_digest_never_changes() {
        // Stores hold digests of older brokers: this number is part of the protocol.
        let digest = enqueue(&request(), &labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(digest, 0xb02b_9044_3b12_0e9b);
    }

    #[test]
    fn another_request_has_another_digest() {
        let first = enqueue(&request(), &labels(&[("a", "bc")]));
        assert_eq!(first, enqueue(&request(), &labels(&[("a", "bc")])));
        assert_ne!(first, enqueue(&request(), &labels(&[("ab", "c")])));
        assert_ne!(first, enqueue(&request(), &labels(&[])));
        let other = EnqueueRequest { priority: 3, ..request() };
        assert_ne!(first, enqueue(&other, &labels(&[("a", "bc")])));
    }
}

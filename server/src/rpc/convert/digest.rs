//! A digest of a request, to tell a repetition from a misuse of its id.

use std::collections::BTreeMap;

use lessor_proto::v1::{BulkJobsRequest, EnqueueRequest};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::job::fnv::Fnv;

/// The digest of an enqueue request, without its `request_id`: the same in every broker and every
/// version, for stores keep it.
///
/// It is XXH3 (64 bit) over the protobuf encoding, which has the fields in the order of their
/// numbers. Only a map has no order of its own, so the labels come last, sorted.
pub(super) fn enqueue(request: &EnqueueRequest, labels: &BTreeMap<String, String>) -> u64 {
    debug_assert!(request.request_id.is_empty() && request.labels.is_empty(), "taken out before");
    let mut encoded = request.encode_to_vec();
    add(labels.iter(), &mut encoded);
    xxh3_64(&encoded)
}

/// The digest of a batch, of all its requests in their order: as stable as that of one.
pub(super) fn batch(requests: &mut [EnqueueRequest]) -> u64 {
    let mut hash = Fnv::default();
    let mut encoded = Vec::new();
    for request in requests {
        let labels = std::mem::take(&mut request.labels);
        encoded.clear();
        request.encode_raw(&mut encoded);
        let mut sorted: Vec<_> = labels.iter().collect();
        sorted.sort_unstable();
        add(sorted.into_iter(), &mut encoded);
        hash.write_number(xxh3_64(&encoded));
        request.labels = labels;
    }
    hash.finish()
}

/// Appends labels, none of which runs together with the next.
fn add<'l>(labels: impl Iterator<Item = (&'l String, &'l String)>, encoded: &mut Vec<u8>) {
    for text in labels.flat_map(|(key, value)| [key, value]) {
        encoded.extend_from_slice(&(text.len() as u64).to_le_bytes());
        encoded.extend_from_slice(text.as_bytes());
    }
}

/// The digest of a bulk request, without its `request_id`.
pub(super) fn bulk(request: &BulkJobsRequest) -> u64 {
    debug_assert!(request.request_id.is_empty(), "taken out before");
    xxh3_64(&request.encode_to_vec())
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
    fn a_digest_never_changes() {
        // Stores hold digests of older brokers: this number is part of the protocol.
        let digest = enqueue(&request(), &labels(&[("a", "1"), ("b", "2")]));
        assert_eq!(digest, 0x3990_24a3_c3b9_5f89);
    }

    #[test]
    fn a_digest_of_a_batch_never_changes() {
        let labels =
            [("a", "1"), ("b", "2")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labelled = EnqueueRequest { labels: labels.into(), ..request() };
        let first = batch(&mut [request(), labelled.clone()]);
        assert_eq!(first, 18_154_298_033_410_038_856);
        assert_ne!(first, batch(&mut [labelled.clone(), request()]));
        assert_ne!(first, batch(&mut [request(), labelled, request()]));
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

//! The calls that enqueue, as bytes: jobs are encoded by those who have them.

use bytes::{BufMut, Bytes};
use lessor_proto::v1::EnqueueRequest;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::{Error, Result, raw};

pub(crate) const ENQUEUE: &str = "/lessor.v1.JobBroker/Enqueue";
pub(crate) const BATCH_ENQUEUE: &str = "/lessor.v1.JobBroker/BatchEnqueue";

/// Fields of `EnqueueRequest` and `BatchEnqueueRequest`.
const REQUEST_ID: u32 = 4;
const REQUESTS: u32 = 1;
const ALLOW_PARTIAL: u32 = 2;
const BATCH_REQUEST_ID: u32 = 3;

/// A request to enqueue, encoded.
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    /// It has a request id of its caller's.
    is_identified: bool,
    /// Its job has an id of its caller's.
    is_named: bool,
}

impl Encoded {
    pub(crate) fn of(job: &EnqueueRequest) -> Self {
        Self {
            bytes: job.encode_to_vec(),
            is_identified: !job.request_id.is_empty(),
            is_named: !job.job_id.is_empty(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What is added for the call to be safe to repeat.
    fn identity(&self) -> Option<Hyphenated> {
        (!self.is_identified).then(|| Uuid::new_v4().hyphenated())
    }

    /// The call that enqueues it alone.
    pub(crate) fn alone(mut self) -> Bytes {
        if let Some(id) = self.identity() {
            put_id(REQUEST_ID, id, &mut self.bytes);
        }
        self.bytes.into()
    }
}

/// The call that enqueues many. It has one id, unless a caller chose one for its job.
pub(crate) fn together(jobs: Vec<Encoded>, allow_partial: bool) -> Bytes {
    const HEAD: usize = 5;
    let size: usize = jobs.iter().map(|job| job.len() + HEAD + id_size()).sum();
    let mut call = Vec::with_capacity(size);
    let is_chosen = jobs.iter().any(|job| job.is_identified || job.is_named);
    for job in jobs {
        let id = if is_chosen { job.identity() } else { None };
        let length = job.len() + id.map_or(0, |_| id_size());
        encode_key(REQUESTS, WireType::LengthDelimited, &mut call);
        encode_varint(u64::try_from(length).unwrap_or(u64::MAX), &mut call);
        call.put_slice(&job.bytes);
        if let Some(id) = id {
            put_id(REQUEST_ID, id, &mut call);
        }
    }
    if !is_chosen {
        put_id(BATCH_REQUEST_ID, Uuid::new_v4().hyphenated(), &mut call);
    }
    encode_key(ALLOW_PARTIAL, WireType::Varint, &mut call);
    encode_varint(allow_partial.into(), &mut call);
    call.into()
}

fn id_size() -> usize {
    // The key of so low a field is one byte.
    1 + encoded_len_varint(Hyphenated::LENGTH as u64) + Hyphenated::LENGTH
}

fn put_id(field: u32, id: Hyphenated, message: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, message);
    encode_varint(Hyphenated::LENGTH as u64, message);
    let mut text = [0; Hyphenated::LENGTH];
    message.put_slice(id.encode_lower(&mut text).as_bytes());
}

/// `BatchEnqueueResponse`, of which each job is still to be decoded.
#[derive(Clone, PartialEq, Message)]
struct BatchReply {
    #[prost(message, repeated, tag = "1")]
    results: Vec<BatchResult>,
}

#[derive(Clone, PartialEq, Message)]
struct BatchResult {
    #[prost(bytes = "bytes", optional, tag = "1")]
    response: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    status: Option<tonic_types::Status>,
}

/// The replies to each of so many jobs.
pub(crate) fn replies(reply: Bytes, count: usize) -> Result<Vec<Result<Bytes>>> {
    let reply: BatchReply = raw::read(reply)?;
    if reply.results.len() != count {
        return Err(Error::incomplete("some of the results"));
    }
    let each = reply.results.into_iter().map(|result| match (result.response, result.status) {
        (Some(response), _) => Ok(response),
        (None, Some(status)) => Err(status.into()),
        (None, None) => Err(Error::incomplete("a result")),
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use lessor_proto::v1::BatchEnqueueRequest;

    use super::*;

    fn job(request_id: &str) -> EnqueueRequest {
        EnqueueRequest {
            queue: "emails".to_owned(),
            request_id: request_id.to_owned(),
            priority: -3,
            ..EnqueueRequest::default()
        }
    }

    #[test]
    fn a_call_reads_as_the_message_that_it_is() {
        let call = together(vec![Encoded::of(&job("own")), Encoded::of(&job(""))], true);

        let mut batch = BatchEnqueueRequest::decode(call).unwrap();

        let made = std::mem::take(&mut batch.requests[1].request_id);
        assert!(Uuid::parse_str(&made).is_ok());
        let requests = vec![job("own"), job("")];
        assert_eq!(
            batch,
            BatchEnqueueRequest { requests, allow_partial: true, ..Default::default() }
        );
    }

    #[test]
    fn jobs_without_ids_of_their_callers_share_one() {
        let call = together(vec![Encoded::of(&job("")), Encoded::of(&job(""))], false);

        let batch = BatchEnqueueRequest::decode(call).unwrap();

        assert!(Uuid::parse_str(&batch.request_id).is_ok());
        assert_eq!(batch.requests, [job(""), job("")]);
        assert!(!batch.allow_partial);
    }

    #[test]
    fn a_job_alone_gets_an_id_unless_it_has_one() {
        let read = |job: &EnqueueRequest| {
            EnqueueRequest::decode(Encoded::of(job).alone()).unwrap().request_id
        };
        assert_eq!(read(&job("own")), "own");
        assert!(Uuid::parse_str(&read(&job(""))).is_ok());
    }
}

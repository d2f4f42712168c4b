//! The frames of a work stream, encoded and decoded at its ends: by those who settle a job and who
//! take one. Between them they are small.

use bytes::{BufMut, Bytes};
use lessor_proto::v1::WorkRequest;
use lessor_proto::v1::work_request::Frame;
use lessor_proto::v1::work_response::{Directive, Welcome};
use prost::Message;
use prost::encoding::uint64;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

use crate::{Result, raw};

pub(super) const WORK: &str = "/lessor.v1.JobBroker/Work";

/// Fields of `WorkRequest`.
const REQUEST_SEQ: u32 = 8;
const RECEIVED_THROUGH: u32 = 9;

/// `WorkRequest`.
#[derive(Clone)]
pub(super) struct Request {
    /// The frame, as it stands in the message.
    pub(super) frame: Bytes,
    pub(super) seq: u64,
    pub(super) received_through: u64,
}

pub(super) fn encode(frame: Frame) -> Bytes {
    WorkRequest { frame: Some(frame), ..WorkRequest::default() }.encode_to_vec().into()
}

/// `WorkResponse`; what belongs to one job is still to be decoded.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Reply {
    #[prost(oneof = "Told", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    pub(super) told: Option<Told>,
    #[prost(uint64, tag = "9")]
    pub(super) request_seq: u64,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Told {
    #[prost(message, tag = "1")]
    Welcome(Welcome),
    #[prost(bytes = "bytes", tag = "2")]
    Delivery(Bytes),
    #[prost(bytes = "bytes", tag = "3")]
    Ack(Bytes),
    #[prost(bytes = "bytes", tag = "4")]
    Nack(Bytes),
    #[prost(bytes = "bytes", tag = "5")]
    Extend(Bytes),
    #[prost(message, tag = "6")]
    Error(tonic_types::Status),
    #[prost(message, tag = "7")]
    Directive(Directive),
    #[prost(message, tag = "8")]
    Pong(()),
}

/// `WorkResponse.Delivery`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Delivered {
    #[prost(uint64, tag = "1")]
    pub(super) delivery_seq: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) leased: Bytes,
}

/// The part of `LeasedJob` that names the lease.
#[derive(Clone, PartialEq, Message)]
struct Token {
    #[prost(string, tag = "2")]
    lease_token: String,
}

/// The token in an encoded `LeasedJob`.
pub(super) fn lease_token(leased: &Bytes) -> Result<String> {
    raw::read(leased.clone()).map(|Token { lease_token }| lease_token)
}

/// The codec of a work stream.
pub(super) struct WorkCodec;

impl Codec for WorkCodec {
    type Encode = Request;
    type Decode = Reply;
    type Encoder = Self;
    type Decoder = ProstDecoder<Reply>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> ProstDecoder<Reply> {
        ProstDecoder::default()
    }
}

impl Encoder for WorkCodec {
    type Item = Request;
    type Error = Status;

    fn encode(&mut self, request: Request, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let Request { frame, seq, received_through } = request;
        buffer.put(frame);
        for (field, value) in [(REQUEST_SEQ, seq), (RECEIVED_THROUGH, received_through)] {
            if value > 0 {
                uint64::encode(field, &value, buffer);
            }
        }
        Ok(())
    }
}

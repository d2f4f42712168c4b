//! Messages as bytes. A request is encoded once, however often it is sent, and a reply is decoded
//! where it is wanted: what passes through many hands is small.

use bytes::{Buf, BufMut, Bytes};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Response, Status};

use crate::channel::Channel;
use crate::{Error, Result, connect};

/// Sends one call.
pub(crate) async fn unary(
    channel: Channel,
    path: &'static str,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Status> {
    ready(channel).await?.unary(request, PathAndQuery::from_static(path), Verbatim).await
}

/// A stub of no service, when it can send.
pub(crate) async fn ready(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut stub = connect::stub(channel);
    stub.ready().await.map_err(|fault| Status::from_error(fault.into()))?;
    Ok(stub)
}

/// Reads a reply.
pub(crate) fn read<M: prost::Message + Default>(reply: Bytes) -> Result<M> {
    let unreadable = |why| Error::local(Code::Internal, format!("the reply is unreadable: {why}"));
    M::decode(reply).map_err(unreadable)
}

/// The codec of messages that are bytes already.
struct Verbatim;

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

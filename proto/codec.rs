//! How messages travel: protobuf, each written in one piece.
//!
//! The buffer that tonic hands to an encoder takes each byte by a call of its own, so that a message of
//! many small fields costs more to put there than to make. Here it is written beside and put there whole.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::BufMut;
use tonic::Status;
use tonic::codec::{Codec as TonicCodec, EncodeBuf, Encoder as TonicEncoder};
use tonic_prost::ProstDecoder;

/// A message that was written already: what a server answers where it writes by itself.
#[derive(Clone, Debug)]
pub struct Written<M> {
    bytes: Vec<u8>,
    message: PhantomData<fn() -> M>,
}

impl<M> Written<M> {
    /// Takes the bytes of a message.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, message: PhantomData }
    }

    /// The bytes of the message.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<M: Message> From<&M> for Written<M> {
    fn from(message: &M) -> Self {
        Self::new(message.encode_to_vec())
    }
}

/// What can be sent: messages, and those that were written already.
pub trait Outgoing: Send + 'static {
    /// Puts its bytes into `buffer`; `beside` is room to write in.
    fn put(&self, beside: &mut Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status>;
}

impl<M: Message + 'static> Outgoing for M {
    fn put(&self, beside: &mut Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        beside.clear();
        self.encode(beside).map_err(|error| Status::internal(error.to_string()))?;
        buffer.put_slice(beside);
        Ok(())
    }
}

impl<M: 'static> Outgoing for Written<M> {
    fn put(&self, _beside: &mut Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&self.bytes);
        Ok(())
    }
}

/// The codec of all stubs.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<fn() -> (T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Outgoing, U: Message + Default + 'static> TonicCodec for Codec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Encoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Encoder { beside: Vec::new(), message: PhantomData }
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

/// Writes messages of one call.
#[derive(Debug)]
pub struct Encoder<T> {
    beside: Vec<u8>,
    message: PhantomData<fn() -> T>,
}

impl<T: Outgoing> TonicEncoder for Encoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.put(&mut self.beside, buffer)
    }
}

//! The messages of `connectrpc.conformance.v1` that a server needs, as far as it needs them.
//!
//! Written by hand, so that nothing of that package has to be there when this is compiled; its
//! descriptors are read when the server starts.

use prost::{Message, Oneof};
use prost_types::Any;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ServerCompatResponse {
    #[prost(string, tag = "1")]
    pub(crate) host: String,
    #[prost(uint32, tag = "2")]
    pub(crate) port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Header {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(crate) value: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Error {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, optional, tag = "2")]
    pub(crate) message: Option<String>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UnaryDefinition {
    #[prost(message, repeated, tag = "1")]
    pub(crate) headers: Vec<Header>,
    #[prost(oneof = "UnaryOutcome", tags = "2, 3")]
    pub(crate) outcome: Option<UnaryOutcome>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) trailers: Vec<Header>,
    #[prost(uint32, tag = "6")]
    pub(crate) delay_ms: u32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum UnaryOutcome {
    #[prost(bytes, tag = "2")]
    Data(Vec<u8>),
    #[prost(message, tag = "3")]
    Error(Error),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StreamDefinition {
    #[prost(message, repeated, tag = "1")]
    pub(crate) headers: Vec<Header>,
    #[prost(bytes, repeated, tag = "2")]
    pub(crate) data: Vec<Vec<u8>>,
    #[prost(uint32, tag = "3")]
    pub(crate) delay_ms: u32,
    #[prost(message, optional, tag = "4")]
    pub(crate) error: Option<Error>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) trailers: Vec<Header>,
}

/// The definition in a request of a unary call or of a stream of requests.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct UnaryAsked {
    #[prost(message, optional, tag = "1")]
    pub(crate) definition: Option<UnaryDefinition>,
}

/// The definition in a request for a stream of replies.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StreamAsked {
    #[prost(message, optional, tag = "1")]
    pub(crate) definition: Option<StreamDefinition>,
    /// Only in requests of a stream both ways.
    #[prost(bool, tag = "2")]
    pub(crate) full_duplex: bool,
}

/// A reply of any call.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Reply {
    #[prost(message, optional, tag = "1")]
    pub(crate) payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Payload {
    #[prost(bytes, tag = "1")]
    pub(crate) data: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    pub(crate) info: Option<RequestInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestInfo {
    #[prost(message, repeated, tag = "1")]
    pub(crate) headers: Vec<Header>,
    #[prost(int64, optional, tag = "2")]
    pub(crate) timeout_ms: Option<i64>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) requests: Vec<Any>,
}

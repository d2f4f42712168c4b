//! The Lessor protocol, generated from `proto/lessor/v1/*.proto`.
//!
//! [`v1`] holds every message, the client stubs (feature `client`) and the service traits
//! (feature `server`). [`DESCRIPTOR_SET`] is what reflection serves.

pub mod codec;

/// The encoded descriptor set of the protocol, comments included.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Package `lessor.v1`.
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("lessor.v1");
}

/// Package `externalscaler`: what KEDA asks to scale workers.
#[expect(
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unused_qualifications,
    reason = "generated code"
)]
pub mod externalscaler {
    tonic::include_proto!("externalscaler");
}

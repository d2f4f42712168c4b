//! The Lessor broker as a library.

pub mod broker;
pub mod clock;
pub mod job;
pub mod store;

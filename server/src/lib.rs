//! The Lessor broker as a library.

pub mod clock;
pub mod job;
pub mod store;

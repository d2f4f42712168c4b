//! What every client must do, in Rust: the scenarios of tests/scenarios.toml, by name, against the
//! real binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

#[path = "../machine/mod.rs"]
mod machine;

mod faults;
mod operating;
mod passing;
mod producers;
mod program;
mod relay;
mod running;
mod world;

//! What a hostile client sends: it is refused or bounded, the broker's memory stays flat, and others
//! are served meanwhile.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

#[expect(dead_code, reason = "nobody is killed here")]
#[path = "../machine/mod.rs"]
mod machine;
#[expect(dead_code, reason = "some calls are not needed here")]
#[path = "../machine/wire.rs"]
mod wire;

mod floods;
mod greetings;
mod heads;
mod messages;
mod raw;
mod scene;
mod streams;

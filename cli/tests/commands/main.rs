//! The client commands, as a shell sees them: the real binary against a real broker.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod bench;
mod bulk;
mod clock;
mod config;
mod import;
mod jobs;
mod life;
mod queues;
mod schedules;
mod shell;
mod top;
mod workers;

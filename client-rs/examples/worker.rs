//! Runs the jobs of the queue `emails` until SIGTERM, and then finishes what it runs:
//! `cargo run --example worker -- [http://127.0.0.1:7077]`.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]

use std::env;

use lessor::{Client, Json, Nack, Worker};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Welcome {
    to: String,
}

#[derive(Serialize)]
struct Sent {
    bytes: usize,
}

/// What it returns is kept with the job; an error is one more failed attempt, unless it says more.
async fn welcome(Json(welcome): Json<Welcome>) -> Result<Sent, Nack> {
    if !welcome.to.contains('@') {
        return Err(Nack::dead().failure("BAD_ADDRESS", welcome.to));
    }
    let text = format!("Welcome, {}!", welcome.to);
    println!("{text}");
    Ok(Sent { bytes: text.len() })
}

#[tokio::main]
async fn main() -> lessor::Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:7077".to_owned());
    Worker::builder(Client::connect(url)?)
        .queue("emails")
        .concurrency(16)
        .handler("welcome", welcome)
        .run()
        .await
}

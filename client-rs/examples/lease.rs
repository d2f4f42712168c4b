//! Works through the queue `emails` by bare calls, one job at a time, with a heartbeat beside the
//! work. This is what `Worker` does for you.

#![expect(clippy::print_stdout, reason = "an example talks to its reader")]
#![expect(clippy::disallowed_methods, reason = "a heartbeat keeps the worker's own time")]

use std::env;
use std::time::Duration;

use lessor::{Client, Extend, LeaseOptions, LeasedJob, Nack, payload, span};

#[tokio::main]
async fn main() -> lessor::Result<()> {
    let url = env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:7077".to_owned());
    let client = Client::connect(url)?;
    let options = LeaseOptions::new(["emails"]).wait(Duration::from_secs(30));
    loop {
        for leased in client.lease(&options).await?.jobs {
            let token = leased.lease_token.clone();
            tokio::select! {
                done = send(&leased) => settle(&client, &token, done).await?,
                // The job is not ours any more, or should stop: whoever has it now does the rest.
                why = heartbeat(&client, &leased) => println!("stopped: {why}"),
            }
        }
    }
}

/// The work itself.
async fn send(leased: &LeasedJob) -> Result<String, String> {
    let body = leased.job.as_ref().and_then(|job| job.payload.as_ref()).map(payload::read);
    let body = body.ok_or("a job without a payload")?;
    println!("sending {}", String::from_utf8_lossy(&body));
    tokio::time::sleep(Duration::from_secs(1)).await;
    Ok(r#"{"sent": true}"#.to_owned())
}

async fn settle(client: &Client, token: &str, done: Result<String, String>) -> lessor::Result<()> {
    let settled = match done {
        Ok(text) => client.ack(token, Some(payload::json(text))).await.map(drop),
        Err(why) => client.nack(token, Nack::retry().failure("SEND_FAILED", why)).await.map(drop),
    };
    match settled {
        Err(error) if error.is_lease_lost() => Ok(()),
        other => other,
    }
}

/// Extends the lease three times in its life. Returns when the work should be dropped, and why.
async fn heartbeat(client: &Client, leased: &LeasedJob) -> String {
    let mut remaining = leased.lease_remaining;
    loop {
        tokio::time::sleep(span::read(remaining) / 3).await;
        match client.extend(&leased.lease_token, Extend::again()).await {
            Ok(extended) if extended.cancel_requested => return extended.cancel_reason,
            Ok(extended) => remaining = extended.lease_remaining,
            // The broker may be back before the lease ends.
            Err(error) if error.is_unavailable() => println!("heartbeat: {error}"),
            Err(error) => return error.to_string(),
        }
    }
}

//! What moved, heard from Redis: messages become signals.
//!
//! Messages may be lost while the connection is down. So whenever listening begins anew, and as
//! long as it can't, everyone is told to look at everything again ([`Signal::Reset`]).

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use redis::Msg;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::RedisStore;
use super::scripts::unavailable;
use crate::clock::{Clock, Timestamp};
use crate::job::QueueName;
use crate::store::{Error, Result, Signal};

/// Pause before listening is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A silent connection is probed so often: a server that vanished or hangs must be noticed before
/// those who wait for its messages give up.
const PROBE: Duration = Duration::from_secs(5);

/// An answer that takes longer does not come.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Messages handled in one go: those that say the same are told once.
const TOGETHER: usize = 256;

/// Turns messages into signals until `stop`.
pub(super) async fn run(store: &RedisStore, stop: CancellationToken) {
    let listening = async {
        let mut was_heard = true;
        for turn in 0.. {
            let result = listen(store, turn).await;
            // Whoever waits must look now: what comes next may be lost.
            let _nobody = store.signals.send(Signal::Reset);
            if let Err(error) = result
                && was_heard
            {
                tracing::warn!(%error, "can't hear the store's messages; looking every second");
                was_heard = false;
            } else if !was_heard {
                was_heard = true;
            }
            Clock::pause(RETRY).await;
        }
    };
    stop.run_until_cancelled(listening).await;
}

/// Listens until the connection ends.
async fn listen(store: &RedisStore, turn: usize) -> Result<()> {
    let RedisStore { address, namespace, signals, .. } = store;
    let (mut sink, messages) = address.listen(turn).await.map_err(unavailable)?.split();
    let channels = [namespace.ready_channel(), namespace.due_channel(), namespace.logged_channel()];
    in_time(sink.subscribe(&channels[..])).await?;
    // A server that was away may be back without its newest writes.
    store.register_again().await?;
    // What was said before the subscription took hold is not known.
    let _nobody = signals.send(Signal::Reset);
    tracing::debug!("hearing the store's messages");
    let mut messages = messages.ready_chunks(TOGETHER);
    loop {
        tokio::select! {
            // Cancel-safe: a chunk is taken whole or not at all.
            chunk = messages.next() => match chunk {
                Some(chunk) => tell(&channels, &chunk, signals),
                None => return Ok(()),
            },
            () = Clock::pause(PROBE) => {
                in_time(sink.ping::<redis::Value>()).await?;
            }
        }
    }
}

async fn in_time<T>(asking: impl Future<Output = redis::RedisResult<T>>) -> Result<T> {
    match tokio::time::timeout(ANSWER_WITHIN, asking).await {
        Ok(answer) => answer.map_err(unavailable),
        Err(_) => Err(Error::Unavailable("the server went silent".to_owned())),
    }
}

fn tell(channels: &[String; 3], messages: &[Msg], signals: &broadcast::Sender<Signal>) {
    let mut told = HashSet::new();
    for message in messages {
        if told.insert((message.get_channel_name(), message.get_payload_bytes()))
            && let Some(signal) = signal(channels, message)
        {
            let _nobody = signals.send(signal);
        }
    }
}

fn signal(channels: &[String; 3], message: &Msg) -> Option<Signal> {
    let channel = message.get_channel_name();
    let payload = std::str::from_utf8(message.get_payload_bytes()).ok()?;
    if channel == channels[0] {
        return Some(Signal::Ready(QueueName::parse(payload).ok()?));
    }
    if channel == channels[2] {
        return Some(Signal::Logged(QueueName::parse(payload).ok()?));
    }
    let (at, queue) = payload.split_once(' ')?;
    let at = Timestamp::from_millis(at.parse().ok()?);
    Some(Signal::Due(QueueName::parse(queue).ok()?, at))
}

//! What moved, heard from Redis: messages become signals.
//!
//! Messages may be lost while the connection is down. So whenever listening begins anew, and as
//! long as it can't, everyone is told to look at everything again ([`Signal::Reset`]).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use redis::Msg;
use tokio_util::sync::CancellationToken;

use super::keys::Channels;
use super::scripts::unavailable;
use super::{RedisStore, documents};
use crate::clock::{Clock, Timestamp};
use crate::job::{JobName, QueueName};
use crate::store::{Error, Following, Result, Signal};

/// Pause before listening is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A silent connection is probed so often: a server that vanished or hangs must be noticed before
/// those who wait for its messages give up.
const PROBE: Duration = Duration::from_secs(5);

/// An answer that takes longer does not come.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Where the channel stands among the others that is heard only while somebody follows.
const LOGGED: usize = 4;

/// How long it is still heard when nobody follows any more: the next one may come soon.
const LINGER: Duration = Duration::from_secs(30);

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
    let RedisStore { address, link, namespace, signals, .. } = store;
    let (mut sink, messages) = address.listen(turn, link).await.map_err(unavailable)?.split();
    let Channels { ready, due, logged } = namespace.channels().clone();
    let channels =
        [ready, due, namespace.settings_channel(), namespace.documents_channel(), logged];
    in_time(sink.subscribe(&channels[..LOGGED])).await?;
    // A server that was away may be back without its newest writes.
    store.register_again().await?;
    // What was said before the subscription took hold is not known.
    let _nobody = signals.send(Signal::Reset);
    tracing::debug!("hearing the store's messages");
    let mut messages = messages.ready_chunks(TOGETHER);
    let log = Log::new(store);
    let mut lingering: Option<BoxFuture<'_, ()>> = None;
    loop {
        match (log.is_followed(), log.is_heard()) {
            (true, false) => {
                in_time(sink.subscribe(&channels[LOGGED])).await?;
                log.heard(true);
            }
            (false, true) if lingering.is_none() => {
                lingering = Some(Box::pin(Clock::pause(LINGER)));
            }
            (true, true) => lingering = None,
            (false, _) => {}
        }
        let lingered = async {
            match &mut lingering {
                Some(lingering) => lingering.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Cancel-safe: the loop looks at what has changed.
            () = log.changed() => {}
            () = lingered => {
                lingering = None;
                // Before the look: who comes now finds that nothing is heard, or is found.
                log.heard(false);
                if log.is_followed() {
                    log.heard(true);
                } else {
                    in_time(sink.unsubscribe(&channels[LOGGED])).await?;
                }
            }
            // Cancel-safe: a chunk is taken whole or not at all.
            chunk = messages.next() => match chunk {
                Some(chunk) => tell(store, &channels, &chunk),
                None => return Ok(()),
            },
            () = Clock::pause(PROBE) => {
                in_time(sink.ping::<redis::Value>()).await?;
            }
        }
    }
}

/// Whether event logs are followed, and whether their growth is heard. It is not any more when this is
/// dropped.
struct Log<'a>(&'a RedisStore);

impl<'a> Log<'a> {
    fn new(store: &'a RedisStore) -> Self {
        Self(store)
    }

    fn is_followed(&self) -> bool {
        // One is the store's own.
        Arc::strong_count(&self.0.followers) > 1
    }

    fn is_heard(&self) -> bool {
        *self.0.hears_log.borrow()
    }

    fn heard(&self, heard: bool) {
        self.0.hears_log.send_replace(heard);
    }

    /// Somebody new follows.
    async fn changed(&self) {
        self.0.follower_came.notified().await;
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        self.heard(false);
    }
}

impl RedisStore {
    /// Waits, but not for ever, until the growth of logs is heard: as long as the server can't be
    /// heard, everyone is told to look at everything again and again.
    pub(super) async fn follow_log(&self) -> Following {
        let following = Following::one_of(&self.followers);
        self.follower_came.notify_one();
        let mut heard = self.hears_log.subscribe();
        let _late = tokio::time::timeout(ANSWER_WITHIN, heard.wait_for(|heard| *heard)).await;
        following
    }
}

async fn in_time<T>(asking: impl Future<Output = redis::RedisResult<T>>) -> Result<T> {
    match tokio::time::timeout(ANSWER_WITHIN, asking).await {
        Ok(answer) => answer.map_err(unavailable),
        Err(_) => Err(Error::Unavailable("the server went silent".to_owned())),
    }
}

fn tell(store: &RedisStore, channels: &[String; 5], messages: &[Msg]) {
    let mut told = HashSet::new();
    for message in messages {
        if told.insert((message.get_channel_name(), message.get_payload_bytes()))
            && let Some(signal) = signal(store, channels, message)
        {
            if let Signal::Settings(queue) = &signal {
                // It may have been deleted, and then its next job must register it again.
                store.forget(queue);
            }
            let _nobody = store.signals.send(signal);
        }
    }
}

fn signal(store: &RedisStore, channels: &[String; 5], message: &Msg) -> Option<Signal> {
    let payload = std::str::from_utf8(message.get_payload_bytes()).ok()?;
    let queue = |name: &str| QueueName::parse(name).ok();
    let channel = channels.iter().position(|channel| channel == message.get_channel_name())?;
    match channel {
        0 => {
            let (origin, name) = payload.split_once(' ')?;
            // Who inserts claims behind its own insert, without being told.
            (origin != store.origin || !store.link.is_orderly()).then_some(())?;
            Some(Signal::Ready(queue(name)?))
        }
        1 => {
            let (at, name) = payload.split_once(' ')?;
            Some(Signal::Due(queue(name)?, Timestamp::from_millis(at.parse().ok()?)))
        }
        2 => Some(Signal::Settings(queue(payload)?)),
        // What is about one job names it.
        3 if payload.starts_with("queues/") => {
            Some(Signal::CalledOff(JobName::parse(payload).ok()?))
        }
        3 => Some(Signal::Documents(documents::kind(payload)?)),
        _ => Some(Signal::Logged(queue(payload)?)),
    }
}

//! The settings of queues, and the end of a queue.

use super::{RedisStore, keys, reply};
use crate::clock::Timestamp;
use crate::job::{Event, QueueName, QueueSettings};
use crate::store::record::{decode_settings, encode_event, encode_settings};
use crate::store::{Error, Guarded, Result};

impl RedisStore {
    pub(super) async fn read_settings(&self, queue: &QueueName) -> Result<Option<QueueSettings>> {
        let key = keys::settings(&self.namespace.base(queue));
        let found = reply::revised(self.ask(redis::cmd("GET").arg(key)).await?)?;
        let Some((revision, body)) = found else { return Ok(None) };
        let settings = decode_settings(body).map_err(|why| Error::Corrupt {
            name: format!("queues/{queue}/settings"),
            why: why.to_string(),
        })?;
        Ok(Some(QueueSettings { revision, ..settings }))
    }

    pub(super) async fn write_settings(
        &self,
        queue: &QueueName,
        settings: &QueueSettings,
        event: &Event,
        now: Timestamp,
    ) -> Result<Guarded> {
        self.register(queue).await?;
        let next = QueueSettings { revision: settings.revision + 1, ..settings.clone() };
        let mut call = self.call(&self.scripts.configure, queue, now);
        call.text(settings.revision).text(next.revision).bytes(encode_settings(&next));
        call.text(u8::from(next.paused));
        call.text(next.most_leased().map_or(-1, i64::from));
        match next.rate_limit {
            Some(rate) => call.text(rate.interval_micros()).text(rate.burst.max(1)),
            None => call.text(0).text(0),
        };
        call.bytes(encode_event(event));
        let mut answer = reply::array(self.ran(&call).await?)?;
        let outcome = reply::guarded(redis::Value::Array(answer.split_off(1)))?.pop();
        self.register_new(queue, answer.first()).await?;
        outcome.ok_or_else(|| Error::Unavailable("the server gave no outcome".to_owned()))
    }

    pub(super) async fn wipe_some(&self, queue: &QueueName, limit: usize) -> Result<bool> {
        let mut call = self.call(&self.scripts.wipe, queue, Timestamp::default());
        call.text(limit.max(1));
        let gone = reply::count(&self.ran(&call).await?)? == 1;
        if gone {
            self.forget(queue);
            let queues = self.namespace.queues();
            self.ask(redis::cmd("SREM").arg(queues).arg(queue.as_str())).await?;
        }
        Ok(gone)
    }
}

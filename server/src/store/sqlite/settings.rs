//! The settings of queues.

use super::batch::Batch;
use super::gate::Gates;
use super::row::{Failure, blob, corrupt};
use crate::clock::Timestamp;
use crate::job::{Event, QueueName, QueueSettings};
use crate::store::Guarded;
use crate::store::record::{decode_settings, encode_event, encode_settings};

/// Reads the settings of a queue.
pub(super) fn settings(
    batch: &mut Batch<'_>,
    queue: &QueueName,
) -> Result<Option<QueueSettings>, Failure> {
    let Some(call) = batch.call(queue)? else { return Ok(None) };
    let mut find = call.db.prepare_cached("select settings from queue where queue = ?1")?;
    let body = find.query_row([call.queue.id], |row| Ok(blob(row.get_ref(0)?)))?;
    if body.is_empty() {
        return Ok(None);
    }
    decode_settings(body).map(Some).map_err(|why| corrupt(format_args!("queue {queue}"), why))
}

/// Replaces the settings of a queue, if they are still those that `settings` came from.
pub(super) fn set_settings(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    settings: &QueueSettings,
    event: &Event,
    now: Timestamp,
) -> Result<Guarded, Failure> {
    let mut call = batch.call_new(queue)?;
    if call.queue.gates.revision != settings.revision {
        return Ok(Guarded::Lost);
    }
    let settings = QueueSettings { revision: settings.revision + 1, ..settings.clone() };
    call.db
        .prepare_cached("update queue set settings = ?2 where queue = ?1")?
        .execute((call.queue.id, encode_settings(&settings)))?;
    call.queue.gates = Gates::of(&settings, call.queue.gates.tat);
    call.log.extend(encode_event(event));
    call.settings_changed();
    call.finish(now)?;
    Ok(Guarded::Applied)
}

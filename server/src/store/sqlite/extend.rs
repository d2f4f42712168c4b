//! `extend`: moves the ends of leases, and asks for the cancellation of what is leased.

use rusqlite::params;

use super::batch::{Batch, Call};
use super::commit::{Left, each};
use super::row::{Failure, integer};
use super::standing::Standing;
use crate::clock::Timestamp;
use crate::job::{Cancel, QueueName};
use crate::store::record::{encode_cancel, encode_payload, encode_progress};
use crate::store::{Extended, Extension};

/// Moves the ends of leases that are held, in order.
pub(super) fn extend(
    batch: &mut Batch<'_>,
    queue: &QueueName,
    extensions: &[Extension],
    now: Timestamp,
) -> Result<Vec<Extended>, Failure> {
    each(batch, queue, extensions, now, &Extended::Lost, |call, extension| {
        match Standing::find(call, &extension.id)? {
            Some(job) if job.is_held(extension.secret) => prolong(call, &job, extension),
            _ => Ok(Extended::Lost),
        }
    })
}

fn prolong(
    call: &mut Call<'_>,
    job: &Standing,
    extension: &Extension,
) -> Result<Extended, Failure> {
    let cancel = earlier(job.cancel.as_ref(), extension.cancel.as_ref());
    let until = extension.until.unwrap_or(job.at);
    let until = cancel.map_or(until, |cancel| until.min(cancel.by));
    call.falls_due(until)?;
    call.db
        .prepare_cached("update job set at = ?2, cancel = ?3 where job = ?1")?
        .execute(params![job.row, integer(until), cancel.map(encode_cancel)])?;
    let left = Left {
        progress: extension.progress.as_ref().map(encode_progress),
        checkpoint: extension.checkpoint.as_ref().map(encode_payload),
        ..Left::default()
    };
    left.save(call, job.row)?;
    if let Some(event) = &extension.event {
        job.tell(call, event)?;
    }
    Ok(Extended::Held { until, cancel: cancel.cloned() })
}

/// Of two cancellations the one that ends the lease earlier; the first one when both do.
fn earlier<'c>(before: Option<&'c Cancel>, now: Option<&'c Cancel>) -> Option<&'c Cancel> {
    match (before, now) {
        (Some(before), Some(now)) if now.by < before.by => Some(now),
        _ => before.or(now),
    }
}

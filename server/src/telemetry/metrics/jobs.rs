//! What happens to jobs, counted per queue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};
use parking_lot::RwLock;

use super::Instruments;
use super::table::{self, MOST_QUEUES, OTHER};
use crate::job::QueueName;

/// The counters of all queues; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Jobs(Arc<Parts>);

struct Parts {
    known: RwLock<HashMap<QueueName, Arc<Queue>>>,
    other: Arc<Queue>,
    instruments: QueueInstruments,
}

/// The counters of one queue.
#[derive(Debug)]
pub struct Queue {
    /// Its label.
    pub label: KeyValue,
    /// Jobs that came to be.
    pub enqueued: BoundCounter<u64>,
    /// Enqueues that made no job.
    pub deduplicated: BoundCounter<u64>,
    /// Jobs given to workers.
    pub leased: BoundCounter<u64>,
    /// Jobs that succeeded.
    pub completed: BoundCounter<u64>,
    /// Attempts that failed.
    pub failed: BoundCounter<u64>,
    /// Jobs that became dead letters.
    pub dead: BoundCounter<u64>,
    /// Leases that ran out.
    pub lease_expired: BoundCounter<u64>,
    /// Leases given back, uncounted.
    pub released: BoundCounter<u64>,
    /// Jobs that were cancelled.
    pub cancelled: BoundCounter<u64>,
    /// Jobs whose expiry passed.
    pub expired: BoundCounter<u64>,
    wait: BoundHistogram<f64>,
    run: BoundHistogram<f64>,
}

struct QueueInstruments {
    enqueued: Counter<u64>,
    deduplicated: Counter<u64>,
    leased: Counter<u64>,
    completed: Counter<u64>,
    failed: Counter<u64>,
    dead: Counter<u64>,
    lease_expired: Counter<u64>,
    released: Counter<u64>,
    cancelled: Counter<u64>,
    expired: Counter<u64>,
    wait: Histogram<f64>,
    run: Histogram<f64>,
}

impl Queue {
    /// A job waited so long for its first lease.
    pub fn waited(&self, span: Duration) {
        self.wait.record(span.as_secs_f64());
    }

    /// An attempt ran so long.
    pub fn ran(&self, span: Duration) {
        self.run.record(span.as_secs_f64());
    }
}

impl QueueInstruments {
    fn bind(&self, label: String) -> Arc<Queue> {
        let label = KeyValue::new("queue", label);
        let labels = std::slice::from_ref(&label);
        Arc::new(Queue {
            enqueued: self.enqueued.bind(labels),
            deduplicated: self.deduplicated.bind(labels),
            leased: self.leased.bind(labels),
            completed: self.completed.bind(labels),
            failed: self.failed.bind(labels),
            dead: self.dead.bind(labels),
            lease_expired: self.lease_expired.bind(labels),
            released: self.released.bind(labels),
            cancelled: self.cancelled.bind(labels),
            expired: self.expired.bind(labels),
            wait: self.wait.bind(labels),
            run: self.run.bind(labels),
            label,
        })
    }
}

impl Jobs {
    pub(super) fn new(meter: &Instruments) -> Self {
        let instruments = QueueInstruments {
            enqueued: meter.counter(&table::JOBS_ENQUEUED),
            deduplicated: meter.counter(&table::JOBS_DEDUPLICATED),
            leased: meter.counter(&table::JOBS_LEASED),
            completed: meter.counter(&table::JOBS_COMPLETED),
            failed: meter.counter(&table::JOBS_FAILED),
            dead: meter.counter(&table::JOBS_DEAD),
            lease_expired: meter.counter(&table::JOBS_LEASE_EXPIRED),
            released: meter.counter(&table::JOBS_RELEASED),
            cancelled: meter.counter(&table::JOBS_CANCELLED),
            expired: meter.counter(&table::JOBS_EXPIRED),
            wait: meter.histogram(&table::JOB_WAIT),
            run: meter.histogram(&table::JOB_RUN),
        };
        let other = instruments.bind(OTHER.to_owned());
        Self(Arc::new(Parts { known: RwLock::default(), other, instruments }))
    }

    /// The counters of `queue`: its own, or those that the queues beyond [`MOST_QUEUES`] share.
    pub fn of(&self, queue: &QueueName) -> Arc<Queue> {
        let Parts { known, other, instruments } = &*self.0;
        {
            let known = known.read();
            if let Some(queue) = known.get(queue) {
                return Arc::clone(queue);
            }
            if known.len() >= MOST_QUEUES {
                return Arc::clone(other);
            }
        }
        let mut known = known.write();
        if let Some(queue) = known.get(queue) {
            return Arc::clone(queue);
        }
        if known.len() >= MOST_QUEUES {
            return Arc::clone(other);
        }
        let bound = instruments.bind(queue.as_str().to_owned());
        known.insert(queue.clone(), Arc::clone(&bound));
        bound
    }
}

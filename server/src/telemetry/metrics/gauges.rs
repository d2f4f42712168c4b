//! Gauges: what is read from the [`Stock`] when somebody asks.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;

use super::table::{self, STATES};
use super::{Instruments, Jobs, Stock};
use crate::broker::stock::Holding;
use crate::store::Counts;

/// Makes all gauges.
pub(super) fn observe(meter: &Instruments, stock: &Stock, jobs: &Jobs, store: &str) {
    per_queue(meter, stock, jobs);
    let seen = stock.clone();
    meter.gauge(&table::QUEUES, move |tell| {
        if let Some(holdings) = seen.seen().holdings {
            tell(number(holdings.queues.len()), &[KeyValue::new("surveyed", "true")]);
            tell(number(holdings.left_out), &[KeyValue::new("surveyed", "false")]);
        }
    });
    let seen = stock.clone();
    meter.gauge(&table::WORKERS_WAITING, move |tell| tell(number(seen.seen().waiting), &[]));
    let seen = stock.clone();
    meter.gauge(&table::STORE_UP, move |tell| tell(yes_or_no(seen.seen().is_up), &[]));
    let seen = stock.clone();
    meter.gauge(&table::DRAINING, move |tell| tell(yes_or_no(seen.seen().is_draining), &[]));
    let labels = [
        KeyValue::new("version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("store", store.to_owned()),
    ];
    meter.gauge(&table::BUILD_INFO, move |tell| tell(1.0, &labels));
}

/// Tells one value of a gauge.
type Tell<'t> = &'t mut dyn FnMut(f64, &[KeyValue]);

/// What queues with one label hold together.
#[derive(Default)]
struct Sum {
    jobs: [u64; STATES.len()],
    oldest: f64,
    bytes: u64,
    paused: bool,
    workers: usize,
}

fn per_queue(meter: &Instruments, stock: &Stock, jobs: &Jobs) {
    let gauge = |metric, read: fn(&Sum, &KeyValue, Tell<'_>)| {
        let (stock, jobs) = (stock.clone(), jobs.clone());
        meter.gauge(metric, move |tell| {
            for (label, sum) in sums(&stock, &jobs) {
                read(&sum, &label, tell);
            }
        });
    };
    gauge(&table::QUEUE_JOBS, |sum, label, tell| {
        for (state, count) in STATES.into_iter().zip(sum.jobs) {
            tell(approximate(count), &[label.clone(), KeyValue::new("state", state)]);
        }
    });
    gauge(&table::QUEUE_OLDEST_READY_AGE, |sum, label, tell| {
        tell(sum.oldest, std::slice::from_ref(label));
    });
    gauge(&table::QUEUE_SIZE, |sum, label, tell| {
        tell(approximate(sum.bytes), std::slice::from_ref(label));
    });
    gauge(&table::QUEUE_PAUSED, |sum, label, tell| {
        tell(yes_or_no(sum.paused), std::slice::from_ref(label));
    });
    gauge(&table::QUEUE_WORKERS, |sum, label, tell| {
        tell(number(sum.workers), std::slice::from_ref(label));
    });
}

/// What was seen of the queues, by label.
fn sums(stock: &Stock, jobs: &Jobs) -> impl Iterator<Item = (KeyValue, Sum)> {
    let mut sums: BTreeMap<String, (KeyValue, Sum)> = BTreeMap::new();
    if let Some(holdings) = stock.seen().holdings {
        for holding in &holdings.queues {
            let label = jobs.of(&holding.name).label.clone();
            let (_, sum) = sums
                .entry(label.value.as_str().into_owned())
                .or_insert_with(|| (label, Sum { paused: true, ..Sum::default() }));
            add(sum, holding);
        }
    }
    sums.into_values()
}

fn add(sum: &mut Sum, holding: &Holding) {
    for (all, one) in sum.jobs.iter_mut().zip(by_state(&holding.counts)) {
        *all += one;
    }
    let age = holding.oldest_ready_age.unwrap_or_default().as_secs_f64();
    sum.oldest = sum.oldest.max(age);
    sum.bytes += holding.bytes;
    // Queues that share a label are paused when all of them are.
    sum.paused &= holding.paused;
    sum.workers += holding.workers;
}

/// In the order of [`STATES`].
fn by_state(counts: &Counts) -> [u64; STATES.len()] {
    let Counts { scheduled, ready, leased, retrying, blocked, succeeded, dead, cancelled, expired } =
        *counts;
    [scheduled, ready, leased, retrying, blocked, succeeded, dead, cancelled, expired]
}

fn yes_or_no(yes: bool) -> f64 {
    if yes { 1.0 } else { 0.0 }
}

fn number(count: usize) -> f64 {
    approximate(count as u64)
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float, whoever reads it")]
fn approximate(count: u64) -> f64 {
    count as f64
}

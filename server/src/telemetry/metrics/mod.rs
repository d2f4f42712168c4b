//! Metrics: counted where things happen, read by whoever scrapes and by an exporter.
//!
//! One set of instruments feeds both. Whatever is counted on the way of a job is bound to its
//! labels beforehand, so that counting looks nothing up; what a store holds is read only when
//! somebody asks ([`stock`]).

mod calls;
mod gauges;
mod jobs;
mod operations;
mod stock;
pub mod table;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    BoundHistogram, Counter, Histogram, Meter, MeterProvider, UpDownCounter,
};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

pub use self::calls::{ActiveCall, Calls, Method, System, code_name};
pub use self::jobs::{Jobs, Queue};
pub use self::operations::{Operation, Operations};
pub use self::stock::{Stock, Stocktaking};
use self::table::{Kind, Metric, TABLE};
use super::otlp::{self, Collector};
use crate::config::Config;

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter for Prometheus can't be set up.
    #[error("can't set up metrics: {0}")]
    Prometheus(#[from] opentelemetry_sdk::error::OTelSdkError),
    /// The exporter to a collector can't be set up.
    #[error(transparent)]
    Otlp(#[from] otlp::Error),
}

/// What a broker counts; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Parts>);

struct Parts {
    provider: SdkMeterProvider,
    registry: Registry,
    jobs: Jobs,
    calls: Calls,
    operations: Operations,
    lag: BoundHistogram<f64>,
    key_refreshes: Counter<u64>,
    stock: Stock,
    /// Its thread sends as long as it is here.
    _collector: Option<Collector>,
}

impl Metrics {
    /// The metrics of a broker with these settings.
    pub fn of(config: &Config) -> Result<Self, Error> {
        let collector = match config.telemetry.metrics {
            Some(_) => Some(Collector::new(&config.telemetry)?),
            None => None,
        };
        Self::new(config.store.url.kind(), collector)
    }

    /// Instruments that can be scraped, and that are exported to a collector as well if there is
    /// one; `store` is the kind of store that is served.
    pub fn new(store: &str, collector: Option<Collector>) -> Result<Self, Error> {
        let registry = Registry::new();
        let scraped = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()?;
        let mut provider = SdkMeterProvider::builder()
            .with_resource(otlp::resource())
            .with_reader(scraped)
            .with_view(bounded);
        if let Some(collector) = &collector {
            provider = provider.with_reader(collector.reader()?);
        }
        let provider = provider.build();
        let meter = Instruments(provider.meter("lessor"));
        let (jobs, stock) = (Jobs::new(&meter), Stock::default());
        gauges::observe(&meter, &stock, &jobs, store);
        let key_refreshes = meter.counter(&table::KEY_REFRESHES);
        // Known from the beginning, so that an alert sees the first failure.
        for went_well in [true, false] {
            key_refreshes.add(0, &[outcome(went_well)]);
        }
        Ok(Self(Arc::new(Parts {
            calls: Calls::new(&meter),
            operations: Operations::new(&meter),
            lag: meter.histogram(&table::EVENTS_LAG).bind(&[]),
            key_refreshes,
            provider,
            registry,
            jobs,
            stock,
            _collector: collector,
        })))
    }

    /// What happens to jobs.
    pub fn jobs(&self) -> &Jobs {
        &self.0.jobs
    }

    /// Calls of clients.
    pub fn calls(&self) -> &Calls {
        &self.0.calls
    }

    /// Operations of the store.
    pub fn operations(&self) -> &Operations {
        &self.0.operations
    }

    /// What the store holds, as it was seen last.
    pub fn stock(&self) -> &Stock {
        &self.0.stock
    }

    /// A watcher was handed events, the oldest of which is so old.
    pub fn lagged(&self, lag: Duration) {
        self.0.lag.record(lag.as_secs_f64());
    }

    /// The keys of JWT were read again, or could not be.
    pub fn keys_refreshed(&self, went_well: bool) {
        self.0.key_refreshes.add(1, &[outcome(went_well)]);
    }

    /// All metrics in the text format of Prometheus. Takes milliseconds when there are many.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics can't be written out");
        }
        text
    }

    /// Sends what was counted to the collector, if there is one; blocks meanwhile.
    pub fn flush(&self) {
        if let Err(error) = self.0.provider.force_flush() {
            tracing::debug!(%error, "metrics were not exported");
        }
    }
}

/// How it went.
fn outcome(went_well: bool) -> KeyValue {
    KeyValue::new("outcome", if went_well { "done" } else { "failed" })
}

/// Keeps no more series of an instrument than its row allows.
fn bounded(instrument: &Instrument) -> Option<Stream> {
    let metric = TABLE.iter().find(|metric| metric.name == instrument.name())?;
    Stream::builder().with_cardinality_limit(metric.series).build().ok()
}

/// Makes instruments of rows of the table.
struct Instruments(Meter);

impl Instruments {
    fn counter(&self, metric: &Metric) -> Counter<u64> {
        let counter = self.0.u64_counter(metric.name).with_description(metric.meaning);
        counter.with_unit(metric.unit).build()
    }

    fn up_down_counter(&self, metric: &Metric) -> UpDownCounter<i64> {
        let counter = self.0.i64_up_down_counter(metric.name).with_description(metric.meaning);
        counter.with_unit(metric.unit).build()
    }

    fn histogram(&self, metric: &Metric) -> Histogram<f64> {
        let histogram = self.0.f64_histogram(metric.name).with_description(metric.meaning);
        let Kind::Histogram(bounds) = metric.kind else { return histogram.build() };
        histogram.with_unit(metric.unit).with_boundaries(bounds.to_vec()).build()
    }

    /// A gauge that is asked for its values when somebody reads it.
    fn gauge(
        &self,
        metric: &Metric,
        read: impl Fn(&mut dyn FnMut(f64, &[KeyValue])) + Send + Sync + 'static,
    ) {
        let gauge = self.0.f64_observable_gauge(metric.name).with_description(metric.meaning);
        let gauge = gauge.with_unit(metric.unit);
        // The meter keeps the callback as long as it lives itself.
        let _gauge = gauge
            .with_callback(move |observer| {
                read(&mut |value, labels| observer.observe(value, labels));
            })
            .build();
    }
}

//! The way to an OpenTelemetry collector, over gRPC.
//!
//! What goes there is encoded and sent on threads of its own, so that calls do not wait for it.

use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::{Builder, Runtime};

use crate::config::TelemetryConfig;

/// The reader is told when to export: right after the store was looked into.
const NEVER: Duration = Duration::from_hours(24 * 365);

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The exporter refuses its settings.
    #[error("can't export telemetry: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The thread of the exporter can't be had.
    #[error("can't export telemetry: {0}")]
    Thread(#[from] std::io::Error),
}

/// A collector, and the thread that sends to it.
pub struct Collector {
    endpoint: Option<String>,
    runtime: Option<Runtime>,
}

impl Collector {
    /// The collector that `config` names. Nothing is sent yet, and it need not be there.
    pub fn new(config: &TelemetryConfig) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()?;
        Ok(Self { endpoint: config.otlp_endpoint.clone(), runtime: Some(runtime) })
    }

    /// Exports metrics when it is told to.
    pub fn reader(&self) -> Result<PeriodicReader<MetricExporter>, Error> {
        // The connection is made by the runtime that is entered.
        let _entered = self.runtime.as_ref().map(Runtime::enter);
        let mut exporter = MetricExporter::builder().with_tonic();
        if let Some(endpoint) = &self.endpoint {
            exporter = exporter.with_endpoint(endpoint);
        }
        Ok(PeriodicReader::builder(exporter.build()?).with_interval(NEVER).build())
    }

    /// Exports spans in batches.
    pub fn tracer_provider(&self) -> Result<SdkTracerProvider, Error> {
        let _entered = self.runtime.as_ref().map(Runtime::enter);
        let mut exporter = SpanExporter::builder().with_tonic();
        if let Some(endpoint) = &self.endpoint {
            exporter = exporter.with_endpoint(endpoint);
        }
        let exporter = exporter.build()?;
        let provider = SdkTracerProvider::builder().with_resource(resource());
        Ok(provider.with_batch_exporter(exporter).build())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may end inside another runtime, which must not be blocked.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What says of itself that it is this process: as the `OTEL_` variables say, else by name.
pub(super) fn resource() -> Resource {
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let name = resource.get(&Key::new("service.name"));
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return resource;
    }
    Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_service_name("lessor")
        .build()
}

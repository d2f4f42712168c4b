//! What is sent to a collector: our own key, and the variables that OpenTelemetry defines.

use std::time::Duration;

use super::parse::read;
use super::{Error, Layers, TelemetryConfig};

/// How often metrics are sent, as OpenTelemetry has it.
const INTERVAL: Duration = Duration::from_mins(1);

/// The values of a variable that switch an exporter off.
const NONE: &str = "none";

pub(super) fn telemetry(
    layers: &Layers,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<TelemetryConfig, Error> {
    let otlp_endpoint = read(
        layers,
        "telemetry.otlp_endpoint",
        |raw| raw.telemetry.otlp_endpoint.clone(),
        endpoint,
    )?;
    let set = |name: &str| env(name).filter(|value| !value.is_empty());
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    // Without a word nothing is sent: the standard's default would have every broker look for a
    // collector on its own machine.
    let sends = |signal: &str| {
        let has_place = otlp_endpoint.is_some()
            || set("OTEL_EXPORTER_OTLP_ENDPOINT").is_some()
            || set(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")).is_some();
        let is_off = set(&format!("OTEL_{signal}_EXPORTER")).is_some_and(|value| value == NONE);
        has_place && !disabled && !is_off
    };
    let millis = set("OTEL_METRIC_EXPORT_INTERVAL").and_then(|value| value.parse().ok());
    let interval = millis.filter(|millis| *millis > 0).map_or(INTERVAL, Duration::from_millis);
    let (traces, metrics) = (sends("TRACES"), sends("METRICS").then_some(interval));
    Ok(TelemetryConfig { otlp_endpoint, traces, metrics })
}

fn endpoint(text: String) -> Result<String, String> {
    let is_url = text.parse::<http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()
    });
    if is_url {
        Ok(text)
    } else {
        Err(format!("must be a URL such as http://localhost:4317, not {text:?}"))
    }
}

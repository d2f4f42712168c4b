//! The W3C trace context of a call, kept with the jobs that it makes.

use tonic::metadata::MetadataMap;

use super::enqueue::TraceContext;

/// The headers that make up a trace context, with the most bytes that are kept of each. The
/// recommendations let a party drop what is longer.
const HEADERS: [(&str, usize); 3] = [("traceparent", 128), ("tracestate", 512), ("baggage", 8192)];

/// Reads the trace context from a call's metadata. What is malformed or too long is dropped, as the
/// recommendation asks: tracing must never make a call fail.
pub(in crate::rpc) fn trace_context(metadata: &MetadataMap) -> TraceContext {
    let mut context = TraceContext::new();
    for (name, limit) in HEADERS {
        let Some(value) = metadata.get(name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        if !value.is_empty() && value.len() <= limit {
            context.insert(name.to_owned(), value.to_owned());
        }
    }
    // Without a valid parent the others mean nothing; baggage stands for itself.
    if !context.get("traceparent").is_some_and(|value| is_traceparent(value)) {
        context.remove("traceparent");
        context.remove("tracestate");
    }
    context
}

/// Version, trace id, parent id and flags in lower-case hex, and no id is zero.
fn is_traceparent(text: &str) -> bool {
    let mut parts = text.split('-');
    let hex = |part: Option<&str>, length: usize| {
        part.filter(|part| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
        .is_some_and(|part| length == 2 || part.bytes().any(|b| b != b'0'))
    };
    hex(parts.next(), 2) && hex(parts.next(), 32) && hex(parts.next(), 16) && hex(parts.next(), 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn kept(pairs: &[(&'static str, &str)]) -> Vec<String> {
        let mut metadata = MetadataMap::new();
        for (name, value) in pairs {
            metadata.insert(*name, value.parse().unwrap());
        }
        trace_context(&metadata).into_keys().collect()
    }

    #[test]
    fn a_valid_context_is_kept() {
        let all = [("traceparent", PARENT), ("tracestate", "a=b"), ("baggage", "user=7")];
        assert_eq!(kept(&all), ["baggage", "traceparent", "tracestate"]);
    }

    #[test]
    fn a_malformed_one_is_dropped_and_never_an_error() {
        for bad in ["", "00-abc", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
            assert!(kept(&[("traceparent", bad), ("tracestate", "a=b")]).is_empty(), "{bad}");
        }
        let long = "k=".to_owned() + &"v".repeat(9000);
        assert_eq!(kept(&[("traceparent", PARENT), ("baggage", &long)]), ["traceparent"]);
    }
}

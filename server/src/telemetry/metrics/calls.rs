//! Calls of clients: how long they take, how they end, how many are under way.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, BoundUpDownCounter, Histogram, UpDownCounter};

use super::Instruments;
use super::table;

/// The codes of gRPC, each at its number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of `UNKNOWN`.
const UNKNOWN: usize = 2;

/// The name of a code of gRPC.
pub fn code_name(code: usize) -> &'static str {
    CODES.get(code).copied().unwrap_or(CODES[UNKNOWN])
}

/// By which protocol a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// gRPC, and gRPC-Web.
    Grpc,
    /// Connect.
    Connect,
}

impl System {
    /// Its name in the semantic conventions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Connect => "connectrpc",
        }
    }
}

/// Makes the instruments of methods.
pub struct Calls {
    duration: Histogram<f64>,
    active: UpDownCounter<i64>,
}

/// The instruments of one method.
pub struct Method {
    /// Its full name, without a slash in front.
    pub name: String,
    /// Its answers are streams.
    pub is_stream: bool,
    duration: Histogram<f64>,
    /// By system and code, bound when the first such call ends.
    ended: [[OnceLock<BoundHistogram<f64>>; CODES.len()]; 2],
    active: BoundUpDownCounter<i64>,
}

/// A call under way; it is until this is dropped.
pub struct ActiveCall(Arc<Method>);

impl Calls {
    pub(super) fn new(meter: &Instruments) -> Self {
        Self {
            duration: meter.histogram(&table::CALL_DURATION),
            active: meter.up_down_counter(&table::CALLS_ACTIVE),
        }
    }

    /// The instruments of a method.
    pub fn method(&self, name: &str, is_stream: bool) -> Arc<Method> {
        Arc::new(Method {
            name: name.to_owned(),
            is_stream,
            duration: self.duration.clone(),
            ended: Default::default(),
            active: self.active.bind(&[KeyValue::new("rpc.method", name.to_owned())]),
        })
    }
}

impl Method {
    /// A call begins.
    pub fn begin(self: &Arc<Self>) -> ActiveCall {
        self.active.add(1);
        ActiveCall(Arc::clone(self))
    }
}

impl ActiveCall {
    /// The call ended with this code after so long.
    pub fn end(&self, system: System, code: usize, took: Duration) {
        let code = if code < CODES.len() { code } else { UNKNOWN };
        let bound = self.0.ended[system as usize][code].get_or_init(|| {
            self.0.duration.bind(&[
                KeyValue::new("rpc.system.name", system.name()),
                KeyValue::new("rpc.method", self.0.name.clone()),
                KeyValue::new("rpc.response.status_code", CODES[code]),
            ])
        });
        bound.record(took.as_secs_f64());
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        self.0.active.add(-1);
    }
}

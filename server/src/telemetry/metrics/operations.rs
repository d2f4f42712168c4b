//! Operations of the store: how long they take and how many fail.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram};

use super::Instruments;
use super::table;

macro_rules! operations {
    ($($operation:ident $name:literal,)*) => {
        /// An operation of the store: its method of the same name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the trait of the store documents its methods")]
        pub enum Operation {
            $($operation,)*
        }

        impl Operation {
            const NAMES: &[&str] = &[$($name),*];
        }
    };
}

operations! {
    Insert "insert",
    Claim "claim",
    HandOver "hand_over",
    Extend "extend",
    Commit "commit",
    Promote "promote",
    Overdue "overdue",
    Purge "purge",
    NextDue "next_due",
    Get "get",
    List "list",
    Ahead "ahead",
    Queues "queues",
    Survey "survey",
    Settings "settings",
    SetSettings "set_settings",
    Wipe "wipe",
    Documents "documents",
    Document "document",
    PutDocuments "put_documents",
    Log "log",
    Recent "recent",
    LogEnd "log_end",
    Time "time",
    Epoch "epoch",
    Status "status",
    CallOff "call_off",
}

impl Operation {
    /// Its label.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// The instruments of all operations.
pub struct Operations(Vec<Instrumented>);

struct Instrumented {
    took: BoundHistogram<f64>,
    errors: BoundCounter<u64>,
}

impl Operations {
    pub(super) fn new(meter: &Instruments) -> Self {
        let took = meter.histogram(&table::STORE_OP);
        let errors = meter.counter(&table::STORE_ERRORS);
        let bind = |name: &&'static str| {
            let labels = [KeyValue::new("op", *name)];
            Instrumented { took: took.bind(&labels), errors: errors.bind(&labels) }
        };
        Self(Operation::NAMES.iter().map(bind).collect())
    }

    /// `operation` ended after so long.
    pub fn record(&self, operation: Operation, took: Duration, failed: bool) {
        let instrumented = &self.0[operation as usize];
        instrumented.took.record(took.as_secs_f64());
        if failed {
            instrumented.errors.add(1);
        }
    }
}

//! Every metric there is, by name. `docs/metrics.md` shows the same, and a test compares the two.

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only rises while the broker runs.
    Counter,
    /// It is what it is now.
    Gauge,
    /// How often values fell into each of these buckets.
    Histogram(&'static [f64]),
}

/// Whom a metric speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What this broker did with jobs: add the brokers up.
    Jobs,
    /// What the store holds: every broker says the same.
    Queues,
    /// This broker itself.
    Broker,
}

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name in OpenTelemetry.
    pub name: &'static str,
    /// Whom it speaks of.
    pub scope: Scope,
    /// What kind of number it is.
    pub kind: Kind,
    /// Its unit in UCUM; what is counted stands in braces.
    pub unit: &'static str,
    /// Its attributes.
    pub labels: &'static [&'static str],
    /// How many combinations of their values are kept; what comes later shares one more.
    pub series: usize,
    /// What it says, in one sentence.
    pub meaning: &'static str,
}

/// Queues that have labels of their own; the rest share the label [`OTHER`].
pub const MOST_QUEUES: usize = 200;

/// The label of queues beyond [`MOST_QUEUES`], and of calls that there are not.
pub const OTHER: &str = "other";

/// The states of jobs, as the label of [`QUEUE_JOBS`].
pub const STATES: [&str; 9] = [
    "scheduled",
    "ready",
    "leased",
    "retrying",
    "blocked",
    "succeeded",
    "dead",
    "cancelled",
    "expired",
];

/// From a millisecond to a day: waits and runs.
const LONG: Kind = Kind::Histogram(&[
    0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0,
]);

/// Those of the conventions for calls.
const CALLS: Kind = Kind::Histogram(&[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
]);

/// From a tenth of a millisecond to ten seconds: what a store needs.
const SHORT: Kind = Kind::Histogram(&[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0,
]);

const QUEUE: &[&str] = &["queue"];

/// One label for each queue, and the shared one.
const PER_QUEUE: usize = MOST_QUEUES + 1;

const fn jobs(name: &'static str, kind: Kind, unit: &'static str, meaning: &'static str) -> Metric {
    Metric { name, scope: Scope::Jobs, kind, unit, labels: QUEUE, series: PER_QUEUE, meaning }
}

const fn queue(name: &'static str, unit: &'static str, meaning: &'static str) -> Metric {
    let (scope, kind) = (Scope::Queues, Kind::Gauge);
    Metric { name, scope, kind, unit, labels: QUEUE, series: PER_QUEUE, meaning }
}

const fn broker(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    meaning: &'static str,
) -> Metric {
    Metric { name, scope: Scope::Broker, kind, unit, labels: &[], series: 1, meaning }
}

macro_rules! table {
    ($($constant:ident = $metric:expr;)*) => {
        $(#[doc = "Its row says what it means."] pub const $constant: Metric = $metric;)*
        /// All metrics, in the order of the documentation.
        pub const TABLE: &[Metric] = &[$($constant),*];
    };
}

table! {
    JOBS_ENQUEUED = jobs("lessor.jobs.enqueued", Kind::Counter, "{job}",
        "Jobs that came to be: enqueued, made by a schedule or with an ack, or moved here.");
    JOBS_DEDUPLICATED = jobs("lessor.jobs.deduplicated", Kind::Counter, "{job}",
        "Enqueues that met a job with the same dedup key and made no new one.");
    JOBS_LEASED = jobs("lessor.jobs.leased", Kind::Counter, "{job}",
        "Leases given to workers, repeated ones included.");
    JOBS_COMPLETED = jobs("lessor.jobs.completed", Kind::Counter, "{job}", "Jobs that succeeded.");
    JOBS_FAILED = jobs("lessor.jobs.failed", Kind::Counter, "{attempt}",
        "Attempts that failed: nacked, or longer than they may be.");
    JOBS_DEAD = jobs("lessor.jobs.dead", Kind::Counter, "{job}",
        "Jobs that became dead letters.");
    JOBS_LEASE_EXPIRED = jobs("lessor.jobs.lease_expired", Kind::Counter, "{lease}",
        "Leases that ran out: their worker vanished or forgot to extend them.");
    JOBS_RELEASED = jobs("lessor.jobs.released", Kind::Counter, "{lease}",
        "Leases given back without counting as an attempt: released, snoozed or not received.");
    JOBS_CANCELLED = jobs("lessor.jobs.cancelled", Kind::Counter, "{job}",
        "Jobs that were cancelled.");
    JOBS_EXPIRED = jobs("lessor.jobs.expired", Kind::Counter, "{job}",
        "Jobs whose expiry passed before they were started.");
    JOB_WAIT = jobs("lessor.job.wait", LONG, "s",
        "From when a job was due until its first lease.");
    JOB_RUN = jobs("lessor.job.run", LONG, "s",
        "How long attempts ran that succeeded, failed or took too long.");

    QUEUE_JOBS = Metric { labels: &["queue", "state"], series: PER_QUEUE * STATES.len(),
        ..queue("lessor.queue.jobs", "{job}", "Jobs in the queue, by state.") };
    QUEUE_OLDEST_READY_AGE = queue("lessor.queue.oldest_ready_age", "s",
        "How long the ready job has waited that has waited longest; 0 when none is ready.");
    QUEUE_SIZE = queue("lessor.queue.size", "By", "Size of the records of unfinished jobs.");
    QUEUE_PAUSED = queue("lessor.queue.paused", "", "1 when the queue is paused, else 0.");
    QUEUE_WORKERS = queue("lessor.queue.workers", "{worker}",
        "Workers that asked the queue for jobs lately and are not draining.");
    QUEUES = Metric { labels: &["surveyed"], series: 2,
        ..queue("lessor.queues", "{queue}",
            "Queues there are, by whether their jobs are in these numbers.") };

    CALL_DURATION = Metric {
        labels: &["rpc.system.name", "rpc.method", "rpc.response.status_code"], series: 500,
        ..broker("rpc.server.call.duration", CALLS, "s",
            "How long calls took, waits and whole streams included.") };
    CALLS_ACTIVE = Metric { labels: &["rpc.method"], series: 100,
        ..broker("lessor.calls.active", Kind::Gauge, "{call}",
            "Calls under way, streams and waiting leases included.") };
    WORKERS_WAITING = broker("lessor.workers.waiting", Kind::Gauge, "{worker}",
        "Workers that wait for jobs here, on streams or in calls.");
    EVENTS_LAG = broker("lessor.events.lag", LONG, "s",
        "From an event until a watcher was handed it, the oldest of each answer.");
    STORE_OP = Metric { labels: &["op"], series: 64,
        ..broker("lessor.store.op", SHORT, "s",
            "How long operations of the store took; one may be of many jobs.") };
    STORE_ERRORS = Metric { labels: &["op"], series: 64,
        ..broker("lessor.store.errors", Kind::Counter, "{operation}",
            "Operations of the store that failed.") };
    STORE_UP = broker("lessor.store.up", Kind::Gauge, "",
        "1 when the store answers and takes writes, else 0.");
    KEY_REFRESHES = Metric { labels: &["outcome"], series: 2,
        ..broker("lessor.auth.key_refreshes", Kind::Counter, "{refresh}",
            "Times the keys of JWT were read again, by whether that was done or failed.") };
    DRAINING = broker("lessor.draining", Kind::Gauge, "",
        "1 while the broker shuts down, else 0.");
    BUILD_INFO = Metric { labels: &["version", "store"],
        ..broker("lessor.build_info", Kind::Gauge, "", "Always 1; the labels say what runs.") };
}

impl Metric {
    /// Its name in Prometheus.
    pub fn prometheus_name(&self) -> String {
        let name = self.name.replace('.', "_");
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{name}{unit}{total}")
    }

    /// Its labels in Prometheus.
    pub fn prometheus_labels(&self) -> Vec<String> {
        self.labels.iter().map(|label| label.replace('.', "_")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn row(metric: &Metric) -> String {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> =
            metric.prometheus_labels().iter().map(|label| format!("`{label}`")).collect();
        let (name, labels) = (metric.prometheus_name(), labels.join(", "));
        format!("| `{name}` | {kind} | {labels} | {} |", metric.meaning)
    }

    /// The rows of a table under the heading of one scope.
    fn documented(text: &str, heading: &str) -> Vec<String> {
        let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        section.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect()
    }

    #[test]
    fn the_documentation_shows_this_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = std::fs::read_to_string(path).unwrap();
        for (scope, heading) in
            [(Scope::Jobs, "Jobs"), (Scope::Queues, "Queues"), (Scope::Broker, "The broker")]
        {
            let rows: Vec<String> =
                TABLE.iter().filter(|metric| metric.scope == scope).map(row).collect();
            assert_eq!(documented(&text, heading), rows, "\n{}\n", rows.join("\n"));
        }
    }

    #[test]
    fn every_name_is_used_once() {
        let names: BTreeSet<String> = TABLE.iter().map(Metric::prometheus_name).collect();
        assert_eq!(names.len(), TABLE.len());
    }
}

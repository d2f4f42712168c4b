//! The names under which figures stand in a file and are found again.

/// Jobs a second.
pub(crate) const RATE: &str = "rate";
/// From the start of the enqueue call to the start of the handler.
pub(crate) const P50: &str = "p50";
pub(crate) const P99: &str = "p99";
/// An enqueue call at the pace of W4 while nobody works, or a bare call at the same pace.
pub(crate) const CALL_P50: &str = "enqueue call, p50";

/// CPU of the W1 and W2 of as many jobs, by process.
pub(crate) const CPU_BROKER: &str = "cpu, broker";
pub(crate) const CPU_STORE: &str = "cpu, store";
pub(crate) const CPU_PRODUCER: &str = "cpu, producer";
pub(crate) const CPU_WORKER: &str = "cpu, worker";
pub(crate) const CPU_ALL: &str = "cpu, all";
/// CPU of a producer or a worker, where both are measured alike.
pub(crate) const CPU_CLIENT: &str = "cpu, client";

/// Jobs enqueued in bulk and drained, by the sum of both times; and as many as the store could carry with
/// its core always busy, by its CPU time for them.
pub(crate) const LIVES: &str = "rate, whole lives of jobs";
pub(crate) const LIVES_LIMIT: &str = "rate, whole lives of jobs by the store's CPU";

/// CPU time of a job of a workload, by where it goes: Redis's commands, what runs in its scripts beside
/// them, the rest of its code, and so on.
pub(crate) const COST_RATE: &str = "cost, at a rate of";
pub(crate) const COST_COMMANDS: &str = "cost, commands of Redis";
pub(crate) const COST_SCRIPTS: &str = "cost, scripts around them";
pub(crate) const COST_REDIS: &str = "cost, Redis else";
pub(crate) const COST_REDIS_KERNEL: &str = "cost, Redis in the kernel";
pub(crate) const COST_BROKER: &str = "cost, broker";
pub(crate) const COST_BROKER_KERNEL: &str = "cost, broker in the kernel";
pub(crate) const COST_CLIENTS: &str = "cost, clients";
pub(crate) const COST_ALL: &str = "cost, all";

/// What a job takes while it waits, and what it leaves when all are done.
pub(crate) const MEMORY_WAITING: &str = "memory, waiting job";
pub(crate) const MEMORY_LEFT: &str = "memory, left after drain";
/// The same where no retention was asked for.
pub(crate) const MEMORY_LEFT_NO_RETENTION: &str = "memory, left without retention";
/// What a waiting job takes of a disk, where it is there.
pub(crate) const FILES_WAITING: &str = "files, waiting job";

/// Drains of backlogs.
pub(crate) const BACKLOG_10K: &str = "rate, backlog 10,000";
pub(crate) const BACKLOG_100K: &str = "rate, backlog 100,000";
pub(crate) const BACKLOG_1M: &str = "rate, backlog 1,000,000";
pub(crate) const PRIORITIES: &str = "rate, backlog 100,000 in 10 priorities";
pub(crate) const DELAYED: &str = "rate, 100,000 delayed beside";

/// A worker at many queues, and at one.
pub(crate) const ONE_QUEUE: &str = "rate, 1 queue";
pub(crate) const MANY_QUEUES: &str = "rate, 1,000 queues";

/// The workloads.
pub(crate) const W1: &str = "W1";
pub(crate) const W1_UNARY: &str = "W1 unary";
pub(crate) const W1B: &str = "W1b";
pub(crate) const W2: &str = "W2";
pub(crate) const W3: &str = "W3";
pub(crate) const W4: &str = "W4";
pub(crate) const W5: &str = "W5";
pub(crate) const W6: &str = "W6";
pub(crate) const QUEUES: &str = "queues";
pub(crate) const LIMIT: &str = "limit";

/// What stands between a program and the wire.
pub(crate) const STUBS: &str = "plain stubs";
pub(crate) const LIBRARY: &str = "library";

/// What bounds every broker on gRPC, and where it is measured.
pub(crate) const TONIC: &str = "tonic";
pub(crate) const TONIC_UNARY: &str = "unary, 32 in flight";
pub(crate) const TONIC_BATCH: &str = "100 jobs a call, 4 in flight";
pub(crate) const TONIC_PACED: &str = "unary, 200 a second";
pub(crate) const REDIS_BENCHMARK: &str = "redis-benchmark";

/**
 * A client of the Lessor job broker: enqueue jobs, work on them, watch them.
 *
 * @module
 */

export type { CancelOptions, JobRef, WaitOptions } from "./client.js";
export { Client } from "./client.js";
export type { Span } from "./duration.js";
export * from "./errors.js";
export type { Attempt, Enqueued, Failure } from "./job.js";
export { Job } from "./job.js";
export type { Logger, LogLevel } from "./logger.js";
export { jsonLogger, silentLogger } from "./logger.js";
export * from "./options.js";
export * from "./outcome.js";
export type { NewJobOf } from "./queue.js";
export { Queue } from "./queue.js";
export { enqueueRequest } from "./request.js";
export type { ConnectionOptions, TlsOptions } from "./settings.js";
export type { TelemetryApi } from "./telemetry.js";
export type { DataOf, Handler, Handlers, ResultOf } from "./types.js";
export { VERSION } from "./version.js";
export type { EventType, JobEvent, WatchOptions } from "./watch.js";
export { Watch } from "./watch.js";
export type { Context } from "./worker/context.js";
export type { HealthOptions } from "./worker/health.js";
export type { WorkerEvents, WorkerOptions } from "./worker/worker.js";
export { Worker } from "./worker/worker.js";

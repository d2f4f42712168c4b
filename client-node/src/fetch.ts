/**
 * A client for serverless functions and the edge: it needs `fetch` and nothing else.
 *
 * @module
 */

import type { Span } from "./duration.js";
import { toMs } from "./duration.js";
import { errorOf, JobFailedError, LessorError, WaitTimeoutError } from "./errors.js";
import { eventOf, type JobEvent } from "./fetch/event.js";
import { compact, enqueueRequest, type Job, jobOf, payloadOf, written } from "./fetch/job.js";
import { type FetchCall, type FetchOptions, Transport } from "./fetch/transport.js";
import type { WaitJobResponseJson } from "./gen/lessor/v1/broker_pb.js";
import type { BatchEnqueueResponseJson, EnqueueResponseJson } from "./gen/lessor/v1/enqueue_pb.js";
import type { WatchEventsResponseJson } from "./gen/lessor/v1/event_pb.js";
import type { JobJson } from "./gen/lessor/v1/job_pb.js";
import type { LeaseResponseJson } from "./gen/lessor/v1/lease_pb.js";
import type { EnqueueOptions, EnqueueOutcome, NewJob } from "./options.js";
import { ReleaseError, RetryError, SnoozeError, UnrecoverableError } from "./outcome.js";

export type { Span } from "./duration.js";
export * from "./errors.js";
export type { EventType, JobEvent } from "./fetch/event.js";
export type { Job } from "./fetch/job.js";
export type { FetchCall, FetchOptions } from "./fetch/transport.js";
export type { EnqueueOptions, EnqueueOutcome, JobState, NewJob, Progress } from "./options.js";
export { Payload } from "./options.js";
export type { FailureOptions } from "./outcome.js";
export { ReleaseError, RetryError, SnoozeError, UnrecoverableError } from "./outcome.js";

/** A job that the broker has. */
export interface Enqueued<Data = unknown, Result = unknown> {
  readonly job: Job<Data, Result>;
  readonly outcome: EnqueueOutcome;
}

export type JobRef = string | { readonly name: string };

export interface WatchOptions {
  queues?: string | string[];
  /** One job: its present state comes first, and the watch ends with it. */
  job?: JobRef;
  types?: JobEvent["type"][];
  cursor?: string;
  oldest?: boolean;
  includeResult?: boolean;
  signal?: AbortSignal;
}

export interface ProcessOptions {
  /** Most jobs in this call. Default 1. */
  maxJobs?: number;
  /** How long to wait for a first one. Default: not at all. */
  wait?: Span;
  /** The visibility timeout: longer than the function may run. Default: the job's. */
  leaseDuration?: Span;
  /** Default: a random one. */
  workerId?: string;
  signal?: AbortSignal;
}

/** What a job of `process` came to. */
export interface Processed {
  readonly job: Job;
  readonly error?: unknown;
}

// biome-ignore lint/suspicious/noExplicitAny: a handler of any payload is one
export type FetchHandler = (job: Job<any>) => unknown;

const ONE_WAIT_MS = 20_000;
const WAIT_MS = 60_000;

export class Client {
  readonly #transport: Transport;
  readonly #timeoutMs: number;

  constructor(options: FetchOptions) {
    this.#transport = new Transport(options);
    this.#timeoutMs = options.timeoutMs ?? 10_000;
  }

  /** Hands one job to the broker. */
  async enqueue<Data = unknown, Result = unknown>(
    queue: string,
    type: string,
    data?: Data,
    options: EnqueueOptions = {},
  ): Promise<Enqueued<Data, Result>> {
    const request = enqueueRequest(queue, { ...options, type, data });
    request.requestId ??= crypto.randomUUID();
    const headers = options.traceContext;
    const call = headers ? { headers } : {};
    return enqueuedOf(await this.call<EnqueueResponseJson>("Enqueue", request, call));
  }

  /** Hands many jobs of one queue to the broker: all of them, or none. */
  async enqueueBatch(queue: string, jobs: readonly NewJob[]): Promise<Enqueued[]> {
    const requests = jobs.map((job) => enqueueRequest(queue, job));
    const isChosen = requests.some((it) => it.requestId !== undefined || it.jobId !== undefined);
    if (isChosen) for (const it of requests) it.requestId ??= crypto.randomUUID();
    const requestId = isChosen ? undefined : crypto.randomUUID();
    const batch = compact({ requests, requestId });
    const { results = [] } = await this.call<BatchEnqueueResponseJson>("BatchEnqueue", batch);
    return results.map(({ response = {} }) => enqueuedOf(response));
  }

  /** One job, with its payload, result and latest attempts. */
  async get<Data = unknown, Result = unknown>(job: JobRef): Promise<Job<Data, Result>> {
    return jobOf(await this.call<JobJson>("GetJob", { name: nameOf(job) }));
  }

  /** Waits until a job has ended, however it ended. Throws `WaitTimeoutError` when it has not. */
  async wait<Data = unknown, Result = unknown>(
    job: JobRef,
    { timeout = WAIT_MS, signal }: { timeout?: Span; signal?: AbortSignal } = {},
  ): Promise<Job<Data, Result>> {
    const name = nameOf(job);
    const all = toMs(timeout, "timeout");
    const end = performance.now() + all;
    for (;;) {
      const left = Math.max(0, Math.min(end - performance.now(), ONE_WAIT_MS));
      const call = { timeoutMs: left + this.#timeoutMs, ...(signal && { signal }) };
      const request = { name, wait: written(left, "wait") };
      const reply = await this.call<WaitJobResponseJson>("WaitJob", request, call);
      if (reply.reached && reply.job) return jobOf(reply.job);
      if (performance.now() >= end) throw new WaitTimeoutError(name, all);
    }
  }

  /** Waits for the result of a job. Throws `JobFailedError` when it ends without one. */
  async result<Result = unknown>(
    job: JobRef | Job<unknown, Result>,
    options: { timeout?: Span; signal?: AbortSignal } = {},
  ): Promise<Result> {
    const ended = await this.wait<unknown, Result>(job, options);
    if (ended.state === "succeeded") return ended.result as Result;
    const { code, message } = ended.lastFailure ?? {};
    throw new JobFailedError(ended.name, ended.state, code, message);
  }

  /** Calls a job off. */
  async cancel(job: JobRef, options: { reason?: string; grace?: Span } = {}): Promise<Job> {
    const { reason = "", grace } = options;
    const request = compact({ name: nameOf(job), reason, grace: written(grace, "grace") });
    return jobOf(await this.call<JobJson>("CancelJob", request));
  }

  /** What happens to jobs, as it happens; it goes on by itself when it is cut off. */
  async *watch({
    signal,
    ...options
  }: WatchOptions = {}): AsyncGenerator<JobEvent, void, undefined> {
    const { queues = [], job, ...more } = options;
    const request: Record<string, unknown> = compact({
      ...more,
      queues: typeof queues === "string" ? [queues] : queues,
      job: job && nameOf(job),
    });
    for (let pause = 250; ; pause = Math.min(pause * 2, 20_000)) {
      try {
        const pages = this.#transport.stream<WatchEventsResponseJson>(
          "WatchEvents",
          request,
          signal,
        );
        for await (const page of pages) {
          pause = 250;
          for (const event of page.events ?? []) yield eventOf(event);
          if (page.cursor) {
            delete request.oldest;
            request.cursor = page.cursor;
          }
        }
        return;
      } catch (error) {
        if (signal?.aborted) return;
        if (!(error instanceof LessorError) || error.code !== "UNAVAILABLE") throw error;
        const least = Math.max(Math.random() * pause, error.retryAfterMs ?? 0);
        await new Promise((resolve) => setTimeout(resolve, least));
      }
    }
  }

  /**
   * Leases a few jobs, runs them and settles them: for a function that a schedule or a webhook calls.
   * What a handler throws decides what becomes of its job, as with a `Worker`.
   * Leases are not extended, so `leaseDuration` must outlast the function.
   */
  async process(
    queues: string | string[],
    handlers: FetchHandler | Record<string, FetchHandler>,
    options: ProcessOptions = {},
  ): Promise<Processed[]> {
    const waitMs = options.wait === undefined ? 0 : toMs(options.wait, "wait");
    const request = compact({
      queues: typeof queues === "string" ? [queues] : queues,
      workerId: options.workerId ?? `fetch-${crypto.randomUUID()}`,
      maxJobs: options.maxJobs ?? 1,
      wait: written(waitMs, "wait"),
      leaseDuration: written(options.leaseDuration, "leaseDuration"),
      requestId: crypto.randomUUID(),
    });
    const call = {
      timeoutMs: this.#timeoutMs + waitMs,
      ...(options.signal && { signal: options.signal }),
    };
    const { jobs = [] } = await this.call<LeaseResponseJson>("Lease", request, call);
    const handlerOf = (type: string) =>
      typeof handlers === "function"
        ? handlers
        : Object.hasOwn(handlers, type)
          ? handlers[type]
          : undefined;
    return Promise.all(
      jobs.map(async ({ job: json = {}, leaseToken }): Promise<Processed> => {
        const job = jobOf(json);
        let result: unknown;
        try {
          const handler = handlerOf(job.type);
          if (!handler)
            throw Object.assign(new Error(`no handler for ${job.type}`), { code: "NO_HANDLER" });
          result = await handler(job);
        } catch (error) {
          await this.call("Nack", { leaseToken, failure: failureOf(error), ...fateOf(error) });
          return { job, error };
        }
        await this.call("Ack", compact({ leaseToken, result: payloadOf(result) }));
        return { job };
      }),
    );
  }

  /**
   * Any call of `JobBroker`, in the JSON of the protocol; those of other services with the service in
   * front: `lessor.v1.JobBrokerAdmin/ListQueues`.
   */
  call<Reply>(method: string, request: object, options: FetchCall = {}): Promise<Reply> {
    return this.#transport.call<Reply>(method, request, options);
  }
}

function enqueuedOf<D, R>({ job, outcome }: EnqueueResponseJson): Enqueued<D, R> {
  if (!job) throw errorOf({ code: "INTERNAL", message: "the reply lacks the job" });
  const word = String(outcome ?? "")
    .replace("OUTCOME_", "")
    .toLowerCase();
  return { job: jobOf(job), outcome: word as EnqueueOutcome };
}

/** What becomes of the job of a handler that threw this. */
function fateOf(error: unknown): object {
  if (error instanceof UnrecoverableError) return { dead: {} };
  if (error instanceof ReleaseError) return { release: {} };
  if (error instanceof SnoozeError) return { snooze: { delay: written(error.delay, "delay") } };
  const delay = error instanceof RetryError ? error.delay : undefined;
  return { retry: compact({ delay: written(delay, "delay") }) };
}

function failureOf(error: unknown): object {
  if (!(error instanceof Error)) return { code: "HANDLER_FAILED", message: String(error) };
  const { code, details } = error as { code?: unknown; details?: unknown };
  const isCode = typeof code === "string" && /^[A-Z][A-Z0-9_]{0,63}$/.test(code);
  return {
    code: isCode ? code : "HANDLER_FAILED",
    message: error.message,
    stack: error.stack ?? "",
    ...(typeof details === "object" && !Array.isArray(details) && details && { details }),
  };
}

function nameOf(job: JobRef): string {
  return typeof job === "string" ? job : job.name;
}

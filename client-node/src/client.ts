import type {
  DescMessage,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { fromBinary } from "@bufbuild/protobuf";
import { Encoded, together } from "./batch.js";
import type { Span } from "./duration.js";
import { toMs } from "./duration.js";
import { JobFailedError, LessorError, WaitTimeoutError } from "./errors.js";
import { JobBroker } from "./gen/lessor/v1/broker_pb.js";
import type { EnqueueRequest } from "./gen/lessor/v1/enqueue_pb.js";
import { EnqueueResponseSchema } from "./gen/lessor/v1/enqueue_pb.js";
import { type Enqueued, enqueuedOf, Job, protoState } from "./job.js";
import { Joiner, readBatch } from "./join.js";
import type { CallOptions, EnqueueOptions, JobState, NewJob, NewJobIn } from "./options.js";
import { Queue } from "./queue.js";
import { duration, enqueueRequest } from "./request.js";
import { Connection, pathOf } from "./rpc/connection.js";
import { now, persist } from "./rpc/retry.js";
import type { ConnectionOptions, Settings } from "./settings.js";
import { settle } from "./settings.js";
import type { Handlers } from "./types.js";
import { Watch, type WatchOptions } from "./watch.js";

/** A job, by its name or as it was got. */
export type JobRef = string | { readonly name: string };

/** How to wait for a job. */
export interface WaitOptions {
  /** How long at most. Default 60 s. */
  timeout?: Span;
  /** What to wait for. The end of a job ends the wait in any case. Default: its end. */
  until?: JobState[];
  signal?: AbortSignal;
}

/** How to cancel a job. */
export interface CancelOptions extends CallOptions {
  /** Why, for the worker and the event. */
  reason?: string;
  /** How long the worker of a leased job has. Default 30 s. */
  grace?: Span;
  /** Only if the job has not changed since it was read. */
  etag?: string;
}

const WAIT_MS = 60_000;
/** How long one call waits; the broker allows no more than 60 s. */
const ONE_WAIT_MS = 30_000;

/**
 * A producer's connection to the broker, opened by the first call. Every call has a deadline and is
 * repeated, safely, while its fault is a passing one.
 */
export class Client {
  /** How the broker is reached; a `Worker` takes it from here. */
  readonly settings: Settings;
  readonly #connection: Connection;
  readonly #joiner: Joiner;

  constructor(options: ConnectionOptions = {}) {
    this.settings = settle(options);
    this.#connection = new Connection(this.settings);
    this.#joiner = new Joiner(this.#connection, this.settings.timeoutMs);
  }

  /** One queue, with the types of its jobs: `client.queue<typeof handlers>("emails")`. */
  queue<H extends Handlers = Handlers>(name: string): Queue<H> {
    return new Queue<H>(this, name);
  }

  /**
   * Hands one job to the broker. Concurrent calls share calls to the broker; a lone one is not
   * delayed.
   */
  async enqueue<Data = unknown, Result = unknown>(
    queue: string,
    type: string,
    data?: Data,
    options: EnqueueOptions = {},
  ): Promise<Enqueued<Data, Result>> {
    const request = enqueueRequest(queue, { ...options, type, data });
    const { telemetry } = this.settings;
    if (telemetry.ready) await telemetry.ready;
    const operation = telemetry.enqueue(queue, options.traceContext);
    try {
      const response = operation.headers
        ? await this.#alone(request, operation.headers)
        : await this.#joiner.enqueue(request);
      operation.end();
      return enqueuedOf<Data, Result>(response);
    } catch (error) {
      operation.end(error instanceof LessorError ? error.code : "CLIENT", error);
      throw error;
    }
  }

  /** Hands many jobs of one queue to the broker: all of them, or none. */
  async enqueueBatch<Data = unknown, Result = unknown>(
    queue: string,
    jobs: readonly NewJob<Data>[],
    options: CallOptions = {},
  ): Promise<Enqueued<Data, Result>[]> {
    const requests = jobs.map((job) => enqueueRequest(queue, job));
    const results = await this.#many(requests, false, options);
    return results.map((result) => {
      if (result instanceof Error) throw result;
      return enqueuedOf<Data, Result>(result);
    });
  }

  /** Hands many jobs of any queues to the broker, each of which may be refused alone. */
  async enqueueEach(
    jobs: readonly NewJobIn[],
    options: CallOptions = {},
  ): Promise<PromiseSettledResult<Enqueued>[]> {
    const requests = jobs.map((job) => enqueueRequest(job.queue, job));
    const results = await this.#many(requests, true, options);
    return results.map((result) =>
      result instanceof Error
        ? { status: "rejected", reason: result }
        : { status: "fulfilled", value: enqueuedOf(result) },
    );
  }

  /** One job, with its payload, result and latest attempts. */
  async get<Data = unknown, Result = unknown>(
    job: JobRef,
    options: CallOptions = {},
  ): Promise<Job<Data, Result>> {
    return new Job(await this.call(JobBroker.method.getJob, { name: nameOf(job) }, options));
  }

  /** Waits until a job has ended, however it ended. Throws `WaitTimeoutError` when it has not. */
  async wait<Data = unknown, Result = unknown>(
    job: JobRef,
    { timeout = WAIT_MS, until = [], signal }: WaitOptions = {},
  ): Promise<Job<Data, Result>> {
    const name = nameOf(job);
    const timeoutMs = toMs(timeout, "timeout");
    const end = now() + timeoutMs;
    for (;;) {
      const waitMs = Math.max(0, Math.min(end - now(), ONE_WAIT_MS));
      const request = { name, wait: duration(waitMs, "wait"), until: until.map(protoState) };
      const { waitJob } = JobBroker.method;
      const reply = await this.#connection.call(waitJob, request, { waitMs, signal });
      if (reply.job) {
        const found = new Job<Data, Result>(reply.job);
        if (reply.reached || found.isFinished) return found;
      }
      if (now() >= end) throw new WaitTimeoutError(name, timeoutMs);
    }
  }

  /** Waits for the result of a job. Throws `JobFailedError` when it ends without one. */
  async result<Result = unknown>(
    job: JobRef | Job<unknown, Result> | Enqueued<unknown, Result>,
    options: Omit<WaitOptions, "until"> = {},
  ): Promise<Result> {
    const ref = typeof job === "object" && "job" in job ? job.job : job;
    const ended = await this.wait<unknown, Result>(ref, options);
    if (ended.state === "succeeded") return ended.result as Result;
    const failure = ended.lastFailure;
    throw new JobFailedError(ended.name, ended.state, failure?.code, failure?.message);
  }

  /** Calls a job off: one that waits at once, one that runs through its worker. */
  async cancel(job: JobRef, options: CancelOptions = {}): Promise<Job> {
    const { reason = "", grace, etag = "", ...call } = options;
    const request = { name: nameOf(job), reason, grace: duration(grace, "grace"), etag };
    return new Job(await this.call(JobBroker.method.cancelJob, request, call));
  }

  /** What happens to jobs, as it happens: to be read with `for await`. */
  watch(options: WatchOptions = {}): Watch {
    return new Watch(this.#connection, options);
  }

  /**
   * Any call of the protocol, for what has no method here: those of `JobBrokerAdmin` from
   * `lessor/proto`, for example.
   */
  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    return this.#connection.call(method, request, options);
  }

  /** Closes the connection. Calls that are under way fail. */
  close(): void {
    this.#connection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A trace context travels with the call, so its job travels alone. */
  async #alone(request: EnqueueRequest, headers: Record<string, string>) {
    const deadline = now() + this.settings.timeoutMs;
    const path = pathOf(JobBroker.method.enqueue);
    const bytes = new Encoded(request).identified();
    const reply = await persist(deadline, undefined, () =>
      this.#connection.send(path, bytes, deadline, undefined, headers),
    );
    return fromBinary(EnqueueResponseSchema, reply);
  }

  async #many(requests: readonly EnqueueRequest[], partial: boolean, options: CallOptions) {
    const bytes = together(
      requests.map((request) => new Encoded(request)),
      partial,
    );
    const { timeout = this.settings.timeoutMs, signal } = options;
    const deadline = now() + toMs(timeout, "timeout");
    const path = pathOf(JobBroker.method.batchEnqueue);
    return readBatch(
      await persist(deadline, signal, () => this.#connection.send(path, bytes, deadline, signal)),
    );
  }
}

function nameOf(job: JobRef): string {
  return typeof job === "string" ? job : job.name;
}

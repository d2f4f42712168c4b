// Spans and metrics of OpenTelemetry, when its API is there. All names are here.

import type * as Api from "@opentelemetry/api";
import type { Job } from "./job.js";
import { VERSION } from "./version.js";

/** What `import * as api from "@opentelemetry/api"` gives; its types need not be there. */
export interface TelemetryApi {
  readonly trace: unknown;
  readonly context: unknown;
  readonly propagation: unknown;
  readonly metrics: unknown;
  readonly SpanKind: unknown;
  readonly SpanStatusCode: unknown;
  readonly ROOT_CONTEXT: unknown;
}

type Known = typeof Api;

const SYSTEM = { "messaging.system": "lessor" };
/** Buckets of durations, in seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

interface Instruments {
  readonly operation: Api.Histogram;
  readonly process: Api.Histogram;
  readonly sent: Api.Counter;
  readonly consumed: Api.Counter;
}

/** What ends an operation that was begun. */
export interface Operation {
  /** What the broker is told of the trace. */
  readonly headers: Record<string, string> | undefined;
  run<T>(work: () => T): T;
  end(errorType?: string, error?: unknown): void;
}

const NOTHING: Operation = { headers: undefined, run: (work) => work(), end: () => {} };

export class Telemetry {
  #api: Known | undefined;
  #instruments: Instruments | undefined;
  /** Settled once it is known whether there is an API. */
  readonly ready: Promise<void> | undefined;

  constructor(given: TelemetryApi | false | undefined) {
    if (given === false) return;
    this.#api = given as Known | undefined;
    this.ready = given ? undefined : this.#find();
  }

  async #find(): Promise<void> {
    try {
      this.#api = await import("@opentelemetry/api");
    } catch {
      // It is an optional peer: without it there is nobody to tell.
    }
  }

  /** Handing a job over. `given` is the trace context that the caller brought. */
  enqueue(queue: string, given: Record<string, string> | undefined): Operation {
    const operation = this.#client("enqueue", "send", queue, given === undefined);
    return given === undefined ? operation : { ...operation, headers: given };
  }

  /** Settling a lease: `ack` or `nack`. */
  settle(verb: string, job: Job): Operation {
    return this.#client(verb, "settle", job.queue, false, job.name);
  }

  /** Running a handler. */
  process(job: Job, workerId: string): Operation {
    const api = this.#api;
    if (!api) return NOTHING;
    const attributes = {
      ...SYSTEM,
      "messaging.operation.name": "process",
      "messaging.operation.type": "process",
      "messaging.destination.name": job.queue,
      "messaging.message.id": job.name,
      "messaging.client.id": workerId,
      "lessor.job.type": job.type,
      "lessor.job.attempt": job.attempt,
    };
    const creation = api.propagation.extract(api.ROOT_CONTEXT, job.traceContext);
    const creator = api.trace.getSpanContext(creation);
    const span = api.trace.getTracer("lessor", VERSION).startSpan(
      `process ${job.queue}`,
      {
        kind: api.SpanKind.CONSUMER,
        attributes,
        links: creator ? [{ context: creator }] : [],
        root: true,
      },
      api.ROOT_CONTEXT,
    );
    const begun = performance.now();
    const labels = { ...SYSTEM, "messaging.destination.name": job.queue };
    const { consumed, process } = this.#meters(api);
    consumed.add(1, { ...labels, "messaging.operation.name": "process" });
    return {
      headers: undefined,
      run: (work) => api.context.with(api.trace.setSpan(api.ROOT_CONTEXT, span), work),
      end: (errorType, error) => {
        finish(api, span, errorType, error);
        const type = errorType === undefined ? {} : { "error.type": errorType };
        process.record((performance.now() - begun) / 1000, { ...labels, ...type });
      },
    };
  }

  #client(
    name: string,
    type: string,
    queue: string,
    carries: boolean,
    message?: string,
  ): Operation {
    const api = this.#api;
    if (!api) return NOTHING;
    const labels = {
      ...SYSTEM,
      "messaging.operation.name": name,
      "messaging.destination.name": queue,
    };
    const attributes = {
      ...labels,
      "messaging.operation.type": type,
      ...(message === undefined ? {} : { "messaging.message.id": message }),
    };
    const kind = carries ? api.SpanKind.PRODUCER : api.SpanKind.CLIENT;
    const span = api.trace
      .getTracer("lessor", VERSION)
      .startSpan(`${name} ${queue}`, { kind, attributes });
    const context = api.trace.setSpan(api.context.active(), span);
    const begun = performance.now();
    const { operation, sent } = this.#meters(api);
    let headers: Record<string, string> | undefined;
    if (carries && span.isRecording()) {
      headers = {};
      api.propagation.inject(context, headers);
      if (!headers.traceparent) headers = undefined;
    }
    return {
      headers,
      run: (work) => api.context.with(context, work),
      end: (errorType, error) => {
        finish(api, span, errorType, error);
        const failed = errorType === undefined ? {} : { "error.type": errorType };
        operation.record((performance.now() - begun) / 1000, { ...labels, ...failed });
        if (type === "send" && errorType === undefined) sent.add(1, labels);
      },
    };
  }

  #meters(api: Known): Instruments {
    if (this.#instruments) return this.#instruments;
    const meter = api.metrics.getMeter("lessor", VERSION);
    const advice = { explicitBucketBoundaries: BUCKETS };
    const seconds = { unit: "s", advice };
    this.#instruments = {
      operation: meter.createHistogram("messaging.client.operation.duration", seconds),
      process: meter.createHistogram("messaging.process.duration", seconds),
      sent: meter.createCounter("messaging.client.sent.messages"),
      consumed: meter.createCounter("messaging.client.consumed.messages"),
    };
    return this.#instruments;
  }
}

function finish(api: Known, span: Api.Span, errorType?: string, error?: unknown): void {
  if (errorType !== undefined) {
    span.setAttribute("error.type", errorType);
    span.setStatus({
      code: api.SpanStatusCode.ERROR,
      message: error instanceof Error ? error.message : String(error ?? errorType),
    });
    if (error instanceof Error) span.recordException(error);
  }
  span.end();
}

import type { Span } from "./duration.js";

/** When a failed attempt is tried again. What is unset is the queue's to decide. */
export interface RetryOptions {
  /** Attempts in all, the first included; -1 means no limit. Default 3. */
  maxAttempts?: number;
  /** Wait after the first failed attempt. Default 2 s. */
  initialBackoff?: Span;
  /** Growth of the wait; 1 keeps it fixed. Default 2. */
  multiplier?: number;
  /** Longest wait. Default 1 h. */
  maxBackoff?: Span;
  /** Share of the wait that is random, 0 to 1; it only shortens the wait. Default 0.2. */
  jitter?: number;
  /** Explicit waits instead of the formula; the last one repeats. */
  backoffList?: Span[];
  /** Failure codes that make the job a dead letter at once. */
  fatalCodes?: string[];
  /** No retry begins later than this after the first attempt. */
  maxRetryDuration?: Span;
}

/** When another job counts as the same. */
export interface DedupOptions {
  key: string;
  /** How long the key is held. Default `until-finished`. */
  scope?: "until-started" | "until-finished" | "window";
  /** Length of the window; with the other scopes a cap. */
  window?: Span;
  /** What becomes of a duplicate. Default `keep`: the answer is the job that holds the key. */
  onDuplicate?: "keep" | "replace" | "run-after" | "reject";
}

/** How long a finished job is kept: until the age or the count is reached. */
export interface RetentionOptions {
  succeededTtl?: Span;
  /** How many the queue keeps; -1 means no limit by count. */
  succeededCount?: number;
  deadTtl?: Span;
  deadCount?: number;
}

/** What a producer may say about a job. */
export interface EnqueueOptions {
  /** The job's own id, unique in its queue; a taken one is refused. */
  jobId?: string;
  /** A UUID by which the broker knows a repeated request. Default: a random one. */
  requestId?: string;
  /** -1000 to 1000; the greater runs sooner. Default 0. */
  priority?: number;
  /** Run it no sooner than this from now. */
  delay?: Span;
  /** Run it no sooner than at this time. */
  scheduleTime?: Date;
  /** Never start it later than this after it was enqueued. */
  ttl?: Span;
  /** Never start it after this time. */
  expireTime?: Date;
  retry?: RetryOptions;
  /** For how long a worker may be silent before another one gets the job. Default 30 s. */
  leaseDuration?: Span;
  /** Longest time for one attempt. Default 30 min. */
  attemptTimeout?: Span;
  /** The key alone means: while a job with it is unfinished, return that one. */
  dedup?: string | DedupOptions;
  labels?: Record<string, string>;
  retention?: RetentionOptions;
  /** On whose behalf the job is enqueued. */
  owner?: string;
  /** Check the request and change nothing. */
  validateOnly?: boolean;
  /** `traceparent`, `tracestate`, `baggage`. Default: those of the active OpenTelemetry span. */
  traceContext?: Record<string, string>;
}

/** A job to be. */
export interface NewJob<Data = unknown> extends EnqueueOptions {
  type: string;
  data?: Data;
}

/** A job to be, of any queue. */
export interface NewJobIn<Data = unknown> extends NewJob<Data> {
  queue: string;
}

/** Where a job stands. The last four are final. */
export type JobState =
  | "scheduled"
  | "ready"
  | "leased"
  | "retrying"
  | "blocked"
  | "succeeded"
  | "dead"
  | "cancelled"
  | "expired";

/** What an enqueue did. */
export type EnqueueOutcome = "created" | "deduplicated" | "replaced" | "replayed";

/** How far an attempt has come. */
export interface Progress {
  percent?: number;
  message?: string;
  done?: number;
  total?: number;
}

/** How a call is made. */
export interface CallOptions {
  /** How long it may take, its repeats included. Default: that of the client, 10 s. */
  timeout?: Span;
  /** An abort ends the call. */
  signal?: AbortSignal;
}

/** Data that is not JSON: exact bytes, with a content type and an encoding of your own. */
export class Payload {
  constructor(
    readonly bytes: Uint8Array,
    readonly contentType = "application/octet-stream",
    /** `gzip`, `zstd` or any other; the broker never opens it. */
    readonly encoding = "",
  ) {}

  /** The bytes as UTF-8. */
  text(): string {
    return new TextDecoder().decode(this.bytes);
  }
}

// What a handler throws to say what shall become of its job.

import type { Span } from "./duration.js";

/** Facts about a failed attempt. */
export interface FailureOptions {
  /** Stable code in upper snake case, such as `HTTP_429`. */
  code?: string;
  /** Further facts, as a JSON object. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

abstract class Disposition extends Error {
  readonly code: string | undefined;
  readonly details: Record<string, unknown> | undefined;

  constructor(message: string, { code, details, cause }: FailureOptions = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = new.target.name;
    this.code = code;
    this.details = details;
  }
}

/** The attempt failed. The job is tried again after `delay`, or after the backoff of its policy. */
export class RetryError extends Disposition {
  readonly delay: Span | undefined;

  constructor(message: string, options: FailureOptions & { delay?: Span } = {}) {
    super(message, options);
    this.delay = options.delay;
  }
}

/** The job will never succeed: it becomes a dead letter now. */
export class UnrecoverableError extends Disposition {}

/** Not now: the job runs again after `delay`, and the attempt does not count. */
export class SnoozeError extends Disposition {
  constructor(
    readonly delay: Span,
    message = "put off",
  ) {
    super(message);
  }
}

/** The job goes back at once, in front, and the attempt does not count. */
export class ReleaseError extends Disposition {
  constructor(message = "given back") {
    super(message);
  }
}

/** Somebody cancelled the job: the reason of an aborted `context.signal`. Stop, and throw. */
export class JobCancelledError extends Error {
  override readonly name = "JobCancelledError";

  constructor(
    /** Why, in the words of whoever cancelled. */
    readonly reason: string,
    /** How long there is until the lease ends. */
    readonly withinMs: number | undefined,
  ) {
    super(reason === "" ? "the job is cancelled" : `the job is cancelled: ${reason}`);
  }
}

/** The attempt took too long: the reason of an aborted `context.signal`. */
export class AttemptTimeoutError extends Error {
  override readonly name = "AttemptTimeoutError";
  readonly code = "ATTEMPT_TIMEOUT";
}

/** The worker stops, and its grace is over: the reason of an aborted `context.signal`. */
export class WorkerShutdownError extends Error {
  override readonly name = "WorkerShutdownError";
}

/** A gRPC status, by name. */
export type StatusCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

/** A field of a request that is wrong, and why. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What an error is made of. */
export interface ErrorFacts {
  readonly code: StatusCode;
  readonly message: string;
  readonly reason?: string | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly retryAfterMs?: number | undefined;
  readonly fieldViolations?: readonly FieldViolation[] | undefined;
  readonly cause?: unknown;
}

/**
 * A call that failed, or one item of a batch that did. Decide by the class, by `code` or, finer, by
 * `reason`; the message is for people.
 */
export class LessorError extends Error {
  /** The gRPC status. */
  readonly code: StatusCode;
  /** The broker's stable word for what happened, such as `QUEUE_FULL`; unset when no broker answered. */
  readonly reason: string | undefined;
  /** The facts behind the reason, such as `limitBytes` or `state`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** How long the broker asks callers to wait before they try again. */
  readonly retryAfterMs: number | undefined;
  /** The fields of the request that are wrong. */
  readonly fieldViolations: readonly FieldViolation[];

  constructor(facts: ErrorFacts) {
    super(facts.message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.code = facts.code;
    this.reason = facts.reason;
    this.metadata = facts.metadata ?? {};
    this.retryAfterMs = facts.retryAfterMs;
    this.fieldViolations = facts.fieldViolations ?? [];
  }
}

/** The request is wrong: see `fieldViolations`. */
export class InvalidArgumentError extends LessorError {}
/** There is no such job, queue, schedule or worker, or no longer. */
export class NotFoundError extends LessorError {}
/** The chosen id is taken, or the dedup key is held. */
export class AlreadyExistsError extends LessorError {}
/** What is asked for is not possible as things are, or they changed meanwhile. */
export class PreconditionError extends LessorError {}
/** The job is no longer this worker's: drop the work, never settle it again. */
export class LeaseLostError extends PreconditionError {}
/** A limit is reached: back off, for `retryAfterMs` at least. */
export class ResourceExhaustedError extends LessorError {}
/** A passing fault. The client has tried again already, within the deadline of the call. */
export class UnavailableError extends LessorError {}
/** No answer in time. */
export class DeadlineError extends LessorError {}
/** The credential is missing, wrong or has expired. */
export class UnauthenticatedError extends LessorError {}
/** The credential does not allow the call. */
export class PermissionDeniedError extends LessorError {}
/** The history no longer reaches back to where the watch was to begin. */
export class CursorError extends LessorError {}
/** The broker does not have the call. */
export class UnimplementedError extends LessorError {}

const CLASSES: Partial<Record<StatusCode, typeof LessorError>> = {
  INVALID_ARGUMENT: InvalidArgumentError,
  NOT_FOUND: NotFoundError,
  ALREADY_EXISTS: AlreadyExistsError,
  FAILED_PRECONDITION: PreconditionError,
  ABORTED: PreconditionError,
  RESOURCE_EXHAUSTED: ResourceExhaustedError,
  UNAVAILABLE: UnavailableError,
  DEADLINE_EXCEEDED: DeadlineError,
  UNAUTHENTICATED: UnauthenticatedError,
  PERMISSION_DENIED: PermissionDeniedError,
  OUT_OF_RANGE: CursorError,
  UNIMPLEMENTED: UnimplementedError,
};

/** The error of the right class. */
export function errorOf(facts: ErrorFacts): LessorError {
  if (facts.reason === "LEASE_LOST") return new LeaseLostError(facts);
  return new (CLASSES[facts.code] ?? LessorError)(facts);
}

/** The wait for a job ran out; the job goes on. */
export class WaitTimeoutError extends Error {
  override readonly name = "WaitTimeoutError";

  constructor(
    /** Name of the job. */
    readonly job: string,
    timeoutMs: number,
  ) {
    super(`${job} has not ended in ${timeoutMs} ms`);
  }
}

/** The job whose result was waited for ended otherwise than by success. */
export class JobFailedError extends Error {
  override readonly name = "JobFailedError";

  constructor(
    /** Name of the job. */
    readonly job: string,
    /** How it ended: `dead`, `cancelled` or `expired`. */
    readonly state: string,
    /** The code of its last failure. */
    readonly failureCode: string | undefined,
    failureMessage: string | undefined,
  ) {
    super(`${job} is ${state}${failureMessage ? `: ${failureMessage}` : ""}`);
  }
}

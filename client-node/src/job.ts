import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { durationMs, timestampDate } from "@bufbuild/protobuf/wkt";
import type { EnqueueResponse } from "./gen/lessor/v1/enqueue_pb.js";
import { EnqueueResponse_Outcome } from "./gen/lessor/v1/enqueue_pb.js";
import type {
  Attempt as ProtoAttempt,
  Failure as ProtoFailure,
  Job as ProtoJob,
} from "./gen/lessor/v1/job_pb.js";
import { Attempt_Outcome, Job_State } from "./gen/lessor/v1/job_pb.js";
import type { EnqueueOutcome, JobState, Progress } from "./options.js";
import { decodePayload } from "./payload.js";

/** Why an attempt failed. */
export interface Failure {
  readonly code: string;
  readonly message: string;
  readonly stack: string;
  readonly details: unknown;
}

/** One lease of a job and how it ended. */
export interface Attempt {
  readonly number: number;
  readonly workerId: string;
  readonly startTime: Date | undefined;
  readonly endTime: Date | undefined;
  readonly outcome:
    | "running"
    | "succeeded"
    | "failed"
    | "lease-expired"
    | "timed-out"
    | "released"
    | "cancelled";
  readonly failure: Failure | undefined;
}

/** A job as the broker told of it. Payload, checkpoint, result and attempts are there in full views. */
export class Job<Data = unknown, Result = unknown> {
  #data: { value: Data } | undefined;

  constructor(
    /** The message of the protocol. */
    readonly proto: ProtoJob,
  ) {}

  /** `queues/{queue}/jobs/{job}`. */
  get name(): string {
    return this.proto.name;
  }
  get id(): string {
    return this.proto.name.slice(this.proto.name.lastIndexOf("/") + 1);
  }
  get queue(): string {
    return this.proto.name.split("/")[1] ?? "";
  }
  get type(): string {
    return this.proto.type;
  }
  get state(): JobState {
    return STATES[this.proto.state] ?? "ready";
  }
  /** It has ended: succeeded, dead, cancelled or expired. */
  get isFinished(): boolean {
    return this.proto.state >= Job_State.SUCCEEDED;
  }
  /** The payload: the JSON value, the bytes, or a `Payload` with a content type of its own. */
  get data(): Data {
    this.#data ??= { value: decodePayload(this.proto.payload) as Data };
    return this.#data.value;
  }
  get contentType(): string {
    return this.proto.payload?.contentType ?? "";
  }
  /** What the last attempt returned. */
  get result(): Result | undefined {
    return decodePayload(this.proto.result) as Result | undefined;
  }
  /** What an earlier attempt saved for this one. */
  get checkpoint(): unknown {
    return decodePayload(this.proto.checkpoint);
  }
  get priority(): number {
    return this.proto.priority;
  }
  get labels(): Readonly<Record<string, string>> {
    return this.proto.labels;
  }
  get owner(): string {
    return this.proto.owner;
  }
  /** Attempts that count, the present one included. */
  get attempt(): number {
    return this.proto.attempt;
  }
  /** Every lease ever made of this job. */
  get deliveryCount(): number {
    return this.proto.deliveryCount;
  }
  get leaseExpiredCount(): number {
    return this.proto.leaseExpiredCount;
  }
  /** Most attempts; -1 means no limit. */
  get maxAttempts(): number {
    return this.proto.retryPolicy?.maxAttempts ?? 0;
  }
  get createTime(): Date | undefined {
    return dateOf(this.proto.createTime);
  }
  get scheduleTime(): Date | undefined {
    return dateOf(this.proto.scheduleTime);
  }
  get expireTime(): Date | undefined {
    return dateOf(this.proto.expireTime);
  }
  get startTime(): Date | undefined {
    return dateOf(this.proto.startTime);
  }
  get endTime(): Date | undefined {
    return dateOf(this.proto.endTime);
  }
  get leaseDurationMs(): number | undefined {
    return msOf(this.proto.leaseDuration);
  }
  get attemptTimeoutMs(): number | undefined {
    return msOf(this.proto.attemptTimeout);
  }
  get progress(): Progress | undefined {
    const it = this.proto.progress;
    return it && progressOf(it);
  }
  get lastFailure(): Failure | undefined {
    return failureOf(this.proto.lastFailure);
  }
  /** The newest attempts, newest first. */
  get attempts(): Attempt[] {
    return this.proto.attempts.map(attemptOf);
  }
  get cancelRequested(): boolean {
    return this.proto.cancelRequested;
  }
  get workerId(): string {
    return this.proto.workerId;
  }
  get traceContext(): Readonly<Record<string, string>> {
    return this.proto.traceContext;
  }
  /** Version of the job, for calls that shall act only if it has not changed. */
  get etag(): string {
    return this.proto.etag;
  }

  toJSON(): Record<string, unknown> {
    const { name, type, state, data, result, priority, labels, owner, attempt, progress } = this;
    const { createTime, startTime, endTime, lastFailure } = this;
    return {
      ...{ name, type, state, data, result, priority, labels, owner, attempt, progress },
      ...{ createTime, startTime, endTime, lastFailure },
    };
  }
}

/** A job that the broker has. */
export interface Enqueued<Data = unknown, Result = unknown> {
  /** Without its payload. When the new job was a duplicate: the one that stays. */
  readonly job: Job<Data, Result>;
  readonly outcome: EnqueueOutcome;
}

export function enqueuedOf<D, R>(response: EnqueueResponse): Enqueued<D, R> {
  if (!response.job) throw new TypeError("the reply lacks the job");
  return { job: new Job<D, R>(response.job), outcome: OUTCOMES[response.outcome] ?? "created" };
}

export function progressOf(it: {
  percent: number;
  message: string;
  done: bigint;
  total: bigint;
}): Progress {
  return {
    percent: it.percent,
    message: it.message,
    done: Number(it.done),
    total: Number(it.total),
  };
}

export function failureOf(it: ProtoFailure | undefined): Failure | undefined {
  return it && { code: it.code, message: it.message, stack: it.stack, details: it.details };
}

export function dateOf(time: Timestamp | undefined): Date | undefined {
  return time && timestampDate(time);
}

export function msOf(duration: Duration | undefined): number | undefined {
  return duration && durationMs(duration);
}

/** The state's name here. */
export function stateOf(state: Job_State): JobState | undefined {
  return STATES[state];
}

/** The state's number in the protocol. */
export function protoState(state: JobState): Job_State {
  return Job_State[state.toUpperCase() as keyof typeof Job_State];
}

function attemptOf(it: ProtoAttempt): Attempt {
  return {
    number: it.number,
    workerId: it.workerId,
    startTime: dateOf(it.startTime),
    endTime: dateOf(it.endTime),
    outcome: ATTEMPTS[it.outcome] ?? "running",
    failure: failureOf(it.failure),
  };
}

const STATES: Partial<Record<Job_State, JobState>> = {
  [Job_State.SCHEDULED]: "scheduled",
  [Job_State.READY]: "ready",
  [Job_State.LEASED]: "leased",
  [Job_State.RETRYING]: "retrying",
  [Job_State.BLOCKED]: "blocked",
  [Job_State.SUCCEEDED]: "succeeded",
  [Job_State.DEAD]: "dead",
  [Job_State.CANCELLED]: "cancelled",
  [Job_State.EXPIRED]: "expired",
};

const OUTCOMES: Partial<Record<EnqueueResponse_Outcome, EnqueueOutcome>> = {
  [EnqueueResponse_Outcome.CREATED]: "created",
  [EnqueueResponse_Outcome.DEDUPLICATED]: "deduplicated",
  [EnqueueResponse_Outcome.REPLACED]: "replaced",
  [EnqueueResponse_Outcome.REPLAYED]: "replayed",
};

const ATTEMPTS: Partial<Record<Attempt_Outcome, Attempt["outcome"]>> = {
  [Attempt_Outcome.SUCCEEDED]: "succeeded",
  [Attempt_Outcome.FAILED]: "failed",
  [Attempt_Outcome.LEASE_EXPIRED]: "lease-expired",
  [Attempt_Outcome.TIMED_OUT]: "timed-out",
  [Attempt_Outcome.RELEASED]: "released",
  [Attempt_Outcome.CANCELLED]: "cancelled",
};

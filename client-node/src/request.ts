// What a producer says about a job, as the message of the protocol.

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { DurationSchema, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Span } from "./duration.js";
import { toMs } from "./duration.js";
import type { EnqueueRequest } from "./gen/lessor/v1/enqueue_pb.js";
import { EnqueueRequestSchema } from "./gen/lessor/v1/enqueue_pb.js";
import type { DedupSchema, RetentionSchema, RetryPolicySchema } from "./gen/lessor/v1/job_pb.js";
import { Dedup_OnDuplicate, Dedup_Scope } from "./gen/lessor/v1/job_pb.js";
import type { DedupOptions, NewJob, RetentionOptions, RetryOptions } from "./options.js";
import { encodePayload } from "./payload.js";

/** A span as a message; nothing for nothing. */
export function duration(span: Span | undefined, field: string): Duration | undefined {
  if (span === undefined) return undefined;
  const ms = toMs(span, field);
  return create(DurationSchema, {
    seconds: BigInt(Math.floor(ms / 1000)),
    nanos: Math.round((ms % 1000) * 1e6),
  });
}

/** A job to be as the message of the protocol: what a schedule takes, for example. */
export function enqueueRequest(queue: string, job: NewJob): EnqueueRequest {
  if (job.delay !== undefined && job.scheduleTime) throw both("delay", "scheduleTime");
  if (job.ttl !== undefined && job.expireTime) throw both("ttl", "expireTime");
  const request: MessageInitShape<typeof EnqueueRequestSchema> = {
    queue,
    type: job.type,
    payload: encodePayload(job.data),
    requestId: job.requestId ?? "",
    jobId: job.jobId ?? "",
    priority: job.priority ?? 0,
    owner: job.owner ?? "",
    validateOnly: job.validateOnly ?? false,
  };
  if (job.scheduleTime) {
    request.start = { case: "scheduleTime", value: timestampFromDate(job.scheduleTime) };
  } else if (job.delay !== undefined) {
    request.start = { case: "delay", value: duration(job.delay, "delay") as Duration };
  }
  if (job.expireTime) {
    request.expiry = { case: "expireTime", value: timestampFromDate(job.expireTime) };
  } else if (job.ttl !== undefined) {
    request.expiry = { case: "ttl", value: duration(job.ttl, "ttl") as Duration };
  }
  if (job.retry) request.retryPolicy = retryPolicy(job.retry);
  if (job.leaseDuration) request.leaseDuration = duration(job.leaseDuration, "leaseDuration");
  if (job.attemptTimeout) request.attemptTimeout = duration(job.attemptTimeout, "attemptTimeout");
  if (job.dedup) request.dedup = dedupOf(job.dedup);
  if (job.labels) request.labels = job.labels;
  if (job.retention) request.retention = retentionOf(job.retention);
  return create(EnqueueRequestSchema, request);
}

function both(one: string, other: string): TypeError {
  return new TypeError(`${one} and ${other} say the same: set one of them`);
}

function retryPolicy(it: RetryOptions): MessageInitShape<typeof RetryPolicySchema> {
  return {
    maxAttempts: it.maxAttempts ?? 0,
    initialBackoff: duration(it.initialBackoff, "retry.initialBackoff"),
    multiplier: it.multiplier ?? 0,
    maxBackoff: duration(it.maxBackoff, "retry.maxBackoff"),
    ...(it.jitter === undefined ? {} : { jitter: it.jitter }),
    backoffList: (it.backoffList ?? []).map(
      (span) => duration(span, "retry.backoffList") as Duration,
    ),
    fatalCodes: it.fatalCodes ?? [],
    maxRetryDuration: duration(it.maxRetryDuration, "retry.maxRetryDuration"),
  };
}

function dedupOf(given: string | DedupOptions): MessageInitShape<typeof DedupSchema> {
  const it: DedupOptions = typeof given === "string" ? { key: given } : given;
  return {
    key: it.key,
    scope: it.scope === undefined ? Dedup_Scope.UNSPECIFIED : SCOPES[it.scope],
    window: duration(it.window, "dedup.window"),
    onDuplicate:
      it.onDuplicate === undefined ? Dedup_OnDuplicate.UNSPECIFIED : ON_DUPLICATE[it.onDuplicate],
  };
}

function retentionOf(it: RetentionOptions): MessageInitShape<typeof RetentionSchema> {
  return {
    succeededTtl: duration(it.succeededTtl, "retention.succeededTtl"),
    succeededCount: it.succeededCount ?? 0,
    deadTtl: duration(it.deadTtl, "retention.deadTtl"),
    deadCount: it.deadCount ?? 0,
  };
}

const SCOPES: Record<NonNullable<DedupOptions["scope"]>, Dedup_Scope> = {
  "until-started": Dedup_Scope.UNTIL_STARTED,
  "until-finished": Dedup_Scope.UNTIL_FINISHED,
  window: Dedup_Scope.WINDOW,
};

const ON_DUPLICATE: Record<NonNullable<DedupOptions["onDuplicate"]>, Dedup_OnDuplicate> = {
  keep: Dedup_OnDuplicate.KEEP,
  replace: Dedup_OnDuplicate.REPLACE,
  "run-after": Dedup_OnDuplicate.RUN_AFTER,
  reject: Dedup_OnDuplicate.REJECT,
};

// Jobs and requests as the JSON of the protocol.

import type { Span } from "../duration.js";
import { toMs } from "../duration.js";
import type { EnqueueRequestJson } from "../gen/lessor/v1/enqueue_pb.js";
import type { JobJson, PayloadJson, ProgressJson } from "../gen/lessor/v1/job_pb.js";
import type { JobState, NewJob, Progress } from "../options.js";
import { Payload } from "../options.js";

/** A job as the broker told of it: plain data. */
export interface Job<Data = unknown, Result = unknown> {
  /** `queues/{queue}/jobs/{job}`. */
  readonly name: string;
  readonly id: string;
  readonly queue: string;
  readonly type: string;
  readonly state: JobState;
  readonly data: Data;
  readonly result: Result | undefined;
  readonly checkpoint: unknown;
  readonly priority: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly owner: string;
  readonly attempt: number;
  readonly progress: Progress | undefined;
  readonly lastFailure: { code: string; message: string } | undefined;
  readonly createTime: Date | undefined;
  readonly startTime: Date | undefined;
  readonly endTime: Date | undefined;
  readonly traceContext: Readonly<Record<string, string>>;
  readonly etag: string;
}

export function jobOf<Data, Result>(json: JobJson): Job<Data, Result> {
  const name = json.name ?? "";
  return {
    name,
    id: name.slice(name.lastIndexOf("/") + 1),
    queue: name.split("/")[1] ?? "",
    type: json.type ?? "",
    state: stateOf(json.state) ?? "ready",
    data: readPayload(json.payload) as Data,
    result: readPayload(json.result) as Result | undefined,
    checkpoint: readPayload(json.checkpoint),
    priority: json.priority ?? 0,
    labels: json.labels ?? {},
    owner: json.owner ?? "",
    attempt: json.attempt ?? 0,
    progress: progressOf(json.progress),
    lastFailure: json.lastFailure && {
      code: json.lastFailure.code ?? "",
      message: json.lastFailure.message ?? "",
    },
    createTime: dateOf(json.createTime),
    startTime: dateOf(json.startTime),
    endTime: dateOf(json.endTime),
    traceContext: json.traceContext ?? {},
    etag: json.etag ?? "",
  };
}

export function stateOf(word: string | undefined): JobState | undefined {
  if (!word || word === "STATE_UNSPECIFIED") return undefined;
  return word.replace("STATE_", "").toLowerCase() as JobState;
}

export function progressOf(json: ProgressJson | undefined): Progress | undefined {
  if (!json) return undefined;
  const { percent = 0, message = "", done = 0, total = 0 } = json;
  return { percent: Number(percent), message, done: Number(done), total: Number(total) };
}

export function dateOf(written: string | undefined): Date | undefined {
  return written === undefined ? undefined : new Date(written);
}

/** A span as JSON has it, `"1.5s"`; nothing for nothing. */
export function written(span: Span | undefined, field: string): string | undefined {
  return span === undefined ? undefined : `${toMs(span, field) / 1000}s`;
}

export function enqueueRequest(queue: string, job: NewJob): EnqueueRequestJson {
  const { retry, dedup: key, retention } = job;
  const dedup = typeof key === "string" ? { key } : key;
  return compact({
    queue,
    type: job.type,
    payload: payloadOf(job.data),
    requestId: job.requestId,
    jobId: job.jobId,
    priority: job.priority,
    delay: written(job.delay, "delay"),
    scheduleTime: job.scheduleTime?.toISOString(),
    ttl: written(job.ttl, "ttl"),
    expireTime: job.expireTime?.toISOString(),
    leaseDuration: written(job.leaseDuration, "leaseDuration"),
    attemptTimeout: written(job.attemptTimeout, "attemptTimeout"),
    labels: job.labels,
    owner: job.owner,
    validateOnly: job.validateOnly,
    retryPolicy: retry && {
      ...compact({ ...retry, backoffList: undefined }),
      ...compact({
        initialBackoff: written(retry.initialBackoff, "retry.initialBackoff"),
        maxBackoff: written(retry.maxBackoff, "retry.maxBackoff"),
        maxRetryDuration: written(retry.maxRetryDuration, "retry.maxRetryDuration"),
        backoffList: retry.backoffList?.map((it) => written(it, "retry.backoffList") ?? "0s"),
      }),
    },
    dedup: dedup && {
      key: dedup.key,
      ...compact({ window: written(dedup.window, "dedup.window") }),
      ...(dedup.scope && { scope: enumOf("SCOPE", dedup.scope) }),
      ...(dedup.onDuplicate && { onDuplicate: enumOf("ON_DUPLICATE", dedup.onDuplicate) }),
    },
    retention: retention && {
      ...compact({ ...retention }),
      ...compact({
        succeededTtl: written(retention.succeededTtl, "retention.succeededTtl"),
        deadTtl: written(retention.deadTtl, "retention.deadTtl"),
      }),
    },
  }) as EnqueueRequestJson;
}

/** Without what is undefined. */
export function compact<T extends object>(given: T): T {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as T;
}

function enumOf(prefix: string, word: string): string {
  return `${prefix}_${word.toUpperCase().replaceAll("-", "_")}`;
}

/** A value as it travels: bytes as they are, all else as JSON. */
export function payloadOf(value: unknown): PayloadJson | undefined {
  if (value === undefined) return undefined;
  if (value instanceof Payload) {
    const { bytes, contentType, encoding } = value;
    return { data: base64(bytes), contentType, encoding };
  }
  if (value instanceof Uint8Array) return { data: base64(value) };
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return { data: base64(bytes), contentType: "application/json" };
}

function readPayload(payload: PayloadJson | undefined): unknown {
  if (!payload) return undefined;
  if (payload.json !== undefined) return payload.json;
  const { contentType = "", encoding = "" } = payload;
  const bytes = Uint8Array.from(atob(payload.data ?? ""), (letter) => letter.charCodeAt(0));
  if (encoding !== "") return new Payload(bytes, contentType, encoding);
  if (/^application\/(?:[\w.+-]*\+)?json\b/i.test(contentType)) {
    return bytes.length === 0 ? undefined : JSON.parse(new TextDecoder().decode(bytes));
  }
  const isPlain = contentType === "" || contentType === "application/octet-stream";
  return isPlain ? bytes : new Payload(bytes, contentType);
}

const CHUNK = 0x8000;

function base64(bytes: Uint8Array): string {
  let letters = "";
  for (let from = 0; from < bytes.length; from += CHUNK) {
    letters += String.fromCharCode(...bytes.subarray(from, from + CHUNK));
  }
  return btoa(letters);
}

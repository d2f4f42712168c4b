// What becomes of a job: from what its handler returned or threw.

import type { JsonObject } from "@bufbuild/protobuf";
import { toMs } from "../duration.js";
import { LessorError } from "../errors.js";
import type { EnqueueRequest } from "../gen/lessor/v1/enqueue_pb.js";
import {
  JobCancelledError,
  ReleaseError,
  RetryError,
  SnoozeError,
  UnrecoverableError,
  WorkerShutdownError,
} from "../outcome.js";
import { encodePayload } from "../payload.js";
import { duration } from "../request.js";
import type { Nack, Settlement } from "./source.js";

/** How an attempt ended, for logs and events. */
export type Ending = "completed" | "failed" | "snoozed" | "released" | "cancelled";

/** More than this no broker takes, and a stream would break by it. */
const MOST_BYTES = 3 << 20;
const MOST_CHARACTERS = 16_384;

/** The result, as it is sent. Throws when it is none that can be kept. */
export function ackOf(result: unknown, then: EnqueueRequest[]): Settlement {
  const payload = encodePayload(result);
  const size = payload?.body?.case === "data" ? (payload.body.value?.length ?? 0) : 0;
  if (size > MOST_BYTES) {
    throw new UnrecoverableResult(`the result has ${size} bytes`);
  }
  return { verb: "ack", request: { result: payload, then } };
}

class UnrecoverableResult extends Error {
  readonly code = "PAYLOAD_TOO_LARGE";
}

/** What is said of a handler that threw. `stop` is why it was told to stop, if it was. */
export function nackOf(error: unknown, stop: unknown): { settlement: Settlement; ending: Ending } {
  const nack = (disposition: Nack["disposition"], ending: Ending) => {
    const request: Nack = { failure: failureOf(error), disposition };
    return { settlement: { verb: "nack" as const, request }, ending };
  };
  if (stop instanceof JobCancelledError) return nack({ case: "retry", value: {} }, "cancelled");
  if (stop instanceof WorkerShutdownError || error instanceof ReleaseError) {
    return nack({ case: "release", value: {} }, "released");
  }
  if (error instanceof SnoozeError) {
    return nack({ case: "snooze", value: { delay: duration(error.delay, "delay") } }, "snoozed");
  }
  if (error instanceof UnrecoverableError) return nack({ case: "dead", value: {} }, "failed");
  const delay = error instanceof RetryError ? error.delay : undefined;
  return nack({ case: "retry", value: { delay: duration(delay, "delay") } }, "failed");
}

/** Nobody here can run the job; another worker may. */
export function unknownType(type: string): Settlement {
  const failure = { code: "NO_HANDLER", message: `no handler for ${JSON.stringify(type)}` };
  return { verb: "nack", request: { failure, disposition: { case: "retry", value: {} } } };
}

const CODE = /^[A-Z][A-Z0-9_]{0,63}$/;

/** The stable word for an error: its own code, the broker's reason, or its class. */
export function codeOf(error: unknown): string {
  if (error instanceof LessorError) return error.reason ?? error.code;
  if (!(error instanceof Error)) return "HANDLER_FAILED";
  const { code } = error as { code?: unknown };
  if (typeof code === "string" && CODE.test(code)) return code;
  const name = error.name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase();
  const isTelling = !["ERROR", "RETRY_ERROR", "UNRECOVERABLE_ERROR"].includes(name);
  return isTelling && CODE.test(name) ? name : "HANDLER_FAILED";
}

function failureOf(error: unknown): NonNullable<Nack["failure"]> {
  if (!(error instanceof Error)) {
    return {
      code: "HANDLER_FAILED",
      message: cut(typeof error === "string" ? error : text(error)),
    };
  }
  const { details } = error as { details?: unknown };
  return {
    code: codeOf(error),
    message: cut(error.message),
    stack: cut(error.stack ?? ""),
    ...(isObject(details) ? { details } : {}),
  };
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

function cut(words: string): string {
  return words.length > MOST_CHARACTERS ? words.slice(0, MOST_CHARACTERS) : words;
}

/** Milliseconds of a timer, which must fit in 31 bits; nothing for more. */
export function timerMs(ms: number | undefined): number | undefined {
  return ms !== undefined && toMs(ms) < 2 ** 31 ? ms : undefined;
}

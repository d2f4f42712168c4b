// What went wrong, read from a gRPC status and its details.

import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import type { ServiceError, StatusObject } from "@grpc/grpc-js";
import { status } from "@grpc/grpc-js";
import type { ErrorFacts, LessorError, StatusCode } from "../errors.js";
import { errorOf } from "../errors.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../gen/google/rpc/error_details_pb.js";
import type { Status } from "../gen/google/rpc/status_pb.js";
import { StatusSchema } from "../gen/google/rpc/status_pb.js";

/** The error of a call that failed, on whichever side of the wire. */
export function fromCall(error: ServiceError | StatusObject, cause?: unknown): LessorError {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (bytes instanceof Buffer) {
    const told = fromBinary(StatusSchema, bytes);
    return errorOf({ ...factsOf(told), code: codeOf(error.code), message: error.details });
  }
  return errorOf({ code: localCode(error), message: error.details, cause });
}

/** The error of one item of a batch, or of one frame of a stream. */
export function fromStatus(told: Status): LessorError {
  return errorOf(factsOf(told));
}

function factsOf(told: Status): ErrorFacts {
  const facts: { -readonly [K in keyof ErrorFacts]: ErrorFacts[K] } = {
    code: codeOf(told.code),
    message: told.message,
  };
  for (const detail of told.details) {
    const info = anyUnpack(detail, ErrorInfoSchema);
    if (info) {
      facts.reason = info.reason;
      facts.metadata = info.metadata;
    }
    const retry = anyUnpack(detail, RetryInfoSchema);
    if (retry?.retryDelay) facts.retryAfterMs = durationMs(retry.retryDelay);
    const bad = anyUnpack(detail, BadRequestSchema);
    if (bad) {
      facts.fieldViolations = bad.fieldViolations.map(({ field, description }) => {
        return { field, description };
      });
    }
  }
  return facts;
}

function codeOf(code: number): StatusCode {
  return (status[code] as StatusCode | undefined) ?? "UNKNOWN";
}

/**
 * No broker sent this. A broken connection comes as one of several codes; callers see one, and it is
 * worth another try.
 */
function localCode(error: ServiceError | StatusObject): StatusCode {
  const broken = error.details.startsWith("Received RST_STREAM");
  return broken ? "UNAVAILABLE" : codeOf(error.code);
}

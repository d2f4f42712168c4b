// The calls that enqueue, as bytes: each job is encoded once, by whoever has it.

import { randomUUID } from "node:crypto";
import { toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { EnqueueRequest } from "./gen/lessor/v1/enqueue_pb.js";
import { BatchEnqueueRequestSchema, EnqueueRequestSchema } from "./gen/lessor/v1/enqueue_pb.js";

// Fields by number; the tests read what is written here as the messages that they are.
const REQUEST_ID = EnqueueRequestSchema.field.requestId.number;
const REQUESTS = BatchEnqueueRequestSchema.field.requests.number;
const ALLOW_PARTIAL = BatchEnqueueRequestSchema.field.allowPartial.number;
const BATCH_REQUEST_ID = BatchEnqueueRequestSchema.field.requestId.number;

/** A request to enqueue, encoded. */
export class Encoded {
  readonly bytes: Uint8Array;
  /** The ids that its caller chose, each with the queue that it is for. */
  readonly chosen: readonly string[];
  /** It has a request id of its caller's. */
  readonly isIdentified: boolean;

  constructor(request: EnqueueRequest) {
    this.bytes = toBinary(EnqueueRequestSchema, request);
    this.isIdentified = request.requestId !== "";
    const chosen: string[] = [];
    // One UUID may be written in several ways.
    const uuid = request.requestId.toLowerCase().replace(/[^0-9a-f]/g, "");
    if (this.isIdentified) chosen.push(`request ${request.queue} ${uuid}`);
    if (request.jobId !== "") chosen.push(`job ${request.queue} ${request.jobId}`);
    this.chosen = chosen;
  }

  /** With what makes it safe to repeat. */
  identified(): Uint8Array {
    if (this.isIdentified) return this.bytes;
    const id = new BinaryWriter().tag(REQUEST_ID, WireType.LengthDelimited).string(randomUUID());
    return Buffer.concat([this.bytes, id.finish()]);
  }
}

/** The call that enqueues many. It has one id, unless a caller chose one for its job. */
export function together(jobs: readonly Encoded[], allowPartial: boolean): Uint8Array {
  const isChosen = jobs.some((job) => job.chosen.length > 0);
  const call = new BinaryWriter();
  for (const job of jobs) {
    call.tag(REQUESTS, WireType.LengthDelimited).bytes(isChosen ? job.identified() : job.bytes);
  }
  if (!isChosen) call.tag(BATCH_REQUEST_ID, WireType.LengthDelimited).string(randomUUID());
  if (allowPartial) call.tag(ALLOW_PARTIAL, WireType.Varint).bool(true);
  return call.finish();
}

import { create } from "@bufbuild/protobuf";
import type { EnqueueRequest } from "../gen/lessor/v1/enqueue_pb.js";
import { ProgressSchema } from "../gen/lessor/v1/job_pb.js";
import type { Logger } from "../logger.js";
import type { EnqueueOptions, Progress } from "../options.js";
import { encodePayload } from "../payload.js";
import { enqueueRequest } from "../request.js";
import type { Report } from "./source.js";

/** What a handler has besides its job. */
export interface Context {
  /**
   * Aborted when the work is to stop. Its `reason` says why: a `JobCancelledError`, a
   * `LeaseLostError`, an `AttemptTimeoutError` or a `WorkerShutdownError`. Hand it to what takes a
   * signal, such as `fetch`.
   */
  readonly signal: AbortSignal;
  /** The name under which this worker leases. */
  readonly workerId: string;
  /** Logs with the job's fields. */
  readonly logger: Logger;
  /** Tells how far the attempt has come: a percentage, or more. Need not be awaited; it never throws. */
  progress(progress: number | Progress): Promise<void>;
  /** Keeps a state that the next attempt finds in `job.checkpoint`. */
  checkpoint(state: unknown): Promise<void>;
  /** A job for the same queue that is made together with this one's success, or not at all. */
  followUp<Data = unknown>(type: string, data?: Data, options?: EnqueueOptions): void;
}

/** What a context needs of its worker. */
export interface ContextParts {
  readonly signal: AbortSignal;
  readonly workerId: string;
  readonly logger: Logger;
  readonly queue: string;
  extend(report: Report): Promise<void>;
  reported(progress: Progress): void;
}

export class RunContext implements Context {
  readonly signal: AbortSignal;
  readonly workerId: string;
  readonly logger: Logger;
  readonly followUps: EnqueueRequest[] = [];
  readonly #parts: ContextParts;

  constructor(parts: ContextParts) {
    this.#parts = parts;
    this.signal = parts.signal;
    this.workerId = parts.workerId;
    this.logger = parts.logger;
  }

  // Arrows: handlers take a context apart.
  readonly progress = async (given: number | Progress): Promise<void> => {
    const {
      percent = 0,
      message = "",
      done = 0,
      total = 0,
    }: Progress = typeof given === "number" ? { percent: given } : given;
    try {
      const progress = create(ProgressSchema, {
        ...{ percent, message },
        ...{ done: BigInt(done), total: BigInt(total) },
      });
      await this.#parts.extend({ progress });
      this.#parts.reported({ percent, message, done, total });
    } catch (error) {
      const { message: why } = error as Error;
      this.logger.warn({ error_message: why }, "progress was not told");
    }
  };

  readonly checkpoint = (state: unknown): Promise<void> => {
    return this.#parts.extend({ checkpoint: encodePayload(state) });
  };

  readonly followUp = (type: string, data?: unknown, options: EnqueueOptions = {}): void => {
    this.followUps.push(enqueueRequest(this.#parts.queue, { ...options, type, data }));
  };
}

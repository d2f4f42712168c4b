// One attempt of one job: its handler is run, told when to stop, and what became of it is settled.

import { durationMs } from "@bufbuild/protobuf/wkt";
import { LeaseLostError, LessorError } from "../errors.js";
import { Job } from "../job.js";
import type { Logger } from "../logger.js";
import type { Progress } from "../options.js";
import { AttemptTimeoutError, JobCancelledError } from "../outcome.js";
import type { Telemetry } from "../telemetry.js";
import type { Handler } from "../types.js";
import { RunContext } from "./context.js";
import { ackOf, codeOf, type Ending, nackOf, timerMs, unknownType } from "./settlement.js";
import type { Lease, Settlement, Source } from "./source.js";

/** How an attempt ended. */
export type Outcome =
  | { ending: "completed"; result: unknown }
  | { ending: Exclude<Ending, "completed"> | "lost"; error: unknown };

/** What an attempt needs of its worker. */
export interface AttemptParts {
  readonly source: Source;
  readonly workerId: string;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  readonly abandonAfterMs: number;
  handlerOf(type: string): Handler | undefined;
  progressed(job: Job, progress: Progress): void;
  /** The handler is done: there is room for another, though the broker has not answered. */
  freed(): void;
}

export class Attempt {
  readonly job: Job;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  /** Settled when the handler is not waited for any more. */
  readonly #abandoned: Promise<never>;
  #abandon: (error: Error) => void = () => {};
  #isFreed = false;
  /** Progress and checkpoints whose answer is open. */
  readonly #reports = new Set<Promise<void>>();

  constructor(
    readonly lease: Lease,
    private readonly parts: AttemptParts,
  ) {
    const { job } = lease.leased;
    if (!job) throw new TypeError("a lease without a job");
    this.job = new Job(job);
    this.#logger = withFields(parts.logger, {
      queue: this.job.queue,
      job_id: this.job.id,
      job_type: this.job.type,
      attempt: this.job.attempt,
      worker_id: parts.workerId,
    });
    this.#abandoned = new Promise((_, reject) => {
      this.#abandon = reject;
    });
    this.#abandoned.catch(() => {});
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Tells the handler to stop. */
  stop(why: Error): void {
    if (!this.signal.aborted) this.#stop.abort(why);
  }

  cancel(reason: string, withinMs: number | undefined): void {
    this.stop(new JobCancelledError(reason, withinMs));
  }

  /** The lease is lost: the handler is told, and has some time to end. */
  lose(reason: string): void {
    const message = `the lease of ${this.job.name} is lost: ${reason}`;
    const lost = new LeaseLostError({ code: "FAILED_PRECONDITION", reason: "LEASE_LOST", message });
    this.stop(lost);
    setTimeout(() => {
      this.#abandon(lost);
    }, this.parts.abandonAfterMs).unref();
  }

  /** Runs the handler and settles the lease. Never throws. */
  async run(): Promise<Outcome> {
    const begun = performance.now();
    const { telemetry, workerId } = this.parts;
    const span = telemetry.process(this.job, workerId);
    const outcome = await span.run(() => this.#outcome());
    const { ending } = outcome;
    const error = "error" in outcome ? outcome.error : undefined;
    span.end(error === undefined ? undefined : codeOf(error), error);
    const fields = { outcome: ending, duration_ms: Math.round(performance.now() - begun) };
    if (error === undefined) {
      this.#logger.info(fields, `job ${ending}`);
    } else {
      const why = { error_code: codeOf(error), error_message: messageOf(error) };
      this.#logger.warn({ ...fields, ...why }, `job ${ending}`);
    }
    return outcome;
  }

  async #outcome(): Promise<Outcome> {
    const handler = this.parts.handlerOf(this.job.type);
    if (!handler) {
      const error = new Error(`no handler for ${JSON.stringify(this.job.type)}`);
      return this.#settle(unknownType(this.job.type), { ending: "released", error });
    }
    const timer = this.#attemptTimer();
    let result: unknown;
    let settlement: Settlement;
    try {
      const context = this.#context();
      result = await Promise.race([this.#call(handler, context), this.#abandoned]);
      settlement = ackOf(result, context.followUps);
    } catch (error) {
      return this.#fail(error);
    } finally {
      clearTimeout(timer);
    }
    const outcome = await this.#settle(settlement, { ending: "completed", result });
    // The broker cannot keep the result, or make the jobs that were to follow.
    if (outcome.ending === "failed") return this.#fail(outcome.error);
    return outcome;
  }

  // A handler that throws at once is one that rejects.
  async #call(handler: Handler, context: RunContext): Promise<unknown> {
    return handler(this.job, context);
  }

  async #fail(error: unknown): Promise<Outcome> {
    const { settlement, ending } = nackOf(error, this.signal.reason);
    return this.#settle(settlement, { ending: ending as "failed", error });
  }

  async #settle(settlement: Settlement, outcome: Outcome): Promise<Outcome> {
    const { lease } = this;
    if (!this.#isFreed) {
      this.#isFreed = true;
      this.parts.freed();
    }
    // After the settle they would find no lease.
    if (this.#reports.size > 0) await Promise.allSettled(this.#reports);
    if (lease.isLost) return { ending: "lost", error: this.signal.reason };
    const { telemetry, source } = this.parts;
    const span = telemetry.settle(settlement.verb, this.job);
    try {
      await source.settle(lease, settlement);
      span.end();
      return outcome;
    } catch (error) {
      span.end(codeOf(error), error);
      if (error instanceof LessorError && isGone(error)) {
        lease.isLost = true;
        this.stop(error);
        return { ending: "lost", error };
      }
      if (settlement.verb === "ack") return { ending: "failed", error };
      this.#logger.error({ error_message: messageOf(error) }, "a settle failed");
      return { ending: "lost", error };
    }
  }

  #report(report: Promise<void>): Promise<void> {
    this.#reports.add(report);
    const forget = () => this.#reports.delete(report);
    report.then(forget, forget);
    return report;
  }

  #attemptTimer(): NodeJS.Timeout | undefined {
    const { attemptRemaining } = this.lease.leased;
    const ms = timerMs(attemptRemaining && durationMs(attemptRemaining));
    if (ms === undefined) return undefined;
    const timer = setTimeout(
      () => this.stop(new AttemptTimeoutError("the attempt took too long")),
      ms,
    );
    return timer.unref();
  }

  #context(): RunContext {
    const { source, workerId, progressed } = this.parts;
    return new RunContext({
      signal: this.signal,
      workerId,
      logger: this.#logger,
      queue: this.job.queue,
      extend: (request) => this.#report(source.extend(this.lease, request)),
      reported: (progress) => progressed(this.job, progress),
    });
  }
}

function isGone({ reason, code }: LessorError): boolean {
  return reason === "LEASE_LOST" || reason === "LEASE_SETTLED" || code === "UNAVAILABLE";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function withFields(logger: Logger, fields: Record<string, unknown>): Logger {
  return {
    debug: (more, message) => logger.debug({ ...fields, ...more }, message),
    info: (more, message) => logger.info({ ...fields, ...more }, message),
    warn: (more, message) => logger.warn({ ...fields, ...more }, message),
    error: (more, message) => logger.error({ ...fields, ...more }, message),
  };
}

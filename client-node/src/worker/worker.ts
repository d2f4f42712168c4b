import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "../client.js";
import type { Span } from "../duration.js";
import { toMs } from "../duration.js";
import { type LessorError, UnimplementedError } from "../errors.js";
import type { Job } from "../job.js";
import type { Progress } from "../options.js";
import { WorkerShutdownError } from "../outcome.js";
import { duration } from "../request.js";
import type { ConnectionOptions, Settings } from "../settings.js";
import { settle } from "../settings.js";
import type { Handler, Handlers } from "../types.js";
import { VERSION } from "../version.js";
import { Attempt, type AttemptParts } from "./attempt.js";
import { type HealthOptions, serveHealth } from "./health.js";
import { Heartbeat } from "./heartbeat.js";
import { Polling } from "./poll.js";
import { closeOn } from "./signals.js";
import type { Lease, Listener, Source } from "./source.js";
import { type Hello, WorkStream } from "./stream.js";

/** How a worker works. */
export interface WorkerOptions extends ConnectionOptions {
  /** The broker of this client, instead of the options of a connection. */
  client?: Client;
  /** How many jobs at once. Default 1. */
  concurrency?: number;
  /**
   * The visibility timeout of every lease here: 1 s to 12 h. Default: the job's or the queue's. It is
   * extended while a handler runs.
   */
  leaseDuration?: Span;
  /** Only jobs of these types. Default: all; one without a handler goes back with `NO_HANDLER`. */
  types?: string[];
  /** A name for operators. Default: that of the host. */
  name?: string;
  /** What the id of the worker begins with; each worker adds its own end. Default: `name` and process. */
  id?: string;
  labels?: Record<string, string>;
  /** How long `close` lets handlers finish before it gives their jobs back. Default 25 s. */
  grace?: Span;
  /**
   * How long a handler whose lease is lost is waited for before its place is given to another job.
   * Default 10 s.
   */
  abandonAfter?: Span;
  /**
   * On which signals to close. The process ends with code 0 afterwards, unless it listens to the
   * signal itself. Default SIGTERM and SIGINT; `false`: none.
   */
  signals?: NodeJS.Signals[] | false;
  /** A health address for the probe of the pod. */
  health?: HealthOptions;
  /** Begin at once. Default true; else call `run`. */
  autorun?: boolean;
  /** Keep leases while the event loop is blocked, by a thread. Default true. */
  heartbeatThread?: boolean;
}

/** The events of a worker. */
// biome-ignore lint/suspicious/noExplicitAny: a worker of any payload is one
export interface WorkerEvents<Data = any, Result = any> {
  /** The broker is reached: again, after a `disconnected`. */
  ready: [];
  disconnected: [fault: LessorError | undefined];
  /** A handler begins. */
  active: [job: Job<Data, Result>];
  progress: [job: Job<Data, Result>, progress: Progress];
  completed: [job: Job<Data, Result>, result: Result];
  /** An attempt failed; the job is tried again as its policy says. */
  failed: [job: Job<Data, Result>, error: unknown];
  /** A job went back without being done: snoozed, released or of an unknown type. */
  released: [job: Job<Data, Result>, why: unknown];
  cancelled: [job: Job<Data, Result>];
  /** The lease was lost while the handler ran: nothing of it counts. */
  lost: [job: Job<Data, Result>, why: unknown];
  /** An operator drains the worker, which closes once its jobs are done. */
  drain: [reason: string];
  /** Something is wrong that is no job's fault. */
  error: [error: Error];
  closed: [];
}

const GRACE_MS = 25_000;
/** What a lease lasts that nobody says anything else of. */
const LEASE_MS = 30_000;
const ABANDON_MS = 10_000;
/** How long handlers have that were told to stop. */
const LAST_MOMENT_MS = 1_000;

/**
 * Runs the jobs of a queue, or of several, by a handler or by one for each type.
 *
 * ```ts
 * const worker = new Worker("emails", async (job) => send(job.data), { concurrency: 10 });
 * worker.on("failed", (job, error) => console.error(job.name, error));
 * ```
 */
// biome-ignore lint/suspicious/noExplicitAny: a worker of any payload is one
export class Worker<Data = any, Result = any> extends EventEmitter<WorkerEvents<Data, Result>> {
  /** The name under which this worker leases. */
  readonly id: string;
  readonly #settings: Settings;
  readonly #handler: Handler | Handlers;
  readonly #options: WorkerOptions;
  readonly #hello: Hello;
  readonly #attempts = new Map<Lease, Attempt>();
  #concurrency: number;
  /** Handlers that run. The others of the attempts wait for the broker's answer. */
  #busy = 0;
  #source: Source;
  #heartbeat: Heartbeat | undefined;
  #health: Server | undefined;
  #running: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  #isPaused = false;
  #isDraining = false;
  #idle: (() => void) | undefined;
  #removeSignals: (() => void) | undefined;
  #closed = false;

  constructor(
    queues: string | readonly string[],
    handler: Handler<Data, Result> | Handlers,
    options: WorkerOptions = {},
  ) {
    super();
    const { client, concurrency = 1, name = hostname(), types = [], labels = {} } = options;
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw new RangeError(`concurrency: ${concurrency} is no number of jobs`);
    }
    this.#options = options;
    this.#settings = client ? client.settings : settle(options);
    this.#handler = handler;
    this.#concurrency = concurrency;
    const suffix = randomBytes(4).toString("hex");
    this.id = `${(options.id ?? `${name}-${process.pid}`).slice(0, 100)}-${suffix}`;
    this.#hello = {
      worker: {
        workerId: this.id,
        displayName: name,
        labels,
        sdk: `node/${VERSION}`,
        concurrency,
      },
      queues: typeof queues === "string" ? [queues] : [...queues],
      types,
      leaseDuration: duration(options.leaseDuration, "leaseDuration"),
      autoExtend: true,
    };
    this.#source = new WorkStream(this.#settings, this.#hello, this.#listener());
    if (options.autorun ?? true) queueMicrotask(() => void this.run());
  }

  /** How many jobs at once; may be changed while it works. */
  get concurrency(): number {
    return this.#concurrency;
  }
  set concurrency(value: number) {
    this.#concurrency = value;
    this.#source.wake();
  }

  /** Jobs that run now. */
  get activeCount(): number {
    return this.#busy;
  }

  /** The broker is reached, and the worker takes jobs or finishes them. */
  get isHealthy(): boolean {
    return this.#source.isConnected;
  }

  /** The port of the health address. */
  get healthPort(): number | undefined {
    return (this.#health?.address() as AddressInfo | null | undefined)?.port;
  }

  /** Works until the worker is closed. Begins by itself, unless `autorun` is false. */
  run(): Promise<void> {
    this.#running ??= this.#closed ? Promise.resolve() : this.#run();
    return this.#running;
  }

  /** Takes no more jobs, until `resume`; a few that are on their way may still come. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#source.wake();
  }

  /**
   * Takes no more jobs and lets those that run finish, for `grace` at most; then their handlers are
   * told to stop, and what is left goes back at once and uncounted.
   */
  close({ grace = this.#options.grace ?? GRACE_MS }: { grace?: Span } = {}): Promise<void> {
    this.#closing ??= this.#close(toMs(grace, "grace"));
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(): Promise<void> {
    const { health, signals = ["SIGTERM", "SIGINT"], heartbeatThread = true } = this.#options;
    const fail = (error: Error) => this.#fail(error);
    await this.#settings.telemetry.ready;
    if (this.#closed) return;
    if (health) {
      const status = () => ({
        healthy: this.isHealthy,
        worker: this.id,
        active: this.activeCount,
        concurrency: this.#concurrency,
      });
      this.#health = serveHealth(health, status, fail);
    }
    if (signals) this.#removeSignals = closeOn(signals, (force) => this.#obey(force));
    if (heartbeatThread) {
      const capacity = Math.max(this.#concurrency * 2, 64);
      const unguarded = (error: Error) =>
        this.#settings.logger.warn(
          { worker_id: this.id, error_message: error.message },
          "leases are not kept while the event loop is blocked",
        );
      const leaseMs = toMs(this.#options.leaseDuration ?? LEASE_MS, "leaseDuration");
      this.#heartbeat = new Heartbeat(this.#settings, leaseMs, capacity, unguarded);
      await this.#heartbeat.ready;
      if (this.#closed) return;
    }
    try {
      await this.#work();
    } catch (error) {
      this.#fail(error as Error);
    }
    await this.close();
  }

  /** Works on a stream, or by calls where the broker has none. */
  async #work(): Promise<void> {
    try {
      await this.#source.run();
    } catch (error) {
      if (!(error instanceof UnimplementedError) || this.#closing) throw error;
      this.#source = new Polling(this.#settings, this.#hello, this.#listener());
      await this.#source.run();
    }
  }

  #listener(): Listener {
    const fields = { worker_id: this.id };
    const { logger } = this.#settings;
    return {
      room: () => this.#room(),
      job: (lease) => void (this.#isEnding ? this.#giveBack(lease) : this.#attempt(lease)),
      cancel: (lease, reason, within) => this.#attempts.get(lease)?.cancel(reason, within),
      lost: (lease, reason) => {
        this.#heartbeat?.remove(lease);
        this.#attempts.get(lease)?.lose(reason);
      },
      drain: (reason) => this.#drain(reason),
      connected: () => {
        logger.info(fields, "worker is connected");
        this.#tell("ready");
      },
      disconnected: (fault) => {
        logger.warn({ ...fields, error_message: fault?.message }, "worker is disconnected");
        this.#tell("disconnected", fault);
      },
    };
  }

  #room(): number {
    if (this.#isPaused || this.#isEnding) return 0;
    const most = this.#concurrency;
    return Math.max(0, Math.min(most - this.#busy, 2 * most - this.#attempts.size));
  }

  get #isEnding(): boolean {
    return this.#isDraining || this.#closing !== undefined;
  }

  /** It was on its way when the worker stopped. */
  async #giveBack(lease: Lease): Promise<void> {
    const request = { disposition: { case: "release" as const, value: {} } };
    // Else it goes back with the goodbye.
    await this.#source.settle(lease, { verb: "nack", request }).catch(() => {});
  }

  async #attempt(lease: Lease): Promise<void> {
    const attempt = new Attempt(lease, this.#parts());
    const { job } = attempt;
    this.#attempts.set(lease, attempt);
    this.#busy += 1;
    this.#heartbeat?.add(lease);
    this.#tell("active", job);
    const outcome = await attempt.run();
    this.#heartbeat?.remove(lease);
    this.#attempts.delete(lease);
    this.#source.wake();
    if (outcome.ending === "completed") this.#tell("completed", job, outcome.result as Result);
    else if (outcome.ending === "failed") this.#tell("failed", job, outcome.error);
    else if (outcome.ending === "cancelled") this.#tell("cancelled", job);
    else if (outcome.ending === "lost") this.#tell("lost", job, outcome.error);
    else this.#tell("released", job, outcome.error);
    if (this.#attempts.size === 0) this.#idle?.();
  }

  #parts(): AttemptParts {
    const { logger, telemetry } = this.#settings;
    return {
      ...{ logger, telemetry, source: this.#source, workerId: this.id },
      abandonAfterMs: toMs(this.#options.abandonAfter ?? ABANDON_MS, "abandonAfter"),
      handlerOf: (type) => {
        const handler = this.#handler;
        if (typeof handler === "function") return handler;
        return Object.hasOwn(handler, type) ? handler[type] : undefined;
      },
      freed: () => {
        this.#busy -= 1;
      },
      progressed: (job, progress) => this.#tell("progress", job as Job<Data, Result>, progress),
    };
  }

  #drain(reason: string): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#settings.logger.info({ worker_id: this.id, reason }, "worker is drained");
    this.#tell("drain", reason);
    void this.#finished().then(() => this.close());
  }

  /** Waits until nothing runs. */
  async #finished(): Promise<void> {
    if (this.#attempts.size === 0) return;
    await new Promise<void>((resolve) => {
      const before = this.#idle;
      this.#idle = () => {
        before?.();
        resolve();
      };
    });
  }

  async #close(graceMs: number): Promise<void> {
    const finished = this.#finished();
    await within(finished, graceMs);
    if (this.#attempts.size > 0) {
      const why = new WorkerShutdownError("the worker stops");
      for (const attempt of this.#attempts.values()) attempt.stop(why);
      await within(finished, LAST_MOMENT_MS);
    }
    this.#closed = true;
    await this.#source.close();
    await this.#heartbeat?.stop();
    this.#health?.close();
    this.#removeSignals?.();
    this.#settings.logger.info({ worker_id: this.id }, "worker is closed");
    this.#tell("closed");
  }

  /** A signal came; a second one is an impatient one. */
  #obey(force: boolean): Promise<void> {
    if (!force) return this.close();
    for (const attempt of this.#attempts.values()) attempt.stop(new WorkerShutdownError("stopped"));
    return this.close();
  }

  #fail(error: Error): void {
    if (this.listenerCount("error") > 0) this.#tell("error", error);
    else
      this.#settings.logger.error(
        { worker_id: this.id, error_message: error.message },
        "worker failed",
      );
  }

  /** What a listener throws is no job's fault. */
  #tell<Name extends keyof WorkerEvents>(name: Name, ...about: unknown[]): void {
    try {
      (this as EventEmitter).emit(name, ...about);
    } catch (error) {
      const { message } = error as Error;
      this.#settings.logger.error({ event: name, error_message: message }, "a listener threw");
    }
  }
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  const enough = new AbortController();
  const patience = sleep(ms, undefined, { signal: enough.signal }).catch(() => {});
  await Promise.race([work, patience]);
  enough.abort();
}

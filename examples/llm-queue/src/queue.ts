// The queue as the app knew it, with the same verbs, events and numbers, on Lessor.

import { EventEmitter } from "node:events";
import { Client, type Handlers, type Job, type JobEvent, type RetryOptions, Worker } from "lessor";
import { Job_State, JobBrokerAdmin } from "lessor/proto";

const QUEUE = "llm";
/** 15 calls at once, as before; now of each worker process. */
const CONCURRENCY = 15;
/** Three attempts, after 2 s and 4 s, less some jitter. */
const RETRY: RetryOptions = { maxAttempts: 3, initialBackoff: "2s", multiplier: 2, jitter: 0.2 };

/** What may be cleaned, in the words of the old queue. */
const STATES = { completed: Job_State.SUCCEEDED, failed: Job_State.DEAD } as const;

export interface AddOptions {
  /** The greater runs sooner, as before. */
  priority?: number;
  /** Milliseconds from now. */
  delay?: number;
  scheduledFor?: Date;
  attempts?: number;
}

export interface LlmEvents {
  active: [{ id: string; attempt: number }];
  completed: [{ id: string; result: unknown; duration: number }];
  /** An attempt failed. `dead` follows if there is none left. */
  failed: [{ id: string; error: string; duration: number; willRetry: boolean }];
  dead: [{ id: string; error: string }];
  /** Its worker was silent for too long: another one gets the job. */
  stalled: [{ id: string }];
}

export interface Settings {
  address: string;
  retry?: RetryOptions;
  /** After how many milliseconds of silence a job counts as stalled. */
  stallInterval?: number;
}

export class LlmQueue extends EventEmitter<LlmEvents> {
  readonly #client: Client;
  readonly #workers: Worker[] = [];
  readonly #ending = new AbortController();
  #events: Promise<void> | undefined;

  private constructor(private readonly settings: Settings) {
    super();
    // The events are the log.
    this.#client = new Client({ address: settings.address, logger: false });
  }

  /** A queue whose events are heard from now on. */
  static async open(settings: Settings): Promise<LlmQueue> {
    const queue = new LlmQueue(settings);
    const { signal } = queue.#ending;
    const watch = queue.#client.watch({ queues: QUEUE, includeResult: true, signal });
    await watch.open();
    queue.#events = (async () => {
      for await (const event of watch) queue.#tell(event);
    })();
    return queue;
  }

  async add(type: string, data: unknown, options: AddOptions = {}): Promise<Job> {
    const { priority = 0, delay, scheduledFor, attempts } = options;
    const { job } = await this.#client.enqueue(QUEUE, type, data, {
      priority,
      retry: { ...RETRY, ...this.settings.retry, ...(attempts && { maxAttempts: attempts }) },
      ...(delay && { delay }),
      ...(scheduledFor && { scheduleTime: scheduledFor }),
    });
    return job;
  }

  process(handlers: Handlers, concurrency = CONCURRENCY): Worker {
    const leaseDuration = this.settings.stallInterval ?? 30_000;
    const worker = new Worker(QUEUE, handlers, {
      client: this.#client,
      concurrency,
      leaseDuration,
      signals: false,
    });
    worker.on("error", (error) => console.error("worker:", error.message));
    this.#workers.push(worker);
    return worker;
  }

  /** The result, however long it takes; throws if the job dies. */
  result(job: Job): Promise<unknown> {
    return this.#client.result(job);
  }

  async get(job: Job): Promise<Job> {
    return this.#client.get(job);
  }

  /** The five numbers. */
  async stats() {
    const { ready, leased, succeeded, dead, scheduled, retrying } = await this.#stats();
    return {
      waiting: Number(ready),
      active: Number(leased),
      completed: Number(succeeded),
      failed: Number(dead),
      delayed: Number(scheduled + retrying),
    };
  }

  /** Forgets what has been finished for longer than this; answers how many jobs that were. */
  async clean(ageMs: number, state: keyof typeof STATES): Promise<number> {
    const olderThan = { seconds: BigInt(Math.floor(ageMs / 1000)), nanos: 0 };
    let cleaned = 0n;
    for (let some = 1n; some > 0n; cleaned += some) {
      const request = { queue: QUEUE, state: STATES[state], ...(ageMs > 0 && { olderThan }) };
      some = (await this.#client.call(JobBrokerAdmin.method.purgeJobs, request)).purged;
    }
    return Number(cleaned);
  }

  /** Lets handlers finish, and hears no more events. */
  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
    this.#ending.abort();
    await this.#events;
    this.#client.close();
  }

  #stats() {
    return this.#client.call(JobBrokerAdmin.method.getQueueStats, { name: QUEUE });
  }

  #tell(event: JobEvent): void {
    const id = event.job.split("/").at(-1) ?? "";
    const error = event.failure?.message ?? "";
    const duration = event.runMs ?? 0;
    switch (event.type) {
      case "JOB_LEASED":
        this.emit("active", { id, attempt: event.attempt });
        break;
      case "JOB_SUCCEEDED":
        this.emit("completed", { id, result: event.result, duration });
        break;
      case "JOB_ATTEMPT_FAILED":
        this.emit("failed", { id, error, duration, willRetry: event.toState === "retrying" });
        break;
      case "JOB_DEAD":
        this.emit("dead", { id, error });
        break;
      case "JOB_LEASE_EXPIRED":
        this.emit("stalled", { id });
        break;
    }
  }
}

// What the tests of all scenarios need: a client, workers and names of their own.

import { randomBytes } from "node:crypto";
import type { EventEmitter } from "node:events";
import { type TestContext, test } from "node:test";
import {
  Client,
  type Handler,
  type Handlers,
  type JobRef,
  type WatchOptions,
  Worker,
  type WorkerEvents,
  type WorkerOptions,
} from "lessor";
import { Broker } from "./broker.js";

/** A deferred: what a handler waits for, or tells. */
export class Gate<T = void> {
  readonly promise: Promise<T>;
  open!: (value: T) => void;

  constructor() {
    this.promise = new Promise((resolve) => {
      this.open = resolve;
    });
  }
}

export class Stage {
  readonly queue = `q-${randomBytes(5).toString("hex")}`;
  readonly client: Client;

  constructor(
    private readonly t: TestContext,
    readonly address: string,
  ) {
    this.client = this.connect();
  }

  connect(options: ConstructorParameters<typeof Client>[0] = {}): Client {
    const client = new Client({ address: this.address, logger: false, ...options });
    this.t.after(() => client.close());
    return client;
  }

  /** A worker of the queue, closed with the test. */
  worker(handler: Handler | Handlers, options: WorkerOptions = {}): Worker {
    return this.workerOf(this.queue, handler, options);
  }

  workerOf(
    queues: string | string[],
    handler: Handler | Handlers,
    options: WorkerOptions = {},
  ): Worker {
    const worker = new Worker(queues, handler, {
      ...{ address: this.address, logger: false, signals: false, grace: 0, leaseDuration: "3s" },
      // Those whose handlers block are in processes of their own.
      heartbeatThread: false,
      ...options,
    });
    worker.on("error", () => {});
    this.t.after(() => worker.close());
    return worker;
  }

  /** The next event of a kind. */
  once<Name extends keyof WorkerEvents>(worker: Worker, name: Name): Promise<WorkerEvents[Name]> {
    const emitter: EventEmitter = worker;
    return new Promise((resolve) => {
      emitter.once(name, (...about) => resolve(about as WorkerEvents[Name]));
    });
  }

  /** Follows a job to its end; answers the types of its events. */
  async events(job: JobRef, options: WatchOptions = {}): Promise<string[]> {
    const types: string[] = [];
    for await (const event of this.client.watch({ job, ...options })) types.push(event.type);
    return types;
  }

  /** Waits until a job is told about in this way. */
  async told(job: JobRef, type: string): Promise<void> {
    for await (const event of this.client.watch({ job })) if (event.type === type) return;
    throw new Error(`the job ended without ${type}`);
  }
}

const TIMEOUT_MS = 30_000;

/** Tests of scenarios against one broker, several at once. */
export function scenarios(shared: () => Promise<Broker>) {
  let starting: Promise<Broker> | undefined;
  const started = () => {
    starting ??= shared();
    return starting;
  };
  const scenario = (name: string, body: (stage: Stage, t: TestContext) => Promise<void>) => {
    test(`scenario: ${name}`, { timeout: TIMEOUT_MS }, async (t) => {
      const broker = await started();
      await body(new Stage(t, broker.address), t);
    });
  };
  test.after(async () => (await starting)?.stop());
  return scenario;
}

export const ordinary = (): Promise<Broker> => Broker.start();

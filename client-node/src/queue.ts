import type { Client } from "./client.js";
import type { Enqueued } from "./job.js";
import type { CallOptions, EnqueueOptions, NewJob } from "./options.js";
import type { DataOf, Handlers, ResultOf } from "./types.js";
import type { Watch, WatchOptions } from "./watch.js";

/** The payload of a type, to be given or, where there is none, left out. */
type DataArgument<Data> = undefined extends Data
  ? [data?: Data, options?: EnqueueOptions]
  : [data: Data, options?: EnqueueOptions];

/** A job of one of the types of a queue. */
export type NewJobOf<H extends Handlers> = {
  [Type in keyof H & string]: NewJob<DataOf<H[Type]>> & { type: Type };
}[keyof H & string];

/** One queue, which knows the types of its jobs from their handlers. */
export class Queue<H extends Handlers = Handlers> {
  constructor(
    private readonly client: Client,
    readonly name: string,
  ) {}

  /** Hands one job to the broker. */
  enqueue<Type extends keyof H & string>(
    type: Type,
    ...[data, options]: DataArgument<DataOf<H[Type]>>
  ): Promise<Enqueued<DataOf<H[Type]>, ResultOf<H[Type]>>> {
    return this.client.enqueue(this.name, type, data as DataOf<H[Type]>, options);
  }

  /** Hands many jobs to the broker: all of them, or none. */
  enqueueBatch(jobs: readonly NewJobOf<H>[], options?: CallOptions): Promise<Enqueued[]> {
    return this.client.enqueueBatch(this.name, jobs, options);
  }

  /** What happens to the jobs of this queue. */
  watch(options: Omit<WatchOptions, "queues" | "job"> = {}): Watch {
    return this.client.watch({ ...options, queues: this.name });
  }
}

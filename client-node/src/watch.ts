// Watching: what happens to jobs, as it happens, from now or from a cursor on.

import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import type { Span } from "./duration.js";
import { toMs } from "./duration.js";
import { errorOf } from "./errors.js";
import { JobBroker } from "./gen/lessor/v1/broker_pb.js";
import type {
  Event as ProtoEvent,
  WatchEventsRequestSchema,
  WatchEventsResponse,
} from "./gen/lessor/v1/event_pb.js";
import { Event_Type } from "./gen/lessor/v1/event_pb.js";
import { dateOf, type Failure, failureOf, msOf, progressOf, stateOf } from "./job.js";
import type { JobState, Progress } from "./options.js";
import { decodePayload } from "./payload.js";
import { duration } from "./request.js";
import type { Connection } from "./rpc/connection.js";
import { isPassing, now, Pauses, persist } from "./rpc/retry.js";

/** What happened, such as `JOB_SUCCEEDED`: see docs/protocol.md. */
export type EventType = Exclude<keyof typeof Event_Type, "TYPE_UNSPECIFIED">;

/** Something that happened to a job or a queue. */
export interface JobEvent {
  /** The same in every delivery of the event. */
  readonly id: string;
  readonly type: EventType;
  readonly time: Date | undefined;
  readonly queue: string;
  /** Name of the job; empty for an event that is not about a job. */
  readonly job: string;
  readonly jobType: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly fromState: JobState | undefined;
  readonly toState: JobState | undefined;
  readonly attempt: number;
  readonly workerId: string;
  readonly progress: Progress | undefined;
  readonly failure: Failure | undefined;
  readonly result: unknown;
  readonly waitMs: number | undefined;
  readonly runMs: number | undefined;
  readonly reason: string;
  /** Who did it, where callers are asked who they are. */
  readonly actor: string;
  readonly traceContext: Readonly<Record<string, string>>;
}

/** What to watch, and from where on. */
export interface WatchOptions {
  /** Names, prefixes such as `mail-*`, or `*`. Default: all. */
  queues?: string | string[];
  /** One job: its present state comes first, and the watch ends with it. */
  job?: string | { readonly name: string };
  types?: EventType[];
  /** Only jobs with all of these labels. */
  labels?: Record<string, string>;
  /** Go on strictly after this cursor of an earlier watch. */
  cursor?: string;
  /** Begin with what happened at this time. */
  since?: Date;
  /** Begin with the oldest event that is kept. */
  oldest?: boolean;
  /** Send the result along when a job succeeds. */
  includeResult?: boolean;
  /** How often the broker shows that it is there when nothing happens. Default 15 s. */
  bookmarkInterval?: Span;
  signal?: AbortSignal;
}

const BOOKMARK_MS = 15_000;
/** So many bookmarks may be missing before the connection counts as lost. */
const MISSING = 3;

/**
 * The events as they come, to be read with `for await`. A watch that is cut off goes on after its
 * last cursor by itself; what ends it is thrown.
 */
export class Watch implements AsyncIterable<JobEvent> {
  readonly #request: MessageInitShape<typeof WatchEventsRequestSchema>;
  readonly #silenceMs: number;
  readonly #ending = new AbortController();
  #cursor: string | undefined;
  /** A stream that was opened before it is read, and its first page. */
  #opened: { pages: AsyncGenerator<WatchEventsResponse>; first: WatchEventsResponse[] } | undefined;

  constructor(
    private readonly connection: Connection,
    { signal, ...options }: WatchOptions,
  ) {
    const { queues = [], job, types = [], labels = {} } = options;
    const bookmark = toMs(options.bookmarkInterval ?? BOOKMARK_MS, "bookmarkInterval");
    this.#silenceMs = bookmark * MISSING;
    this.#cursor = options.cursor;
    this.#request = {
      queues: typeof queues === "string" ? [queues] : queues,
      job: typeof job === "object" ? job.name : (job ?? ""),
      types: types.map((type) => Event_Type[type]),
      labels,
      includeResult: options.includeResult ?? false,
      bookmarkInterval: duration(bookmark, "bookmarkInterval"),
    };
    if (options.since)
      this.#request.start = { case: "startTime", value: timestampFromDate(options.since) };
    else if (options.oldest) this.#request.start = { case: "oldest", value: true };
    if (signal?.aborted) this.close();
    else signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  /** Where a later watch may go on. */
  get cursor(): string | undefined {
    return this.#cursor;
  }

  /** Ends the watch: whoever reads it finds its end. */
  close(): void {
    this.#ending.abort();
  }

  /**
   * Begins the watch now, and not when it is read: what happens afterwards is not missed. Answers the
   * watch.
   */
  async open(): Promise<this> {
    const { timeoutMs } = this.connection.settings;
    const late = AbortSignal.timeout(timeoutMs);
    this.#opened ??= await persist(now() + timeoutMs, this.#ending.signal, async () => {
      const pages = this.#pages(late);
      try {
        const { value } = await pages.next();
        if (value) this.#cursor = value.cursor || this.#cursor;
        return { pages, first: value ? [value] : [] };
      } catch (error) {
        if (!late.aborted) throw error;
        const message = `no answer from ${this.connection.settings.address} in ${timeoutMs} ms`;
        throw errorOf({ code: "DEADLINE_EXCEEDED", message, cause: error });
      }
    });
    return this;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<JobEvent, void, undefined> {
    const { signal } = this.#ending;
    const pauses = new Pauses();
    try {
      while (!signal.aborted) {
        try {
          for await (const page of this.#next()) {
            pauses.reset();
            for (const event of page.events) yield eventOf(event);
            this.#cursor = page.cursor || this.#cursor;
          }
          return;
        } catch (error) {
          if (signal.aborted) return;
          if (!isPassing(error)) throw error;
          await sleep(pauses.next(error), undefined, { signal }).catch(() => {});
        }
      }
    } finally {
      this.close();
    }
  }

  /** The pages of the stream that is open already, or else of a new one. */
  async *#next(): AsyncGenerator<WatchEventsResponse, void, undefined> {
    const { pages, first } = this.#opened ?? { pages: this.#pages(), first: [] };
    this.#opened = undefined;
    yield* first;
    yield* pages;
  }

  /** The pages of one stream, whose first one must come before it is too late. */
  async *#pages(late?: AbortSignal): AsyncGenerator<WatchEventsResponse, void, undefined> {
    const { signal } = this.#ending;
    const start = this.#cursor ? { case: "cursor" as const, value: this.#cursor } : undefined;
    const request = start ? { ...this.#request, start } : this.#request;
    const stream = await this.connection.stream(JobBroker.method.watchEvents, request);
    const cancel = () => stream.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    if (signal.aborted) cancel();
    late?.addEventListener("abort", cancel, { once: true });
    let isSilent = false;
    const alarm = setTimeout(() => {
      isSilent = true;
      cancel();
    }, this.#silenceMs);
    try {
      for await (const page of stream as ClientReadableStream<WatchEventsResponse>) {
        alarm.refresh();
        late?.removeEventListener("abort", cancel);
        yield page as WatchEventsResponse;
        // The time that the reader takes is not the broker's.
        alarm.refresh();
      }
    } catch (error) {
      if (!isSilent) throw this.connection.errorOf(error as ServiceError);
      throw errorOf({ code: "UNAVAILABLE", message: "the broker is silent", cause: error });
    } finally {
      clearTimeout(alarm);
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }
}

function eventOf(it: ProtoEvent): JobEvent {
  return {
    id: it.id,
    type: Event_Type[it.type] as EventType,
    time: dateOf(it.time),
    queue: it.queue,
    job: it.job,
    jobType: it.jobType,
    labels: it.labels,
    fromState: stateOf(it.fromState),
    toState: stateOf(it.toState),
    attempt: it.attempt,
    workerId: it.workerId,
    progress: it.progress && progressOf(it.progress),
    failure: failureOf(it.failure),
    result: decodePayload(it.result),
    waitMs: msOf(it.waitDuration),
    runMs: msOf(it.runDuration),
    reason: it.reason,
    actor: it.actor,
    traceContext: it.traceContext,
  };
}

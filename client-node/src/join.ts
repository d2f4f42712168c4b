// Enqueues that ride together: while calls are under way, the jobs that come make the next one. There
// is no timer. The rules are those of docs/joined-enqueue.md.

import { setTimeout as sleep } from "node:timers/promises";
import { fromBinary } from "@bufbuild/protobuf";
import { Encoded, together } from "./batch.js";
import { errorOf, type LessorError } from "./errors.js";
import { JobBroker } from "./gen/lessor/v1/broker_pb.js";
import type { EnqueueRequest, EnqueueResponse } from "./gen/lessor/v1/enqueue_pb.js";
import { BatchEnqueueResponseSchema, EnqueueResponseSchema } from "./gen/lessor/v1/enqueue_pb.js";
import { type Connection, pathOf } from "./rpc/connection.js";
import { isPassing, now, pauseAfter } from "./rpc/retry.js";
import { fromStatus } from "./rpc/status.js";

/** Calls under way at most. With one the broker would be idle while the client reads its answer. */
const MOST_CALLS = 2;
const MOST_JOBS = 256;
const MOST_BYTES = 1 << 20;

type Result = EnqueueResponse | LessorError;

/** One caller and its job. */
class Seat {
  readonly job: Encoded;
  /** What the broker said last, where that is no answer yet. */
  refusal: LessorError | undefined;
  /** Told when the caller is answered, or has no time left. */
  whenLeft: (() => void) | undefined;
  #tell: ((result: Result) => void) | undefined;
  readonly answer: Promise<EnqueueResponse>;
  readonly #alarm: NodeJS.Timeout;

  constructor(
    request: EnqueueRequest,
    readonly deadline: number,
    late: () => LessorError,
  ) {
    this.job = new Encoded(request);
    this.answer = new Promise((resolve, reject) => {
      this.#tell = (result) => (result instanceof Error ? reject(result) : resolve(result));
    });
    this.#alarm = setTimeout(() => this.tell(late()), deadline - now());
  }

  /** Answered, or its caller has no time left. */
  get isLeft(): boolean {
    return this.#tell === undefined;
  }

  tell(result: Result): void {
    const tell = this.#tell;
    if (!tell) return;
    this.#tell = undefined;
    clearTimeout(this.#alarm);
    tell(result);
    this.whenLeft?.();
  }
}

export class Joiner {
  readonly #line: Seat[] = [];
  #busy = 0;
  #collecting = false;

  constructor(
    private readonly connection: Connection,
    private readonly timeoutMs: number,
  ) {}

  enqueue(request: EnqueueRequest): Promise<EnqueueResponse> {
    const late = () => {
      const { address } = this.connection.settings;
      const message = `no answer from ${address} in ${this.timeoutMs} ms`;
      return errorOf({ code: "DEADLINE_EXCEEDED", message });
    };
    const seat = new Seat(request, now() + this.timeoutMs, late);
    this.#line.push(seat);
    this.#staff();
    return seat.answer;
  }

  /** Sees to it that somebody takes what waits, if a call more may be under way. */
  #staff(): void {
    if (this.#collecting || this.#busy === MOST_CALLS || this.#line.length === 0) return;
    this.#collecting = true;
    this.#busy += 1;
    // Whoever is ready to enqueue as well does so first.
    setImmediate(() => this.#depart());
  }

  async #depart(): Promise<void> {
    this.#collecting = false;
    const seats = this.#take();
    // What is too much for one call need not wait for its end.
    this.#staff();
    if (seats.length > 0) await this.#travel(seats);
    this.#busy -= 1;
    this.#staff();
  }

  /** The longest run of jobs from the front that one call carries. */
  #take(): Seat[] {
    const seats: Seat[] = [];
    const chosen = new Set<string>();
    let bytes = 0;
    let taken = 0;
    for (const seat of this.#line) {
      if (seats.length === MOST_JOBS) break;
      if (!seat.isLeft) {
        bytes += seat.job.bytes.length;
        // A batch refuses an id that stands in it twice.
        const isTwice = seat.job.chosen.some((id) => chosen.has(id));
        if (seats.length > 0 && (bytes > MOST_BYTES || isTwice)) break;
        for (const id of seat.job.chosen) chosen.add(id);
        seats.push(seat);
      }
      taken += 1;
    }
    this.#line.splice(0, taken);
    return seats;
  }

  /** One call with all its tries. It ends when nobody waits for it. */
  async #travel(seats: Seat[]): Promise<void> {
    const deadline = seats.at(-1)?.deadline ?? now();
    const [first] = seats;
    const call =
      seats.length === 1 && first ? first.job.identified() : together(jobsOf(seats), true);
    const nobody = new AbortController();
    let waiting = seats.length;
    for (const seat of seats) {
      seat.whenLeft = () => {
        waiting -= 1;
        if (waiting === 0) nobody.abort();
      };
    }
    for (let tries = 1; waiting > 0; tries += 1) {
      const fault = await this.#send(call, seats, deadline, nobody.signal);
      if (!fault) return;
      const pause = pauseAfter(tries, fault, deadline);
      if (pause === undefined) {
        // There is no further try: each is told what the broker said last.
        for (const seat of seats) seat.tell(seat.refusal ?? fault);
        return;
      }
      await sleep(pause, undefined, { signal: nobody.signal }).catch(() => {});
    }
  }

  /** One try, with an answer for each who can have one. The fault, when the call must be repeated. */
  async #send(
    call: Uint8Array,
    seats: readonly Seat[],
    deadline: number,
    signal: AbortSignal,
  ): Promise<LessorError | undefined> {
    const isAlone = seats.length === 1;
    const { enqueue, batchEnqueue } = JobBroker.method;
    let results: Result[];
    try {
      const path = pathOf(isAlone ? enqueue : batchEnqueue);
      const reply = await this.connection.send(path, call, deadline, signal);
      results = isAlone ? [fromBinary(EnqueueResponseSchema, reply)] : readBatch(reply);
    } catch (error) {
      if (isPassing(error)) return error;
      for (const seat of seats) seat.tell(error as LessorError);
      return undefined;
    }
    let passing: LessorError | undefined;
    for (const [index, seat] of seats.entries()) {
      const result = results[index] ?? incomplete();
      if (result instanceof Error) {
        if (isPassing(result)) passing = result;
        seat.refusal = result;
      } else {
        seat.tell(result);
      }
    }
    // Refusals are kept back while anything is open: the repetition decides them anew.
    if (!passing) for (const seat of seats) if (seat.refusal) seat.tell(seat.refusal);
    return passing;
  }
}

/** What became of each job of a batch. */
export function readBatch(reply: Uint8Array): Result[] {
  return fromBinary(BatchEnqueueResponseSchema, reply).results.map(
    ({ response, status }) => response ?? (status ? fromStatus(status) : incomplete()),
  );
}

const jobsOf = (seats: readonly Seat[]): Encoded[] => seats.map((seat) => seat.job);

function incomplete(): LessorError {
  return errorOf({ code: "INTERNAL", message: "the reply lacks a result" });
}

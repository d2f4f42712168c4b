// Working on a stream: jobs come as far as there is credit, and are settled where they came. A stream
// that breaks is opened again, with the leases that are held.

import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { errorOf, LessorError } from "../errors.js";
import { JobBroker } from "../gen/lessor/v1/broker_pb.js";
import type {
  WorkRequest,
  WorkRequest_HelloSchema,
  WorkResponse,
  WorkResponse_Directive,
  WorkResponse_Welcome,
} from "../gen/lessor/v1/work_pb.js";
import {
  WorkResponse_Directive_Kind as Kind,
  WorkRequestSchema,
} from "../gen/lessor/v1/work_pb.js";
import { Connection } from "../rpc/connection.js";
import { isPassing, now, Pauses, pauseAfter } from "../rpc/retry.js";
import { fromStatus } from "../rpc/status.js";
import type { Settings } from "../settings.js";
import type { Lease, Listener, Report, Settlement, Source } from "./source.js";

type Frame = MessageInitShape<typeof WorkRequestSchema>["frame"];
export type Hello = MessageInitShape<typeof WorkRequest_HelloSchema>;

/** The broker counts as gone after so many ping intervals without a word. */
const SILENCE = 3;
/** The share of the ping interval after which a quiet worker says something. */
const EARLY = 0.8;
const PULSE_MS = 250;
const PING_MS = 10_000;

/** A frame that must be answered. It is said again on the next stream. */
interface Question {
  readonly frame: Frame;
  readonly lease: Lease;
  readonly deadline: number;
  tries: number;
  resolve(): void;
  reject(error: LessorError): void;
}

/** An open stream. */
interface Link {
  readonly frames: ClientDuplexStream<WorkRequest, WorkResponse>;
  readonly pingMs: number;
  heardAt: number;
  saidAt: number;
  received: bigint;
  allowed: bigint;
}

/** How a stream ended: for good, or to be followed by another, at once on a new connection. */
type End = "over" | "moved" | LessorError;

export class WorkStream implements Source {
  #connection: Connection;
  #link: Link | undefined;
  /** The last stream was welcomed. */
  #wasOpen = false;
  #leases = new Map<string, Lease>();
  /** Those whose receipt has not left yet. Their handlers might block the loop before it does. */
  #starting = new Set<Lease>();
  #questions = new Map<bigint, Question>();
  #asked = 0n;
  #outgoing: WorkRequest[] = [];
  #isFlushing = false;
  #isClosing = false;
  readonly #stopping = new AbortController();
  #end: ((end: End) => void) | undefined;
  #running: Promise<void> | undefined;

  constructor(
    private readonly settings: Settings,
    private readonly hello: Hello,
    private readonly listener: Listener,
  ) {
    this.#connection = new Connection(settings);
  }

  get isConnected(): boolean {
    return this.#link !== undefined;
  }

  held(): Iterable<Lease> {
    return this.#leases.values();
  }

  run(): Promise<void> {
    this.#running = this.#run();
    return this.#running;
  }

  async #run(): Promise<void> {
    const pauses = new Pauses();
    try {
      while (!this.#isClosing) {
        const end = await this.#serve(pauses);
        if (end === "over" || this.#isClosing) return;
        const fault = end === "moved" ? undefined : end;
        // The credential of an open stream has ended; the next one may have a new one.
        const isRenewed = this.#wasOpen && fault?.code === "UNAUTHENTICATED";
        if (fault && !isRenewed && !isWorthAnother(fault)) throw fault;
        this.listener.disconnected(fault);
        if (fault) {
          const { signal } = this.#stopping;
          await sleep(pauses.next(fault), undefined, { signal }).catch(() => {});
        }
      }
    } finally {
      this.#connection.close();
      const why = errorOf({ code: "UNAVAILABLE", message: "the worker is closed" });
      for (const question of this.#questions.values()) question.reject(why);
      this.#questions.clear();
    }
  }

  wake(): void {
    this.#flushSoon();
  }

  settle(lease: Lease, { verb, request }: Settlement): Promise<void> {
    lease.isSettled = true;
    const frame = { case: verb, value: { ...request, leaseToken: lease.token } } as Frame;
    return this.#ask(lease, frame, Number.POSITIVE_INFINITY);
  }

  extend(lease: Lease, report: Report): Promise<void> {
    const frame = { case: "extend", value: { ...report, leaseToken: lease.token } } as Frame;
    return this.#ask(lease, frame, now() + this.settings.timeoutMs);
  }

  async close(): Promise<void> {
    if (this.#isClosing) return;
    this.#flush();
    this.#isClosing = true;
    this.#stopping.abort();
    if (this.#link) {
      this.#write(this.#link, { case: "goodbye", value: { releaseHeld: true } });
      this.#link.frames.end();
    } else {
      this.#end?.("over");
    }
    // Without the broker's answer it does the same.
    const patience = setTimeout(() => this.#end?.("over"), this.settings.timeoutMs);
    await this.#running?.catch(() => {});
    clearTimeout(patience);
  }

  /** Opens a stream and stays with it to its end. */
  async #serve(pauses: Pauses): Promise<End> {
    this.#wasOpen = false;
    let frames: Link["frames"];
    try {
      frames = await this.#connection.duplex(JobBroker.method.work);
    } catch (error) {
      return error instanceof LessorError ? error : unavailable(String(error));
    }
    // Faults also come after the end that was decided here.
    frames.on("error", () => {});
    const ended = new Promise<End>((resolve) => {
      this.#end = resolve;
      frames.on("error", (error: ServiceError) => resolve(this.#connection.errorOf(error)));
      frames.on("end", () => {
        resolve(this.#isClosing ? "over" : unavailable("the broker ended the stream"));
      });
    });
    let pulse: NodeJS.Timeout | undefined;
    frames.on("data", (reply: WorkResponse) => {
      if (this.#link) this.#hear(this.#link, reply);
      else if (reply.frame.case === "welcome") {
        clearTimeout(patience);
        pauses.reset();
        pulse = this.#begin(frames, reply.frame.value);
      }
    });
    const patience = setTimeout(() => {
      this.#renew();
      this.#end?.(unavailable("the broker does not answer"));
    }, this.settings.timeoutMs);
    const held = [...this.#leases.keys()];
    frames.write(
      create(WorkRequestSchema, {
        frame: { case: "hello", value: { ...this.hello, heldLeaseTokens: held } },
      }),
    );
    const end = await ended;
    clearTimeout(patience);
    clearInterval(pulse);
    frames.cancel();
    this.#wasOpen = this.#link !== undefined;
    this.#link = undefined;
    this.#outgoing = [];
    if (end === "moved") this.#renew();
    return end;
  }

  /** The stream is open: what is open is said again. */
  #begin(frames: Link["frames"], welcome: WorkResponse_Welcome): NodeJS.Timeout {
    const pingMs = (welcome.pingInterval && durationMs(welcome.pingInterval)) || PING_MS;
    const at = now();
    const link = { frames, pingMs, heardAt: at, saidAt: at, received: 0n, allowed: 0n };
    this.#link = link;
    this.#outgoing = [];
    for (const { leaseToken, kept } of welcome.held) {
      if (!kept) this.#lose(leaseToken, "the lease ended while the stream was broken");
    }
    for (const [seq, question] of this.#questions) this.#write(link, question.frame, seq);
    // What the broker lets us keep has arrived.
    this.#start([...this.#starting]);
    this.#flush();
    this.listener.connected();
    let beat = now();
    return setInterval(() => {
      const late = now() - beat - PULSE_MS;
      beat = now();
      this.#pulse(link, late);
    }, PULSE_MS);
  }

  /** What time brings. `late` is by how much the event loop was held up. */
  #pulse(link: Link, late: number): void {
    const at = now();
    // What came while the loop was held up is not read yet.
    if (late > PULSE_MS) link.heardAt = Math.max(link.heardAt, at - link.pingMs);
    if (at - link.heardAt > link.pingMs * SILENCE) {
      this.#renew();
      this.#end?.(unavailable("the broker is silent"));
      return;
    }
    if (at - link.saidAt > link.pingMs * EARLY) this.#write(link, { case: "ping", value: {} });
    for (const [seq, { deadline }] of this.#questions) {
      if (deadline <= at) this.#close(seq, lateError(this.settings.address));
    }
  }

  #hear(link: Link, { frame, requestSeq }: WorkResponse): void {
    link.heardAt = now();
    switch (frame.case) {
      case "delivery": {
        const { deliverySeq, leased } = frame.value;
        if (deliverySeq > link.received) link.received = deliverySeq;
        if (leased?.job) {
          const lease = { leased, token: leased.leaseToken, isLost: false, isSettled: false };
          this.#leases.set(lease.token, lease);
          this.#starting.add(lease);
        }
        // The receipt, with whatever else there is to say.
        this.#flushSoon();
        return;
      }
      case "directive":
        this.#follow(frame.value);
        return;
      case "ack":
      case "nack":
        this.#close(requestSeq, undefined);
        return;
      case "extend": {
        const lease = this.#questions.get(requestSeq)?.lease;
        this.#close(requestSeq, undefined);
        if (lease && frame.value.cancelRequested) {
          const { leaseRemaining, cancelReason } = frame.value;
          this.listener.cancel(lease, cancelReason, leaseRemaining && durationMs(leaseRemaining));
        }
        return;
      }
      case "error":
        this.#refused(requestSeq, fromStatus(frame.value));
        return;
      default:
    }
  }

  #follow({ kind, leaseToken, reason, within }: WorkResponse_Directive): void {
    const withinMs = within && durationMs(within);
    switch (kind) {
      case Kind.CANCEL_JOB: {
        const lease = this.#leases.get(leaseToken);
        if (lease) this.listener.cancel(lease, reason, withinMs);
        return;
      }
      case Kind.LEASE_LOST:
        this.#lose(leaseToken, reason);
        return;
      case Kind.DRAIN:
        // A broker that shuts down says until when; another one may have jobs.
        if (withinMs === undefined) this.listener.drain(reason);
        return;
      case Kind.RECONNECT:
        this.#end?.("moved");
        return;
      default:
    }
  }

  #lose(token: string, reason: string): void {
    const lease = this.#leases.get(token);
    if (!lease || lease.isLost) return;
    // What is settled is for the broker to judge: nobody else may have had the job.
    if (lease.isSettled) return;
    this.#leases.delete(token);
    lease.isLost = true;
    this.#starting.delete(lease);
    this.listener.lost(lease, reason);
  }

  /** Their receipt has left. */
  #start(leases: Iterable<Lease>): void {
    for (const lease of leases) if (this.#starting.delete(lease)) this.listener.job(lease);
  }

  #refused(seq: bigint, fault: LessorError): void {
    const question = this.#questions.get(seq);
    if (!question) return;
    if (isPassing(fault)) {
      question.tries += 1;
      const pause = pauseAfter(Math.min(question.tries, 3), fault, question.deadline);
      if (pause !== undefined) {
        const { signal } = this.#stopping;
        sleep(pause, undefined, { signal }).then(
          () => {
            if (this.#link && this.#questions.has(seq))
              this.#write(this.#link, question.frame, seq);
          },
          () => {},
        );
        return;
      }
    }
    this.#close(seq, fault);
  }

  #ask(lease: Lease, frame: Frame, deadline: number): Promise<void> {
    this.#asked += 1n;
    const seq = this.#asked;
    return new Promise((resolve, reject) => {
      this.#questions.set(seq, { frame, lease, deadline, tries: 0, resolve, reject });
      this.#outgoing.push(create(WorkRequestSchema, { frame, requestSeq: seq }));
      this.#flushSoon();
    });
  }

  /** A question is answered. */
  #close(seq: bigint, fault: LessorError | undefined): void {
    const question = this.#questions.get(seq);
    if (!question) return;
    this.#questions.delete(seq);
    const { lease } = question;
    if (fault?.reason === "LEASE_LOST") {
      this.#leases.delete(lease.token);
      if (!lease.isSettled) {
        lease.isLost = true;
        this.listener.lost(lease, fault.message);
      }
    } else if (!fault && question.frame?.case !== "extend") {
      this.#leases.delete(lease.token);
    }
    if (fault) question.reject(fault);
    else question.resolve();
  }

  /** Says what there is to say once those who are ready to speak have spoken. */
  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const frames = this.#outgoing;
    this.#outgoing = [];
    const link = this.#link;
    // Questions are kept for the next stream.
    if (!link || this.#isClosing) return;
    for (const frame of frames) this.#send(link, frame);
    const room = BigInt(Math.max(0, this.listener.room() - this.#starting.size));
    const through = link.received + room;
    const starting = [...this.#starting];
    if (through > link.allowed || starting.length > 0) {
      if (through > link.allowed) link.allowed = through;
      const credit = { case: "credit" as const, value: { maxDeliverySeq: link.allowed } };
      // Taken by the transport, it leaves in the next turn of the loop.
      this.#write(link, credit, 0n, () => setImmediate(() => this.#start(starting)));
    }
  }

  #write(link: Link, frame: Frame, requestSeq = 0n, whenSent?: () => void): void {
    this.#send(link, create(WorkRequestSchema, { frame, requestSeq }), whenSent);
  }

  #send(link: Link, request: WorkRequest, whenSent?: () => void): void {
    request.receivedThrough = link.received;
    link.saidAt = now();
    link.frames.write(request, whenSent);
  }

  /** The next stream is opened on a new connection. */
  #renew(): void {
    this.#connection.close();
    this.#connection = new Connection(this.settings);
  }
}

const LASTING = new Set([
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "FAILED_PRECONDITION",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "UNAUTHENTICATED",
]);

/** Whether a worker that tries again may be told otherwise. */
export function isWorthAnother(error: LessorError): boolean {
  return !LASTING.has(error.code);
}

function unavailable(message: string): LessorError {
  return errorOf({ code: "UNAVAILABLE", message });
}

function lateError(address: string): LessorError {
  return errorOf({ code: "DEADLINE_EXCEEDED", message: `no answer from ${address} in time` });
}

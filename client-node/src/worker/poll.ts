// Working by calls, where the broker has no stream: leases that wait, and heartbeats of our own.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { LessorError } from "../errors.js";
import { JobBroker } from "../gen/lessor/v1/broker_pb.js";
import type {
  BatchSettleResponse_Result,
  ExtendLeaseResponse,
  LeasedJob,
  LeaseResponse,
} from "../gen/lessor/v1/lease_pb.js";
import { duration } from "../request.js";
import { Connection } from "../rpc/connection.js";
import { isPassing, now, Pauses } from "../rpc/retry.js";
import { fromStatus } from "../rpc/status.js";
import type { Settings } from "../settings.js";
import type { Lease, Listener, Report, Settlement, Source } from "./source.js";
import { type Hello, isWorthAnother } from "./stream.js";

const WAIT_MS = 20_000;
const MOST_JOBS = 256;
const PULSE_MS = 250;
/** A heartbeat each third of the lease. */
const BEATS = 3;

interface Held extends Lease {
  leaseMs: number;
  beatAt: number;
  isCancelled: boolean;
}

export class Polling implements Source {
  readonly #connection: Connection;
  readonly #leases = new Map<string, Held>();
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #isConnected = false;
  #isBeating = false;

  constructor(
    settings: Settings,
    private readonly hello: Hello,
    private readonly listener: Listener,
  ) {
    this.#connection = new Connection(settings);
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  held(): Iterable<Lease> {
    return this.#leases.values();
  }

  run(): Promise<void> {
    this.#running = this.#run();
    return this.#running;
  }

  wake(): void {
    this.#wake?.();
  }

  async settle(lease: Lease, settlement: Settlement): Promise<void> {
    lease.isSettled = true;
    const { ack, nack } = JobBroker.method;
    const leaseToken = lease.token;
    try {
      await this.#persist<unknown>(() =>
        settlement.verb === "ack"
          ? this.#connection.call(ack, { ...settlement.request, leaseToken })
          : this.#connection.call(nack, { ...settlement.request, leaseToken }),
      );
      this.#leases.delete(leaseToken);
    } catch (error) {
      if ((error as LessorError).reason === "LEASE_LOST") this.#leases.delete(leaseToken);
      throw error;
    }
  }

  async extend(lease: Lease, report: Report): Promise<void> {
    const { extendLease } = JobBroker.method;
    try {
      const reply = await this.#connection.call(extendLease, {
        ...report,
        leaseToken: lease.token,
      });
      const held = this.#leases.get(lease.token);
      if (held) this.#extended(held, reply);
    } catch (error) {
      this.#failed(lease, error as LessorError);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#running?.catch(() => {});
    const release = [...this.#leases.values()].filter((lease) => !lease.isSettled);
    await Promise.allSettled(
      release.map(({ token }) => {
        const disposition = { case: "release" as const, value: {} };
        return this.#connection.call(JobBroker.method.nack, { leaseToken: token, disposition });
      }),
    );
    this.#connection.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const pulse = setInterval(() => this.#beat(), PULSE_MS);
    try {
      while (!signal.aborted) {
        const room = Math.min(this.listener.room(), MOST_JOBS);
        if (room === 0) await this.#woken();
        else await this.#lease(room);
      }
    } finally {
      clearInterval(pulse);
      // What is still running goes on with its heartbeats until it is given back.
      this.#isConnected = false;
    }
  }

  #woken(): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      this.#wake = resolve;
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /** One request id until an answer comes: a lost answer is given again. */
  async #lease(room: number): Promise<void> {
    const { signal } = this.#stopping;
    const { worker, queues, types, leaseDuration } = this.hello;
    const request = {
      ...{ worker, queues, types, leaseDuration },
      workerId: worker?.workerId ?? "",
      maxJobs: room,
      wait: duration(WAIT_MS, "wait"),
      requestId: randomUUID(),
    };
    try {
      const reply: LeaseResponse = await this.#persist(() =>
        this.#connection.call(JobBroker.method.lease, request, { waitMs: WAIT_MS, signal }),
      );
      this.#seen();
      for (const leased of reply.jobs) this.#take(leased);
      if (reply.retryAfter) {
        await sleep(durationMs(reply.retryAfter), undefined, { signal }).catch(() => {});
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #take(leased: LeasedJob): void {
    const leaseMs = leased.leaseRemaining ? durationMs(leased.leaseRemaining) : 0;
    const lease: Held = {
      ...{ leased, leaseMs, token: leased.leaseToken },
      ...{ isLost: false, isSettled: false, isCancelled: false },
      beatAt: now() + leaseMs / BEATS,
    };
    this.#leases.set(lease.token, lease);
    this.listener.job(lease);
  }

  /** Extends the leases whose time it is. */
  async #beat(): Promise<void> {
    const at = now();
    const due = [...this.#leases.values()].filter((it) => !it.isSettled && it.beatAt <= at);
    if (due.length === 0 || this.#isBeating) return;
    this.#isBeating = true;
    const batch = due.slice(0, MOST_JOBS);
    const items = batch.map(({ token }) => {
      return { op: { case: "extend" as const, value: { leaseToken: token } } };
    });
    try {
      const reply = await this.#connection.call(JobBroker.method.batchSettle, { items });
      this.#seen();
      for (const [index, lease] of batch.entries()) this.#answered(lease, reply.results[index]);
    } catch (error) {
      this.#lost(error as LessorError);
    } finally {
      this.#isBeating = false;
    }
  }

  #answered(lease: Held, result: BatchSettleResponse_Result | undefined): void {
    const response = result?.response;
    if (response?.case === "extend") this.#extended(lease, response.value);
    else if (response?.case === "error") this.#failed(lease, fromStatus(response.value));
  }

  #extended(lease: Held, reply: ExtendLeaseResponse): void {
    if (reply.leaseRemaining) lease.leaseMs = durationMs(reply.leaseRemaining);
    lease.beatAt = now() + lease.leaseMs / BEATS;
    if (reply.cancelRequested && !lease.isCancelled) {
      lease.isCancelled = true;
      this.listener.cancel(lease, reply.cancelReason, lease.leaseMs);
    }
    if (reply.drain) this.listener.drain("an operator drains the worker");
  }

  #failed(lease: Lease, fault: LessorError): void {
    if (fault.reason !== "LEASE_LOST" || lease.isLost || lease.isSettled) return;
    this.#leases.delete(lease.token);
    lease.isLost = true;
    this.listener.lost(lease, fault.message);
  }

  /** Repeats a call beyond its own tries, however long the broker is away. */
  async #persist<T>(call: () => Promise<T>): Promise<T> {
    const pauses = new Pauses();
    for (;;) {
      try {
        return await call();
      } catch (error) {
        const isOpen = isPassing(error) || isLate(error);
        if (!isOpen || this.#stopping.signal.aborted) throw error;
        this.#lost(error as LessorError);
        await sleep(pauses.next(error as LessorError), undefined, {
          signal: this.#stopping.signal,
        });
      }
    }
  }

  #seen(): void {
    if (this.#isConnected) return;
    this.#isConnected = true;
    this.listener.connected();
  }

  #lost(fault: LessorError): void {
    if (!this.#isConnected || !isWorthAnother(fault)) return;
    this.#isConnected = false;
    this.listener.disconnected(fault);
  }
}

function isLate(error: unknown): boolean {
  return (error as LessorError).code === "DEADLINE_EXCEEDED";
}

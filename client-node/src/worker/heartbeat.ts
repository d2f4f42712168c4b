// Keeps leases while the event loop is blocked: a thread notices that the loop stands still, and then
// extends what is held by calls of its own. While the loop runs it does nothing but look.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker as Thread } from "node:worker_threads";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Settings, TlsOptions } from "../settings.js";
import type { Lease } from "./source.js";

/** What the thread is given. */
export interface GuardData {
  /** The loop's beat, and a table of lease tokens. */
  readonly beat: SharedArrayBuffer;
  readonly slots: SharedArrayBuffer;
  lookMs: number;
  readonly address: string;
  readonly target: string;
  readonly tls: TlsOptions | undefined;
  readonly token: string | undefined;
  readonly channelOptions: Record<string, unknown>;
}

/** Bytes of a slot: the length of the token in 2, and the token. */
export const SLOT = 512;
const SHORTEST_LOOK_MS = 100;
/** Looks per lease: so many that a loop that stands still is noticed in time. */
const LOOKS = 12;

const encoder = new TextEncoder();

export class Heartbeat {
  readonly #beat = new SharedArrayBuffer(4);
  readonly #beats = new Int32Array(this.#beat);
  readonly #table: SharedArrayBuffer;
  readonly #slots: Buffer;
  readonly #free: number[];
  readonly #taken = new Map<string, number>();
  #thread: Thread | undefined;
  #timer: NodeJS.Timeout | undefined;
  #lookMs: number;
  #isStopped = false;
  /** Settled once the thread looks, or cannot: a handler may block the loop from then on. */
  readonly ready: Promise<void>;

  constructor(
    private readonly settings: Settings,
    leaseMs: number,
    capacity: number,
    private readonly failed: (error: Error) => void,
  ) {
    this.#lookMs = leaseMs / LOOKS;
    this.#table = new SharedArrayBuffer(SLOT * capacity);
    this.#slots = Buffer.from(this.#table);
    this.#free = Array.from({ length: capacity }, (_, index) => index);
    this.#pulse();
    this.ready = this.#start().catch(failed);
  }

  /** This lease is to be kept. */
  add({ token, leased }: Lease): void {
    const leaseMs = leased.leaseRemaining ? durationMs(leased.leaseRemaining) : 0;
    this.#look(Math.max(leaseMs / LOOKS, SHORTEST_LOOK_MS));
    const slot = this.#free.pop();
    if (slot === undefined) return;
    const at = slot * SLOT;
    const { written } = encoder.encodeInto(token, this.#slots.subarray(at + 2, at + SLOT));
    this.#slots.writeUInt16LE(written, at);
    this.#taken.set(token, slot);
  }

  /** This lease is not to be kept any more. */
  remove({ token }: Lease): void {
    const slot = this.#taken.get(token);
    if (slot === undefined) return;
    this.#slots.writeUInt16LE(0, slot * SLOT);
    this.#taken.delete(token);
    this.#free.push(slot);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    await this.#thread?.terminate();
  }

  /** Look at least this often: the shortest lease so far asks for it. */
  #look(lookMs: number): void {
    // Leases of one length differ by what their way took.
    if (lookMs > this.#lookMs * 0.8) return;
    this.#lookMs = lookMs;
    this.#pulse();
    this.#thread?.postMessage(lookMs);
  }

  #pulse(): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => Atomics.add(this.#beats, 0, 1), this.#lookMs / 2);
    this.#timer.unref();
  }

  async #start(): Promise<void> {
    const { address, target, tls, token, channelOptions } = this.settings;
    const file = new URL("./guard.mjs", import.meta.url);
    if (!existsSync(fileURLToPath(file))) throw new Error(`${file} is missing`);
    const workerData: GuardData = {
      ...{ beat: this.#beat, slots: this.#table, lookMs: this.#lookMs },
      ...{ address, target, tls, channelOptions, token: await token?.() },
    };
    if (this.#isStopped) return;
    workerData.lookMs = this.#lookMs;
    this.#thread = new Thread(file, { workerData, name: "lessor-heartbeat", execArgv: [] });
    const thread = this.#thread;
    thread.on("error", this.failed);
    await new Promise((resolve) => thread.once("message", resolve).once("exit", resolve));
    thread.unref();
  }
}

// The thread that keeps a worker's leases while the worker's event loop is blocked.

import { parentPort, workerData } from "node:worker_threads";
import { JobBroker } from "./gen/lessor/v1/broker_pb.js";
import { silentLogger } from "./logger.js";
import { Connection } from "./rpc/connection.js";
import type { Settings } from "./settings.js";
import { Telemetry } from "./telemetry.js";
import { type GuardData, SLOT } from "./worker/heartbeat.js";

/** After so many looks without a beat the loop counts as blocked. */
const MISSED = 2;
/** Leases are extended each so many looks. */
const EXTEND_EACH = 2;
/** A call may take so many: half of a lease. */
const CALL = 6;
const MOST_ITEMS = 256;

const data = workerData as GuardData;
const beats = new Int32Array(data.beat);
const slots = Buffer.from(data.slots);

function held(): string[] {
  const tokens: string[] = [];
  for (let at = 0; at < slots.length; at += SLOT) {
    const length = slots.readUInt16LE(at);
    if (length > 0) tokens.push(slots.toString("latin1", at + 2, at + 2 + length));
  }
  return tokens;
}

let connection: Connection | undefined;
let { lookMs } = data;

async function extend(tokens: readonly string[]): Promise<void> {
  if (!connection) {
    const { token, ...rest } = data;
    const settings: Settings = {
      ...rest,
      token: token === undefined ? undefined : () => token,
      timeoutMs: lookMs * CALL,
      logger: silentLogger,
      telemetry: new Telemetry(false),
    };
    connection = new Connection(settings);
  }
  for (let from = 0; from < tokens.length; from += MOST_ITEMS) {
    const items = tokens.slice(from, from + MOST_ITEMS).map((leaseToken) => {
      return { op: { case: "extend" as const, value: { leaseToken } } };
    });
    // The next look tries again.
    await connection.call(JobBroker.method.batchSettle, { items }).catch(() => {});
  }
}

let seen = Atomics.load(beats, 0);
let missed = 0;

function look(): void {
  const beat = Atomics.load(beats, 0);
  missed = beat === seen ? missed + 1 : 0;
  seen = beat;
  if (missed === 0 && connection) {
    connection.close();
    connection = undefined;
  }
  if (missed < MISSED || (missed - MISSED) % EXTEND_EACH !== 0) return;
  const tokens = held();
  if (tokens.length > 0) void extend(tokens);
}

let timer = setInterval(look, lookMs);
// There is a shorter lease than before.
parentPort?.on("message", (shorter: number) => {
  lookMs = shorter;
  clearInterval(timer);
  timer = setInterval(look, lookMs);
});
parentPort?.postMessage("ready");

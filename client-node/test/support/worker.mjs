// A worker that says what it begins, on nothing but the built package.

import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "lessor";

const { address, queue, leaseMs = 3_000, concurrency = 1, ...more } = JSON.parse(process.argv[2]);
const { clockOffMs, clockJumpMs } = more;

// What a wrong clock would be.
const RightDate = Date;
let offMs = clockOffMs ?? 0;
if (clockOffMs !== undefined) {
  globalThis.Date = class extends RightDate {
    constructor(...given) {
      if (given.length > 0) super(...given);
      else super(RightDate.now() + offMs);
    }
    static now() {
      return RightDate.now() + offMs;
    }
  };
}

let unblocked;
const blocked = new Promise((resolve) => {
  unblocked = resolve;
});

const handlers = {
  sleep: ({ data }) => sleep(data.ms),
  block({ data }) {
    const end = performance.now() + data.ms;
    while (performance.now() < end) {
      // This is what must not cost any job its lease.
    }
    unblocked();
  },
  "wait-for-file": () => blocked,
  die: () => process.kill(process.pid, "SIGKILL"),
  async jump({ data }) {
    offMs += clockJumpMs;
    await sleep(data.ms);
    offMs -= 2 * clockJumpMs;
    await sleep(data.ms);
  },
};

const worker = new Worker(
  queue,
  (job, context) => {
    console.log(`began ${job.type}`);
    return handlers[job.type](job, context);
  },
  { address, concurrency, leaseDuration: leaseMs, logger: false },
);
worker.on("ready", () => console.log("ready"));
worker.on("lost", (job) => console.log(`lost ${job.type}`));
worker.on("completed", (job) => console.log(`completed ${job.type}`));

// One side of one workload against BullMQ; the interface of all drivers is in ../README.md.
import { parseArgs } from "node:util";
import { Queue, Worker } from "bullmq";
import IORedis from "ioredis";

// A digit for each of the 20 places in which the start of the enqueue call stands.
const CLOCK_DIGITS = 20;
// Finished jobs are removed at once: the least that BullMQ can be asked to keep.
const KEEP_NOTHING = { count: 0 };

const text = { type: "string" };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    role: text,
    address: text,
    queue: text,
    jobs: text,
    "in-flight": { ...text, default: "32" },
    batch: { ...text, default: "100" },
    payload: { ...text, default: "256" },
    rate: { ...text, default: "200" },
    priorities: { ...text, default: "0" },
    delay: { ...text, default: "0" },
  },
});
const [workload] = positionals;
const jobs = Number(values.jobs);
const inFlight = Number(values["in-flight"]);
const priorities = Number(values.priorities);
const delay = Number(values.delay) * 1000;
const padding = "x".repeat(Number(values.payload) - CLOCK_DIGITS);

const now = () => process.hrtime.bigint();
const milliseconds = (from, to) => Number(to - from) / 1e6;
const connect = () => new IORedis(values.address, { maxRetriesPerRequest: null });
const payload = () => now().toString().padStart(CLOCK_DIGITS, "0") + padding;

function options(index) {
  const kept = { removeOnComplete: true, removeOnFail: true };
  if (priorities > 0) kept.priority = 1 + (index % priorities);
  if (delay > 0) kept.delay = delay;
  return kept;
}

function report(start, end, took, cpuBefore) {
  const cpu = process.cpuUsage(cpuBefore);
  took.sort((a, b) => a - b);
  const at = (share) => (took.length ? took[Math.floor((took.length - 1) * share)] : 0);
  const line = {
    workload,
    role: values.role,
    jobs,
    start_ns: Number(start),
    end_ns: Number(end),
    rate: jobs / (Number(end - start) / 1e9),
    p50_ms: at(0.5),
    p99_ms: at(0.99),
    max_ms: at(1),
    cpu_s: (cpu.user + cpu.system) / 1e6,
  };
  console.log(JSON.stringify(line));
}

async function enqueue(queue, index, count) {
  if (count === 1) return queue.add("job", payload(), options(index));
  const many = Array.from({ length: count }, (_, offset) => ({
    name: "job",
    data: payload(),
    opts: options(index + offset),
  }));
  return queue.addBulk(many);
}

async function produce(queue) {
  const batch = workload === "W1b" ? Number(values.batch) : 1;
  const cpu = process.cpuUsage();
  const start = now();
  const took = [];
  let next = 0;
  const caller = async () => {
    while (next < jobs) {
      const index = next;
      next += batch;
      const began = now();
      await enqueue(queue, index, Math.min(batch, jobs - index));
      took.push(milliseconds(began, now()));
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  report(start, now(), took, cpu);
}

async function pace(queue) {
  const cpu = process.cpuUsage();
  const start = now();
  const took = [];
  const interval = 1e9 / Number(values.rate);
  for (let index = 0; index < jobs; index++) {
    const wait = milliseconds(now(), start + BigInt(Math.floor(index * interval)));
    if (wait > 0) await new Promise((resume) => setTimeout(resume, wait));
    const began = now();
    await queue.add("job", payload(), options(index));
    took.push(milliseconds(began, now()));
  }
  report(start, now(), took, cpu);
}

async function work() {
  const took = [];
  let cpu;
  let start = 0n;
  let started = 0;
  let finished = 0;
  const handle = async (job) => {
    const began = now();
    if (started++ === 0) start = began;
    took.push(milliseconds(BigInt(job.data.slice(0, CLOCK_DIGITS)), began));
  };
  const worker = new Worker(values.queue, handle, {
    connection: connect(),
    concurrency: inFlight,
    autorun: false,
    removeOnComplete: KEEP_NOTHING,
    removeOnFail: KEEP_NOTHING,
  });
  await worker.waitUntilReady();
  await new Promise((resolve, reject) => {
    worker.on("completed", () => {
      if (++finished !== jobs) return;
      report(start, now(), took, cpu);
      resolve();
    });
    worker.on("error", reject);
    cpu = process.cpuUsage();
    worker.run().catch(reject);
    console.error("ready");
  });
}

if (values.role === "worker") {
  await work();
} else {
  const queue = new Queue(values.queue, { connection: connect() });
  await queue.waitUntilReady();
  await (workload === "W4" ? pace(queue) : produce(queue));
}
// Connections would keep the process alive.
process.exit(0);

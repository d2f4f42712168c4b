// Jobs of all kinds, as BullMQ writes them. Usage: node bullmq.js PORT
import { FlowProducer, Queue, Worker } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.argv[2]) };

const emails = new Queue("emails", { connection });
await emails.add("welcome", { to: "a@example.com", big: 9007199254740991 });
await emails.add(
  "digest",
  { n: 2 },
  {
    jobId: "digest-2",
    attempts: 5,
    backoff: { type: "exponential", delay: 1000, jitter: 0.5 },
    removeOnComplete: true,
    removeOnFail: { age: 3600, count: 10 },
  },
);
await emails.add("third", { n: 3 }, { attempts: 2, backoff: 500 });
await emails.add("first", { n: 4 }, { lifo: true });
await emails.add("later", { n: 5 }, { delay: 3_600_000, priority: 3 });
await emails.add("low", { n: 6 }, { priority: 7 });
await emails.add("high", { n: 7 }, { priority: 2 });
await emails.add("lowest", { n: 8 }, { priority: 2_000_000 });
await emails.add("once", { n: 9 }, { deduplication: { id: "same" } });
await emails.add("throttled", { n: 10 }, { deduplication: { id: "same/2", ttl: 600_000 } });
await emails.add("own", {}, { attempts: 4, backoff: { type: "mine", delay: 1 } });
await emails.upsertJobScheduler(
  "nightly",
  { pattern: "0 6 * * *", tz: "Europe/Berlin" },
  { name: "report", data: { who: "it's me" } },
);
await emails.setGlobalConcurrency(4);
const flows = new FlowProducer({ connection });
await flows.add({
  name: "parent",
  queueName: "emails",
  children: [{ name: "child", queueName: "emails" }],
});

// One job runs, one has failed once and waits for its next attempt, one has ended.
const busy = new Queue("busy", { connection });
const worker = new Worker("busy", null, { connection, autorun: false });
await busy.add("retried", {}, { attempts: 3, backoff: { type: "exponential", delay: 60_000 } });
const retried = await worker.getNextJob("token");
await retried.moveToFailed(new Error("not yet"), "token");
await busy.add("failed", {});
const failed = await worker.getNextJob("token");
await failed.moveToFailed(new Error("never"), "token");
await busy.add("runs", {});
await busy.add("waits", {});
await worker.getNextJob("token");

const paused = new Queue("paused", { connection });
await paused.pause();
await paused.add("patient", {});

const many = new Queue("many", { connection });
for (let from = 0; from < 3000; from += 1000) {
  await many.addBulk(Array.from({ length: 1000 }, (_, n) => ({ name: "one", data: from + n })));
}

await Promise.all([emails, busy, paused, many, flows, worker].map((it) => it.close()));

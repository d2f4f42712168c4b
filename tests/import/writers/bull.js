// Jobs of all kinds, as Bull writes them. Usage: node bull.js PORT
import Queue from "bull";

const hooks = new Queue("web hooks", `redis://127.0.0.1:${process.argv[2]}`);
await hooks.isReady();
await hooks.add({ n: 1 });
await hooks.add(
  "hook",
  { n: 2 },
  {
    jobId: "hook/2",
    attempts: 5,
    backoff: { type: "exponential", delay: 1000 },
    removeOnComplete: 100,
    timeout: 5000,
  },
);
await hooks.add("later", { n: 3 }, { delay: 3_600_000 });
await hooks.add("low", { n: 4 }, { priority: 7 });
await hooks.add("high", { n: 5 }, { priority: 1 });
await hooks.add("nightly", { n: 6 }, { repeat: { cron: "0 6 * * *", tz: "Europe/Berlin" } });
await hooks.add("often", {}, { repeat: { every: 3_600_000 } });

const held = new Queue("held", `redis://127.0.0.1:${process.argv[2]}`);
await held.isReady();
await held.add("retried", {}, { attempts: 4, backoff: { type: "exponential", delay: 10_000 } });
const retried = await held.getNextJob();
await retried.moveToFailed({ message: "not yet" });
await held.add("runs", {});
await held.getNextJob();

await hooks.close();
await held.close();

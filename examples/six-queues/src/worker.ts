// The worker process: all six queues, a handler class each.

import { Worker } from "lessor";
import { openDatabase } from "./database.js";
import { handlersOn } from "./handlers/index.js";

const database = await openDatabase();
const handlers = handlersOn(database);

const worker = new Worker(Object.keys(handlers), handlers, {
  concurrency: Number(process.env.WORKER_CONCURRENCY ?? 10),
  leaseDuration: Number(process.env.WORKER_LEASE_MS ?? 30_000),
  health: { port: Number(process.env.PORT ?? 3_001) },
});

worker.on("ready", () => console.log(`ready, health on port ${worker.healthPort}`));
worker.on("completed", (job) => console.log(`${job.name} is done`));
worker.on("failed", (job, error) => console.error(`${job.name} failed:`, error));
worker.on("lost", (job) => console.error(`${job.name} is somebody else's by now`));
// On SIGTERM it takes no more jobs and finishes those it has.
worker.on("closed", () => database.end());

// Shows the six queues at work, and a worker that is killed in the middle of a job.

import { addJob } from "./producer.js";
import { createSchedules } from "./schedules.js";
import { startStage } from "./stage.js";

const { client, database, worker, stop } = await startStage();
const first = worker();
await first.said(/^ready/);
console.log("a worker serves six queues");

const products = Array.from({ length: 2_000 }, (_, n) => ({ sku: `sku-${n}`, cents: 100 + n }));
const sync = await addJob(client, "price-sync", { products, batch: 10 }, { priority: "high" });
for await (const { type, progress } of client.watch({ job: sync.job })) {
  if (type !== "JOB_PROGRESS") continue;
  console.log(`price-sync has done ${progress?.done} of ${progress?.total}: the worker is killed`);
  break;
}
first.kill("SIGKILL");
await first.exited;
worker();
console.log("another worker starts; the price-sync", await client.result(sync));
const { rows } = await database.query("select count(*)::int as changes from price_changes");
console.log("2000 prices changed, so many changes are written down:", rows[0].changes);

const month = new Date().toISOString().slice(0, 7);
const others = await Promise.all([
  addJob(client, "email-send", { to: ["a@b.example", "c@d.example"], subject: "Hi", body: "!" }),
  addJob(client, "data-export", { table: "prices" }),
  addJob(client, "backup", { tables: ["prices", "emails"] }),
  addJob(client, "report-generation", { month }),
  addJob(client, "cleanup", { maxAgeDays: 30 }, { priority: "low" }),
]);
for (const { job } of others) console.log(job.queue, await client.result(job));

await createSchedules(client);
console.log("every night at 2:00 in Berlin the broker enqueues a cleanup");
await stop();

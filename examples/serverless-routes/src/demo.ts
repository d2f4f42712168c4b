// Shows the app at work: two users, a few jobs, and the calls that a cron line would make.

import { createSchedules } from "./schedules.js";
import { startStage } from "./stage.js";

const { app, as, poke, stop } = await startStage();
console.log(`the app serves on ${app.address}`);

const text = "a broker keeps what its routes forget";
const [slow, quick] = await Promise.all([
  as("ada", "/api/jobs", { type: "checksum", data: { text }, priority: "low" }),
  as("ada", "/api/jobs", { type: "word-count", data: { text }, priority: "high" }),
]).then((responses) => Promise.all(responses.map((response) => response.json())));
console.log("ada enqueued", slow.type, "and, with high priority,", quick.type);

const refused = await as("grace", `/api/jobs/${quick.jobId}`);
console.log(`grace asks for ada's job: ${refused.status}`);

for (let call = await poke(); call.processed > 0; call = await poke()) {
  const status = await (await as("ada", `/api/jobs/${call.jobId}`)).json();
  console.log("a poke of /api/workers did", status.type, status.status, status.returnValue);
}

await createSchedules();
console.log("every day at 6:00 in Berlin the broker enqueues daily-report");
await stop();

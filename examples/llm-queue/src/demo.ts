// Shows the queue at work: forty calls, fifteen at once, some later and some first.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedBroker } from "./embedded.js";
import { FakeLlm } from "./fake-llm.js";
import { handlersFor } from "./handlers.js";
import { LlmQueue } from "./queue.js";

const folder = await mkdtemp(join(tmpdir(), "lessor-llm-"));
const model = await new FakeLlm().start();
const broker = await EmbeddedBroker.start(join(folder, "jobs.db"));
const queue = await LlmQueue.open({ address: broker.address, retry: { initialBackoff: "200ms" } });
console.log(`a broker with ${folder}/jobs.db at ${broker.address}`);

model.latency = 100;
model.limit = 12;
model.faults = 2;
queue.on("failed", ({ id, error, willRetry }) => {
  console.log(`failed     ${id}: ${error}${willRetry ? ", will be tried again" : ""}`);
});
const ends = { count: 0, done: () => {} };
const done = new Promise<void>((resolve) => {
  ends.done = resolve;
});
queue.on("completed", ({ id, result, duration }) => {
  ends.count += 1;
  console.log(`completed  ${id} in ${duration} ms: ${JSON.stringify(result)}`);
  if (ends.count === 40) ends.done();
});

for (let n = 1; n <= 38; n += 1) await queue.add("complete", { prompt: `Is ${n} a number` });
await queue.add("complete", { prompt: "Is this urgent" }, { priority: 10 });
await queue.add("complete", { prompt: "Is it later" }, { delay: 1000 });
console.log("stats     ", await queue.stats());

queue.process(handlersFor(model.address));
await done;
console.log("stats     ", await queue.stats());
console.log(`at most ${model.most} calls at once, ${model.refused} told to come again`);
console.log(`cleaned ${await queue.clean(0, "completed")} completed jobs`);

await queue.close();
await broker.stop();
await model.stop();
await rm(folder, { recursive: true });

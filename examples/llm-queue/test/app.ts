// An app with a broker of its own, and a call that nobody has made yet: `tsx test/app.ts FILE`.

import { EmbeddedBroker } from "../src/embedded.js";
import { LlmQueue } from "../src/queue.js";

const broker = await EmbeddedBroker.start(process.argv[2] ?? "jobs.db");
const queue = await LlmQueue.open({ address: broker.address });
const job = await queue.add("complete", { prompt: "after all" });
console.log(job.name);

// More of the work, in a process of its own: `tsx src/worker.ts BROKER MODEL [STALL_MS]`.

import { handlersFor } from "./handlers.js";
import { LlmQueue } from "./queue.js";

const [address = "http://127.0.0.1:7077", model = "http://127.0.0.1:8080", stall] =
  process.argv.slice(2);
const queue = await LlmQueue.open({ address, ...(stall && { stallInterval: Number(stall) }) });
queue.process(handlersFor(model));
process.once("SIGTERM", () => void queue.close());

// Shows an order and what follows from it, with a receiver of webhooks that fails twice.

import { startStage } from "./stage.js";

const { client, site, mail, workers, call, stop } = await startStage({ firstPause: "500ms" });
workers();
site.answers.push({ status: 500 }, { status: 503 });

const delivered = (async () => {
  for await (const { type, attempt, failure } of client.watch({ queues: "webhooks" })) {
    if (type === "JOB_LEASED") console.log(`webhook: attempt ${attempt}`);
    if (type === "JOB_ATTEMPT_FAILED") console.log(`webhook: ${failure?.code}, tried again later`);
    if (type === "JOB_SUCCEEDED") return console.log("webhook: delivered");
  }
})();

const order = { id: "o-1", email: "ada@example.com", cents: 4_200 };
console.log("POST /api/orders:", await (await call("/api/orders", order)).json());
await delivered;
console.log("the mail server has", mail.mails.length, "mail; another is due in three days");
console.log("POST /api/exports:", await (await call("/api/exports", { minCents: 100 })).json());
const { queues } = await (await call("/api/health")).json();
console.table(queues.map(({ reasons, ...numbers }: { reasons: string[] }) => numbers));
await stop();

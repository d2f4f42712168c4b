// The page on moving from a serverless queue.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { Client } from "lessor/fetch";
import { Broker } from "lessor-examples-local/broker";
import { Page } from "lessor-examples-local/page";

test("the code of the page is that of the example", async () => {
  const page = await Page.read("docs/moving-from/serverless.md");
  await page.checkQuotes();
});

test("the line of shell takes over what waits in a list", async (t) => {
  const broker = await Broker.start();
  t.after(() => broker.stop());
  const { text } = await Page.read("docs/moving-from/serverless.md");
  const line = /^```sh\n(redis-cli .*?)^```$/ms.exec(text)?.[1] ?? "";
  const data = { text: "Ädä" };
  const old = [
    { id: 7, type: "word-count", data, userId: "ada", priority: 5 },
    { id: 8, type: "checksum", data, userId: "grace" },
  ];
  // A list of Redis prints its entries as lines; `lessor` is the one that is tested.
  const stand = line.replace(/^redis-cli .* \|$/m, "cat |").replace(/lessor/, '"$LESSOR"');
  assert.notEqual(stand, line);
  execFileSync("bash", ["-euo", "pipefail", "-c", stand], {
    input: old.map((job) => JSON.stringify(job)).join("\n"),
    env: { ...process.env, LESSOR: broker.binary, LESSOR_SERVER: broker.address },
  });
  const client = new Client({ address: broker.address });
  const job = await client.get("queues/tools/jobs/old-7");
  assert.deepEqual([job.type, job.owner, job.priority, job.data], ["word-count", "ada", 5, data]);
  assert.equal((await client.get("queues/tools/jobs/old-8")).priority, 0);
});

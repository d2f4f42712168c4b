// The page on moving from BullMQ.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Broker } from "lessor-examples-local/broker";
import { Page } from "lessor-examples-local/page";

test("the code of the page runs, or is that of the example", async (t) => {
  const page = await Page.read("docs/moving-from/bullmq.md");
  await page.checkQuotes();
  const broker = await Broker.start();
  t.after(() => broker.stop());
  assert.deepEqual((await page.run(broker.address)).trim().split("\n"), [
    "{ type: 'welcome', sent: 1 }",
    "deduplicated",
    "0 waiting, 0 active, 1 delayed",
    "JOB_SUCCEEDED welcome",
  ]);
});

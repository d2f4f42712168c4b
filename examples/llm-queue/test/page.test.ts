// The page on moving from SQLite: its code is that of this example.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

const ROOT = new URL("../../../", import.meta.url);
const BLOCK = /^```ts\n\/\/ (\S+)\n(.*?)^```$/gms;

test("the code of the page is that of the example", async () => {
  const page = await readFile(new URL("docs/moving-from/sqlite.md", ROOT), "utf8");
  const blocks = [...page.matchAll(BLOCK)];
  assert.equal(blocks.length, 2);
  for (const [, path = "", code = ""] of blocks) {
    assert.ok((await readFile(new URL(path, ROOT), "utf8")).includes(code), `${path}:\n${code}`);
  }
});

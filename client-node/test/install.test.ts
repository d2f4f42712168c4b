// The package as users get it: packed, installed in a clean folder, and made to run its own README.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Broker } from "./support/broker.js";

const run = promisify(execFile);
const PACKAGE = fileURLToPath(new URL("..", import.meta.url));
const EXAMPLE = /<!-- run: (esm|cjs|ts) -->\n```\w+\n(.*?)```/gs;
const FILES = { esm: "mjs", cjs: "cjs", ts: "mts" };

test("the packed package runs its README", { timeout: 120_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "lessor-install-"));
  const broker = await Broker.start();
  t.after(async () => {
    await broker.stop();
    await rm(folder, { recursive: true });
  });
  const env = { ...process.env, LESSOR_SERVER: broker.address, NODE_OPTIONS: "" };
  const quiet = ["--no-audit", "--no-fund", "--silent", "--prefer-offline"];
  const pack = ["pack", "--silent", "--pack-destination", folder];
  const { stdout } = await run("npm", pack, { cwd: PACKAGE });
  await writeFile(join(folder, "package.json"), '{ "private": true }');
  await run("npm", ["install", ...quiet, `./${stdout.trim()}`], { cwd: folder });

  const readme = await readFile(join(folder, "node_modules/lessor/README.md"), "utf8");
  const examples = [...readme.matchAll(EXAMPLE)].map(([, kind, code = ""], index) => {
    return { kind: kind as keyof typeof FILES, code, index };
  });
  assert.deepEqual(new Set(examples.map(({ kind }) => kind)), new Set(["esm", "cjs", "ts"]));
  for (const { kind, code, index } of examples) {
    const file = join(folder, `example-${index}.${FILES[kind]}`);
    await writeFile(file, code);
    if (kind === "ts") await compile(folder, file);
    const script = file.replace(".mts", ".mjs");
    const { stdout: said } = await run(process.execPath, [script], {
      cwd: folder,
      env,
      timeout: 30_000,
    });
    // What an example prints is what its comments say.
    const told = [...code.matchAll(/console\.log\(.*\);? \/\/ (.*)/g)].map(([, text]) => text);
    for (const line of told) assert.ok(said.includes(line ?? ""), `${line} in ${said}`);
  }
});

/** With the compiler's strictest settings, and the types of the package itself checked. */
async function compile(folder: string, file: string): Promise<void> {
  const tsc = join(PACKAGE, "node_modules/typescript/bin/tsc");
  const types = join(PACKAGE, "node_modules/@types");
  const options = ["--strict", "--exactOptionalPropertyTypes", "--module", "nodenext", "--target"];
  await run(
    process.execPath,
    [tsc, ...options, "es2022", "--typeRoots", types, "--types", "node", file],
    {
      cwd: folder,
    },
  ).catch((error: { stdout: string }) => assert.fail(error.stdout));
}

// The code of a page of the documentation, which is either that of an example or runs as it stands.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Program } from "./program.js";

const ROOT = new URL("../../../", import.meta.url);
const MODULES = fileURLToPath(new URL("examples/node_modules", ROOT));
/** The first line of a block says what it is. */
const BLOCK = /^```ts\n\/\/ (\S+)\n(.*?)^```$/gms;
const run = promisify(execFile);

export class Page {
  private constructor(
    readonly text: string,
    private readonly blocks: readonly [path: string, code: string][],
  ) {}

  /** A page, by its path from the root. */
  static async read(path: string): Promise<Page> {
    const text = await readFile(new URL(path, ROOT), "utf8");
    const blocks = [...text.matchAll(BLOCK)].map(
      ([, name = "", code = ""]) => [name, code] as const,
    );
    assert.equal(
      blocks.length,
      text.split("\n```ts\n").length - 1,
      "each block of code has a name",
    );
    return new Page(text, blocks as [string, string][]);
  }

  /** Checks that what is quoted from files is there. */
  async checkQuotes(): Promise<void> {
    const quoted = this.blocks.filter(([path]) => path.includes("/"));
    assert.notEqual(quoted.length, 0);
    for (const [path, code] of quoted) {
      const source = await readFile(new URL(path, ROOT), "utf8");
      assert.ok(source.includes(code), `${path} does not have:\n${code}`);
    }
  }

  /** Runs the code for a worker and then that for a producer; answers what the latter prints. */
  async run(server: string): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), "lessor-page-"));
    await symlink(MODULES, join(folder, "node_modules"));
    await writeFile(join(folder, "package.json"), '{ "type": "module" }');
    for (const [name, code] of this.blocks) {
      if (!name.includes("/")) await writeFile(join(folder, name), code);
    }
    const env = { LESSOR_SERVER: server };
    const worker = new Program(new URL(`file://${folder}/worker.ts`), env);
    try {
      await worker.said(/^ready$/);
      const options = { cwd: folder, env: { ...process.env, ...env }, timeout: 60_000 };
      const producer = ["--import", "tsx", join(folder, "producer.ts")];
      return (await run(process.execPath, producer, options)).stdout;
    } finally {
      worker.kill("SIGTERM");
      await worker.exited;
      await rm(folder, { recursive: true });
    }
  }
}

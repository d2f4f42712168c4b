// A PostgreSQL of its own: a cluster in a temporary folder, reached by a socket in it.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chown, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Where Debian's packages are: on the system, or unpacked elsewhere. */
const ROOT = process.env.POSTGRESQL_ROOT ?? "/";
const NOBODY = 65_534;
/**
 * PostgreSQL does not run as root. As nobody, it still reads what root has in folders of its own, where
 * the packages may be unpacked.
 */
const AS_NOBODY = [
  "setpriv",
  `--reuid=${NOBODY}`,
  `--regid=${NOBODY}`,
  "--clear-groups",
  // It ends with whoever started it.
  "--pdeathsig=INT",
  "--securebits=+no_setuid_fixup",
  "--inh-caps=+dac_read_search",
  "--ambient-caps=+dac_read_search",
];
const SETTINGS = ["listen_addresses=", "fsync=off", "shared_buffers=16MB"];

interface Programs {
  readonly bin: string;
  readonly env: NodeJS.ProcessEnv;
}

export class Postgres {
  private constructor(
    private readonly process: ChildProcess,
    private readonly folder: string,
  ) {}

  static async start(): Promise<Postgres> {
    const { bin, env } = await programs();
    const folder = await mkdtemp(join(tmpdir(), "lessor-postgresql-"));
    const isRoot = process.getuid?.() === 0;
    if (isRoot) await chown(folder, NOBODY, NOBODY);
    const command = (program: string, ...args: string[]): [string, string[]] => {
      const [first = "", ...rest] = [...(isRoot ? AS_NOBODY : []), join(bin, program), ...args];
      return [first, rest];
    };
    const data = join(folder, "data");
    const init = ["-D", data, "-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
    await run(...command("initdb", ...init), { env, cwd: "/" });
    const settings = [...SETTINGS, `unix_socket_directories=${folder}`];
    const options = settings.flatMap((setting) => ["-c", setting]);
    const child = spawn(...command("postgres", "-D", data, ...options), {
      ...{ env, cwd: "/" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const log: string[] = [];
    for await (const line of createInterface({ input: child.stderr })) {
      if (line.includes("ready to accept connections")) {
        child.stderr.resume();
        return new Postgres(child, folder);
      }
      log.push(line);
    }
    throw new Error(`PostgreSQL ended before it served: ${log.join("\n")}`);
  }

  get url(): string {
    return `postgresql:///postgres?user=app&host=${encodeURIComponent(this.folder)}`;
  }

  async stop(): Promise<void> {
    const ended = once(this.process, "exit");
    // At once, whoever is connected.
    this.process.kill("SIGINT");
    await ended;
    await rm(this.folder, { recursive: true });
  }
}

async function programs(): Promise<Programs> {
  const versions = await readdir(join(ROOT, "usr/lib/postgresql")).catch(() => []);
  const bin = versions
    .sort((one, other) => Number(other) - Number(one))
    .map((version) => join(ROOT, "usr/lib/postgresql", version, "bin"))
    .find((folder) => existsSync(join(folder, "postgres")));
  if (!bin) throw new Error("there is no PostgreSQL here: install it, or run this by make");
  if (ROOT === "/") return { bin, env: process.env };
  const folders = await readdir(join(ROOT, "usr/lib"));
  const libraries = folders.filter((name) => name.endsWith("-linux-gnu"));
  const path = libraries.map((name) => join(ROOT, "usr/lib", name)).join(":");
  return { bin, env: { ...process.env, LD_LIBRARY_PATH: path } };
}

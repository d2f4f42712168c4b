// The real broker, on a port of its own, with jobs in memory.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const BINARY =
  process.env.LESSOR_BIN ?? `${process.env.CARGO_TARGET_DIR ?? `${ROOT}/target`}/debug/lessor`;
const run = promisify(execFile);

/** Who may call, as the broker's file of identities has it. */
export interface Identity {
  name: string;
  roles: string[];
  queues: string[];
}

/** Who signs the tokens of users. */
export interface UserKeys {
  /** A JSON Web Key Set. */
  keys: object;
  issuer: string;
  audience: string;
}

export interface BrokerOptions {
  identities?: readonly Identity[];
  users?: UserKeys;
  /** More settings of the broker. */
  environment?: Readonly<Record<string, string>>;
}

export class Broker {
  /** The program, for commands of your own. */
  readonly binary = BINARY;

  private constructor(
    private readonly process: ChildProcess,
    private readonly folder: string,
    readonly address: string,
    /** The token of each identity, by its name. */
    readonly tokens: Readonly<Record<string, string>>,
  ) {}

  /** Without identities and keys everybody may do everything. */
  static async start({ identities = [], users, environment }: BrokerOptions = {}): Promise<Broker> {
    const folder = await mkdtemp(join(tmpdir(), "lessor-example-"));
    const tokens: Record<string, string> = {};
    const options = ["--listen", "127.0.0.1:0", "--store", "sqlite::memory:", "--log", "error"];
    if (identities.length > 0) {
      const file = join(folder, "tokens.toml");
      const entries = identities.map(async (identity) => {
        const { token, digest } = JSON.parse((await run(BINARY, ["token", "new"])).stdout);
        tokens[identity.name] = token;
        return entryOf(identity, digest);
      });
      await writeFile(file, (await Promise.all(entries)).join("\n"));
      options.push("--auth-tokens", file);
    }
    if (users) {
      const file = join(folder, "keys.json");
      await writeFile(file, JSON.stringify(users.keys));
      options.push("--auth-jwks", file, "--auth-jwt-issuer", users.issuer);
      options.push("--auth-jwt-audience", users.audience);
    }
    const child = spawn(BINARY, ["serve", ...options], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...environment },
    });
    child.once("error", (error) => console.error(`${BINARY}: ${error.message}; make build`));
    for await (const line of createInterface({ input: child.stdout })) {
      const port = /serving on \S+?:(\d+)(?:,|$)/.exec(line)?.[1];
      if (port) return new Broker(child, folder, `http://127.0.0.1:${port}`, tokens);
    }
    throw new Error(`${BINARY} ended before it served`);
  }

  /** Runs a command of `lessor` on this broker, by somebody's token, and answers what it prints. */
  async command(args: readonly string[], by?: string): Promise<string> {
    const token = by === undefined ? {} : { LESSOR_TOKEN: this.tokens[by] };
    const env = { ...process.env, LESSOR_SERVER: this.address, ...token };
    return (await run(BINARY, [...args], { env })).stdout;
  }

  /** Stops it from doing anything, its connections included. */
  freeze(): void {
    this.process.kill("SIGSTOP");
  }

  thaw(): void {
    this.process.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    const ended = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await ended;
    await rm(this.folder, { recursive: true });
  }
}

function entryOf({ name, roles, queues }: Identity, digest: string): string {
  return [
    "[[identity]]",
    `name = ${JSON.stringify(name)}`,
    `roles = ${JSON.stringify(roles)}`,
    `queues = ${JSON.stringify(queues)}`,
    `tokens = [${JSON.stringify(digest)}]`,
    "",
  ].join("\n");
}

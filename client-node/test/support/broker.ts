// The real broker, on a port of its own.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const BINARY =
  process.env.LESSOR_BIN ?? `${process.env.CARGO_TARGET_DIR ?? `${ROOT}/target`}/debug/lessor`;

export interface BrokerOptions {
  store?: string;
  port?: number;
  args?: string[];
}

export class Broker {
  #process: ChildProcess | undefined;
  port = 0;

  private constructor(private readonly options: BrokerOptions) {}

  static async start(options: BrokerOptions = {}): Promise<Broker> {
    const broker = new Broker(options);
    await broker.start();
    return broker;
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it, again on the same port. */
  async start(): Promise<void> {
    const { store = "sqlite::memory:", args = [] } = this.options;
    const port = this.port || this.options.port || 0;
    const child = spawn(
      BINARY,
      ["serve", "--listen", `127.0.0.1:${port}`, "--store", store, "--log", "error", ...args],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    this.#process = child;
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    for await (const line of lines) {
      const found = /serving on \S+?:(\d+)(?:,|$)/.exec(line)?.[1];
      if (found) {
        this.port = Number(found);
        return;
      }
    }
    throw new Error(`${BINARY} ended before it served`);
  }

  /** Ends it, in good order or with SIGKILL. */
  async stop(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }

  /** Stops it from doing anything, its connections included. */
  freeze(): void {
    this.#process?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#process?.kill("SIGCONT");
  }
}

/** A port that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

// A broker that belongs to the app: a child process whose jobs are in one SQLite file.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const BINARY = process.env.LESSOR_BIN ?? "lessor";

export class EmbeddedBroker {
  #process: ChildProcess | undefined;
  #listen = "127.0.0.1:0";
  #isStopping = false;

  private constructor(private readonly file: string) {}

  static async start(file: string): Promise<EmbeddedBroker> {
    const broker = new EmbeddedBroker(file);
    await broker.#start();
    return broker;
  }

  get address(): string {
    return `http://${this.#listen}`;
  }

  /** Kills it, as a crash would; it comes back by itself, with its jobs, at the same address. */
  crash(): void {
    this.#process?.kill("SIGKILL");
  }

  /** Ends it in good order. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    const child = this.#process;
    if (!child || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }

  async #start(): Promise<void> {
    const store = ["--store", `sqlite:${this.file}`, "--log", "error"];
    const args = ["serve", "--listen", this.#listen, ...store];
    const child = spawn(BINARY, args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#process = child;
    child.once("error", (error) => console.error(`${BINARY}: ${error.message}`));
    for await (const line of createInterface({ input: child.stdout })) {
      const address = /serving on ([^\s,]+)/.exec(line)?.[1];
      if (!address) continue;
      this.#listen = address;
      child.once("exit", () => {
        if (!this.#isStopping) void this.#start();
      });
      return;
    }
    throw new Error(`${BINARY} ended before it served`);
  }
}

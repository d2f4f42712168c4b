// A broker that belongs to the app: a child process whose jobs are in one SQLite file.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const BINARY = process.env.LESSOR_BIN ?? "lessor";
/** The broker, and beside it what ends it when stdin ends: the app is gone, even by SIGKILL. */
const WITH_ITS_APP = 'exec 3<&0; (cat <&3; kill $$) >/dev/null 2>&1 & exec "$0" "$@" 3<&-';
/** For how many starts to wait for the broker of an app that was killed to let go of the file. */
const STARTS = 20;
const PAUSE_MS = 250;

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
    for (let start = 1; !(await this.#serves()); start += 1) {
      if (start === STARTS) throw new Error(`${BINARY} ended before it served`);
      await sleep(PAUSE_MS);
    }
  }

  async #serves(): Promise<boolean> {
    const store = ["--store", `sqlite:${this.file}`, "--log", "error"];
    const args = [BINARY, "serve", "--listen", this.#listen, ...store];
    const stdio = ["pipe", "pipe", "inherit"] as const;
    const child = spawn("sh", ["-c", WITH_ITS_APP, ...args], { stdio: [...stdio] });
    this.#process = child;
    for await (const line of createInterface({ input: child.stdout })) {
      const address = /serving on ([^\s,]+)/.exec(line)?.[1];
      if (!address) continue;
      this.#listen = address;
      child.once("exit", () => {
        child.stdin.end();
        if (!this.#isStopping) void this.#start();
      });
      return true;
    }
    return false;
  }
}

// A program in a process of its own, to be told things by signals and to be listened to.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export class Program {
  readonly #process: ChildProcess;
  readonly #lines: string[] = [];
  readonly #heard = new Set<() => void>();
  /** The exit code, or the name of the signal that ended it. */
  readonly exited: Promise<number | string>;

  /** Runs a file of TypeScript. */
  constructor(file: URL, env: Record<string, string>) {
    const child = spawn(process.execPath, ["--import", "tsx", fileURLToPath(file)], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...env },
    });
    this.#process = child;
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.#lines.push(line);
      for (const hear of this.#heard) hear();
    });
    this.exited = once(child, "exit").then(([code, signal]) => code ?? signal);
    void this.exited.then(() => {
      for (const hear of this.#heard) hear();
    });
  }

  /** Waits for a line like this, and answers what its first group is. */
  said(pattern: RegExp): Promise<string> {
    return new Promise((resolve, reject) => {
      const hear = () => {
        const found = this.#lines.map((line) => pattern.exec(line)).find((it) => it !== null);
        const { exitCode, signalCode } = this.#process;
        if (found) resolve(found[1] ?? found[0]);
        else if (exitCode !== null || signalCode !== null) reject(new Error("it has ended"));
        else return;
        this.#heard.delete(hear);
      };
      this.#heard.add(hear);
      hear();
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }
}

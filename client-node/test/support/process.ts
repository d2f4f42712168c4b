// A worker in a process of its own, to be killed, stopped or blocked.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { Stage } from "./scenario.js";

const SCRIPT = fileURLToPath(new URL("./worker.mjs", import.meta.url));

export interface WorkerProcess {
  /** Waits until it has said a line. */
  said(line: string): Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** The exit code; the signal's name when that ended it. */
  readonly exited: Promise<number | string>;
}

export function spawnWorker(
  t: TestContext,
  stage: Stage,
  settings: Record<string, unknown> = {},
  env: Record<string, string> = {},
): WorkerProcess {
  const given = JSON.stringify({ address: stage.address, queue: stage.queue, ...settings });
  const child: ChildProcess = spawn(process.execPath, [SCRIPT, given], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE_OPTIONS: "", ...env },
  });
  const lines: string[] = [];
  const heard = new Set<() => void>();
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
    lines.push(line);
    for (const hear of heard) hear();
  });
  const exited = once(child, "exit").then(([code, signal]) => (code ?? signal) as number | string);
  t.after(() => child.kill("SIGKILL"));
  return {
    exited,
    kill: (signal) => void child.kill(signal),
    said: (wanted) =>
      new Promise((resolve) => {
        const hear = () => {
          if (!lines.includes(wanted)) return;
          heard.delete(hear);
          resolve();
        };
        heard.add(hear);
        hear();
      }),
  };
}

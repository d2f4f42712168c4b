// A model over local HTTP that answers at once, unless it is told to hold, or to be busy.

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export class FakeLlm {
  /** More calls at once are answered with 429. */
  limit = Number.POSITIVE_INFINITY;
  /** The next so many calls are answered with 500. */
  faults = 0;
  /** How long an answer takes, in milliseconds. */
  latency = 0;
  /** The prompts, as they came. */
  readonly prompts: string[] = [];
  /** The most calls at once so far. */
  most = 0;
  refused = 0;
  #running = 0;
  #server: Server | undefined;
  #port = 0;
  #gate: { opened: Promise<void>; open: () => void } | undefined;
  #counted: (() => void)[] = [];

  get address(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Begins to serve, again on the same port. */
  async start(): Promise<this> {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
    return this;
  }

  async stop(): Promise<void> {
    this.#server?.close();
    this.#server?.closeAllConnections();
    if (this.#server?.listening) await once(this.#server, "close");
  }

  /** Answers nothing until `open`. */
  hold(): { open: () => void } {
    let open = () => {};
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#gate = { opened, open };
    return this.#gate;
  }

  /** Waits until so many calls run. */
  async running(count: number): Promise<void> {
    while (this.#running < count) {
      await new Promise<void>((resolve) => this.#counted.push(resolve));
    }
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { prompt } = JSON.parse((await request.toArray()).join(""));
    if (typeof prompt !== "string") {
      response.writeHead(400).end("a prompt is a text");
      return;
    }
    if (this.#running >= this.limit) {
      this.refused += 1;
      response.writeHead(429, { "retry-after": "0.2" }).end();
      return;
    }
    this.prompts.push(prompt);
    this.#running += 1;
    this.most = Math.max(this.most, this.#running);
    for (const counted of this.#counted.splice(0)) counted();
    await this.#gate?.opened;
    if (this.latency > 0) await sleep(this.latency);
    this.#running -= 1;
    if (this.faults > 0) {
      this.faults -= 1;
      response.writeHead(500).end();
    } else {
      response.end(JSON.stringify({ text: `${prompt}? That depends.` }));
    }
  }
}

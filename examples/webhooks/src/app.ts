// The web app: what the routes of a Next.js app would do, on Node's own server.

import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { type Client, type Span, WaitTimeoutError } from "lessor";
import { healthOfAll } from "./health.js";
import type { Export, Jobs } from "./jobs.js";
import type { Order, Orders } from "./orders.js";

interface Answer {
  status: number;
  body: unknown;
}

export interface Parts {
  readonly client: Client;
  readonly jobs: Jobs;
  readonly orders: Orders;
  /** Who hears of orders. */
  readonly webhookUrl: string;
}

export class App {
  readonly #parts: Parts;
  readonly #server = createServer(async (request, response) => {
    const { status, body } = await this.#answer(request).catch((error) => {
      console.error(error);
      return { status: 500, body: { error: "something went wrong" } };
    });
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  });

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    const { method, url = "/" } = request;
    if (method === "POST" && url === "/api/orders") {
      return this.#order((await json(request)) as Order);
    }
    if (method === "POST" && url === "/api/exports") {
      return this.#export((await json(request)) as Export & { wait?: Span });
    }
    if (method === "GET" && url === "/api/health") return this.#health();
    return { status: 404, body: { error: "not found" } };
  }

  /** Takes an order in. Everything that follows from it happens elsewhere, later. */
  async #order(order: Order): Promise<Answer> {
    const { jobs, orders, webhookUrl } = this.#parts;
    orders.add(order);
    const to = [order.email];
    const outcomes = await jobs.addAll([
      jobs.webhook({ url: webhookUrl, event: "order.created", data: order }, `order-${order.id}`),
      jobs.email({ to, subject: `Your order ${order.id}`, text: "Thank you!" }),
      jobs.email({ to, subject: "How do you like it?", text: "Tell us." }, { delay: "3d" }),
      jobs.analytics({ name: "order", properties: { cents: order.cents } }),
    ]);
    const refused = outcomes.filter(({ status }) => status === "rejected").length;
    if (refused > 0) console.error(`${refused} jobs of the order ${order.id} were refused`);
    return { status: 201, body: { success: true } };
  }

  /** Exports orders, and waits for the file as long as the caller likes. */
  async #export({ wait = "20s", ...filter }: Export & { wait?: Span }): Promise<Answer> {
    const { client, jobs } = this.#parts;
    const { job } = await jobs.addExport(filter, { labels: { kind: "orders" } });
    try {
      return { status: 200, body: await client.result(job, { timeout: wait }) };
    } catch (error) {
      if (!(error instanceof WaitTimeoutError)) throw error;
      return { status: 202, body: { jobId: job.id, status: "pending" } };
    }
  }

  async #health(): Promise<Answer> {
    const queues = await healthOfAll(this.#parts.client);
    return { status: queues.every(({ healthy }) => healthy) ? 200 : 503, body: { queues } };
  }
}

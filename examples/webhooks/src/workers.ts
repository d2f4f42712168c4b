// The workers: one for each queue, with as many jobs at once as its work bears.

import { type Client, type Handler, Worker, type WorkerOptions } from "lessor";
import { analyticsHandler } from "./handlers/analytics.js";
import { emailHandler } from "./handlers/email.js";
import { exportHandler } from "./handlers/export.js";
import { webhookHandler } from "./handlers/webhook.js";
import type { Orders } from "./orders.js";

export interface Settings {
  readonly smtpUrl: string;
  readonly webhookSecret: string;
  /** Where files go. */
  readonly folder: string;
  readonly orders: Orders;
}

export class Workers {
  readonly #workers: Worker[];

  constructor(client: Client, settings: Settings, options: WorkerOptions = {}) {
    const { smtpUrl, webhookSecret, folder, orders } = settings;
    // Waits for others: many at once. Works itself: few.
    const of = (queue: string, concurrency: number, handlers: Record<string, Handler>) =>
      new Worker(queue, handlers, { client, concurrency, ...options });
    this.#workers = [
      of("webhooks", 15, { deliver: webhookHandler(webhookSecret) }),
      of("email", 5, { send: emailHandler(smtpUrl) }),
      of("analytics", 15, { track: analyticsHandler(folder) }),
      of("exports", 2, { orders: exportHandler(folder, orders) }),
    ];
  }

  /** Takes no more jobs and finishes those that run. */
  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }
}

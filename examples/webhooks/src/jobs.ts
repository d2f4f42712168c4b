// What the app enqueues: a typed helper for each kind of job, over one client.

import type { Client, Enqueued, EnqueueOptions, NewJobIn, Span } from "lessor";

export interface Webhook {
  url: string;
  event: string;
  data: unknown;
  headers?: Record<string, string>;
}

export interface Email {
  to: string[];
  subject: string;
  text: string;
}

export interface AnalyticsEvent {
  name: string;
  properties?: Record<string, string | number>;
}

export interface Export {
  minCents?: number;
}

export interface Exported {
  file: string;
  rows: number;
}

export const QUEUES = ["webhooks", "email", "analytics", "exports"] as const;

const LOWEST = 1_000;

/**
 * A priority as Bull counts them, as one of Lessor. With Bull 1 runs first, then 2, and what has none
 * runs last. Here the greater runs first, and 0 is what has none.
 */
export function fromBull(priority: number): number {
  return priority === 0 ? 0 : LOWEST + 1 - Math.min(priority, LOWEST);
}

export class Jobs {
  readonly #firstPause: Span;

  constructor(
    private readonly client: Client,
    { firstPause = "2s" }: { firstPause?: Span } = {},
  ) {
    this.#firstPause = firstPause;
  }

  /** A webhook, five times at most. One that was enqueued before, within a day, is the same one. */
  webhook(webhook: Webhook, webhookId?: string): NewJobIn<Webhook> {
    return {
      ...{ queue: "webhooks", type: "deliver", data: webhook },
      retry: { maxAttempts: 5, initialBackoff: this.#firstPause, multiplier: 2 },
      ...(webhookId && { dedup: { key: webhookId, scope: "window", window: "24h" } }),
    };
  }

  email(email: Email, options: EnqueueOptions = {}): NewJobIn<Email> {
    const retry = { maxAttempts: 3, initialBackoff: this.#firstPause };
    return { queue: "email", type: "send", data: email, retry, ...options };
  }

  /** What is nice to know, after everything else. */
  analytics(event: AnalyticsEvent): NewJobIn<AnalyticsEvent> {
    return { queue: "analytics", type: "track", data: event, priority: -10 };
  }

  /** One export. Its result is the file, for an hour. */
  addExport(data: Export, options: EnqueueOptions = {}): Promise<Enqueued<Export, Exported>> {
    return this.client.enqueue("exports", "orders", data, options);
  }

  async add<Data>({ queue, type, data, ...options }: NewJobIn<Data>): Promise<Enqueued<Data>> {
    return this.client.enqueue(queue, type, data, options);
  }

  /** Many jobs of many queues in one call. Each is taken or refused for itself. */
  addAll(jobs: NewJobIn[]): Promise<PromiseSettledResult<Enqueued>[]> {
    return this.client.enqueueEach(jobs);
  }
}

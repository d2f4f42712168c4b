// What the worker route can do, by the type of the job.

import { type Job, UnrecoverableError } from "lessor/fetch";

export const handlers = {
  "word-count": ({ data }: Job<{ text: string }>) => {
    const words = data.text.split(/\s+/).filter((word) => word !== "");
    return { words: words.length, longest: Math.max(0, ...words.map((word) => word.length)) };
  },

  checksum: async ({ data }: Job<{ text: string }>) => {
    const bytes = new TextEncoder().encode(data.text);
    const digest = await crypto.subtle.digest("SHA-256", bytes);
    return { sha256: Buffer.from(digest).toString("hex") };
  },

  "fetch-title": async ({ data }: Job<{ url: string }>) => {
    const response = await fetch(data.url, { signal: AbortSignal.timeout(10_000) });
    const { status } = response;
    const message = `${data.url} answered ${status}`;
    // Another attempt would not change it.
    if (status >= 400 && status < 500) throw new UnrecoverableError(message);
    if (!response.ok) throw new Error(message);
    return { title: /<title>([^<]*)/i.exec(await response.text())?.[1] ?? "" };
  },

  "daily-report": (job: Job) => ({ reported: job.createTime }),
};

export type ToolType = keyof typeof handlers;

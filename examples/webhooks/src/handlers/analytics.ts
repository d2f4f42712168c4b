import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import type { Job } from "lessor";
import type { AnalyticsEvent } from "../jobs.js";

/** Writes down what happened, one line each, under an id that duplicates share. */
export function analyticsHandler(folder: string) {
  return async ({ id, data, createTime }: Job<AnalyticsEvent>) => {
    const line = JSON.stringify({ id, time: createTime, ...data });
    await appendFile(join(folder, "analytics.jsonl"), `${line}\n`);
  };
}

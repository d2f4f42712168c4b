import { createHmac } from "node:crypto";
import { type Context, type Job, RetryError, UnrecoverableError } from "lessor";
import type { Webhook } from "../jobs.js";

const LONGEST_CALL_MS = 10_000;
/** Answers that another attempt may change. */
const PASSING = [408, 425, 429, 500, 502, 503, 504];

/** Delivers a webhook. What the receiver answers decides whether it is tried again, and when. */
export function webhookHandler(secret: string) {
  return async ({ name, data, attempt }: Job<Webhook>, { signal }: Context) => {
    const body = JSON.stringify({ event: data.event, data: data.data });
    const response = await fetch(data.url, {
      method: "POST",
      headers: {
        ...data.headers,
        "content-type": "application/json",
        // The same over all attempts: by it a receiver knows what it has already.
        "webhook-id": name,
        "webhook-attempt": String(attempt),
        "webhook-signature": createHmac("sha256", secret).update(`${name}.${body}`).digest("hex"),
      },
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(LONGEST_CALL_MS)]),
    });
    await response.body?.cancel();
    const { status } = response;
    if (response.ok) return { status };
    const message = `${data.url} answered ${status}`;
    const code = `HTTP_${status}`;
    if (!PASSING.includes(status)) throw new UnrecoverableError(message, { code });
    const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
    throw new RetryError(message, { code, ...(seconds > 0 && { delay: seconds * 1_000 }) });
  };
}

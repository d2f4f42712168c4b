// The work: one call of a model over HTTP. How it fails decides what becomes of the job.

import { type Context, type Job, SnoozeError, UnrecoverableError } from "lessor";

export interface Prompt {
  prompt: string;
}

/** The handlers, for a model at this address. */
export function handlersFor(model: string) {
  return {
    complete: async (job: Job<Prompt>, { signal }: Context) => {
      // The signal ends the call if the job is cancelled or its time is over.
      const response = await fetch(`${model}/v1/completions`, {
        method: "POST",
        body: JSON.stringify(job.data),
        signal,
      });
      // Too many calls are nobody's fault: the job waits as long as it is told, which is no attempt.
      if (response.status === 429) {
        throw new SnoozeError(1000 * Number(response.headers.get("retry-after") ?? 1));
      }
      // Asking for the same again would not help.
      if (response.status === 400) throw new UnrecoverableError(await response.text());
      // All else is tried again, with backoff; so is a server that is down, for `fetch` throws then.
      if (!response.ok) throw new Error(`the model answered ${response.status}`);
      return (await response.json()) as { text: string };
    },
  };
}

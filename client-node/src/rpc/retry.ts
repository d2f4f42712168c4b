// When a call is tried again: on UNAVAILABLE, and nothing else.

import { setTimeout as sleep } from "node:timers/promises";
import { LessorError } from "../errors.js";

const TRIES = 4;
const FIRST_PAUSE_MS = 100;
const GROWTH = 4;

/** The clock of this process: it does not jump. */
export const now = (): number => performance.now();

export function isPassing(error: unknown): error is LessorError {
  return error instanceof LessorError && error.code === "UNAVAILABLE";
}

/**
 * The pause after a number of failed tries, at least what the broker asked for. `undefined` when the
 * tries are used up, or the deadline would pass meanwhile.
 */
export function pauseAfter(
  tries: number,
  fault: LessorError,
  deadline: number,
): number | undefined {
  if (tries >= TRIES) return undefined;
  const pause = FIRST_PAUSE_MS * GROWTH ** (tries - 1) * (1 + Math.random());
  const least = Math.max(pause, fault.retryAfterMs ?? 0);
  return now() + least < deadline ? least : undefined;
}

/** Tries until an answer, a lasting fault or the deadline, by the clock of `now`. */
export async function persist<T>(
  deadline: number,
  signal: AbortSignal | undefined,
  attempt: () => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!isPassing(error)) throw error;
      const pause = pauseAfter(tries, error, deadline);
      if (pause === undefined) throw error;
      await sleep(pause, undefined, signal && { signal });
    }
  }
}

/** Pauses between attempts to reach a broker that is away, however long: at random, growing. */
export class Pauses {
  #most: number;

  constructor(
    private readonly first = 250,
    private readonly longest = 20_000,
  ) {
    this.#most = first;
  }

  next(fault?: LessorError): number {
    const pause = Math.random() * this.#most;
    this.#most = Math.min(this.#most * 2, this.longest);
    return Math.max(pause, fault?.retryAfterMs ?? 0);
  }

  reset(): void {
    this.#most = this.first;
  }
}

// What the broker said, as the answer of a route.

import { type Job, type JobState, LessorError } from "lessor/fetch";

const STATUSES = {
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  INVALID_ARGUMENT: 400,
  RESOURCE_EXHAUSTED: 429,
  UNAUTHENTICATED: 401,
} as const;

/** The words that the pages of the app know. */
const WORDS: Partial<Record<JobState, string>> = {
  scheduled: "pending",
  ready: "pending",
  leased: "processing",
  retrying: "retrying",
  succeeded: "completed",
  dead: "failed",
};

export function statusOf(job: Job) {
  return {
    jobId: job.id,
    type: job.type,
    status: WORDS[job.state] ?? job.state,
    owner: job.owner,
    attempts: job.attempt,
    progress: job.progress?.percent ?? 0,
    returnValue: job.result,
    error: job.lastFailure?.message,
  };
}

/** Runs a route. What the broker refuses is an answer; what nobody expected stays an error. */
export async function answered(route: () => Promise<Response>): Promise<Response> {
  try {
    return await route();
  } catch (error) {
    if (!(error instanceof LessorError)) throw error;
    const { code, message, retryAfterMs } = error;
    const status = STATUSES[code as keyof typeof STATUSES] ?? 503;
    const headers = new Headers();
    if (retryAfterMs !== undefined) headers.set("retry-after", `${Math.ceil(retryAfterMs / 1000)}`);
    return Response.json({ error: message }, { status, headers });
  }
}

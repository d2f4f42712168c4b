import type { Job } from "./job.js";
import type { Context } from "./worker/context.js";

/** What does the work of a job. What it returns is the job's result; what it throws fails the attempt. */
// biome-ignore lint/suspicious/noExplicitAny: a handler of any payload is one
export type Handler<Data = any, Result = any> = (
  job: Job<Data, Result>,
  context: Context,
) => Result | Promise<Result>;

/** Handlers by the type of the job. */
export type Handlers = Record<string, Handler>;

/** The payload that a handler takes. */
export type DataOf<H extends Handler> =
  Parameters<H>[0] extends Job<infer Data, infer _> ? Data : never;

/** What a handler returns. */
export type ResultOf<H extends Handler> = Awaited<ReturnType<H>>;

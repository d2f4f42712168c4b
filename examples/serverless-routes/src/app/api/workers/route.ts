import { timingSafeEqual } from "node:crypto";
import { answered } from "../../../answers.js";
import { clientOfWorker, QUEUE } from "../../../broker.js";
import { handlers } from "../../../handlers.js";

/** How long the platform lets this function run, in seconds. */
export const maxDuration = 60;

/** Does one job, if there is one. Whoever calls it, a cron line say, knows the secret. */
export async function POST(request: Request): Promise<Response> {
  if (!isTrusted(request)) return Response.json({ error: "who are you?" }, { status: 401 });
  return answered(async () => {
    const [processed] = await clientOfWorker().process(QUEUE, handlers, {
      // Nothing extends the lease, so it outlasts the function. If the platform kills the function,
      // the job goes to the next call when the lease ends.
      leaseDuration: `${maxDuration + 5}s`,
    });
    if (!processed) return Response.json({ processed: 0 });
    const { job, error } = processed;
    return Response.json({ processed: 1, jobId: job.id, outcome: error ? "failed" : "completed" });
  });
}

function isTrusted(request: Request): boolean {
  const given = Buffer.from(request.headers.get("authorization") ?? "");
  const wanted = Buffer.from(`Bearer ${process.env.WORKER_SECRET}`);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

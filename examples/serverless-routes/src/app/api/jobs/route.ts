import { answered, statusOf } from "../../../answers.js";
import { clientOfUser, QUEUE } from "../../../broker.js";
import { handlers } from "../../../handlers.js";
import { userOf } from "../../../session.js";

const PRIORITIES = { low: -10, normal: 0, high: 10 };

interface Wanted {
  type: string;
  data?: unknown;
  priority?: keyof typeof PRIORITIES;
  scheduledFor?: string;
}

/** Takes a job in. Its owner is whoever is signed in. */
export async function POST(request: Request): Promise<Response> {
  const user = await userOf(request);
  if (user === undefined) return Response.json({ error: "sign in first" }, { status: 401 });
  const { type, data, priority = "normal", scheduledFor }: Wanted = await request.json();
  if (!Object.hasOwn(handlers, type)) {
    return Response.json({ error: `there is no tool ${type}` }, { status: 400 });
  }
  const requestId = request.headers.get("idempotency-key");
  return answered(async () => {
    const { job } = await clientOfUser(user).enqueue(QUEUE, type, data, {
      priority: PRIORITIES[priority],
      labels: { tool: type },
      ...(scheduledFor && { scheduleTime: new Date(scheduledFor) }),
      // A repeated click or a repeated request makes one job.
      ...(requestId && { requestId }),
    });
    return Response.json(statusOf(job), { status: 202 });
  });
}

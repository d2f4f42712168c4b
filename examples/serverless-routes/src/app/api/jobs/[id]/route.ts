import { answered, statusOf } from "../../../../answers.js";
import { clientOfUser, QUEUE } from "../../../../broker.js";
import { userOf } from "../../../../session.js";

/**
 * How a job fares. That it is this user's is the broker's to check: another's job is refused, and so
 * is one that there is not, in the same words.
 */
export async function GET(
  request: Request,
  { params }: { params: Promise<{ id: string }> },
): Promise<Response> {
  const user = await userOf(request);
  if (user === undefined) return Response.json({ error: "sign in first" }, { status: 401 });
  const { id } = await params;
  return answered(async () => {
    const job = await clientOfUser(user).get(`queues/${QUEUE}/jobs/${id}`);
    return Response.json(statusOf(job));
  });
}

// How the web app enqueues. It knows the payload of each queue, and what comes back.

import type { Client, DataOf, Enqueued, EnqueueOptions, ResultOf } from "lessor";
import type { QueueHandlers, QueueName } from "./handlers/index.js";

const PRIORITIES = { low: -10, normal: 0, high: 10 };

export interface AddOptions extends Omit<EnqueueOptions, "priority"> {
  priority?: keyof typeof PRIORITIES;
}

type Data<Name extends QueueName> = DataOf<QueueHandlers[Name]>;
type Result<Name extends QueueName> = ResultOf<QueueHandlers[Name]>;

export function addJob<Name extends QueueName>(
  client: Client,
  queue: Name,
  data: Data<Name>,
  { priority = "normal", ...options }: AddOptions = {},
): Promise<Enqueued<Data<Name>, Result<Name>>> {
  return client.enqueue(queue, queue, data, { priority: PRIORITIES[priority], ...options });
}

/** What a status page shows of a job. */
export async function statusOf(client: Client, name: string) {
  const { id, state, progress, result, lastFailure } = await client.get(name);
  return {
    jobId: id,
    status: state,
    progress: progress?.percent ?? 0,
    returnValue: result,
    error: lastFailure?.message,
  };
}

// How the queues fare, in the words of Bull.

import { type Client, NotFoundError } from "lessor";
import { JobBrokerAdmin } from "lessor/proto";
import { QUEUES } from "./jobs.js";

export async function healthOf(client: Client, queue: string) {
  try {
    const name = `queues/${queue}`;
    const stats = await client.call(JobBrokerAdmin.method.getQueueStats, { name });
    return {
      name: queue,
      waiting: Number(stats.ready),
      active: Number(stats.leased),
      completed: Number(stats.succeeded),
      failed: Number(stats.dead),
      delayed: Number(stats.scheduled + stats.retrying),
      healthy: stats.healthy,
      reasons: stats.unhealthyReasons,
    };
  } catch (error) {
    // Its first job makes a queue.
    if (!(error instanceof NotFoundError)) throw error;
    const none = { waiting: 0, active: 0, completed: 0, failed: 0, delayed: 0 };
    return { name: queue, ...none, healthy: true, reasons: [] };
  }
}

export function healthOfAll(client: Client) {
  return Promise.all(QUEUES.map((queue) => healthOf(client, queue)));
}

// What happens by the clock. Run with each deployment: what is there already stays.

import { AlreadyExistsError, type Client, enqueueRequest } from "lessor";
import { JobBrokerAdmin } from "lessor/proto";
import type { Cleanup } from "./handlers/cleanup.js";

export async function createSchedules(client: Client): Promise<void> {
  const data: Cleanup = { maxAgeDays: 30 };
  const job = enqueueRequest("cleanup", { type: "cleanup", data });
  const schedule = { cron: "0 2 * * *", timeZone: "Europe/Berlin", job };
  const request = { scheduleId: "daily-cleanup", schedule };
  try {
    await client.call(JobBrokerAdmin.method.createSchedule, request);
  } catch (error) {
    if (!(error instanceof AlreadyExistsError)) throw error;
  }
}

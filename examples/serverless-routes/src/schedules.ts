// What happens by the clock. Run with each deployment: what is there already stays.

import { AlreadyExistsError } from "lessor/fetch";
import { clientOfDeployment, QUEUE } from "./broker.js";

export async function createSchedules(): Promise<void> {
  const schedule = {
    cron: "0 6 * * *",
    timeZone: "Europe/Berlin",
    overlap: "OVERLAP_SKIP",
    job: { queue: QUEUE, type: "daily-report" },
  };
  const request = { scheduleId: "daily-report", schedule };
  try {
    await clientOfDeployment().call("lessor.v1.JobBrokerAdmin/CreateSchedule", request);
  } catch (error) {
    if (!(error instanceof AlreadyExistsError)) throw error;
  }
}

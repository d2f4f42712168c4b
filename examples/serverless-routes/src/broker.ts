// How the routes reach the broker, and as whom.

import { Client } from "lessor/fetch";
import { tokenOf } from "./user-token.js";

export const QUEUE = "tools";

/** As the user: the broker makes the user the owner of each job, and shows a user no other's. */
export function clientOfUser(user: string): Client {
  return clientBy(() => tokenOf(user));
}

/** As the worker, who may lease and settle and nothing else. */
export function clientOfWorker(): Client {
  return clientBy(process.env.WORKER_TOKEN);
}

/** As whoever deploys the app. */
export function clientOfDeployment(): Client {
  return clientBy(process.env.DEPLOY_TOKEN);
}

function clientBy(token: string | (() => Promise<string>) | undefined): Client {
  const address = process.env.LESSOR_SERVER ?? "http://127.0.0.1:7077";
  return new Client({ address, ...(token && { token }) });
}

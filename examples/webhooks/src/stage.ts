// The whole of it on this machine: a broker, the app, its workers, and who hears from them.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, type Span, type WorkerOptions } from "lessor";
import { Broker } from "lessor-examples-local/broker";
import { App } from "./app.js";
import { Jobs } from "./jobs.js";
import { Orders } from "./orders.js";
import { MailServer, Site } from "./receiver.js";
import { Workers } from "./workers.js";

export interface Stage {
  readonly broker: Broker;
  readonly client: Client;
  readonly jobs: Jobs;
  readonly site: Site;
  readonly siteUrl: string;
  readonly mail: MailServer;
  readonly folder: string;
  /** Starts the workers; they end with the stage at the latest. */
  workers(): Workers;
  call(path: string, body?: object): Promise<Response>;
  stop(): Promise<void>;
}

export const WEBHOOK_SECRET = "not much of a secret";

export async function startStage(
  settings: { firstPause?: Span } = {},
  options: WorkerOptions = {},
): Promise<Stage> {
  const [broker, folder] = await Promise.all([
    Broker.start(),
    mkdtemp(join(tmpdir(), "lessor-webhooks-")),
  ]);
  const client = new Client({ address: broker.address, logger: false });
  const [site, mail, orders] = [new Site(), new MailServer(), new Orders()];
  const [siteUrl, smtpUrl] = await Promise.all([site.listen(), mail.listen()]);
  const jobs = new Jobs(client, settings);
  const app = new App({ client, jobs, orders, webhookUrl: siteUrl });
  const address = await app.listen();
  const started: Workers[] = [];
  return {
    ...{ broker, client, jobs, site, siteUrl, mail, folder },
    workers() {
      const parts = { smtpUrl, webhookSecret: WEBHOOK_SECRET, folder, orders };
      const workers = new Workers(client, parts, options);
      started.push(workers);
      return workers;
    },
    call: (path, body) =>
      fetch(address + path, body && { method: "POST", body: JSON.stringify(body) }),
    async stop() {
      await Promise.all(started.map((workers) => workers.close()));
      await app.close();
      site.close();
      mail.close();
      client.close();
      await broker.stop();
      await rm(folder, { recursive: true });
    },
  };
}

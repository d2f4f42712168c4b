// The whole of it on this machine: a broker, a PostgreSQL, and workers in processes of their own.

import { Client } from "lessor";
import { Broker } from "lessor-examples-local/broker";
import { Postgres } from "lessor-examples-local/postgres";
import { Program } from "lessor-examples-local/program";
import type { Pool } from "pg";
import { openDatabase } from "./database.js";

export interface Stage {
  readonly broker: Broker;
  readonly client: Client;
  readonly database: Pool;
  /** Starts another worker. */
  worker(env?: Record<string, string>): Program;
  stop(): Promise<void>;
}

export async function startStage(): Promise<Stage> {
  const [broker, postgres] = await Promise.all([Broker.start(), Postgres.start()]);
  process.env.DATABASE_URL = postgres.url;
  const database = await openDatabase();
  const client = new Client({ address: broker.address });
  const workers: Program[] = [];
  return {
    broker,
    client,
    database,
    worker(env = {}) {
      const program = new Program(new URL("./worker.ts", import.meta.url), {
        ...{ LESSOR_SERVER: broker.address, DATABASE_URL: postgres.url },
        // So short that a dead worker is missed soon.
        ...{ WORKER_LEASE_MS: "2000", PORT: "0" },
        ...env,
      });
      workers.push(program);
      return program;
    },
    async stop() {
      for (const worker of workers) worker.kill("SIGKILL");
      await Promise.all(workers.map(({ exited }) => exited));
      client.close();
      await database.end();
      await Promise.all([broker.stop(), postgres.stop()]);
    },
  };
}

// The whole of it on this machine: a broker that knows the callers, and the app with its secrets.

import { exportJWK, generateKeyPair } from "jose";
import { Broker } from "lessor-examples-local/broker";
import { type App, serve } from "./server.js";
import { cookieOf } from "./session.js";
import { ALGORITHM, AUDIENCE, ISSUER } from "./user-token.js";

export interface Stage {
  readonly broker: Broker;
  readonly app: App;
  /** A request by a user who is signed in, or by nobody. */
  as(user: string | undefined, path: string, body?: object, headers?: object): Promise<Response>;
  /** The call of the cron line. */
  poke(): Promise<{ processed: number; jobId?: string; outcome?: string }>;
  stop(): Promise<void>;
}

export async function startStage(): Promise<Stage> {
  const { publicKey, privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
  const kid = "users";
  const broker = await Broker.start({
    identities: [
      { name: "worker", roles: ["worker"], queues: ["tools"] },
      { name: "deployment", roles: ["admin"], queues: ["*"] },
    ],
    users: {
      keys: { keys: [{ ...(await exportJWK(publicKey)), kid, alg: ALGORITHM, use: "sig" }] },
      issuer: ISSUER,
      audience: AUDIENCE,
    },
  });
  const { worker, deployment } = broker.tokens;
  Object.assign(process.env, {
    LESSOR_SERVER: broker.address,
    USER_KEY: JSON.stringify({ ...(await exportJWK(privateKey)), kid }),
    WORKER_TOKEN: worker,
    DEPLOY_TOKEN: deployment,
    WORKER_SECRET: crypto.randomUUID(),
    SESSION_SECRET: crypto.randomUUID(),
  });
  const app = await serve();
  return {
    broker,
    app,
    async as(user, path, body, headers) {
      return fetch(app.address + path, {
        headers: { ...headers, ...(user && { cookie: await cookieOf(user) }) },
        ...(body && { method: "POST", body: JSON.stringify(body) }),
      });
    },
    async poke() {
      const headers = { authorization: `Bearer ${process.env.WORKER_SECRET}` };
      const response = await fetch(`${app.address}/api/workers`, { method: "POST", headers });
      if (!response.ok) throw new Error(await response.text());
      return (await response.json()) as { processed: number };
    },
    async stop() {
      await app.stop();
      await broker.stop();
    },
  };
}

// What the platform does: finds the route of a request and runs it.

import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { GET as getJob } from "./app/api/jobs/[id]/route.js";
import { POST as postJob } from "./app/api/jobs/route.js";
import { POST as postWorkers } from "./app/api/workers/route.js";

export interface App {
  readonly address: string;
  stop(): Promise<void>;
}

export async function serve(): Promise<App> {
  const server = createServer(async (incoming, outgoing) => {
    const response = await respond(await requestOf(incoming)).catch((error) => {
      console.error(error);
      return Response.json({ error: "something went wrong" }, { status: 500 });
    });
    outgoing.writeHead(response.status, [...response.headers].flat());
    outgoing.end(Buffer.from(await response.arrayBuffer()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function respond(request: Request): Promise<Response> {
  const call = `${request.method} ${new URL(request.url).pathname}`;
  if (call === "POST /api/jobs") return postJob(request);
  if (call === "POST /api/workers") return postWorkers(request);
  const id = /^GET \/api\/jobs\/([\w.-]+)$/.exec(call)?.[1];
  if (id !== undefined) return getJob(request, { params: Promise.resolve({ id }) });
  return Response.json({ error: "not found" }, { status: 404 });
}

async function requestOf(incoming: IncomingMessage): Promise<Request> {
  const { method = "GET", url = "/", headers } = incoming;
  const body = await buffer(incoming);
  return new Request(new URL(url, "http://localhost"), {
    method,
    headers: Object.entries(headers).map(([name, value]): [string, string] => [name, `${value}`]),
    ...(body.length > 0 && { body }),
  });
}

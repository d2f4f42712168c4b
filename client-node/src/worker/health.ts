// A worker's own health address, for the probe of its pod.

import { createServer, type Server } from "node:http";

export interface HealthOptions {
  /** 0 takes a free one: see `worker.healthPort`. */
  port: number;
  /** Default: all addresses. */
  host?: string;
}

/** Answers any request: 200 while the worker is connected, else 503. */
export function serveHealth(
  { port, host }: HealthOptions,
  status: () => { healthy: boolean } & Record<string, unknown>,
  failed: (error: Error) => void,
): Server {
  const server = createServer((_request, response) => {
    const now = status();
    response.writeHead(now.healthy ? 200 : 503, {
      "content-type": "application/json",
      "cache-control": "no-store",
      connection: "close",
    });
    response.end(JSON.stringify(now));
  });
  server.on("error", failed);
  server.listen(port, host);
  server.unref();
  return server;
}

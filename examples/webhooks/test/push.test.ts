// The broker may call an endpoint by itself: a queue without a worker. What receives checks the
// signatures by the library of their scheme, as docs/push.md shows it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { test } from "node:test";
import { Client } from "lessor";
import { Broker } from "lessor-examples-local/broker";
import { Webhook } from "standardwebhooks";

test("a queue with an endpoint needs no worker, and the endpoint knows who calls", async (t) => {
  const broker = await Broker.start({ environment: { LESSOR_PUSH_ALLOW: "loopback" } });
  t.after(() => broker.stop());
  const { secret } = JSON.parse(await broker.command(["token", "secret", "-o", "json"]));
  const webhook = new Webhook(secret);
  const endpoint = createServer(async (request, response) => {
    const body = (await buffer(request)).toString();
    try {
      const payload = webhook.verify(body, request.headers as Record<string, string>);
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ seen: payload }));
    } catch {
      response.writeHead(401).end("wrong signature");
    }
  });
  endpoint.listen(0, "127.0.0.1");
  await once(endpoint, "listening");
  t.after(() => endpoint.close());
  const { port } = endpoint.address() as AddressInfo;
  const push = ["queue", "update", "hooks", "--push", `http://127.0.0.1:${port}/`];
  await broker.command([...push, "--push-secret", secret]);

  const client = new Client({ address: broker.address });
  t.after(() => client.close());
  const job = await client.enqueue("hooks", "welcome", { user: 7 });
  assert.deepEqual(await client.result(job), { seen: { user: 7 } });

  const other = JSON.parse(await broker.command(["token", "secret", "-o", "json"])).secret;
  await broker.command([...push, "--push-secret", other]);
  const unsure = await client.enqueue("hooks", "welcome", { user: 8 });
  const ended = await client.wait(unsure.job);
  assert.deepEqual([ended.state, ended.lastFailure?.code], ["dead", "HTTP_401"]);
});

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { clientOfWorker } from "../src/broker.js";
import { createSchedules } from "../src/schedules.js";
import { type Stage, startStage } from "../src/stage.js";
import { ALGORITHM } from "../src/user-token.js";

const data = { text: "one three" };
let stage: Stage;
before(async () => {
  stage = await startStage();
});
after(() => stage?.stop());

// Each test begins with an empty queue.
beforeEach(async () => {
  while ((await stage.poke()).processed > 0);
});

async function enqueued(user: string, wanted: object, headers?: object) {
  const response = await stage.as(user, "/api/jobs", wanted, headers);
  assert.equal(response.status, 202, await response.clone().text());
  return response.json();
}

async function statusOf(user: string, jobId: string) {
  const response = await stage.as(user, `/api/jobs/${jobId}`);
  assert.equal(response.status, 200);
  return response.json();
}

test("a job belongs to whoever is signed in and is done by the worker route", async () => {
  const { jobId, status, owner } = await enqueued("ada", { type: "word-count", data });
  assert.deepEqual([status, owner], ["pending", "ada"]);
  assert.deepEqual(await stage.poke(), { processed: 1, jobId, outcome: "completed" });
  const done = await statusOf("ada", jobId);
  assert.equal(done.status, "completed");
  assert.deepEqual(done.returnValue, { words: 2, longest: 5 });
});

test("another user's job is forbidden, and so is one that there is not", async () => {
  const { jobId } = await enqueued("ada", { type: "word-count", data });
  const told = [];
  for (const id of [jobId, "no-such-job"]) {
    const response = await stage.as("grace", `/api/jobs/${id}`);
    assert.equal(response.status, 403);
    told.push((await response.text()).replace(id, "…"));
  }
  assert.equal(told[0], told[1]);
  assert.equal((await stage.as("ada", `/api/jobs/${jobId}`)).status, 200);
});

test("nobody gets in without a session, a worker without its secret neither", async () => {
  assert.equal((await stage.as(undefined, "/api/jobs", { type: "checksum" })).status, 401);
  const forged = new SignJWT().setProtectedHeader({ alg: "HS256" }).setSubject("ada");
  const cookie = `session=${await forged.sign(new TextEncoder().encode(crypto.randomUUID()))}`;
  assert.equal((await stage.as(undefined, "/api/jobs/x", undefined, { cookie })).status, 401);
  const authorization = `Bearer ${crypto.randomUUID()}`;
  const poked = await stage.as(undefined, "/api/workers", {}, { authorization });
  assert.equal(poked.status, 401);
});

test("a user's token that somebody else signed opens nothing", async () => {
  const { USER_KEY = "" } = process.env;
  const { privateKey } = await generateKeyPair(ALGORITHM, { extractable: true });
  const { kid } = JSON.parse(USER_KEY);
  process.env.USER_KEY = JSON.stringify({ ...(await exportJWK(privateKey)), kid });
  const response = await stage.as("ada", "/api/jobs", { type: "word-count", data });
  process.env.USER_KEY = USER_KEY;
  assert.equal(response.status, 401);
});

test("the secret of the workers opens nothing else", async () => {
  const { jobId } = await enqueued("ada", { type: "word-count", data });
  await assert.rejects(clientOfWorker().get(`queues/tools/jobs/${jobId}`), {
    code: "PERMISSION_DENIED",
  });
  await assert.rejects(clientOfWorker().enqueue("tools", "word-count", data), {
    code: "PERMISSION_DENIED",
  });
});

test("one call does one job, the one with the greater priority first", async () => {
  const later = await enqueued("ada", { type: "checksum", data, priority: "low" });
  const sooner = await enqueued("grace", { type: "word-count", data, priority: "high" });
  assert.equal((await stage.poke()).jobId, sooner.jobId);
  assert.equal((await statusOf("ada", later.jobId)).status, "pending");
  assert.equal((await stage.poke()).jobId, later.jobId);
  assert.deepEqual(await stage.poke(), { processed: 0 });
});

test("a job for later is not done sooner", async () => {
  const scheduledFor = new Date(Date.now() + 3_600_000).toISOString();
  const { jobId, status } = await enqueued("ada", { type: "checksum", data, scheduledFor });
  assert.equal(status, "pending");
  assert.deepEqual(await stage.poke(), { processed: 0 });
  assert.equal((await statusOf("ada", jobId)).attempts, 0);
});

test("a repeated request makes one job", async () => {
  const key = { "idempotency-key": crypto.randomUUID() };
  const first = await enqueued("ada", { type: "word-count", data }, key);
  const second = await enqueued("ada", { type: "word-count", data }, key);
  assert.equal(second.jobId, first.jobId);
  assert.equal((await stage.poke()).processed, 1);
  assert.equal((await stage.poke()).processed, 0);
});

test("an unknown tool and broken options are bad requests", async () => {
  assert.equal((await stage.as("ada", "/api/jobs", { type: "constructor" })).status, 400);
  const key = { "idempotency-key": "not a uuid" };
  assert.equal((await stage.as("ada", "/api/jobs", { type: "checksum" }, key)).status, 400);
});

test("a schedule takes the place of a cron line, and a second deployment changes nothing", async () => {
  await createSchedules();
  await createSchedules();
  const told = await stage.broker.command(["schedules", "-o", "jsonl"], "deployment");
  const schedules = told
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    schedules.map(({ name, cron }) => [name, cron]),
    [["schedules/daily-report", "0 6 * * *"]],
  );
  await stage.broker.command(["schedule", "trigger", "daily-report"], "deployment");
  assert.equal((await stage.poke()).outcome, "completed");
});

// The last one: its job comes back after a while.
test("a job that fails says why and is tried again, if that makes sense", async () => {
  const answers = [404, 503];
  const site = createServer((_, response) => response.writeHead(answers.shift() ?? 200).end());
  site.listen(0, "127.0.0.1");
  await once(site, "listening");
  const url = `http://127.0.0.1:${(site.address() as AddressInfo).port}/`;
  const gone = await enqueued("ada", { type: "fetch-title", data: { url } });
  assert.equal((await stage.poke()).outcome, "failed");
  assert.equal((await statusOf("ada", gone.jobId)).status, "failed");
  const { jobId } = await enqueued("ada", { type: "fetch-title", data: { url } });
  assert.deepEqual(await stage.poke(), { processed: 1, jobId, outcome: "failed" });
  site.close();
  const failed = await statusOf("ada", jobId);
  assert.deepEqual([failed.status, failed.attempts], ["retrying", 1]);
  assert.equal(failed.error, `${url} answered 503`);
});

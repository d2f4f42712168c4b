import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type TestContext, test } from "node:test";
import type { JobEvent } from "lessor";
import { JobBrokerAdmin } from "lessor/proto";
import { fromBull } from "../src/jobs.js";
import { type Stage, startStage, WEBHOOK_SECRET } from "../src/stage.js";

const { promoteJob, retryJob } = JobBrokerAdmin.method;

/** Everything, with retries that come soon. */
async function staged(t: TestContext): Promise<Stage> {
  const options = { logger: false, signals: false, heartbeatThread: false } as const;
  const stage = await startStage({ firstPause: 50 }, options);
  t.after(() => stage.stop());
  return stage;
}

/** The events of a job from its first on, to its end. */
async function lifeOf({ client }: Stage, job: { name: string; queue: string }) {
  const events: JobEvent[] = [];
  for await (const event of client.watch({ queues: job.queue, oldest: true })) {
    if (event.job === job.name) events.push(event);
    if (event.job === job.name && event.toState === "succeeded") break;
  }
  return events;
}

/** Waits until a queue has nothing left to do. */
async function idle({ client }: Stage, queue: string): Promise<void> {
  const watch = client.watch({ queues: queue, oldest: true });
  const open = new Set<string>();
  let ended = 0;
  for await (const { job, type, toState } of watch) {
    if (type === "JOB_READY") open.add(job);
    if (toState === "succeeded" && open.delete(job)) ended += 1;
    if (ended > 0 && open.size === 0) return;
  }
}

test("an order becomes jobs of three queues, and each of them is done", async (t) => {
  const stage = await staged(t);
  stage.workers();
  const order = { id: "o-1", email: "ada@example.com", cents: 4_200 };
  const response = await stage.call("/api/orders", order);
  assert.equal(response.status, 201);
  await Promise.all(["webhooks", "email", "analytics"].map((queue) => idle(stage, queue)));

  const [delivery] = stage.site.deliveries;
  assert.deepEqual(delivery?.body, { event: "order.created", data: order });
  const { "webhook-id": id, "webhook-signature": signature } = delivery.headers;
  const signed = createHmac("sha256", WEBHOOK_SECRET).update(
    `${id}.${JSON.stringify(delivery.body)}`,
  );
  assert.equal(signature, signed.digest("hex"));
  assert.deepEqual(
    stage.mail.mails.map(({ to }) => to),
    [["ada@example.com"]],
  );
  assert.match(stage.mail.mails[0]?.text ?? "", /^Subject: Your order o-1\r$/m);
  const tracked = await readFile(`${stage.folder}/analytics.jsonl`, "utf8");
  assert.equal(JSON.parse(tracked).properties.cents, 4_200);
});

test("a webhook whose receiver fails twice is delivered the third time", async (t) => {
  const stage = await staged(t);
  stage.site.answers.push({ status: 500 }, { status: 503 });
  const headers = { "x-shop": "lamps" };
  const webhook = { url: stage.siteUrl, event: "ping", data: 1, headers };
  const { job } = await stage.jobs.add(stage.jobs.webhook(webhook));
  stage.workers();
  const events = await lifeOf(stage, job);
  const failed = events.filter(({ type }) => type === "JOB_ATTEMPT_FAILED");
  assert.deepEqual(
    failed.map(({ failure }) => failure?.code),
    ["HTTP_500", "HTTP_503"],
  );
  assert.equal(events.at(-1)?.type, "JOB_SUCCEEDED");
  const told = stage.site.deliveries.map(({ headers }) => headers);
  assert.deepEqual(
    told.map((it) => [it["webhook-id"], it["webhook-attempt"], it["x-shop"]]),
    [1, 2, 3].map((attempt) => [job.name, String(attempt), "lamps"]),
  );
});

test("a receiver that is gone makes a dead letter, which runs again when it is told to", async (t) => {
  const stage = await staged(t);
  stage.workers();
  stage.site.answers.push({ status: 410 });
  const webhook = { url: stage.siteUrl, event: "ping", data: 1 };
  const { job } = await stage.jobs.add(stage.jobs.webhook(webhook));
  const dead = await stage.client.wait(job);
  assert.deepEqual([dead.state, dead.attempt], ["dead", 1]);
  assert.equal(dead.lastFailure?.code, "HTTP_410");
  await stage.client.call(retryJob, { name: job.name });
  assert.deepEqual(await stage.client.result(job), { status: 204 });
});

test("a busy receiver says when to come back", async (t) => {
  const stage = await staged(t);
  stage.workers();
  stage.site.answers.push({ status: 429, headers: { "retry-after": "3600" } });
  const webhook = { url: stage.siteUrl, event: "ping", data: 1 };
  const { job } = await stage.jobs.add(stage.jobs.webhook(webhook));
  const waiting = await stage.client.wait(job, { until: ["retrying"] });
  const leftMs = (waiting.scheduleTime?.getTime() ?? 0) - Date.now();
  assert.ok(leftMs > 3_500_000 && leftMs <= 3_600_000, `${leftMs} ms`);
  await stage.client.call(promoteJob, { name: job.name });
  assert.deepEqual(await stage.client.result(job), { status: 204 });
});

test("a webhook that is enqueued twice is delivered once", async (t) => {
  const stage = await staged(t);
  stage.workers();
  const webhook = stage.jobs.webhook({ url: stage.siteUrl, event: "ping", data: 1 }, "order-7");
  const first = await stage.jobs.add(webhook);
  await stage.client.result(first);
  const second = await stage.jobs.add(webhook);
  assert.deepEqual([second.outcome, second.job.name], ["deduplicated", first.job.name]);
  assert.equal(stage.site.deliveries.length, 1);
});

test("a mail that is refused for now is sent again, under the same id", async (t) => {
  const stage = await staged(t);
  stage.workers();
  stage.mail.refuse = 1;
  const to = ["ada@example.com", "grace@example.com"];
  const { job } = await stage.jobs.add(stage.jobs.email({ to, subject: "Hi", text: "Ädä 🦀" }));
  assert.deepEqual(await stage.client.result(job), {
    messageId: `<${job.id}@example.com>`,
    accepted: 2,
  });
  assert.equal((await stage.client.get(job)).attempt, 2);
  assert.deepEqual(stage.mail.mails[0]?.to, to);
});

test("a mail for later waits for its time", async (t) => {
  const stage = await staged(t);
  stage.workers();
  const email = { to: ["ada@example.com"], subject: "Later", text: "now" };
  const { job } = await stage.jobs.add(stage.jobs.email(email, { delay: "1h" }));
  assert.equal(job.state, "scheduled");
  await stage.client.call(promoteJob, { name: job.name });
  await stage.client.result(job);
  assert.equal(stage.mail.mails.length, 1);
});

test("priorities of Bull keep their order", async (t) => {
  const stage = await staged(t);
  const { client } = stage;
  const add = (minCents: number, priority: number) =>
    stage.jobs.addExport({ minCents }, { priority: fromBull(priority) });
  for (const [index, priority] of [0, 5, 1, 5_000, 2].entries()) await add(index, priority);
  const watch = client.watch({ queues: "exports", types: ["JOB_LEASED"], oldest: true });
  stage.workers();
  const order: unknown[] = [];
  for await (const { job } of watch) {
    order.push(((await client.get(job)).data as { minCents: number }).minCents);
    if (order.length === 5) break;
  }
  assert.deepEqual(order, [2, 4, 1, 3, 0]);
});

test("an export is waited for, and goes on when the wait is over", async (t) => {
  const stage = await staged(t);
  for (const cents of [50, 500]) {
    await stage.call("/api/orders", { id: `o-${cents}`, email: "a@b.example", cents });
  }
  const early = await stage.call("/api/exports", { wait: 50 });
  assert.equal(early.status, 202);
  const { jobId } = await early.json();
  stage.workers();
  const name = `queues/exports/jobs/${jobId}`;
  assert.equal((await stage.client.result<{ rows: number }>(name)).rows, 2);
  const response = await stage.call("/api/exports", { minCents: 100 });
  assert.equal(response.status, 200);
  const { file, rows } = await response.json();
  assert.equal(rows, 1);
  assert.equal(await readFile(file, "utf8"), "id,email,cents\r\no-500,a@b.example,500\r\n");
});

test("of many jobs of many queues a bad one is refused alone", async (t) => {
  const stage = await staged(t);
  const { jobs } = stage;
  const outcomes = await jobs.addAll([
    jobs.analytics({ name: "one" }),
    { ...jobs.analytics({ name: "two" }), priority: 5_000 },
    jobs.email({ to: ["a@b.example"], subject: "", text: "" }),
  ]);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled"],
  );
});

test("the health address has the numbers of each queue, and says what is wrong", async (t) => {
  const stage = await staged(t);
  const fresh = await stage.call("/api/health");
  assert.equal(fresh.status, 200);
  await stage.broker.command(["queue", "update", "email", "--unhealthy-ready", "2"]);
  const email = stage.jobs.email({ to: ["a@b.example"], subject: "", text: "" });
  await stage.jobs.addAll([email, email, email, { ...email, delay: "1h" }]);
  const response = await stage.call("/api/health");
  assert.equal(response.status, 503);
  const { queues } = await response.json();
  const { reasons, ...numbers } = queues.find(({ name }: { name: string }) => name === "email");
  const none = { active: 0, completed: 0, failed: 0 };
  assert.deepEqual(numbers, { name: "email", waiting: 3, delayed: 1, ...none, healthy: false });
  assert.match(reasons.join(), /3/);
});

test("workers that close finish what they have", async (t) => {
  const stage = await staged(t);
  const workers = stage.workers();
  const webhook = { url: stage.siteUrl, event: "ping", data: 1 };
  const { job } = await stage.jobs.add(stage.jobs.webhook(webhook));
  await once(stage.site, "delivery");
  await workers.close();
  assert.equal((await stage.client.get(job)).state, "succeeded");
});
